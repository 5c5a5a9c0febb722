/* SPDX-License-Identifier: MIT */
/* Deferreds: results that are not there yet, and what to do with them. The
 * class is lua/ropewalk/deferred.lua; here is what runs.
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
#include "bind/bind.h"
#include "bind/state.h"

enum { INLINE_SLOTS = 8, FIRST_MORE = 16, MAX_EXTRA = 250 };
enum { UV_RESULT = 1, UV_MORE, UV_SLOT, USER_VALUES = UV_SLOT - 1 + INLINE_SLOTS };

enum deferred_state { PENDING, RUNNING, WAITING, FIRED, FAILED };

/* When an entry is meant. PAIR: a callback, and the errback beside it is in
 * the next slot. */
enum entry_kind { PAIR, ON_CALLBACK, ON_ERRBACK, ON_BOTH };

struct deferred {
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
static const char deferred_class;

/* Upvalues of each method. */
enum { UP_CLASS = 1, UP_CAUGHT, UP_LATE, UP_SUSPECT, UP_STEP };

static struct deferred *deferred_at(lua_State *L, int index) {
    struct deferred *d = lua_touserdata(L, index);
    if (!d || lua_rawlen(L, index) != sizeof *d || d->class != &deferred_class) return NULL;
    return d;
}

static struct deferred *check(lua_State *L) {
    struct deferred *d = deferred_at(L, 1);
    if (!d) luaL_typeerror(L, 1, "Deferred");
    return d;
}

static bool is_failure(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index)) return false;
    bool is = lua_topointer(L, -1) == generation_of(L)->meta[CLASS_FAILURE];
    lua_pop(L, 1);
    return is;
}

/* ── entries ──────────────────────────────────────────────────────────────*/

static bool has_entries(const struct deferred *d) {
    return d->head < d->tail || d->more_head < d->more_tail;
}

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

