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
    struct str pending; /* borrowed until the next feed, or of held */
    struct buf held;
};

static int raw_init(void *self, const struct engine_env *env) {
    struct raw *e = self;
    *e = (struct raw){.env = *env};
    buf_init(&e->held, env->mem, SIZE_MAX / 2);
    return 0;
}

static int64_t raw_feed(void *self, struct str bytes) {
    struct raw *e = self;
    if (e->pending.n) return 0;
    if (e->held.cap) buf_release(&e->held);
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

static int raw_hold(void *self) {
    struct raw *e = self;
    if (e->pending.n == 0 || e->held.cap) return 0;
    int rc = buf_add_str(&e->held, e->pending);
    e->pending = buf_str(&e->held);
    return rc;
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

static void raw_fini(void *self) { buf_release(&((struct raw *)self)->held); }

const struct engine raw_engine = {
    .name = "raw", .size = sizeof(struct raw), .events = raw_events,
    .init = raw_init, .feed = raw_feed, .next = raw_next, .hold = raw_hold, .send = raw_send,
    .eof = raw_eof, .tick = raw_tick, .fini = raw_fini,
};
