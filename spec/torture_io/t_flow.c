/* SPDX-License-Identifier: MIT */
/* Pipes, throttles and traces: alone, stacked, cut off, and without memory. */
#include "torture.h"

#include <unistd.h>

#include "base/container.h"

/* ── a pipe between two connections: left ⇄ (0 | 1) ⇄ right ───────────────*/

struct joined;
struct joint {
    struct joined *j;
    struct stream *s;
    int side;
};
struct joined {
    struct world *w;
    struct end left, right, ours[2];
    struct joint joint[2];
    struct pipe p;
    unsigned ends;
    int reason;
    bool over;
};

static void joint_data(struct stream *s, struct str bytes) {
    struct joint *t = s->owner;
    pipe_data(&t->j->p, t->side, bytes);
}
static void joint_eof(struct stream *s) {
    struct joint *t = s->owner;
    pipe_eof(&t->j->p, t->side);
}
static void joint_drain(struct stream *s) {
    struct joint *t = s->owner;
    pipe_drain(&t->j->p, t->side);
}
static void joint_close(struct stream *s, int reason) {
    struct joint *t = s->owner;
    t->s = NULL;
    pipe_closed(&t->j->p, t->side, reason);
}
static const struct stream_hooks joint_hooks = {
    .on_data = joint_data, .on_eof = joint_eof, .on_drain = joint_drain, .on_close = joint_close,
};

static void ended(struct pipe *p, int reason) {
    struct joined *j = CONTAINER(p, struct joined, p);
    CHECK_EQ(j->ends, 0);
    j->ends++;
    j->reason = reason;
    j->over = true;
}

/* The pipe is not begun yet: filters may be pushed before. */
static void connect_pipe(struct world *w, enum kind a, enum kind b, struct joined *j) {
    memset(j, 0, sizeof *j);
    j->w = w;
    connect_ends(w, a, &j->left, &j->ours[0]);
    connect_ends(w, b, &j->right, &j->ours[1]);
    for (int i = 0; i < 2; i++) {
        struct stream *s = j->ours[i].s;
        j->joint[i] = (struct joint){j, s, i};
        s->hooks = &joint_hooks;
        s->owner = &j->joint[i];
    }
    pipe_init(&j->p, j->joint[0].s, j->joint[1].s, ended);
}

static void finish_pipe(struct joined *j) {
    struct end *far[2] = {&j->left, &j->right};
    for (int i = 0; i < 2; i++) {
        if (far[i]->s) stream_close(far[i]->s);
        world_until(j->w, &far[i]->closed, 5000);
    }
    world_until(j->w, &j->over, 5000);
    for (int i = 0; i < 2; i++) {
        if (j->joint[i].s) stream_abort(j->joint[i].s, 0); /* one way */
        end_end(far[i]);
        end_end(&j->ours[i]);
    }
    world_pass(j->w, 2);
}

static void send_pattern(struct end *e, size_t n) {
    static char block[1 << 20];
    while (n && e->s) {
        size_t some = n < sizeof block ? n : sizeof block;
        pattern_fill(block, e->sent, some);
        if (end_write(e, block, some) < 0) return;
        n -= some;
    }
}

static void until_got(struct world *w, struct end *e, uint64_t n, int ms) {
    for (int i = 0; i < ms && e->got < n && !e->closed; i++) world_pass(w, 1);
    CHECK_EQ(e->got, n);
}

static void until_eof(struct world *w, struct end *e) {
    for (int i = 0; i < 2000 && !e->eofs && !e->closed; i++) world_pass(w, 1);
    CHECK_EQ(e->eofs, 1);
}

