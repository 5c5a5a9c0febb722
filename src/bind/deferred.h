/* SPDX-License-Identifier: MIT */
/* Deferreds, inside: chain.c runs them, deferred.c is their class. */
#ifndef BIND_DEFERRED_H
#define BIND_DEFERRED_H

#include "bind/bind.h"

enum { INLINE_SLOTS = 8 };
enum { UV_RESULT = 1, UV_MORE, UV_SLOT, USER_VALUES = UV_SLOT - 1 + INLINE_SLOTS };

enum deferred_state { PENDING, RUNNING, WAITING, FIRED, FAILED };

/* When an entry is meant. PAIR: a callback, and the errback beside it is in
 * the next slot. */
enum entry_kind { PAIR, ON_CALLBACK, ON_ERRBACK, ON_BOTH };

struct deferred { /* userdata */
    const void *class;     /* &deferred_class */
    uint8_t state;
    bool handled : 1;      /* somebody got the failure who is not in the chain */
    bool reported : 1;     /* nobody did, and that is in the log */
    bool suspected : 1;    /* … or will be, at the end of the turn */
    bool swallows : 1;     /* cancelled without a canceller: one late result */
    bool has_more : 1;     /* there is a table of entries */
    uint8_t head, tail;    /* entries in the slots */
    uint16_t kinds;        /* of the slots */
    uint16_t paused;
    int more_head, more_tail; /* entries in the table, times two */
};
extern const char deferred_class;

/* Upvalues of each method, and of chain_step (but the last). */
enum { UP_CLASS = 1, UP_CAUGHT, UP_LATE, UP_SUSPECT, UP_STEP };

/* NULL: it is something else. */
static inline struct deferred *deferred_at(lua_State *L, int index) {
    struct deferred *d = lua_touserdata(L, index);
    if (!d || lua_rawlen(L, index) != sizeof *d || d->class != &deferred_class) return NULL;
    return d;
}

bool is_failure(lua_State *L, int index);

static inline bool has_entries(const struct deferred *d) {
    return d->head < d->tail || d->more_head < d->more_tail;
}

/* It has a result, and nothing more to run. */
static inline bool is_settled(const struct deferred *d) {
    return d->state >= FIRED && !has_entries(d);
}

/* Adds what is on top, popped, to the Deferred at `index`. */
void chain_append(lua_State *L, int index, struct deferred *d, enum entry_kind kind);
/* The same with a callback and its errback. */
void chain_append_pair(lua_State *L, int index, struct deferred *d);

/* The context of chain_run: shall the call return [1], or nothing? */
enum { GIVES_SELF = 1 };
/* [1] is RUNNING and has the result [2], which may be a Deferred: runs it, and
 * whoever waits for it. To be returned: it may wait. */
int chain_run(lua_State *L, lua_KContext ctx);
/* [1] has the result [2]; nothing is to run now. */
void chain_settle(lua_State *L, struct deferred *d, bool failed);
/* It is fired a second time: raises, or swallows that. */
int chain_fired_late(lua_State *L, struct deferred *d);
int chain_step(lua_State *L); /* the closure in UP_STEP */

#endif
