/* SPDX-License-Identifier: MIT */
/* Filters: pushed and popped in mid-stream, by their owner and by themselves,
 * holding bytes back, failing. */
#include "torture.h"

/* ── a filter that changes bytes ──────────────────────────────────────────*/

struct xor {
    struct filter f;
    char key;
    bool cut;  /* passes every byte on by itself */
    bool *gone;
};

static int xor_pass(struct xor *x, struct str in,
                    int (*on)(struct filter *, struct str)) {
    static char out[20000000];
    CHECK(in.n <= sizeof out);
    for (size_t i = 0; i < in.n; i++) out[i] = (char)(in.p[i] ^ x->key);
    if (!x->cut) return on(&x->f, str_of(out, in.n));
    for (size_t i = 0; i < in.n; i++) {
        char c = out[i];
        int rc = on(&x->f, str_of(&c, 1));
        if (rc < 0) return rc;
    }
    return 0;
}

static int xor_input(struct filter *f, struct str in) {
    return xor_pass((struct xor *)f, in, filter_up);
}
static int xor_output(struct filter *f, struct str out) {
    return xor_pass((struct xor *)f, out, filter_down);
}
static void xor_detach(struct filter *f) {
    struct xor *x = (struct xor *)f;
    if (x->gone) *x->gone = true;
    free(x);
}
static const struct filter_ops xor_ops = {
    .name = "xor", .input = xor_input, .output = xor_output,
    .detach = xor_detach,
};

static struct xor *xor_push(struct stream *s, char key, bool *gone) {
    struct xor *x = calloc(1, sizeof *x);
    x->f.ops = &xor_ops;
    x->key = key;
    x->gone = gone;
    stream_push_filter(s, &x->f);
    return x;
}

static void finish(struct world *w, struct end *a, struct end *b) {
    if (a->s) stream_close(a->s);
    if (b->s) stream_close(b->s);
    world_until(w, &a->closed, 5000);
    world_until(w, &b->closed, 5000);
    end_end(a);
    end_end(b);
    world_end(w);
}

static void send_pattern(struct end *e, size_t n) {
    static char block[1000000];
    pattern_fill(block, e->sent, n);
    CHECK(end_write(e, block, n) >= 0);
}

static void until_got(struct world *w, struct end *e, uint64_t n) {
    for (int i = 0; i < 500 && e->got < n && !e->closed; i++)
        world_pass(w, 1);
    CHECK_EQ(e->got, n);
}

/* Plain, one layer, two layers, one, none: in both directions. */
static void in_mid_stream(void) {
    for (enum kind k = KIND_TCP; k < KINDS; k++) {
        struct world w;
        struct end a, b;
        bool gone[4] = {0};
        world_begin(&w);
        connect_ends(&w, k, &a, &b);
        struct end *both[2] = {&a, &b};
        struct xor *x[2][2];
        stream_read(a.s, true);
        stream_read(b.s, true);
        for (int step = 0; step < 5; step++) {
            for (int i = 0; i < 2; i++) {
                struct stream *s = both[i]->s;
                if (step == 1) x[i][0] = xor_push(s, 0x55, &gone[i]);
                if (step == 2) x[i][1] = xor_push(s, 0x0f, &gone[2 + i]);
                if (step == 3) stream_pop_filter(&x[i][0]->f); /* the lower */
                if (step == 4) stream_pop_filter(&x[i][1]->f);
                CHECK_EQ(stream_can_send_file(s),
                         (step == 0 || step == 4) && k != KIND_PAIR);
            }
            send_pattern(&a, 700000);
            send_pattern(&b, 300000);
            until_got(&w, &b, a.sent);
            until_got(&w, &a, b.sent);
        }
        CHECK(gone[0] && gone[1] && gone[2] && gone[3]);
        CHECK(!a.s->top && !a.s->bottom);
        finish(&w, &a, &b);
    }
}

/* Filters go with the stream, before on_close. */
static void end_with_the_stream(void) {
    struct world w;
    struct end a, b;
    bool gone[2] = {0};
    world_begin(&w);
    connect_ends(&w, KIND_TCP, &a, &b);
    xor_push(a.s, 1, &gone[0]);
    xor_push(a.s, 2, &gone[1]);
    stream_abort(a.s, 0);
    CHECK(!gone[0]);
    world_until(&w, &a.closed, 1000);
    CHECK(gone[0] && gone[1]);
    finish(&w, &a, &b);
}

/* ── popped from within ───────────────────────────────────────────────────*/

struct popper {
    struct stream *s;
    struct filter *pops;
    bool *gone;
    unsigned calls;
    bool was_gone, closed;
};

static void popper_data(struct stream *s, struct str bytes) {
    struct popper *p = s->owner;
    (void)bytes;
    p->calls++;
    if (p->pops) stream_pop_filter(p->pops);
    p->pops = NULL;
    p->was_gone = *p->gone;
}
static void popper_close(struct stream *s, int reason) {
    struct popper *p = s->owner;
    CHECK_EQ(reason, 0);
    p->closed = true;
}
static const struct stream_hooks popper_hooks = {
    .on_data = popper_data, .on_close = popper_close,
};

