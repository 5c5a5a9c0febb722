/* SPDX-License-Identifier: MIT */
/* Timers: a hierarchical wheel with slots of 1 ms, 64 ms, 4 s, 4 min, …
 *
 * A timer lives at the level of the highest base-64 digit in which its due time
 * differs from the wheel's `now`, in the slot of that digit. That is a
 * function of (now, due) only, so timers with the same due time share a
 * slot at any moment, and appending keeps them in the order of arming, also
 * when a slot is spread over the level below. Starting and stopping are a few
 * pointer stores; a slot's bit in `used` may outlive its last timer and is
 * cleared when somebody looks.
 *
 * One uv_timer (loop->tick) wakes the poll. It is only moved when something is
 * due earlier than it: moving a deadline later costs at most one idle
 * wake-up, and nothing at the time.
 */
#include "io/internal.h"

static const uint64_t WHEEL_FOREVER = UINT64_C(1) << 41;

/* ── lists ────────────────────────────────────────────────────────────────*/

static void list_init(struct timer *s) {
    s->next = s;
    s->prev = &s->next;
}

static bool list_empty(const struct timer *s) { return s->next == s; }

static void list_add(struct timer *s, struct timer *t) {
    t->next = s;
    t->prev = s->prev;
    *s->prev = t;
    s->prev = &t->next;
}

static void list_remove(struct timer *t) {
    *t->prev = t->next;
    t->next->prev = t->prev;
    t->prev = NULL;
}

/* All of `from` behind what is in `to`. */
static void list_move(struct timer *from, struct timer *to) {
    if (list_empty(from)) return;
    from->next->prev = to->prev;
    *to->prev = from->next;
    *from->prev = to;
    to->prev = from->prev;
    list_init(from);
}

/* ── the wheel ────────────────────────────────────────────────────────────*/

void wheel_init(struct wheel *w, uint64_t now) {
    *w = (struct wheel){.now = now};
    list_init(&w->ready);
    list_init(&w->soon);
    for (unsigned i = 0; i < WHEEL_LEVELS; i++)
        for (unsigned j = 0; j < WHEEL_SLOTS; j++) list_init(&w->slot[i][j]);
}

static void list_drop(struct timer *s) {
    while (!list_empty(s)) list_remove(s->next);
}

void wheel_drop_all(struct wheel *w) {
    list_drop(&w->ready);
    list_drop(&w->soon);
    for (unsigned i = 0; i < WHEEL_LEVELS; i++)
        for (unsigned j = 0; j < WHEEL_SLOTS; j++) list_drop(&w->slot[i][j]);
    w->count = 0;
}

/* t->due > w->now */
static void wheel_add(struct wheel *w, struct timer *t) {
    unsigned level =
        (63u - (unsigned)__builtin_clzll(t->due ^ w->now)) / WHEEL_BITS;
    unsigned i = (unsigned)(t->due >> (level * WHEEL_BITS)) & (WHEEL_SLOTS - 1);
    w->used[level] |= UINT64_C(1) << i;
    list_add(&w->slot[level][i], t);
}

struct place {
    uint64_t at; /* first ms of the slot */
    unsigned level, slot;
};

/* The first slot that has timers. Slots of a level all begin before those of
 * the level above. */
static bool wheel_first(struct wheel *w, struct place *out) {
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        unsigned shift = level * WHEEL_BITS;
        unsigned digit = (unsigned)(w->now >> shift) & (WHEEL_SLOTS - 1);
        uint64_t ahead = w->used[level] & (~UINT64_C(0) << digit << 1);
        for (; ahead; ahead &= ahead - 1) {
            unsigned i = (unsigned)__builtin_ctzll(ahead);
            if (list_empty(&w->slot[level][i])) {
                w->used[level] &= ~(UINT64_C(1) << i);
                continue;
            }
            uint64_t above = w->now >> shift >> WHEEL_BITS;
            out->at = (above << WHEEL_BITS | i) << shift;
            out->level = level;
            out->slot = i;
            return true;
        }
    }
    return false;
}

/* Moves what is due up to `now` behind `due`, in order. */
static void wheel_advance(struct wheel *w, uint64_t now, struct timer *due) {
    struct place p;
    while (wheel_first(w, &p) && p.at <= now) {
        struct timer *s = &w->slot[p.level][p.slot];
        w->now = p.at;
        w->used[p.level] &= ~(UINT64_C(1) << p.slot);
        if (p.level == 0) {
            list_move(s, due);
            continue;
        }
        struct timer spread;
        list_init(&spread);
        list_move(s, &spread);
        while (!list_empty(&spread)) {
            struct timer *t = spread.next;
            list_remove(t);
            if (t->due == w->now) list_add(due, t);
            else wheel_add(w, t);
        }
    }
    w->now = now;
}

void wheel_turn(struct wheel *w) { list_move(&w->soon, &w->ready); }

bool wheel_is_ready(const struct wheel *w) {
    return !list_empty(&w->ready) || !list_empty(&w->soon);
}

uint64_t wheel_next(struct wheel *w) {
    struct place p;
    if (wheel_is_ready(w)) return w->now;
    if (w->count == 0 || !wheel_first(w, &p)) return UINT64_MAX;
    return p.at;
}

void wheel_fire(struct wheel *w, uint64_t now) {
    struct timer due;
    list_init(&due);
    list_move(&w->ready, &due);
    if (now > w->now) wheel_advance(w, now, &due);
    for (int i = 0; i < LOOP_SLICE && !list_empty(&due); i++) {
        struct timer *t = due.next;
        list_remove(t);
        w->count--;
        t->fire(t);
    }
    list_move(&due, &w->ready);
}

/* ── public ───────────────────────────────────────────────────────────────*/

void timer_start(struct loop *l, struct timer *t, uint64_t delay_ms,
                 void (*fire)(struct timer *t)) {
    struct wheel *w = &l->wheel;
    if (t->prev) list_remove(t);
    else w->count++;
    if (!l->turning && !l->sim) uv_update_time(&l->uv);
    if (delay_ms > WHEEL_FOREVER) delay_ms = WHEEL_FOREVER;
    t->due = loop_now(l) + delay_ms;
    t->fire = fire;
    if (delay_ms == 0) list_add(&w->soon, t);
    else wheel_add(w, t);
}

void timer_stop(struct loop *l, struct timer *t) {
    if (!t->prev) return;
    list_remove(t);
    l->wheel.count--;
}
