/* SPDX-License-Identifier: MIT */
/* Simulated loops: bytes arrive whole and in order, the same seed repeats to
 * the bit, time is virtual, memory may fail; and the arena that such a loop
 * lives in when scripts are simulated. */
#include "torture.h"

#include <unistd.h>

#include "base/arena.h"
#include "io/simulate.h"

enum { BYTES = 200000 };

/* A client sends a pattern to an echo; what came back. */
static uint64_t echo(struct world *w, const struct simulation_faults *faults) {
    static char block[BYTES];
    struct end a, b;
    pattern_fill(block, 0, sizeof block);
    connect_ends(w, KIND_TCP, &a, &b);
    if (faults) simulation_set_faults(w->loop, faults);
    b.echo = b.close_on_eof = true;
    b.peer = &a;
    a.close_on_eof = true;
    stream_read(a.s, true);
    stream_read(b.s, true);
    end_write(&a, block, sizeof block);
    if (a.s) stream_shutdown(a.s);
    world_until(w, &a.closed, 1000000);
    world_until(w, &b.closed, 1000000);
    uint64_t got = a.got;
    end_end(&a);
    end_end(&b);
    return got;
}

static void in_order(void) {
    static const struct simulation_faults faults = {
        .split = 0.6, .partial = 0.6, .stall = 0.01, .stall_max = 3000,
        .delay = {0, 100}, .buffer = {300, 20000}};
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct world w;
        world_begin_simulated(&w, seed);
        CHECK_EQ(echo(&w, &faults), BYTES);
        world_end(&w);
    }
}

static uint64_t hash_of(uint64_t seed) {
    struct world w;
    world_begin_simulated(&w, seed);
    echo(&w, NULL);
    uint64_t hash = simulation_hash(w.loop);
    world_end(&w);
    return hash;
}

static void repeats(void) {
    for (uint64_t seed = 0; seed < 30; seed++) {
        uint64_t hash = hash_of(seed);
        CHECK(hash == hash_of(seed));
        CHECK(hash != hash_of(seed + 1));
    }
}

static void fire(struct timer *t) { (void)t; }

static void jumps(void) {
    struct world w;
    struct timer t = {0};
    double began = now_seconds();
    world_begin_simulated(&w, 1);
    timer_start(w.loop, &t, 1000000000, fire);
    while (loop_turn(w.loop, -1)) continue;
    CHECK_EQ(loop_now(w.loop), 1000000001);
    CHECK_EQ(loop_unix_time(w.loop), SIMULATION_EPOCH + 1000000);
    CHECK(now_seconds() - began < 1);
    world_end(&w);
}

static void memory_fails(void) {
    for (uint64_t nth = 1; nth < 300; nth++) {
        struct world w;
        struct end a, b;
        world_begin_simulated(&w, nth);
        connect_ends(&w, KIND_TCP, &a, &b);
        b.anything = a.anything = b.echo = b.close_on_eof = a.close_on_eof = true;
        stream_read(a.s, true);
        stream_read(b.s, true);
        w.mem.fail_in = nth;
        for (int i = 0; i < 100 && a.s; i++) {
            end_write(&a, "some bytes for the other end", 28);
            loop_turn(w.loop, -1);
        }
        if (a.s) stream_close(a.s);
        world_until(&w, &a.closed, 100000);
        if (b.s) stream_close(b.s);
        world_until(&w, &b.closed, 100000);
        w.mem.fail_in = 0;
        end_end(&a);
        end_end(&b);
        world_end(&w);
    }
}

static void arena(void) {
    enum { COUNT = 500 };
    struct arena *a, *other;
    void *p[COUNT] = {0};
    size_t size[COUNT] = {0};
    CHECK_EQ(arena_open(64 << 20, &a), 0);
    CHECK(arena_open(64 << 20, &other) == -EEXIST || getenv("TSAN_OPTIONS"));
    for (int round = 0; round < 20000; round++) {
        unsigned i = test_random() % COUNT;
        for (size_t k = 0; k < size[i]; k += 511) CHECK(((char *)p[i])[k] == (char)i);
        size_t n = test_random() % 8 ? test_random() % 2000 : test_random() % 100000;
        if (n == 0) {
            arena_free(a, p[i], size[i]);
            p[i] = NULL;
        } else {
            p[i] = arena_realloc(a, p[i], size[i], n);
            CHECK(p[i] && (uintptr_t)p[i] % 16 == 0);
            memset(p[i], (char)i, n);
        }
        size[i] = n;
    }
    size_t used = arena_used(a);
    char *copy = malloc(used);
    arena_copy(a, copy);
    void *first = arena_realloc(a, NULL, 0, 5000);
    for (int i = 0; i < COUNT; i++) arena_free(a, p[i], size[i]);
    arena_restore(a, copy, used);
    for (unsigned i = 0; i < COUNT; i++)
        for (size_t k = 0; k < size[i]; k++)
            if (((char *)p[i])[k] != (char)i) check_failed(__FILE__, __LINE__, "not restored");
    CHECK(arena_realloc(a, NULL, 0, 5000) == first);
    CHECK(!arena_realloc(a, NULL, 0, (size_t)1 << 40));
    free(copy);
    arena_close(&a);
}

const struct test sim_tests[] = {
    {"simulated: what is sent arrives, in order", in_order},
    {"simulated: the same seed, the same trace", repeats},
    {"simulated: the clock jumps", jumps},
    {"simulated: memory fails", memory_fails},
    {"arena: blocks, copies, the same addresses", arena},
    {0},
};