/* Every kind with every kind, both directions, one end after the other. */
static void moves_all(void) {
    for (unsigned pair = 0; pair < KINDS * KINDS; pair++) {
        struct world w;
        struct joined j;
        world_begin(&w);
        connect_pipe(&w, pair / KINDS, pair % KINDS, &j);
        stream_read(j.left.s, true);
        stream_read(j.right.s, true);
        pipe_begin(&j.p);
        send_pattern(&j.left, 5000000);
        send_pattern(&j.right, 3000000);
        stream_shutdown(j.left.s);
        until_got(&w, &j.right, 5000000, 5000);
        until_eof(&w, &j.right);
        until_got(&w, &j.left, 3000000, 5000);
        CHECK(!j.left.eofs && !j.over);
        send_pattern(&j.right, 100);
        stream_shutdown(j.right.s);
        until_eof(&w, &j.left);
        CHECK_EQ(j.left.got, 3000100);
        finish_pipe(&j);
        CHECK_EQ(j.reason, 0);
        CHECK_EQ(j.p.moved[0], 5000000);
        CHECK_EQ(j.p.moved[1], 3000100);
        world_end(&w);
    }
}

/* Whatever is offered, a pipe holds one read in each direction. */
static void stays_small(void) {
    for (enum kind k = KIND_TCP; k < KINDS; k++) {
        struct world w;
        struct joined j;
        world_begin(&w);
        w.limits.max_buffered = (uint64_t)1 << 30;
        connect_pipe(&w, k, k, &j);
        stream_option(j.joint[1].s, "send_buffer", 50000);
        stream_read(j.left.s, true);
        pipe_begin(&j.p);
        send_pattern(&j.left, 100 << 20); /* its own queue has it */
        world_pass(&w, 100);
        size_t most = 0;
        for (int i = 0; i < 100; i++) {
            world_pass(&w, 1);
            if (j.joint[1].s->queued > most) most = j.joint[1].s->queued;
        }
        CHECK(most > 0);
        CHECK(most <= 64 * 1024);
        CHECK_EQ(j.joint[0].s->queued, 0);
        stream_read(j.right.s, true);
        until_got(&w, &j.right, 100 << 20, 30000);
        stream_shutdown(j.right.s);
        stream_shutdown(j.left.s);
        finish_pipe(&j);
        CHECK_EQ(j.reason, 0);
        world_end(&w);
    }
}

static void idle(void) {
    struct world w;
    struct joined j;
    world_begin(&w);
    connect_pipe(&w, KIND_TCP, KIND_PAIR, &j);
    j.p.idle = 60;
    pipe_begin(&j.p);
    for (int i = 0; i < 8; i++) {
        world_pass(&w, 20);
        send_pattern(i % 2 ? &j.left : &j.right, 1);
    }
    CHECK(!j.over);
    world_until(&w, &j.over, 1000);
    CHECK_EQ(j.reason, RW_ETIMEDOUT);
    finish_pipe(&j);
    world_end(&w);
}

static void one_way(void) {
    struct world w;
    struct joined j;
    world_begin(&w);
    connect_pipe(&w, KIND_TCP, KIND_TCP, &j);
    j.p.one_way = true;
    stream_read(j.right.s, true);
    pipe_begin(&j.p);
    CHECK(!j.joint[1].s->reading);
    send_pattern(&j.left, 2000000);
    stream_shutdown(j.left.s);
    until_got(&w, &j.right, 2000000, 5000);
    until_eof(&w, &j.right);
    CHECK(j.over && j.joint[0].s && j.joint[1].s);
    finish_pipe(&j);
    CHECK_EQ(j.reason, 0);
    world_end(&w);
}

/* ── filters on both sides of a pipe, cut off at any moment ───────────────*/

static struct trace *null_trace(struct world *w) {
    static struct log log;
    struct trace *t = NULL;
    log_init(&log, -1);
    log.level = LOG_NONE;
    char path[] = "/tmp/torture-io-XXXXXX";
    close(mkstemp(path));
    struct trace_options o = {.path = path, .log = &log, .max_bytes = 100000,
                              .max_record = 40};
    trace_open(w->loop, &o, &t);
    unlink(path);
    return t;
}

