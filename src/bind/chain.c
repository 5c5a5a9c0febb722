/* SPDX-License-Identifier: MIT */
/* Deferreds: results that are not there yet, and what to do with them. Here is
 * how they run; their class is deferred.c and lua/ropewalk/deferred.lua.
 *
 *   PENDING ──callback/errback──▶ RUNNING ──▶ FIRED or FAILED ◀─┐
 *                                  │   ▲           │ add_…      │
 *                    returned one  ▼   │ it fired  ▼            │
 *                               WAITING       RUNNING ──────────┘
 *
 * A Deferred is a userdata. Its user values hold the result (before it fires,
 * the canceller; while it waits, the one that it waits for) and the entries:
 * a function, a Deferred that gets the result of this one, or a task that
 * waits (a table with `wake`). Eight fit in, two bits each say when they are
 * meant; more go into a table, as pairs of callback and errback.
 *
 * All of it is iterative: a chain of 100,000 Deferreds needs no deeper stack
 * than one of two. One protected call runs all callbacks up to an error. They
 * may wait, be preempted, add to their own Deferred and fire others: what has
 * to outlive a call into Lua is on the Lua stack, or in the Deferred. */
#include "bind/deferred.h"
#include "bind/task.h"

enum { FIRST_MORE = 16 };

const char deferred_class;

bool is_failure(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index)) return false;
    bool is = lua_topointer(L, -1) == generation_of(L)->meta[CLASS_FAILURE];
    lua_pop(L, 1);
    return is;
}

/* ── entries ──────────────────────────────────────────────────────────────*/

/* The entry is [top - 1] and [top], callback and errback: pops both. */
static void append_more(lua_State *L, int index, struct deferred *d) {
    if (lua_getiuservalue(L, index, UV_MORE) == LUA_TNIL) {
        lua_pop(L, 1);
        d->has_more = true;
        lua_createtable(L, FIRST_MORE, 0);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, index, UV_MORE);
    }
    lua_pushvalue(L, -3);
    lua_rawseti(L, -2, d->more_tail + 1);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, d->more_tail + 2);
    lua_pop(L, 3);
    d->more_tail += 2;
}

/* Room for so many slots, behind all that is there already? */
static bool fits(struct deferred *d, int slots) {
    if (d->more_tail == 0 && d->tail + slots <= INLINE_SLOTS) return true;
    if (has_entries(d)) return false;
    d->more_head = d->more_tail = 0; /* all have run; the first stays: it tells */
    d->head = d->tail = 1;           /* where the chain began */
    return true;
}

static void set_slot(lua_State *L, int index, struct deferred *d, enum entry_kind kind) {
    unsigned shift = 2u * d->tail;
    d->kinds = (uint16_t)((d->kinds & ~(3u << shift)) | (unsigned)kind << shift);
    lua_setiuservalue(L, index, UV_SLOT + d->tail);
    d->tail++;
}

void chain_append(lua_State *L, int index, struct deferred *d, enum entry_kind kind) {
    if (fits(d, 1)) {
        set_slot(L, index, d, kind);
        return;
    }
    if (kind == ON_BOTH) lua_pushvalue(L, -1);
    else lua_pushboolean(L, 0);
    if (kind == ON_ERRBACK) lua_insert(L, -2);
    append_more(L, index, d);
}

void chain_append_pair(lua_State *L, int index, struct deferred *d) {
    if (!fits(d, 2)) {
        append_more(L, index, d);
        return;
    }
    lua_setiuservalue(L, index, UV_SLOT + d->tail + 1);
    set_slot(L, index, d, PAIR);
    d->tail++;
}

/* Pushes the next entry of [1] for such a result (maybe above its table);
 * false: there is none. */
static bool push_next(lua_State *L, struct deferred *d, bool failed) {
    while (d->head < d->tail) {
        int i = d->head++;
        enum entry_kind kind = d->kinds >> 2 * i & 3;
        if (kind == PAIR) {
            d->head++;
            i += failed;
        } else if (!(kind & (failed ? ON_ERRBACK : ON_CALLBACK))) {
            continue;
        }
        lua_getiuservalue(L, 1, UV_SLOT + i);
        return true;
    }
    if (d->more_head == d->more_tail) return false;
    lua_getiuservalue(L, 1, UV_MORE);
    while (d->more_head < d->more_tail) {
        int i = d->more_head + 1 + failed;
        d->more_head += 2;
        if (lua_rawgeti(L, -1, i) != LUA_TBOOLEAN) return true;
        lua_pop(L, 1);
    }
    return false;
}

