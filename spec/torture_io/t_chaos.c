/* SPDX-License-Identifier: MIT */
/* Connections whose owners do anything at any time, inside and outside of
 * hooks, with memory failing now and then: every stream ends once, and nothing
 * is left. The sequence is the same in each run. */
#include "torture.h"

#include <unistd.h>

#include "io/internal.h"

struct actor {
    struct world *w;
    struct stream *s;
    unsigned closes, budget;
    bool closed, in_call;
};

struct passer {
    struct filter f;
    bool split; /* into two */
};

static int pass(struct filter *f, struct str b,
                int (*on)(struct filter *, struct str)) {
    if (!((struct passer *)f)->split || b.n < 2) return on(f, b);
    int rc = on(f, str_of(b.p, b.n / 2));
    return rc < 0 ? rc : on(f, str_skip(b, b.n / 2));
}
static int pass_up(struct filter *f, struct str b) {
    return pass(f, b, filter_up);
}
static int pass_down(struct filter *f, struct str b) {
    if (test_random() % 16 == 0) filter_up(f, STR("from below"));
    return pass(f, b, filter_down);
}
static void pass_detach(struct filter *f) { free(f); }
static const struct filter_ops pass_ops = {
    .name = "pass", .input = pass_up, .output = pass_down,
    .detach = pass_detach,
};

static void send_file(struct stream *s) {
    char path[] = "/tmp/torture-io-XXXXXX";
    int fd = mkstemp(path);
    unlink(path);
    uint64_t n = test_random() % 600000;
    if (ftruncate(fd, (off_t)n) < 0) abort();
    if (test_random() % 8 == 0) n++; /* a promise that is not kept */
    if (stream_send_file(s, fd, 0, n) == RW_ESTATE) close(fd);
}

static void act(struct actor *a) {
    static const char block[300000];
    struct stream *s = a->s;
    if (!s || a->budget == 0) return;
    a->budget--;
    bool was = a->in_call;
    a->in_call = true;
    uint32_t r = test_random();
    switch (test_random() % 24) {
    case 0: stream_close(s); break;
    case 1: stream_abort(s, r % 2 ? -EPERM : 0); break;
    case 2: stream_shutdown(s); break;
    case 3: case 4: stream_read(s, false); break;
    case 5: case 6: case 7: stream_read(s, true); break;
    case 8: case 9: send_file(s); break;
    case 10: case 11: {
        struct passer *p = calloc(1, sizeof *p);
        p->f.ops = &pass_ops;
        p->split = r % 2;
        stream_push_filter(s, &p->f);
        break;
    }
    case 12: if (s->top) stream_pop_filter(s->top); break;
    case 13: if (s->bottom) stream_pop_filter(s->bottom); break;
    case 14: if (r % 8 == 0) a->w->mem.fail_in = 1 + r / 8 % 4; break;
    default: stream_write(s, str_of(block, r % (r % 3 ? 300 : 300000)));
    }
    a->in_call = was;
}

static void hook(struct stream *s) {
    struct actor *a = s->owner;
    CHECK(!a->in_call);
    CHECK(!a->closes);
    CHECK(s->state == STREAM_OPEN);
    for (uint32_t n = test_random() % 3; n; n--) act(a);
}
static void on_data(struct stream *s, struct str b) {
    CHECK(s->reading);
    CHECK(b.n > 0);
    hook(s);
}
static void on_close(struct stream *s, int reason) {
    struct actor *a = s->owner;
    (void)reason;
    CHECK(!a->in_call);
    a->closes++;
    a->closed = true;
    a->s = NULL;
}
static const struct stream_hooks all = {on_data, hook, hook, on_close, hook};
static const struct stream_hooks no_eof = {on_data, NULL, hook, on_close, NULL};

static void play(unsigned rounds, bool simulated) {
    struct world w;
    struct end e[2];
    struct actor a[2];
    if (simulated) world_begin_simulated(&w, 1);
    else world_begin(&w);
    w.limits.max_buffered = 700000;
    w.limits.write_timeout = w.limits.close_timeout = 40;
    for (unsigned i = 0; i < rounds; i++) {
        enum kind kind = simulated ? KIND_TCP : (enum kind)(i % KINDS);
        w.mem.fail_in = 0; /* a hook may have asked for one at the very end */
        connect_ends(&w, kind, &e[0], &e[1]);
        for (int k = 0; k < 2; k++) {
            a[k] = (struct actor){.w = &w, .s = e[k].s, .budget = 60};
            a[k].s->owner = &a[k];
            a[k].s->hooks = test_random() % 2 ? &all : &no_eof;
            stream_read(a[k].s, true);
        }
        for (int turn = 0; turn < 60 && (a[0].s || a[1].s); turn++) {
            act(&a[test_random() % 2]);
            if (test_random() % 2) loop_turn(w.loop, 1);
        }
        w.mem.fail_in = 0;
        for (int k = 0; k < 2; k++) {
            if (a[k].s) stream_close(a[k].s);
            world_until(&w, &a[k].closed, 5000);
            CHECK_EQ(a[k].closes, 1);
        }
        CHECK(w.mem.live < 40 * 1024 * 1024);
    }
    world_end(&w);
}

/* TORTURE_ROUNDS=30000 for a longer one */
static unsigned rounds(void) {
    const char *n = getenv("TORTURE_ROUNDS");
    return n ? (unsigned)strtoul(n, NULL, 10) : 600;
}
static void chaos(void) { play(rounds(), false); }
static void simulated_chaos(void) { play(10 * rounds(), true); }

const struct test chaos_tests[] = {
    {"chaos", chaos},
    {"chaos in a simulation", simulated_chaos},
    {0},
};