static void cut_off(void) {
    for (unsigned round = 0; round < 150; round++) {
        struct world w;
        struct joined j;
        world_begin(&w);
        w.limits.close_timeout = w.limits.write_timeout = 60;
        w.limits.rate_burst = 10000;
        w.limits.write_rate = 2000000;
        w.limits.total_read_rate = 3000000;
        connect_pipe(&w, test_random() % KINDS, test_random() % KINDS, &j);
        struct throttle_group *g = throttle_group_new(w.loop);
        struct trace *t = null_trace(&w);
        for (int i = 0; i < 2; i++) {
            if (test_random() % 2) CHECK_EQ(throttle_push(j.joint[i].s, g), 0);
            if (test_random() % 2) CHECK_EQ(trace_push(j.joint[i].s, t), 0);
        }
        struct end *far[2] = {&j.left, &j.right};
        for (int i = 0; i < 2; i++) {
            if (test_random() % 8) stream_read(far[i]->s, true);
            send_pattern(far[i], test_random() % 900000);
        }
        if (round % 2) j.p.idle = 50;
        pipe_begin(&j.p);
        if (round % 3 == 0) w.mem.fail_in = 1 + test_random() % 40;
        world_pass(&w, (int)(test_random() % 20));
        w.mem.fail_in = 0;
        for (int i = 0; i < 3; i++) {
            uint32_t r = test_random();
            struct stream *s = r & 1 ? far[r >> 4 & 1]->s : j.joint[r >> 4 & 1].s;
            switch (r >> 8 & 3) {
            case 0: if (s) stream_close(s); break;
            case 1: if (s) stream_abort(s, 0); break;
            case 2: if (s) stream_shutdown(s); break;
            default: if (!j.over) pipe_abort(&j.p, RW_ECANCELED);
            }
            world_pass(&w, (int)(r >> 16 & 7));
        }
        throttle_group_leave(g);
        trace_leave(t);
        finish_pipe(&j);
        CHECK_EQ(j.ends, 1);
        world_end(&w);
    }
}

/* ── throttles ────────────────────────────────────────────────────────────*/

static double sending(struct world *w, struct end *from, struct end *to, size_t n) {
    double began = now_seconds();
    uint64_t goal = to->got + n;
    send_pattern(from, n);
    until_got(w, to, goal, 20000);
    return now_seconds() - began;
}

/* 10 kB at once, then 200 kB/s: both ways, by own rates and by totals. */
static void keeps_the_rate(void) {
    for (int how = 0; how < 4; how++) {
        struct world w;
        struct end a, b;
        world_begin(&w);
        w.limits.rate_burst = 10000;
        uint64_t *rates[] = {&w.limits.write_rate, &w.limits.read_rate,
                             &w.limits.total_write_rate, &w.limits.total_read_rate};
        *rates[how] = 200000;
        connect_ends(&w, (enum kind)(how % KINDS), &a, &b);
        struct throttle_group *g = throttle_group_new(w.loop);
        throttle_push(a.s, g);
        throttle_group_leave(g);
        stream_read(a.s, true);
        stream_read(b.s, true);
        struct end *from = how % 2 ? &b : &a, *to = how % 2 ? &a : &b;
        double took = sending(&w, from, to, 110000);
        CHECK(took > 0.42 && took < 0.8);
        CHECK(sending(&w, to, from, 1000000) < 0.4); /* the other way is free */
        stream_shutdown(from->s);
        until_eof(&w, to);
        stream_close(a.s);
        stream_close(b.s);
        world_until(&w, &a.closed, 3000);
        world_until(&w, &b.closed, 3000);
        end_end(&a);
        end_end(&b);
        world_end(&w);
    }
}

/* What was written before a close, or before a shutdown, is sent at its pace;
 * the end comes behind it, in both directions. */
