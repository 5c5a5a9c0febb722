/* SPDX-License-Identifier: MIT */
/* The script's own coroutines. A task that waits, or is preempted, inside one
 * must not look to its creator like a yield: so resume and wrap are ours and
 * pass such yields through, outwards to the task, and the wake-up inwards
 * again. Until then nobody else may resume or close it: it is noted in
 * registry[KEY_WAITING], as are the tasks' own coroutines, which nobody may at
 * all. They also tell the watchdog which coroutine runs. */
#include "bind/task.h"

static lua_State *check_co(lua_State *L) {
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    return co;
}

static bool is_active(lua_State *co) { /* it has called somebody, or it runs */
    lua_Debug frame;
    return lua_getstack(co, 0, &frame);
}

void coroutine_note_waiting(lua_State *L, int index, bool waits) {
    lua_pushvalue(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_WAITING));
    lua_insert(L, -2);
    if (waits) lua_pushboolean(L, 1);
    else lua_pushnil(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* Is the one at `index` in the midst of a wait, of which its script knows nothing? */
static bool is_waiting(lua_State *L, int index, lua_State *co) {
    if (lua_status(co) != LUA_YIELD) return false;
    lua_pushvalue(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_WAITING));
    lua_insert(L, -2);
    bool waits = lua_rawget(L, -2) != LUA_TNIL;
    lua_pop(L, 2);
    return waits;
}

/* Closes co, whose <close> variables may run for as long as they like to try. */
static int close_co(lua_State *L, lua_State *co) {
    struct door *door = &generation_of(L)->rw->door;
    lua_State *outer = door->running;
    door->running = co;
    if (door->task) task_set_hook(door->task, co);
    int status = lua_closethread(co, L);
    door->running = outer;
    if (door->task) task_set_hook(door->task, L);
    return status;
}