/* The entry on top, popped. */
static void append(lua_State *L, int index, struct deferred *d, enum entry_kind kind) {
    if (fits(d, 1)) {
        set_slot(L, index, d, kind);
        return;
    }
    if (kind == ON_BOTH) lua_pushvalue(L, -1);
    else lua_pushboolean(L, 0);
    if (kind == ON_ERRBACK) lua_insert(L, -2);
    append_more(L, index, d);
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

/* [1] has the result [2]; nothing more is to run now. */
static void settle(lua_State *L, struct deferred *d, bool failed) {
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

static bool is_settled(const struct deferred *d) {
    return d->state >= FIRED && !has_entries(d);
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
    append(L, 2, inner, ON_BOTH);
    lua_setiuservalue(L, 1, UV_RESULT);
    d->state = WAITING;
    return false;
}

static int late(lua_State *L, struct deferred *d) {
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
        late(L, other);
    }
    lua_pushnil(L);
    lua_replace(L, 2);
    return waits;
}

/* The task that waits, on top: it gets the result [2]. */
static void wake(lua_State *L, struct deferred *d, bool failed) {
    lua_getfield(L, -1, "wake");
    lua_insert(L, -2);
    lua_pushboolean(L, failed);
    lua_pushvalue(L, 2);
    lua_call(L, 3, 1);
    if (lua_toboolean(L, -1) && failed) d->handled = true;
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
            settle(L, d, failed);
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

static int step(lua_State *L) { return step_on(L, LUA_OK, false); }

/* The frame of a run: which Deferred it was called for, which one is at work,
 * those to come back to, the message handler; then what step said. */
enum { RUN_FOR = 1, RUN_AT, RUN_STACK, RUN_CAUGHT, RUN_STEP };

/* The continuation's context: how many there are to come back to; and whether
 * RUN_FOR is the result of the call. */
enum { GIVES_SELF = 1, ONE_TO_COME = 2 };

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
                lua_call(L, 1, 1);
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

/* [1] is RUNNING, its result is [2]. */
static int run(lua_State *L, lua_KContext ctx) {
    lua_pushnil(L);
    lua_pushvalue(L, lua_upvalueindex(UP_CAUGHT));
    lua_pushvalue(L, lua_upvalueindex(UP_STEP));
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 1);
    lua_replace(L, RUN_AT);
    return run_on(L, lua_pcallk(L, 2, 1, RUN_CAUGHT, ctx, run_on), ctx);
}

/* ── firing ───────────────────────────────────────────────────────────────*/

static int fire(lua_State *L, struct deferred *d) {
    if (d->state != PENDING) return late(L, d);
    d->state = RUNNING;
    if (has_entries(d) || deferred_at(L, 2)) return run(L, 0);
    settle(L, d, is_failure(L, 2));
    return 0;
}

static int deferred_callback(lua_State *L) {
    struct deferred *d = check(L);
    lua_settop(L, 2);
    if (deferred_at(L, 2)) return luaL_error(L, "callback: the result must not be a Deferred");
    return fire(L, d);
}

static int deferred_resolve(lua_State *L) {
    struct deferred *d = check(L);
    lua_settop(L, 2);
    return fire(L, d);
}

static int deferred_pause(lua_State *L) {
    struct deferred *d = check(L);
    if (d->paused == UINT16_MAX) luaL_error(L, "pause: too often");
    d->paused++;
    return 0;
}

/* Runs what was added to one that has fired. */
static int kick(lua_State *L, struct deferred *d, lua_KContext ctx) {
    lua_settop(L, 1);
    if (d->state < FIRED || d->paused || !has_entries(d)) return ctx & GIVES_SELF;
    d->state = RUNNING;
    lua_getiuservalue(L, 1, UV_RESULT);
    return run(L, ctx);
}

static int deferred_unpause(lua_State *L) {
    struct deferred *d = check(L);
    if (!d->paused) return luaL_error(L, "unpause: the Deferred is not paused");
    d->paused--;
    return kick(L, d, 0);
}

/* ── adding ───────────────────────────────────────────────────────────────*/

static int all_results(lua_State *L, int status, lua_KContext base) {
    (void)status;
    return lua_gettop(L) - (int)base;
}

/* A function with more arguments than the result: the upvalues. */
static int call_bound(lua_State *L) {
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    int n = 2;
    for (; !lua_isnone(L, lua_upvalueindex(n)); n++) {
        luaL_checkstack(L, 1, NULL);
        lua_pushvalue(L, lua_upvalueindex(n));
    }
    lua_callk(L, n - 1, LUA_MULTRET, 0, all_results);
    return lua_gettop(L);
}

/* Makes the value at `index` a function: one of its own if it only can be
 * called, or if more arguments are to be passed, those behind `last`. */
static void bind_function(lua_State *L, int index, int last, const char *name) {
    int extra = lua_gettop(L) - last;
    if (lua_type(L, index) != LUA_TFUNCTION) {
        if (luaL_getmetafield(L, index, "__call") == LUA_TNIL)
            luaL_error(L, "%s: a function is missing", name);
        lua_pop(L, 1);
    } else if (extra <= 0) {
        return;
    }
    if (extra > MAX_EXTRA) luaL_error(L, "%s: too many arguments", name);
    lua_pushvalue(L, index);
    lua_insert(L, last + 1);
    lua_pushcclosure(L, call_bound, extra + 1);
    lua_replace(L, index);
}

static int add(lua_State *L, enum entry_kind kind, const char *name) {
    struct deferred *d = check(L);
    if (lua_gettop(L) != 2 || lua_type(L, 2) != LUA_TFUNCTION) {
        luaL_checkany(L, 2);
        bind_function(L, 2, 2, name);
        lua_settop(L, 2);
    }
    append(L, 1, d, kind);
    return d->state < FIRED ? 1 : kick(L, d, GIVES_SELF);
}

static int add_callback(lua_State *L) { return add(L, ON_CALLBACK, "add_callback"); }
static int add_errback(lua_State *L) { return add(L, ON_ERRBACK, "add_errback"); }
static int add_both(lua_State *L) { return add(L, ON_BOTH, "add_both"); }

/* One of the two may be missing. */
static void add_one_of_two(lua_State *L, struct deferred *d) {
    if (lua_toboolean(L, 3)) {
        append(L, 1, d, ON_ERRBACK);
        return;
    }
    lua_pop(L, 1);
    if (lua_toboolean(L, 2)) append(L, 1, d, ON_CALLBACK);
}

static int add_callbacks(lua_State *L) {
    struct deferred *d = check(L);
    bool both = lua_type(L, 2) == LUA_TFUNCTION && lua_type(L, 3) == LUA_TFUNCTION;
    if (!both || lua_gettop(L) != 3) {
        if (lua_toboolean(L, 3)) bind_function(L, 3, lua_gettop(L), "add_callbacks");
        if (lua_toboolean(L, 2)) bind_function(L, 2, 3, "add_callbacks");
        lua_settop(L, 3);
        both = lua_toboolean(L, 2) && lua_toboolean(L, 3);
    }
    if (!both) {
        add_one_of_two(L, d);
    } else if (fits(d, 2)) {
        lua_setiuservalue(L, 1, UV_SLOT + d->tail + 1);
        set_slot(L, 1, d, PAIR);
        d->tail++;
    } else {
        append_more(L, 1, d);
    }
    if (d->state >= FIRED) return kick(L, d, GIVES_SELF);
    lua_settop(L, 1);
    return 1;
}

/* chain_deferred(self, other) */
static int chain_deferred(lua_State *L) {
    struct deferred *d = check(L), *other = deferred_at(L, 2);
    if (!other || other == d) return luaL_error(L, "chain_deferred: another Deferred is missing");
    lua_settop(L, 2);
    append(L, 1, d, ON_BOTH);
    return kick(L, d, GIVES_SELF);
}

/* add_waiter(self, waiter): for async.lua. */
static int add_waiter(lua_State *L) {
    struct deferred *d = check(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    append(L, 1, d, ON_BOTH);
    return kick(L, d, 0);
}

/* ── making ───────────────────────────────────────────────────────────────*/

static struct deferred *push_new(lua_State *L) {
    struct deferred *d = lua_newuserdatauv(L, sizeof *d, USER_VALUES);
    *d = (struct deferred){.class = &deferred_class};
    lua_pushvalue(L, lua_upvalueindex(UP_CLASS));
    lua_setmetatable(L, -2);
    return d;
}

static int deferred_new(lua_State *L) {
    bool cancellable = lua_toboolean(L, 1);
    push_new(L);
    if (cancellable) {
        lua_pushvalue(L, 1);
        lua_setiuservalue(L, -2, UV_RESULT);
    }
    return 1;
}

static int deferred_make(lua_State *L) { /* the class called: Deferred(canceller) */
    lua_remove(L, 1);
    return deferred_new(L);
}

static int deferred_succeed(lua_State *L) {
    lua_settop(L, 1);
    struct deferred *d = push_new(L);
    if (deferred_at(L, 1)) return luaL_error(L, "succeed: the result must not be a Deferred");
    lua_insert(L, 1);
    settle(L, d, is_failure(L, 2));
    return 1;
}

/* ── looking ──────────────────────────────────────────────────────────────*/

static int peek(lua_State *L) {
    bool fired = check(L)->state >= FIRED;
    lua_pushboolean(L, fired);
    if (!fired) return 1;
    lua_getiuservalue(L, 1, UV_RESULT);
    return 2;
}

static int called(lua_State *L) {
    lua_pushboolean(L, check(L)->state != PENDING);
    return 1;
}

static int await(lua_State *L) {
    struct deferred *d = check(L);
    lua_settop(L, 1);
    if (!is_settled(d)) {
        lua_getfield(L, lua_upvalueindex(UP_CLASS), "wait");
        lua_insert(L, 1);
        lua_callk(L, 1, LUA_MULTRET, 0, all_results);
        return lua_gettop(L);
    }
    lua_getiuservalue(L, 1, UV_RESULT);
    if (d->state == FIRED) return 1;
    d->handled = true;
    return lua_error(L);
}

static int handled(lua_State *L) {
    check(L)->handled = true;
    return 0;
}

/* Is its failure nobody's at the end of a turn? Says so once. */
static int unhandled(lua_State *L) {
    struct deferred *d = check(L);
    d->suspected = false;
    if (d->state != FAILED || has_entries(d) || d->handled || d->reported) return 0;
    d->reported = true;
    lua_getiuservalue(L, 1, UV_RESULT);
    return 1;
}

/* The first function that was added, or nil: where its chain began. */
static int first(lua_State *L) {
    check(L);
    for (int i = 0; i < INLINE_SLOTS; i++) {
        if (lua_getiuservalue(L, 1, UV_SLOT + i) == LUA_TFUNCTION) {
            if (lua_tocfunction(L, -1) == call_bound) lua_getupvalue(L, -1, 1);
            return 1;
        }
        lua_pop(L, 1);
    }
    return 0;
}

/* Who gets its result, of those still to come: a Deferred or a waiter. */
static int dependent(lua_State *L) {
    struct deferred *d = check(L);
    for (int i = d->head; i < d->tail; i++) {
        if (lua_getiuservalue(L, 1, UV_SLOT + i) != LUA_TFUNCTION && !lua_isnil(L, -1)) return 1;
        lua_pop(L, 1);
    }
    if (d->more_head == d->more_tail) return 0;
    lua_getiuservalue(L, 1, UV_MORE);
    for (int i = d->more_head + 1; i <= d->more_tail; i += 2) {
        int type = lua_rawgeti(L, 2, i);
        if (type == LUA_TTABLE || type == LUA_TUSERDATA) return 1;
        lua_pop(L, 1);
    }
    return 0;
}

static int tostring(lua_State *L) {
    static const char *const states[] = {"pending", "running", "waiting", "fired", "failed"};
    lua_pushfstring(L, "Deferred (%s)", states[check(L)->state]);
    return 1;
}

/* ── cancelling: the parts of Deferred:cancel ─────────────────────────────*/

static int waits_for(lua_State *L) {
    if (check(L)->state != WAITING) return 0;
    lua_getiuservalue(L, 1, UV_RESULT);
    return 1;
}

/* Takes the canceller; without one, a late result will be swallowed. */
static int take_canceller(lua_State *L) {
    struct deferred *d = check(L);
    if (d->state != PENDING) return 0;
    if (lua_getiuservalue(L, 1, UV_RESULT) == LUA_TNIL) d->swallows = true;
    lua_pushnil(L);
    lua_setiuservalue(L, 1, UV_RESULT);
    return 1;
}

static int set_canceller(lua_State *L) {
    luaL_argcheck(L, check(L)->state == PENDING, 1, "it has fired");
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, UV_RESULT);
    return 0;
}

/* ── opening ──────────────────────────────────────────────────────────────*/

/* core.deferred(class, Failure, caught, late, suspect) → parts, for
 * lua/ropewalk/deferred.lua only: gives the class its methods. `caught` is the
 * handler of errors, `late` raises that it has fired already, `suspect` is
 * told of one that has failed. */
static int core_deferred(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"new", deferred_new}, {"succeed", deferred_succeed},
        {"callback", deferred_callback}, {"resolve", deferred_resolve},
        {"add_callback", add_callback}, {"add_errback", add_errback},
        {"add_both", add_both}, {"add_callbacks", add_callbacks},
        {"chain_deferred", chain_deferred}, {"add_waiter", add_waiter},
        {"pause", deferred_pause}, {"unpause", deferred_unpause},
        {"peek", peek}, {"called", called}, {"await", await}, {"handled", handled},
        {"__tostring", tostring}, {NULL, NULL},
    }, parts[] = {
        {"make", deferred_make}, {"unhandled", unhandled}, {"first", first},
        {"dependent", dependent}, {"waits_for", waits_for},
        {"take_canceller", take_canceller}, {"set_canceller", set_canceller}, {NULL, NULL},
    };
    enum { CLASS = 1, FAILURE };
    luaL_checktype(L, CLASS, LUA_TTABLE);
    lua_settop(L, 5);
    lua_pushvalue(L, FAILURE);
    class_register(L, CLASS_FAILURE);
    lua_pop(L, 1);
    lua_remove(L, FAILURE);
    for (int i = 1; i <= 4; i++) lua_pushvalue(L, i);
    lua_pushcclosure(L, step, 4);
    lua_pushvalue(L, CLASS);
    for (int i = 1; i <= 5; i++) lua_pushvalue(L, i);
    luaL_setfuncs(L, methods, 5);
    lua_newtable(L);
    for (int i = 1; i <= 5; i++) lua_pushvalue(L, i);
    luaL_setfuncs(L, parts, 5);
    return 1;
}

void deferred_open(lua_State *L) {
    lua_pushcfunction(L, core_deferred);
    lua_setfield(L, -2, "deferred");
}
