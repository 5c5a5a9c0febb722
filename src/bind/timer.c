/* SPDX-License-Identifier: MIT */
/* Delayed calls: a wheel timer in a userdata, whose user values are the function
 * and its arguments. The scope that it was made in cancels it, so it needs no
 * finalizer. While it waits it is anchored: in an array, since there may be a
 * million, and a hash of addresses would be half of the cost. Free slots hold
 * the number of the next free one.
 *
 * There are two faces: core.timer's methods say whether they were in time,
 * those of rw.call_later raise when they were not. The former are the library's:
 * its function is called again when memory has failed in it, and knows what it has
 * done. Of a script's function nobody can say that; it is called once. */
#include "bind/leftover.h"

#include <math.h>

#include "bind/bind.h"
#include "io/simulate.h"

static const char timer_class[] = "ropewalk.timer";

enum timer_state { WAITS, MADE, CANCELLED };

enum { MAX_VALUES = UINT16_MAX - 1, /* Lua counts user values in 16 bits */
       AGAIN_MS = 10 };

struct lua_timer {
    const void *class; /* timer_class */
    struct timer timer;
    struct scope_item item;
    struct generation *gen;
    struct scope *scope;
    enum timer_state state;
    int values;        /* the function and its arguments */
    bool insists;      /* may be called again … */
    bool called;       /* … as it was already */
    unsigned slot;     /* in the array */
};

static struct lua_timer *check_timer(lua_State *L) {
    struct lua_timer *t = lua_touserdata(L, 1);
    if (!t || lua_rawlen(L, 1) != sizeof *t || t->class != timer_class)
        luaL_typeerror(L, 1, "delayed call");
    return t;
}

static uint64_t to_delay(lua_Number seconds) { return (uint64_t)ceil(seconds * 1000); }

static uint64_t check_delay(lua_State *L, int index) {
    lua_Number seconds = luaL_checknumber(L, index);
    luaL_argcheck(L, seconds >= 0 && seconds < 1e9, index, "seconds, not negative");
    return to_delay(seconds);
}

/* ── anchors ──────────────────────────────────────────────────────────────*/

/* The timer on top. */
static void anchor(lua_State *L, struct lua_timer *t) {
    struct generation *g = t->gen;
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TIMERS));
    t->slot = g->free_timer ? g->free_timer : ++g->timer_slots;
    if (g->free_timer) {
        lua_rawgeti(L, -1, t->slot);
        g->free_timer = (unsigned)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, t->slot);
    lua_pop(L, 1);
}

static void release(lua_State *L, struct lua_timer *t) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TIMERS));
    lua_pushinteger(L, t->gen->free_timer);
    lua_rawseti(L, -2, t->slot);
    lua_pop(L, 1);
    t->gen->free_timer = t->slot;
}

static int release_body(lua_State *L) {
    release(L, lua_touserdata(L, 1));
    return 0;
}

/* What it would have called is not kept alive by who keeps the handle, [1]. */
static void forget_call(lua_State *L, struct lua_timer *t) {
    for (; t->values; t->values--) {
        lua_pushnil(L);
        lua_setiuservalue(L, 1, t->values);
    }
    release(L, t);
}

/* ── firing ───────────────────────────────────────────────────────────────*/

struct firing {
    struct lua_timer *timer;
    bool begun; /* all was there: the call is the script's */
};

static int insisted(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    forget_call(L, (struct lua_timer *)ctx);
    return 0;
}

static int fire_body(lua_State *L) {
    struct firing *f = lua_touserdata(L, 1);
    struct lua_timer *t = f->timer;
    int n = t->values;
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TIMERS));
    lua_rawgeti(L, -1, t->slot);
    lua_replace(L, 1);
    lua_pop(L, 1);
    luaL_checkstack(L, n + 4, "too many arguments");
    for (int i = 1; i <= n; i++) lua_getiuservalue(L, 1, i);
    f->begun = true;
    if (t->insists) {
        t->called = true;
        lua_callk(L, n - 1, 0, (lua_KContext)t, insisted);
        return insisted(L, LUA_OK, (lua_KContext)t);
    }
    forget_call(L, t);
    lua_callk(L, n - 1, 0, 0, no_results);
    return 0;
}

static void fired(struct timer *timer);