static void ends_wait(void) {
    for (int how = 0; how < 3; how++) {
        struct world w;
        struct end a, b;
        world_begin(&w);
        w.limits.rate_burst = 1000;
        w.limits.read_rate = w.limits.write_rate = 300000;
        connect_ends(&w, KIND_TCP, &a, &b);
        throttle_push(a.s, NULL);
        stream_read(a.s, true);
        stream_read(b.s, true);
        struct end *from = how == 2 ? &b : &a, *to = how == 2 ? &a : &b;
        send_pattern(from, 60000);
        if (how == 0) stream_close(from->s);
        else stream_shutdown(from->s);
        CHECK(!to->eofs);
        until_got(&w, to, 60000, 3000);
        until_eof(&w, to);
        if (a.s) stream_close(a.s);
        stream_close(b.s);
        world_until(&w, &a.closed, 3000);
        world_until(&w, &b.closed, 3000);
        CHECK_EQ(a.reason, 0);
        end_end(&a);
        end_end(&b);
        world_end(&w);
    }
}

static void abort_all(struct world *w, struct end *e, int n) {
    for (int i = 0; i < n; i++) {
        if (e[i].s) stream_abort(e[i].s, 0);
        world_until(w, &e[i].closed, 1000);
        end_end(&e[i]);
    }
}

/* One asks for little at a time, the others for all they can: equal shares. */
static void shares(void) {
    enum { MANY = 6 };
    struct world w;
    struct end a[MANY], b[MANY];
    world_begin(&w);
    w.limits.rate_burst = 1;
    w.limits.total_write_rate = 1000000;
    struct throttle_group *g = throttle_group_new(w.loop);
    for (int i = 0; i < MANY; i++) {
        connect_ends(&w, i % 2 ? KIND_TCP : KIND_PAIR, &a[i], &b[i]);
        throttle_push(a[i].s, g);
        stream_read(b[i].s, true);
    }
    throttle_group_leave(g);
    for (int i = 1; i < MANY; i++) send_pattern(&a[i], 900000);
    for (int i = 0; i < 100; i++) {
        if (a[0].s->queued < 20000) send_pattern(&a[0], 10000);
        world_pass(&w, 5);
    }
    uint64_t sum = 0, least = UINT64_MAX, most = 0;
    for (int i = 0; i < MANY; i++) {
        sum += b[i].got;
        if (b[i].got < least) least = b[i].got;
        if (b[i].got > most) most = b[i].got;
    }
    CHECK(sum > 350000 && sum < 700000);
    CHECK(least * 10 >= most * 8);
    abort_all(&w, a, MANY);
    abort_all(&w, b, MANY);
    world_end(&w);
}

/* However many there are in the line, a share is worth being sent. */
static void shares_are_worth_it(void) {
    enum { MANY = 2000, LEAST = 400 };
    struct world w;
    static struct end a[MANY], b[MANY];
    world_begin(&w);
    w.limits.rate_burst = 1;
    w.limits.total_write_rate = 2000000;
    struct throttle_group *g = throttle_group_new(w.loop);
    for (int i = 0; i < MANY; i++) {
        connect_ends(&w, KIND_PAIR, &a[i], &b[i]);
        throttle_push(a[i].s, g);
        stream_read(b[i].s, true);
    }
    throttle_group_leave(g);
    for (int i = 0; i < MANY; i++) send_pattern(&a[i], 5000);
    world_pass(&w, 1000);
    uint64_t got = 0, pieces = 0;
    for (int i = 0; i < MANY; i++) {
        got += b[i].got;
        pieces += b[i].datas;
        CHECK(b[i].got > 0); /* each had its turn */
    }
    CHECK(got > 1000000 && got < 2500000);
    CHECK(got / pieces >= LEAST);
    abort_all(&w, a, MANY);
    abort_all(&w, b, MANY);
    world_end(&w);
}

/* A flood from the peer stays in its own system; a writer who ignores the
 * pause is ended. */
