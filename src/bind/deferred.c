/* SPDX-License-Identifier: MIT */
/* The class of Deferreds: making, firing, adding, looking. chain.c runs them. */
#include "bind/deferred.h"

enum { MAX_EXTRA = 250 }; /* arguments of a callback; C's closures hold no more */

static struct deferred *check(lua_State *L) {
    struct deferred *d = deferred_at(L, 1);
    if (!d) luaL_typeerror(L, 1, "Deferred");
    return d;
}

/* ── firing ───────────────────────────────────────────────────────────────*/

static int fire(lua_State *L, struct deferred *d) {
    if (d->state != PENDING) return chain_fired_late(L, d);
    d->state = RUNNING;
    if (has_entries(d) || deferred_at(L, 2)) return chain_run(L, 0);
    chain_settle(L, d, is_failure(L, 2));
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
    return chain_run(L, ctx);
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
    chain_append(L, 1, d, kind);
    return d->state < FIRED ? 1 : kick(L, d, GIVES_SELF);
}

static int add_callback(lua_State *L) { return add(L, ON_CALLBACK, "add_callback"); }
static int add_errback(lua_State *L) { return add(L, ON_ERRBACK, "add_errback"); }
static int add_both(lua_State *L) { return add(L, ON_BOTH, "add_both"); }

/* One of the two may be missing. */
static void add_one_of_two(lua_State *L, struct deferred *d) {
    if (lua_toboolean(L, 3)) {
        chain_append(L, 1, d, ON_ERRBACK);
        return;
    }
    lua_pop(L, 1);
    if (lua_toboolean(L, 2)) chain_append(L, 1, d, ON_CALLBACK);
}

static int add_callbacks(lua_State *L) {
    struct deferred *d = check(L);
    bool both = lua_type(L, 2) == LUA_TFUNCTION && lua_type(L, 3) == LUA_TFUNCTION;
    if (!both || lua_gettop(L) != 3) {
        if (lua_gettop(L) < 3) lua_settop(L, 3);
        if (lua_toboolean(L, 3)) bind_function(L, 3, lua_gettop(L), "add_callbacks");
        if (lua_toboolean(L, 2)) bind_function(L, 2, 3, "add_callbacks");
        lua_settop(L, 3);
        both = lua_toboolean(L, 2) && lua_toboolean(L, 3);
        if (!lua_toboolean(L, 2) && !lua_toboolean(L, 3))
            return luaL_error(L, "add_callbacks: a function is missing");
    }
    if (both) chain_append_pair(L, 1, d);
    else add_one_of_two(L, d);
    if (d->state >= FIRED) return kick(L, d, GIVES_SELF);
    lua_settop(L, 1);
    return 1;
}

/* chain_deferred(self, other) */
static int chain_deferred(lua_State *L) {
    struct deferred *d = check(L), *other = deferred_at(L, 2);
    if (!other || other == d) return luaL_error(L, "chain_deferred: another Deferred is missing");
    lua_settop(L, 2);
    chain_append(L, 1, d, ON_BOTH);
    return kick(L, d, GIVES_SELF);
}

/* add_waiter(self, waiter): for async.lua. */
static int add_waiter(lua_State *L) {
    struct deferred *d = check(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    chain_append(L, 1, d, ON_BOTH);
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
    chain_settle(L, d, is_failure(L, 2));
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
        const struct rw *rw = generation_of(L)->rw;
        if (rw->door.task && !rw->given_up) task_may_park(L); /* before anything waits for it */
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

static bool is_unhandled(const struct deferred *d) {
    return d->state == FAILED && !has_entries(d) && !d->handled && !d->reported;
}

/* Has its failure been handled, or is it none any more? */
static int cleared(lua_State *L) {
    struct deferred *d = check(L);
    d->suspected = is_unhandled(d);
    lua_pushboolean(L, !d->suspected);
    return 1;
}

/* The failure, if it is nobody's: says so once. */
static int unhandled(lua_State *L) {
    struct deferred *d = check(L);
    d->suspected = false;
    if (!is_unhandled(d)) return 0;
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

/* core.deferred(class, Failure, caught, late, suspect, no_memory) → parts, for
 * lua/ropewalk/deferred.lua only: gives the class its methods. `caught` is the
 * handler of errors, `late` raises that it has fired already, `suspect` is
 * told of one that has failed, `no_memory` is the Failure when one cannot be made. */
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
        {"make", deferred_make}, {"unhandled", unhandled}, {"cleared", cleared},
        {"first", first}, {"dependent", dependent}, {"waits_for", waits_for},
        {"take_canceller", take_canceller}, {"set_canceller", set_canceller}, {NULL, NULL},
    };
    enum { CLASS = 1, FAILURE };
    luaL_checktype(L, CLASS, LUA_TTABLE);
    lua_settop(L, 6);
    lua_rawsetp(L, LUA_REGISTRYINDEX, registry_key(KEY_NO_MEMORY));
    lua_pushvalue(L, FAILURE);
    class_register(L, CLASS_FAILURE);
    lua_pop(L, 1);
    lua_remove(L, FAILURE);
    for (int i = 1; i <= 4; i++) lua_pushvalue(L, i);
    lua_pushcclosure(L, chain_step, 4);
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