/* What has run is not kept alive by a Deferred that somebody keeps. */
static void forget_entries(lua_State *L, struct deferred *d) {
    if (d->has_more) {
        d->has_more = false;
        lua_pushnil(L);
        lua_setiuservalue(L, 1, UV_MORE);
        d->more_head = d->more_tail = 0;
    }
    for (; d->tail; d->tail--) {
        lua_pushnil(L);
        lua_setiuservalue(L, 1, UV_SLOT + d->tail - 1);
    }
    d->head = 0;
}

/* ── running ──────────────────────────────────────────────────────────────*/

void chain_settle(lua_State *L, struct deferred *d, bool failed) {
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, UV_RESULT);
    d->state = failed ? FAILED : FIRED;
    if (has_entries(d)) return; /* it is paused */
    if (!failed) {
        forget_entries(L, d);
    } else if (!d->suspected && !d->handled && !d->reported) {
        d->suspected = true;
        lua_pushvalue(L, lua_upvalueindex(UP_SUSPECT));
        lua_pushvalue(L, 1);
        lua_call(L, 1, 0);
    }
}

/* The result is [2], an inner Deferred: true when it had a result, now [2]. */
static bool follow(lua_State *L, struct deferred *d, struct deferred *inner) {
    if (inner == d) luaL_error(L, "a callback returned the Deferred that it runs for");
    if (is_settled(inner)) {
        lua_getiuservalue(L, 2, UV_RESULT);
        lua_pushnil(L);
        lua_setiuservalue(L, 2, UV_RESULT);
        inner->state = FIRED;
        lua_replace(L, 2);
        return true;
    }
    lua_pushvalue(L, 1);
    chain_append(L, 2, inner, ON_BOTH);
    lua_setiuservalue(L, 1, UV_RESULT);
    d->state = WAITING;
    return false;
}

int chain_fired_late(lua_State *L, struct deferred *d) {
    if (!d->swallows) {
        lua_pushvalue(L, lua_upvalueindex(UP_LATE));
        lua_call(L, 0, 0); /* raises */
    }
    d->swallows = false;
    return 0;
}

/* [1] gives its result [2] to the Deferred on top, which waits for it or was
 * chained to it; true when that one can run. */
static bool hand_over(lua_State *L, struct deferred *other) {
    int index = lua_gettop(L);
    bool waits = other->state == PENDING;
    if (other->state == WAITING) {
        lua_getiuservalue(L, index, UV_RESULT);
        waits = lua_rawequal(L, -1, 1);
        lua_pop(L, 1);
    }
    if (waits) {
        lua_pushvalue(L, 2);
        lua_setiuservalue(L, index, UV_RESULT);
        other->state = RUNNING;
    } else {
        chain_fired_late(L, other);
    }
    lua_pushnil(L);
    lua_replace(L, 2);
    return waits;
}

/* The waiter (async.lua) of a task, on top: it gets the result [2]. There is nothing in
 * it that takes memory, unless the task was interrupted on its way to wait. */
static void wake(lua_State *L, struct deferred *d, bool failed) {
    lua_getfield(L, -1, "fired");
    bool late = lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (!late) {
        lua_pushboolean(L, failed);
        lua_setfield(L, -2, "failed");
        lua_pushvalue(L, 2);
        lua_setfield(L, -2, "result");
        lua_pushboolean(L, true);
        lua_setfield(L, -2, "fired");
        if (failed) d->handled = true;
        lua_getfield(L, -1, "task");
        struct task *t = task_of_handle(L, -1);
        bool parked = t && t->state == TASK_PARKED;
        if (parked) task_wake(t, L, 0);
        lua_pop(L, 1);
        if (!parked) {
            lua_getfield(L, -1, "insist");
            lua_pushvalue(L, -2);
            lua_call(L, 1, 0);
        }
    }
    lua_pop(L, 1);
}