static void fire_again(struct lua_timer *t) {
    t->state = WAITS;
    scope_add(t->scope, &t->item);
    timer_start(t->gen->rw->loop, &t->timer, AGAIN_MS, fired);
}

/* Of one that insists. Whoever it worked for may be gone. */
static void fire_ended(struct task *task, int status) {
    struct lua_timer *t = task->owner;
    struct generation *g = t->gen;
    if (status == 0 || !t->called) return; /* else fired() sees to it */
    t->called = false;
    t->scope = &g->scope;
    if (status == RW_ENOMEM && !g->scope.closed && !g->killed) fire_again(t);
    else if (g->state != GENERATION_DEAD) door_protect(g, release_body, t);
}

static void fired(struct timer *timer) {
    struct lua_timer *t = CONTAINER(timer, struct lua_timer, timer);
    scope_remove(&t->item);
    t->state = MADE;
    struct rw *rw = t->gen->rw;
    if (rw->simulated) simulation_trace(rw->loop, "timer", 0, STR_NONE);
    struct firing f = {.timer = t};
    struct generation *g = t->gen;
    door_enter(g, &(struct door_call){
        .body = fire_body, .arg = &f, .scope = t->scope, .owner = t,
        .done = t->insists ? fire_ended : NULL});
    if (f.begun || g->killed) return; /* it may be gone */
    fire_again(t); /* no memory: some other time */
}

static void scope_closed(struct scope_item *item) {
    struct lua_timer *t = CONTAINER(item, struct lua_timer, item);
    t->state = CANCELLED;
    timer_stop(t->gen->rw->loop, &t->timer);
    if (t->gen->state != GENERATION_DEAD) door_protect(t->gen, release_body, t);
}

static struct scope *running_scope(lua_State *L) {
    struct generation *g = generation_of(L);
    struct task *task = task_running(g->rw);
    return task ? task->scope : &g->scope;
}

/* From [2] on: the function and its arguments; replaced by the timer. */
static struct lua_timer *push_timer(lua_State *L, uint64_t delay, struct scope *scope) {
    int n = lua_gettop(L) - 1;
    if (n > MAX_VALUES) script_error(L, "a delayed call has too many arguments");
    struct generation *g = generation_of(L);
    struct lua_timer *t = lua_newuserdatauv(L, sizeof *t, n);
    *t = (struct lua_timer){
        .class = timer_class, .gen = g, .item.cancel = scope_closed, .values = n};
    lua_replace(L, 1);
    for (int i = n; i >= 1; i--) lua_setiuservalue(L, 1, i);
    anchor(L, t);
    t->scope = scope;
    scope_add(t->scope, &t->item);
    timer_start(g->rw->loop, &t->timer, delay, fired);
    return t;
}