/* The owner pops in on_data the filter that is calling it. */
static void popped_by_on_data(void) {
    struct world w;
    struct end a, b;
    bool gone = false;
    world_begin(&w);
    connect_ends(&w, KIND_TCP, &a, &b);
    struct popper p = {.s = b.s, .gone = &gone};
    struct xor *x = xor_push(b.s, 1, &gone);
    x->cut = true;
    p.pops = &x->f;
    b.s->hooks = &popper_hooks;
    b.s->owner = &p;
    stream_read(b.s, true);
    send_pattern(&a, 100);
    for (int i = 0; i < 100 && !gone; i++) world_pass(&w, 1);
    CHECK(gone && !p.was_gone); /* after the filter has returned */
    CHECK_EQ(p.calls, 1);
    send_pattern(&a, 100);
    for (int i = 0; i < 100 && p.calls < 2; i++) world_pass(&w, 1);
    CHECK_EQ(p.calls, 2);
    stream_close(a.s); /* no on_eof: b closes by itself */
    world_until(&w, &p.closed, 1000);
    b.closed = true;
    b.s = NULL;
    finish(&w, &a, &b);
}

/* Eats a head of 8 bytes, passes the rest on and goes (as PROXY would). */
struct head {
    struct filter f;
    size_t eaten;
};
static int head_input(struct filter *f, struct str in) {
    struct head *h = (struct head *)f;
    size_t n = 8 - h->eaten < in.n ? 8 - h->eaten : in.n;
    h->eaten += n;
    if (h->eaten < 8) return 0;
    int rc = filter_up(f, str_skip(in, n));
    stream_pop_filter(f);
    CHECK_EQ(filter_up(f, STR("late")), RW_ESTATE);
    return rc;
}
static void head_detach(struct filter *f) { free(f); }
static const struct filter_ops head_ops = {
    .name = "head", .input = head_input, .detach = head_detach,
};

static void pops_itself(void) {
    for (enum kind k = KIND_TCP; k < KINDS; k++) {
        struct world w;
        struct end a, b;
        world_begin(&w);
        connect_ends(&w, k, &a, &b);
        struct head *h = calloc(1, sizeof *h);
        h->f.ops = &head_ops;
        stream_push_filter(b.s, &h->f);
        stream_read(b.s, true);
        CHECK_EQ(end_write(&a, "eatme", 5), 0);
        world_pass(&w, 5);
        CHECK_EQ(end_write(&a, "now", 3), 0);
        a.sent = 0;
        send_pattern(&a, 50000);
        until_got(&w, &b, 50000);
        CHECK(!b.s->top);
        finish(&w, &a, &b);
    }
}

/* ── holding back ─────────────────────────────────────────────────────────*/

/* Keeps what is written until the peer has sent a byte, as a handshake does;
 * answers it from within `output` of the owner's call, to try rule 1. */
struct gate {
    struct filter f;
    struct buf kept;
    bool open, ended, noisy;
};
static int gate_output(struct filter *f, struct str out) {
    struct gate *g = (struct gate *)f;
    if (g->noisy) filter_up(f, STR("!"));
    if (g->open) return filter_down(f, out);
    if (buf_add_str(&g->kept, out) < 0) return RW_ENOMEM;
    filter_hold(f, (int64_t)out.n);
    return 0;
}
static int gate_input(struct filter *f, struct str in) {
    struct gate *g = (struct gate *)f;
    int rc = 0;
    if (!g->open) {
        size_t n = buf_len(&g->kept);
        g->open = true;
        rc = filter_down(f, buf_str(&g->kept));
        filter_hold(f, -(int64_t)n);
        buf_release(&g->kept);
        if (rc == 0 && g->ended) rc = filter_down_end(f);
        in = str_skip(in, 1);
    }
    return rc < 0 ? rc : filter_up(f, in);
}
static int gate_output_end(struct filter *f) {
    struct gate *g = (struct gate *)f;
    g->ended = true;
    return g->open ? filter_down_end(f) : 0;
}
static void gate_detach(struct filter *f) {
    buf_release(&((struct gate *)f)->kept);
    free(f);
}
static const struct filter_ops gate_ops = {
    .name = "gate", .input = gate_input, .output = gate_output,
    .output_end = gate_output_end, .detach = gate_detach,
};
static struct gate *gate_push(struct world *w, struct stream *s) {
    struct gate *g = calloc(1, sizeof *g);
    g->f.ops = &gate_ops;
    buf_init(&g->kept, &w->mem, 1 << 24);
    stream_push_filter(s, &g->f);
    return g;
}