static void throttle_bounds(void) {
    struct world w;
    struct end a, b;
    world_begin(&w);
    w.limits.rate_burst = 1000;
    w.limits.read_rate = w.limits.write_rate = 1000;
    w.limits.max_buffered = 50 << 20;
    connect_ends(&w, KIND_TCP, &a, &b);
    throttle_push(a.s, NULL);
    stream_read(a.s, true);
    send_pattern(&b, 40 << 20);
    size_t before = w.mem.live - b.s->queued;
    world_pass(&w, 200);
    CHECK(w.mem.live - b.s->queued < before + 300 * 1024);
    w.limits.max_buffered = 1 << 20;
    CHECK_EQ(end_write(&a, "x", 1), 0);
    static char block[900000];
    CHECK_EQ(end_write(&a, block, sizeof block), 1);
    CHECK_EQ(end_write(&a, block, sizeof block), RW_ELIMIT);
    world_until(&w, &a.closed, 1000);
    if (b.s) stream_abort(b.s, 0);
    world_until(&w, &b.closed, 1000);
    end_end(&a);
    end_end(&b);
    world_end(&w);
}

/* ── traces ───────────────────────────────────────────────────────────────*/

static void traces(void) {
    struct world w;
    struct end a, b;
    struct log log;
    struct trace *t;
    char path[] = "/tmp/torture-io-XXXXXX", text[8192];
    int fd = mkstemp(path);
    world_begin(&w);
    log_init(&log, -1);
    log.level = LOG_NONE;
    struct trace_options o = {.path = path, .log = &log, .format = TRACE_TEXT,
                              .max_bytes = 2000, .max_record = 20};
    CHECK_EQ(trace_open(w.loop, &o, &t), 0);
    connect_ends(&w, KIND_PAIR, &a, &b);
    a.anything = b.anything = true;
    CHECK_EQ(trace_push(a.s, t), 0);
    trace_leave(t);
    stream_read(a.s, true);
    stream_read(b.s, true);
    CHECK_EQ(end_write(&a, "say \"hello\"\r\n\x01", 14), 0);
    world_pass(&w, 2);
    CHECK_EQ(end_write(&b, "0123456789012345678901234567890123456789", 40), 0);
    world_pass(&w, 2);
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    CHECK(strstr(text, "pair#1 +\n"));
    CHECK(strstr(text, "pair#1 > 14 bytes\n  \"say \\\"hello\\\"\\r\\n\\x01\"\n"));
    CHECK(strstr(text, "pair#1 < 40 bytes\n  \"01234567890123456789\"\n… 20 more\n"));
    for (int i = 0; i < 100; i++) end_write(&a, "0123456789", 10);
    world_pass(&w, 5);
    CHECK(pread(fd, text, sizeof text, 0) <= 2000); /* and the traffic goes on */
    CHECK_EQ(b.got, 1014);
    stream_close(a.s);
    stream_close(b.s);
    world_until(&w, &a.closed, 1000);
    world_until(&w, &b.closed, 1000);
    unlink(path);
    close(fd);
    o.path = "/dev/null/nothing";
    CHECK(trace_open(w.loop, &o, &t) < 0);
    o.path = "/dev/null"; /* no plain file */
    CHECK_EQ(trace_open(w.loop, &o, &t), RW_EINVAL);
    end_end(&a);
    end_end(&b);
    world_end(&w);
}

const struct test flow_tests[] = {
    {"a pipe moves all, between all kinds", moves_all},
    {"a pipe holds little for who does not read", stays_small},
    {"a pipe on which nothing moves ends", idle},
    {"a pipe of one way leaves both open", one_way},
    {"pipes and filters cut off at any moment", cut_off},
    {"a throttle keeps the rate", keeps_the_rate},
    {"a throttle sends what comes before the end", ends_wait},
    {"a total rate is shared fairly", shares},
    {"a total rate among many is not cut into crumbs", shares_are_worth_it},
    {"a throttle holds little", throttle_bounds},
    {"a trace writes down what passes, up to its maximum", traces},
    {0},
};