static struct lua_timer *make_timer(lua_State *L, struct scope *scope) {
    uint64_t delay = check_delay(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    struct lua_timer *t = push_timer(L, delay, scope);
    t->insists = true;
    luaL_setmetatable(L, timer_class);
    return t;
}

static int core_timer(lua_State *L) {
    struct lua_timer *t = make_timer(L, running_scope(L));
    leftover_note(L, &t->item, "timer");
    return 1;
}

/* The library's own: outlives the task that made it, and nobody left it behind. */
static int core_housekeeping(lua_State *L) {
    struct lua_timer *t = make_timer(L, &generation_of(L)->scope);
    leftover_forget(L, &t->item);
    return 1;
}

static bool cancel(lua_State *L, struct lua_timer *t) {
    if (t->state != WAITS) return false;
    t->state = CANCELLED;
    timer_stop(t->gen->rw->loop, &t->timer);
    scope_remove(&t->item);
    forget_call(L, t);
    return true;
}

static bool move(struct lua_timer *t, uint64_t delay) {
    if (t->state != WAITS) return false;
    timer_start(t->gen->rw->loop, &t->timer, delay, fired);
    return true;
}

static bool move_by(lua_State *L, struct lua_timer *t) {
    lua_Number seconds = luaL_checknumber(L, 2);
    luaL_argcheck(L, fabs(seconds) < 1e9, 2, "seconds");
    uint64_t now = loop_now(t->gen->rw->loop);
    lua_Number left = (lua_Number)t->timer.due - (lua_Number)now + seconds * 1000;
    return move(t, left > 0 ? (uint64_t)ceil(left) : 0);
}

static int timer_cancel(lua_State *L) {
    lua_pushboolean(L, cancel(L, check_timer(L)));
    return 1;
}

static int timer_reset(lua_State *L) {
    struct lua_timer *t = check_timer(L);
    lua_pushboolean(L, move(t, check_delay(L, 2)));
    return 1;
}

static int timer_delay(lua_State *L) {
    struct lua_timer *t = check_timer(L);
    lua_pushboolean(L, move_by(L, t));
    return 1;
}

static int timer_is_active(lua_State *L) {
    lua_pushboolean(L, check_timer(L)->state == WAITS);
    return 1;
}

static int timer_time(lua_State *L) {
    lua_pushnumber(L, (lua_Number)check_timer(L)->timer.due / 1000);
    return 1;
}

/* ── rw.call_later ────────────────────────────────────────────────────────*/

enum { UP_CLASS = 1, UP_OVER };

/* call_later(seconds, fn, ...) */
static int call_later(lua_State *L) {
    int number;
    lua_Number seconds = lua_tonumberx(L, 1, &number);
    if (!number || lua_type(L, 1) != LUA_TNUMBER || !(seconds >= 0 && seconds < 1e9))
        return script_error(L, "call_later: seconds must be a number of at least 0, not %s",
                            luaL_tolstring(L, 1, NULL));
    if (lua_type(L, 2) != LUA_TFUNCTION
        && (lua_isnoneornil(L, 2) || luaL_getmetafield(L, 2, "__call") == LUA_TNIL))
        return script_error(L, "call_later: a function is missing");
    if (lua_type(L, 2) != LUA_TFUNCTION) lua_pop(L, 1);
    struct lua_timer *t = push_timer(L, to_delay(seconds), running_scope(L));
    leftover_note(L, &t->item, "timer");
    lua_pushvalue(L, lua_upvalueindex(UP_CLASS));
    lua_setmetatable(L, 1);
    return 1;
}

static int over(lua_State *L, const struct lua_timer *t) {
    lua_pushvalue(L, lua_upvalueindex(UP_OVER));
    lua_pushboolean(L, t->state == CANCELLED);
    lua_call(L, 1, 0); /* raises */
    return 0;
}

static int call_cancel(lua_State *L) {
    struct lua_timer *t = check_timer(L);
    return cancel(L, t) ? 0 : over(L, t);
}

static int call_reset(lua_State *L) {
    struct lua_timer *t = check_timer(L);
    return move(t, check_delay(L, 2)) ? 0 : over(L, t);
}

static int call_delay(lua_State *L) {
    struct lua_timer *t = check_timer(L);
    return move_by(L, t) ? 0 : over(L, t);
}

/* core.delayed_call(class, over) → call_later: gives the class its methods;
 * `over(cancelled)` raises that it is too late. */
static int core_delayed_call(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"cancel", call_cancel}, {"reset", call_reset}, {"delay", call_delay},
        {"active", timer_is_active}, {"get_time", timer_time}, {NULL, NULL},
    };
    lua_settop(L, 2);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    luaL_setfuncs(L, methods, 2);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, call_later, 2);
    return 1;
}

/* ── time ─────────────────────────────────────────────────────────────────*/

static int core_now(lua_State *L) {
    lua_pushnumber(L, (lua_Number)loop_now(generation_of(L)->rw->loop) / 1000);
    return 1;
}

static int core_hrtime(lua_State *L) {
    const struct rw *rw = generation_of(L)->rw;
    uint64_t ns = rw->simulated ? loop_now(rw->loop) * 1000000 : loop_hrtime();
    lua_pushnumber(L, (lua_Number)ns / 1e9);
    return 1;
}

void timer_open(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"cancel", timer_cancel}, {"reset", timer_reset}, {"delay", timer_delay},
        {"active", timer_is_active}, {"time", timer_time}, {NULL, NULL},
    };
    class_define(L, timer_class, methods, NULL);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TIMERS));
    static const luaL_Reg functions[] = {
        {"timer", core_timer}, {"housekeeping", core_housekeeping},
        {"delayed_call", core_delayed_call}, {"now", core_now}, {"hrtime", core_hrtime},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