static int co_close(lua_State *L) {
    lua_State *co = check_co(L);
    if (co == L || (lua_status(co) == LUA_OK && is_active(co)))
        return luaL_error(L, "cannot close a running coroutine");
    if (is_waiting(L, 1, co)) return luaL_error(L, "cannot close a normal coroutine");
    if (close_co(L, co) == LUA_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    return 2;
}

/* Moves nargs values from L to co, runs it. Results > 0: on top of L; < 0: an
 * error, on top of L. PASS: the yield is not for us. */
enum { FAILED = -1, PASS = -2 };

static int run(lua_State *L, lua_State *co, int nargs) {
    struct rw *rw = generation_of(L)->rw;
    struct door *door = &rw->door;
    struct task *t = door->task;
    /* not for nothing: the frame of one that was interrupted would grow each time */
    if (nargs && !lua_checkstack(co, nargs)) {
        lua_pushliteral(L, "too many arguments to resume");
        return FAILED;
    }
    lua_xmove(L, co, nargs);
    lua_State *outer = door->running;
    if (t) t->yield = YIELD_NONE;
    door->running = co;
    if (t) task_set_hook(t, co);
    bool pins = t && !lua_isyieldable(L); /* then nothing above can yield either */
    if (pins) t->pins++;
    int results, status = lua_resume(co, L, nargs, &results);
    if (pins) t->pins--;
    door->running = outer;
    if (status == LUA_YIELD && t && t->yield != YIELD_NONE) return PASS;
    if (status == LUA_OK || status == LUA_YIELD) {
        if (!lua_checkstack(L, results + 1)) {
            lua_pop(co, results);
            lua_pushliteral(L, "too many results to resume");
            return FAILED;
        }
        lua_xmove(co, L, results);
        return results;
    }
    lua_xmove(co, L, 1);
    if (t) task_set_hook(t, L); /* a killed task's error is not to be caught */
    return FAILED;
}

/* The one at `index` waits: so does who has resumed it. */
static int pass(lua_State *L, int index, lua_KContext base, lua_KFunction again) {
    coroutine_note_waiting(L, index, true);
    return lua_yieldk(L, 0, base, again);
}

static int run_again(lua_State *L, int index, lua_KContext base) {
    coroutine_note_waiting(L, index, false);
    return run(L, lua_tothread(L, index), lua_gettop(L) - (int)base);
}

static int resume_again(lua_State *L, int status, lua_KContext base);

static int finish_resume(lua_State *L, lua_KContext base, int n) {
    if (n == PASS) return pass(L, 1, base, resume_again);
    lua_pushboolean(L, n >= 0);
    lua_insert(L, -(n >= 0 ? n : 1) - 1);
    return (n >= 0 ? n : 1) + 1;
}

static int resume_again(lua_State *L, int status, lua_KContext base) {
    (void)status;
    return finish_resume(L, base, run_again(L, 1, base));
}

static int co_resume(lua_State *L) {
    lua_State *co = check_co(L);
    int nargs = lua_gettop(L) - 1;
    if (lua_status(co) == LUA_OK && lua_gettop(co) == 0) {
        lua_pushboolean(L, 0);
        lua_pushliteral(L, "cannot resume dead coroutine");
        return 2;
    }
    if (is_waiting(L, 1, co)) {
        lua_pushboolean(L, 0);
        lua_pushliteral(L, "cannot resume non-suspended coroutine");
        return 2;
    }
    return finish_resume(L, 1, run(L, co, nargs));
}

static int wrap_again(lua_State *L, int status, lua_KContext base);

static int finish_wrap(lua_State *L, lua_State *co, lua_KContext base, int n) {
    if (n == PASS) return pass(L, lua_upvalueindex(1), base, wrap_again);
    if (n >= 0) return n;
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD) { /* close its variables */
        if (close_co(L, co) != LUA_OK) lua_xmove(co, L, 1);
    }
    if (lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int wrap_again(lua_State *L, int status, lua_KContext base) {
    (void)status;
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    return finish_wrap(L, co, base, run_again(L, lua_upvalueindex(1), base));
}

static int call_wrapped(lua_State *L) {
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    if (lua_status(co) == LUA_OK && lua_gettop(co) == 0)
        return luaL_error(L, "cannot resume dead coroutine");
    if (is_waiting(L, lua_upvalueindex(1), co))
        return luaL_error(L, "cannot resume non-suspended coroutine");
    return finish_wrap(L, co, 0, run(L, co, lua_gettop(L)));
}

static int co_wrap(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, call_wrapped, 1);
    return 1;
}

/* Lua's own, upvalue 1, would say "suspended" of one that waits. */
static int co_status(lua_State *L) {
    lua_State *co = check_co(L);
    if (is_waiting(L, 1, co)) {
        lua_pushliteral(L, "normal");
        return 1;
    }
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

/* A yield of the task's own coroutine would go nowhere. */
static int co_yield(lua_State *L) {
    struct task *t = task_running(generation_of(L)->rw);
    if (t && t->co == L)
        return luaL_error(L, "attempt to yield from outside a coroutine "
                          "(to wait for something, use deferred:await())");
    return lua_yield(L, lua_gettop(L));
}

/* An error that a hook raised (a killed task's) would run the script's message
 * handler inside the hook, where no hook can stop it: it is passed by. So is
 * an error in the handler: on a stack that is full, Lua would call it again two
 * hundred deep, each time with the whole stack to look at. */
static int guarded_handler(lua_State *L) {
    struct task *t = task_running(generation_of(L)->rw);
    if (t && (t->killed || t->raising)) {
        t->raising = false;
        return 1;
    }
    if (lua_toboolean(L, lua_upvalueindex(2))) return 1;
    lua_pushboolean(L, 1);
    lua_replace(L, lua_upvalueindex(2));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    lua_pushboolean(L, 0); /* what is closed then may fail, too */
    lua_replace(L, lua_upvalueindex(2));
    return 1;
}

static int xpcall_ended(lua_State *L, int status, lua_KContext ctx) {
    (void)ctx; /* stack: handler, true, then the results, or the error on top */
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    return lua_gettop(L) - 1;
}

static int guarded_xpcall(lua_State *L) {
    int n = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushboolean(L, 0); /* the handler runs */
    lua_pushcclosure(L, guarded_handler, 2);
    lua_replace(L, 2);
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2); /* f, handler, true, f, arguments */
    lua_remove(L, 1);
    int status = lua_pcallk(L, n - 2, LUA_MULTRET, 1, 0, xpcall_ended);
    return xpcall_ended(L, status, 0);
}

void coroutine_open(lua_State *L) {
    lua_pushcfunction(L, guarded_xpcall);
    lua_setglobal(L, "xpcall");
    static const luaL_Reg functions[] = {
        {"resume", co_resume}, {"wrap", co_wrap}, {"yield", co_yield},
        {"close", co_close}, {NULL, NULL},
    };
    lua_getglobal(L, "coroutine");
    luaL_setfuncs(L, functions, 0);
    lua_getfield(L, -1, "status");
    lua_pushcclosure(L, co_status, 1);
    lua_setfield(L, -2, "status");
    lua_pop(L, 1);

    lua_newtable(L);
    lua_newtable(L);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, registry_key(KEY_WAITING));
}
