/* SPDX-License-Identifier: MIT */
/* core.timer: a wheel timer in a userdata; its uservalue is the list of the
 * function and its arguments. It is anchored in the registry, by its address,
 * while it waits. */
#include "bind/leftover.h"

#include <math.h>

#include "bind/bind.h"
#include "io/simulate.h"

static const char timer_class[] = "ropewalk.timer";

struct lua_timer {
    struct timer timer;
    struct scope_item item;
    struct generation *gen;
    struct scope *scope;
};

static struct lua_timer *check_timer(lua_State *L) {
    return luaL_checkudata(L, 1, timer_class);
}

static uint64_t check_delay(lua_State *L, int index) {
    lua_Number seconds = luaL_checknumber(L, index);
    luaL_argcheck(L, seconds >= 0 && seconds < 1e9, index, "seconds, not negative");
    return (uint64_t)ceil(seconds * 1000);
}

static int fire_body(lua_State *L) {
    struct lua_timer *t = lua_touserdata(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, t);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, t);
    lua_getiuservalue(L, -1, 1);
    if (lua_isfunction(L, -1)) {
        lua_callk(L, 0, 0, 0, no_results);
        return 0;
    }
    int list = lua_gettop(L);
    lua_getfield(L, list, "n");
    int n = (int)lua_tointeger(L, -1);
    luaL_checkstack(L, n + 4, "too many arguments");
    for (int i = 1; i <= n; i++) lua_rawgeti(L, list, i);
    lua_callk(L, n - 1, 0, 0, no_results);
    return 0;
}

static void fired(struct timer *timer) {
    struct lua_timer *t = (struct lua_timer *)timer;
    scope_remove(&t->item);
    struct rw *rw = t->gen->rw;
    if (rw->simulated) simulation_trace(rw->loop, "timer", 0, STR_NONE);
    door_enter(t->gen, &(struct door_call){
        .body = fire_body, .arg = t, .scope = t->scope});
}

static void scope_closed(struct scope_item *item) {
    struct lua_timer *t = CONTAINER(item, struct lua_timer, item);
    timer_stop(t->gen->rw->loop, &t->timer);
    if (t->gen->state != GENERATION_DEAD) door_protect(t->gen, registry_forget, t);
}

static int core_timer(lua_State *L) {
    uint64_t delay = check_delay(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    int n = lua_gettop(L) - 1;
    struct generation *g = generation_of(L);
    struct lua_timer *t = lua_newuserdatauv(L, sizeof *t, 1);
    *t = (struct lua_timer){.gen = g, .item.cancel = scope_closed};
    luaL_setmetatable(L, timer_class);
    if (n == 1) {
        lua_pushvalue(L, 2);
    } else {
        lua_createtable(L, n, 1);
        for (int i = 1; i <= n; i++) {
            lua_pushvalue(L, i + 1);
            lua_rawseti(L, -2, i);
        }
        lua_pushinteger(L, n);
        lua_setfield(L, -2, "n");
    }
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, t);
    struct task *task = task_running(g->rw);
    t->scope = task ? task->scope : &g->scope;
    scope_add(t->scope, &t->item);
    leftover_note(L, &t->item, "timer");
    timer_start(g->rw->loop, &t->timer, delay, fired);
    return 1;
}

static int timer_cancel(lua_State *L) {
    struct lua_timer *t = check_timer(L);
    bool was = timer_active(&t->timer);
    if (was) {
        timer_stop(t->gen->rw->loop, &t->timer);
        scope_remove(&t->item);
        lua_pushnil(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, t);
        lua_pushnil(L);
        lua_setiuservalue(L, 1, 1);
    }
    lua_pushboolean(L, was);
    return 1;
}

static int move(lua_State *L, uint64_t delay) {
    struct lua_timer *t = check_timer(L);
    bool can = timer_active(&t->timer);
    if (can) timer_start(t->gen->rw->loop, &t->timer, delay, fired);
    lua_pushboolean(L, can);
    return 1;
}

static int timer_reset(lua_State *L) { return move(L, check_delay(L, 2)); }

static int timer_delay(lua_State *L) {
    struct lua_timer *t = check_timer(L);
    lua_Number seconds = luaL_checknumber(L, 2);
    uint64_t now = loop_now(t->gen->rw->loop);
    lua_Number left = (lua_Number)t->timer.due - (lua_Number)now + seconds * 1000;
    return move(L, left > 0 ? (uint64_t)ceil(left) : 0);
}

static int timer_is_active(lua_State *L) {
    lua_pushboolean(L, timer_active(&check_timer(L)->timer));
    return 1;
}

static int timer_time(lua_State *L) {
    lua_pushnumber(L, (lua_Number)check_timer(L)->timer.due / 1000);
    return 1;
}

static int timer_gc(lua_State *L) {
    struct lua_timer *t = check_timer(L);
    if (timer_active(&t->timer)) timer_stop(t->gen->rw->loop, &t->timer);
    scope_remove(&t->item);
    return 0;
}

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
    luaL_newmetatable(L, timer_class);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, timer_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    static const luaL_Reg functions[] = {
        {"timer", core_timer}, {"now", core_now}, {"hrtime", core_hrtime}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