static void holds_back(void) {
    for (enum kind k = KIND_TCP; k < KINDS; k++) {
        for (int how = 0; how < 4; how++) {
            static char block[200000];
            struct world w;
            struct end a, b;
            world_begin(&w);
            if (how == 2) w.limits.close_timeout = 100;
            connect_ends(&w, k, &a, &b);
            gate_push(&w, a.s);
            stream_read(b.s, true);
            pattern_fill(block, 0, sizeof block);
            CHECK_EQ(end_write(&a, block, sizeof block), 1);
            CHECK_EQ(a.s->queued, sizeof block);
            if (how == 1) stream_shutdown(a.s);
            if (how >= 2) stream_close(a.s);
            world_pass(&w, 20);
            CHECK_EQ(b.got, 0);
            CHECK(!a.closed && !b.eofs);
            if (how == 2) { /* nobody opens the gate */
                world_until(&w, &a.closed, 2000);
                CHECK_EQ(a.reason, RW_ETIMEDOUT);
            } else {
                end_write(&b, "o", 1); /* though a's owner reads nothing */
                until_got(&w, &b, sizeof block);
                for (int i = 0; i < 100 && how && !b.eofs; i++)
                    world_pass(&w, 1);
                CHECK_EQ(b.eofs, how > 0);
                CHECK_EQ(a.drains, how < 2);
            }
            finish(&w, &a, &b);
        }
    }
}

static void hooks_from_the_loop_only(void) {
    struct world w;
    struct end a, b;
    world_begin(&w);
    connect_ends(&w, KIND_TCP, &a, &b);
    struct gate *g = gate_push(&w, a.s);
    g->open = g->noisy = true;
    a.keep = true;
    stream_read(a.s, true);
    end_write(&a, "x", 1);
    end_write(&a, "y", 1);
    CHECK_EQ(a.got, 0);
    for (int i = 0; i < 100 && a.got < 2; i++) world_pass(&w, 1);
    CHECK_EQ(a.got, 2);
    finish(&w, &a, &b);
}

/* A pause in the middle of what a filter makes of one read. */
static void pause_under_a_filter(void) {
    struct world w;
    struct end a, b;
    world_begin(&w);
    connect_ends(&w, KIND_TCP, &a, &b);
    struct xor *x = xor_push(b.s, 0, NULL);
    x->cut = true;
    b.pause_on_data = true;
    stream_read(b.s, true);
    send_pattern(&a, 50);
    stream_shutdown(a.s);
    world_pass(&w, 20);
    CHECK_EQ(b.got, 1);
    for (int i = 0; i < 300 && !b.eofs; i++) {
        stream_read(b.s, true);
        world_pass(&w, 1);
    }
    CHECK_EQ(b.got, 50);
    CHECK_EQ(b.eofs, 1);
    finish(&w, &a, &b);
}

/* One that makes tens of thousands of pieces of one read, for an owner who
 * rests: what waits takes about as much as its bytes, and no time. */
static void crumbs_under_a_pause(void) {
    enum { N = 60000 };
    struct world w;
    struct end a, b;
    world_begin(&w);
    connect_ends(&w, KIND_PAIR, &a, &b);
    struct xor *x = xor_push(b.s, 0, NULL);
    x->cut = true;
    b.pause_on_data = true;
    stream_read(b.s, true);
    send_pattern(&a, N);
    size_t before = w.mem.live;
    double t = now_seconds();
    for (int i = 0; i < 100 && !b.got; i++) loop_turn(w.loop, 0);
    CHECK_EQ(b.got, 1);
    CHECK(now_seconds() - t < 1);
    CHECK(w.mem.live < before + 2 * N);
    b.pause_on_data = false;
    stream_read(b.s, true);
    until_got(&w, &b, N);
    finish(&w, &a, &b);
}

/* ── failing ──────────────────────────────────────────────────────────────*/

static int refuse(struct filter *f, struct str bytes) {
    (void)f, (void)bytes;
    return RW_EPROTO;
}
static const struct filter_ops refuse_ops = {
    .name = "refuse", .input = refuse, .output = refuse,
};

static void failing(void) {
    for (int writing = 0; writing < 2; writing++) {
        struct world w;
        struct end a, b;
        struct filter f = {.ops = &refuse_ops};
        world_begin(&w);
        connect_ends(&w, KIND_TCP, &a, &b);
        stream_push_filter(b.s, &f);
        stream_read(b.s, true);
        if (writing) CHECK_EQ(end_write(&b, "x", 1), RW_EPROTO);
        else CHECK_EQ(end_write(&a, "x", 1), 0);
        world_until(&w, &b.closed, 1000);
        CHECK_EQ(b.reason, RW_EPROTO);
        CHECK_EQ(b.got, 0);
        finish(&w, &a, &b);
    }
}

const struct test filter_tests[] = {
    {"filters pushed and popped in mid-stream", in_mid_stream},
    {"filters end with their stream", end_with_the_stream},
    {"a filter popped by the hook it calls", popped_by_on_data},
    {"a filter that pops itself", pops_itself},
    {"a filter that holds bytes back", holds_back},
    {"filters cannot call hooks inside the owner's calls",
     hooks_from_the_loop_only},
    {"a pause under a filter", pause_under_a_filter},
    {"crumbs of a filter under a pause", crumbs_under_a_pause},
    {"a filter that fails ends the stream", failing},
    {0},
};