/* Runs the entries of [1], whose result is [2], until there are none left or it
 * must wait. Returns a Deferred that has the result now and shall run. */
static int step_on(lua_State *L, int status, lua_KContext called) {
    (void)status;
    struct deferred *d = lua_touserdata(L, 1);
    for (;; called = true) {
        if (called) { /* what the callback returned is on top */
            lua_copy(L, -1, 2);
            lua_settop(L, 2);
        }
        bool failed = false;
        if (lua_type(L, 2) >= LUA_TTABLE) { /* else it is neither */
            struct deferred *inner = deferred_at(L, 2);
            if (inner && !follow(L, d, inner)) return 0;
            failed = is_failure(L, 2);
        }
        if (d->paused || !push_next(L, d, failed)) {
            chain_settle(L, d, failed);
            return 0;
        }
        switch (lua_type(L, -1)) {
        case LUA_TFUNCTION:
            lua_pushvalue(L, 2);
            lua_callk(L, 1, 1, true, step_on);
            break;
        case LUA_TTABLE:
            wake(L, d, failed);
            lua_pushvalue(L, 2);
            break;
        default:
            if (hand_over(L, lua_touserdata(L, -1))) {
                lua_pushnil(L);
                lua_setiuservalue(L, 1, UV_RESULT);
                if (has_entries(d)) return 1; /* it is called again */
                forget_entries(L, d);
                d->state = FIRED;
                return 1;
            }
            lua_pushnil(L);
        }
    }
}

int chain_step(lua_State *L) { return step_on(L, LUA_OK, false); }

/* The frame of a run: which Deferred it was called for, which one is at work,
 * those to come back to, the message handler; then what step said. */
enum { RUN_FOR = 1, RUN_AT, RUN_STACK, RUN_CAUGHT, RUN_STEP };

/* In the context, beside GIVES_SELF: how many there are to come back to. */
enum { ONE_TO_COME = 2 };

static void come_back_later(lua_State *L, lua_KContext count) {
    if (count == 0) {
        lua_newtable(L);
        lua_replace(L, RUN_STACK);
    }
    lua_pushvalue(L, RUN_AT);
    lua_rawseti(L, RUN_STACK, count + 1);
}

static int run_on(lua_State *L, int status, lua_KContext ctx) {
    for (;;) {
        struct deferred *d = lua_touserdata(L, RUN_AT);
        if (status != LUA_OK && status != LUA_YIELD) { /* a callback raised */
            if (!is_failure(L, RUN_STEP)) { /* without its handler: no memory, no stack */
                lua_pushvalue(L, RUN_CAUGHT);
                lua_insert(L, RUN_STEP);
                if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
                    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_NO_MEMORY));
                    lua_replace(L, RUN_STEP);
                }
            }
        } else if (!lua_isnil(L, RUN_STEP)) {
            if (d->state == RUNNING) {
                come_back_later(L, ctx / ONE_TO_COME);
                ctx += ONE_TO_COME;
            }
            lua_replace(L, RUN_AT);
            lua_getiuservalue(L, RUN_AT, UV_RESULT);
        } else if (ctx >= ONE_TO_COME) {
            lua_rawgeti(L, RUN_STACK, ctx / ONE_TO_COME);
            lua_replace(L, RUN_AT);
            ctx -= ONE_TO_COME;
            lua_getiuservalue(L, RUN_AT, UV_RESULT);
            lua_replace(L, RUN_STEP);
        } else {
            lua_settop(L, RUN_FOR);
            return ctx & GIVES_SELF;
        }
        lua_pushvalue(L, lua_upvalueindex(UP_STEP));
        lua_insert(L, RUN_STEP);
        lua_pushvalue(L, RUN_AT);
        lua_insert(L, RUN_STEP + 1);
        status = lua_pcallk(L, 2, 1, RUN_CAUGHT, ctx, run_on);
    }
}

int chain_run(lua_State *L, lua_KContext ctx) {
    lua_pushnil(L);
    lua_pushvalue(L, lua_upvalueindex(UP_CAUGHT));
    lua_pushvalue(L, lua_upvalueindex(UP_STEP));
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 1);
    lua_replace(L, RUN_AT);
    return run_on(L, lua_pcallk(L, 2, 1, RUN_CAUGHT, ctx, run_on), ctx);
}
