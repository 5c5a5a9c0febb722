/* SPDX-License-Identifier: MIT */
/* Worlds, ends and test data. */
#include "torture.h"

#include "io/simulate.h"

#include <time.h>
#include <unistd.h>

void world_begin(struct world *w) {
    *w = (struct world){.limits = limits_default};
    mem_init(&w->mem, 0);
    w->loop = loop_new(&w->mem);
    if (!w->loop) abort();
}

void world_begin_simulated(struct world *w, uint64_t seed) {
    static const struct simulation_faults faults = {
        .split = 0.3, .partial = 0.3, .reset = 0.005, .stall = 0.01, .stall_max = 100,
        .delay = {0, 20}, .buffer = {1000, 60000}};
    *w = (struct world){.limits = limits_default};
    mem_init(&w->mem, 0);
    w->loop = loop_new_simulated(&w->mem);
    if (!w->loop) abort();
    simulation_seed(w->loop, seed);
    simulation_set_faults(w->loop, &faults);
}

void world_end(struct world *w) {
    char text[256];
    for (int i = 0; i < 2000; i++) {
        if (loop_ledger(w->loop, text, sizeof text).n == 0) break;
        loop_turn(w->loop, 10);
    }
    loop_ledger(w->loop, text, sizeof text);
    if (text[0]) check_failed(__FILE__, __LINE__, text);
    loop_free(&w->loop);
    CHECK(!w->loop);
    CHECK_EQ(w->mem.live, 0);
}

struct bound {
    struct timer timer;
    bool over;
};

static void bound_over(struct timer *t) { ((struct bound *)t)->over = true; }

void world_until(struct world *w, const bool *flag, int ms) {
    struct bound b = {0};
    timer_start(w->loop, &b.timer, (uint64_t)ms, bound_over);
    while (!*flag && !b.over) loop_turn(w->loop, -1);
    timer_stop(w->loop, &b.timer);
    CHECK(*flag);
}

void world_pass(struct world *w, int ms) {
    struct bound b = {0};
    timer_start(w->loop, &b.timer, (uint64_t)ms, bound_over);
    while (!b.over) loop_turn(w->loop, -1);
}

uint32_t test_random(void) {
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 16);
}

void pattern_fill(char *out, uint64_t from, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = pattern(from + i);
}

bool pattern_matches(const char *p, uint64_t from, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != pattern(from + i)) return false;
    return true;
}

/* ── ends ─────────────────────────────────────────────────────────────────*/

static void on_data(struct stream *s, struct str bytes) {
    struct end *e = s->owner;
    CHECK(!e->in_call);
    CHECK(!e->closes && !e->eofs);
    CHECK(s->reading && s->state == STREAM_OPEN);
    e->has_data = true;
    e->datas++;
    bool check = !e->keep && !e->anything;
    if (check && !pattern_matches(bytes.p, e->got, bytes.n)) {
        check_failed(__FILE__, __LINE__, "bytes differ");
        e->got += bytes.n;
        stream_abort(s, 0);
        return;
    }
    e->got += bytes.n;
    if (e->keep) buf_add_str(&e->bytes, bytes);
    if (e->pause_on_data) stream_read(s, false);
    if (e->echo && end_write(e, bytes.p, bytes.n) == 1) stream_read(s, false);
    if (e->close_on_data) stream_close(s);
    if (e->abort_on_data) stream_abort(s, -EPERM);
}

static void on_eof(struct stream *s) {
    struct end *e = s->owner;
    CHECK(!e->in_call);
    CHECK(!e->closes);
    e->eofs++;
    e->has_eof = true;
    if (e->close_on_eof) stream_close(s);
}

static void on_drain(struct stream *s) {
    struct end *e = s->owner;
    CHECK(!e->in_call);
    CHECK(s->queued < e->w->limits.low_water);
    e->drains++;
    e->drained = true;
    if (e->echo) stream_read(s, true);
}

static void on_close(struct stream *s, int reason) {
    struct end *e = s->owner;
    CHECK(!e->in_call);
    CHECK_EQ(e->closes, 0);
    e->closes++;
    e->reason = reason;
    e->closed = true;
    e->s = NULL;
}

static void on_shutdown(struct stream *s) {
    struct end *e = s->owner;
    CHECK(!e->in_call);
    CHECK(!e->closes);
    CHECK(s->write_ended && s->queued == 0);
    e->shutdowns++;
}

const struct stream_hooks end_hooks = {on_data, on_eof, on_drain, on_close, on_shutdown};

void end_begin(struct end *e, struct world *w, struct stream *s) {
    *e = (struct end){.w = w, .s = s};
    buf_init(&e->bytes, &w->mem, SIZE_MAX);
    s->hooks = &end_hooks;
    s->owner = e;
}

void end_end(struct end *e) { buf_release(&e->bytes); }

int end_write(struct end *e, const void *p, size_t n) {
    bool was = e->in_call;
    e->in_call = true;
    int rc = stream_write(e->s, str_of(p, n));
    e->in_call = was;
    if (rc >= 0) e->sent += n;
    return rc;
}

/* ── connecting ───────────────────────────────────────────────────────────*/

const char *const kind_names[] = {"tcp", "unix", "pair"};

struct meeting {
    struct stream *client, *server;
    bool accepted, connected;
};

static void on_accept(struct listener *l, struct stream *s) {
    struct meeting *m = listener_owner(l);
    m->server = s;
    m->accepted = true;
}

static void on_connected(void *owner, int status, struct stream *s) {
    struct meeting *m = owner;
    CHECK_EQ(status, 0);
    m->client = s;
    m->connected = true;
}

static const struct listener_hooks meeting_hooks = {on_accept, NULL};

void connect_ends(struct world *w, enum kind kind, struct end *a,
                  struct end *b) {
    struct stream *s[2];
    if (kind == KIND_PAIR) {
        CHECK_EQ(stream_pair(w->loop, &w->limits, s), 0);
        end_begin(a, w, s[0]);
        end_begin(b, w, s[1]);
        return;
    }
    struct endpoint e = {.kind = ENDPOINT_TCP, .host = "127.0.0.1"};
    if (kind == KIND_UNIX) {
        e.kind = ENDPOINT_UNIX;
        snprintf(e.host, sizeof e.host, "@torture-%ld", (long)getpid());
    }
    struct meeting m = {0};
    struct listener *l;
    struct connector *c;
    struct address at;
    CHECK_EQ(listener_open(w->loop, &e, &w->limits, &l), 0);
    listener_start(l, &meeting_hooks, &m);
    CHECK_EQ(listener_address(l, 0, &at), 0);
    e.port = at.port;
    CHECK_EQ(connector_open(w->loop, &e, &w->limits, on_connected, &m, &c), 0);
    CHECK(!m.connected);
    world_until(w, &m.connected, 5000);
    world_until(w, &m.accepted, 5000);
    listener_close(l);
    end_begin(a, w, m.client);
    end_begin(b, w, m.server);
}

/* ── measures ─────────────────────────────────────────────────────────────*/

size_t rss_kib(void) {
    unsigned long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (fscanf(f, "%lu %lu", &size, &resident) != 2) resident = 0;
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

#ifndef __has_feature
#define __has_feature(x) 0
#endif

size_t grew_kib(size_t since) {
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
    (void)since;
    return 0;
#else
    size_t now = rss_kib();
    return now > since && !under_valgrind() ? now - since : 0;
#endif
}

bool under_valgrind(void) {
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "vgpreload");
}

double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
