/* SPDX-License-Identifier: MIT */
/* The engine of protocols that are pure Lua: bytes pass through as they are. */
#include "proto/engine.h"

enum { RAW_DATA };

static const struct event_def raw_events[] = {
    [RAW_DATA] = {"data", "str:bytes", EVENT_BOTH},
    {NULL, NULL, 0},
};

struct raw {
    struct engine_env env;
    struct str pending; /* borrowed */
};

static int raw_init(void *self, const struct engine_env *env) {
    struct raw *e = self;
    *e = (struct raw){.env = *env};
    return 0;
}

static int64_t raw_feed(void *self, struct str bytes) {
    struct raw *e = self;
    if (e->pending.n) return 0;
    e->pending = bytes;
    return (int64_t)bytes.n;
}

static int raw_next(void *self, struct event *out) {
    struct raw *e = self;
    if (e->pending.n == 0) return 0;
    out->type = RAW_DATA;
    out->args[0].str = e->pending;
    e->pending = STR_NONE;
    return 1;
}

static void raw_moved(void *self, const char *from, const char *to) {
    struct raw *e = self;
    e->pending = slice_moved(e->pending, from, to);
}

static struct str raw_left(const void *self) {
    const struct raw *e = self;
    return e->pending;
}

static int raw_send(void *self, const struct event *ev) {
    struct raw *e = self;
    return buf_add_str(e->env.out, ev->args[0].str);
}

static int raw_eof(void *self) {
    (void)self;
    return 0;
}

static uint64_t raw_tick(void *self, uint64_t now) {
    (void)self, (void)now;
    return 0;
}

static void raw_fini(void *self) { (void)self; }

const struct engine raw_engine = {
    .name = "raw", .size = sizeof(struct raw), .events = raw_events,
    .init = raw_init, .feed = raw_feed, .next = raw_next, .moved = raw_moved, .left = raw_left,
    .send = raw_send, .eof = raw_eof, .tick = raw_tick, .fini = raw_fini,
};
