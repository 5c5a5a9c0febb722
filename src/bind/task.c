/* SPDX-License-Identifier: MIT */
/* What Lua sees of tasks: core.spawn, core.park, core.task and the handle. */
#include "bind/deferred.h"
#include "bind/leftover.h"
#include "bind/task.h"

static const char task_class[] = "ropewalk.task";

static struct task_box *check_box(lua_State *L) {
    return luaL_checkudata(L, 1, task_class);
}

struct task *task_of_handle(lua_State *L, int index) {
    const struct task_box *box = luaL_testudata(L, index, task_class);
    return box ? box->task : NULL;
}

static struct task_box *push_new_box(lua_State *L) {
    struct task_box *box = lua_newuserdatauv(L, sizeof *box, TASK_WAITER);
    *box = (struct task_box){0};
    luaL_setmetatable(L, task_class);
    return box;
}

/* Handles of living tasks, by the task's address, so that core.task() gives
 * the same one each time: registry[KEY_TASK_BOXES]. Idle ones have their place
 * there, too (false): nothing is allocated. */
static int forget_box(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TASK_BOXES));
    lua_pushboolean(L, 0);
    lua_rawsetp(L, -2, lua_touserdata(L, 1));
    return 0;
}

static void remember_box(lua_State *L, struct task *t) { /* box on top */
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TASK_BOXES));
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, t);
    lua_pop(L, 1);
}

void task_box_detach(struct task *t) {
    if (!t->box) return;
    t->box->task = NULL;
    t->box = NULL;
    door_protect(t->gen, forget_box, t);
}

static int fail_deferred(lua_State *L) {
    struct task *t = CONTAINER(lua_touserdata(L, 1), struct task, debt);
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TASK_BOXES));
    lua_rawgetp(L, -1, t);
    lua_getiuservalue(L, -1, TASK_DEFERRED);
    const struct deferred *d = deferred_at(L, -1);
    if (!d || d->state != PENDING) return 0;
    lua_getfield(L, -1, "errback");
    lua_insert(L, -2);
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_NO_MEMORY));
    lua_callk(L, 2, 0, 0, no_results);
    return 0;
}

bool task_owes(struct task *t) {
    if (!t->box || !t->box->has_deferred || t->result != LUA_ERRMEM || t->gen->killed) return false;
    t->box->task = NULL;
    t->box = NULL;
    return true;
}

void task_pay(struct task *t, void (*over)(struct debt *d)) {
    t->debt = (struct debt){.body = fail_deferred, .over = over};
    debt_owe(&t->debt, t->gen, NULL);
}

static int spawn_in(lua_State *L, struct scope *scope) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    int nargs = lua_gettop(L) - 1;
    struct generation *g = generation_of(L);
    struct task_box *box = push_new_box(L);
    box->has_deferred = nargs && deferred_at(L, 2);
    if (box->has_deferred) {
        lua_pushvalue(L, 2);
        lua_setiuservalue(L, -2, TASK_DEFERRED);
    }
    struct task *t = door_prepare(g, scope, L, nargs);
    remember_box(L, t);
    box->task = t;
    t->box = box;
    leftover_note(L, &t->item, "task");
    lua_insert(L, 1);
    door_start(t, L, nargs);
    lua_settop(L, 1);
    return 1;
}

static int core_spawn(lua_State *L) {
    struct task *outer = task_running(generation_of(L)->rw);
    return spawn_in(L, outer ? outer->scope : NULL);
}

static int core_spawn_detached(lua_State *L) { return spawn_in(L, NULL); }

static int core_task(lua_State *L) {
    struct task *t = task_running(generation_of(L)->rw);
    if (!t) return 0;
    if (t->box) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TASK_BOXES));
        if (lua_rawgetp(L, -1, t) == LUA_TUSERDATA) return 1;
        lua_pop(L, 2);
    }
    struct task_box *box = push_new_box(L);
    remember_box(L, t);
    box->task = t;
    t->box = box;
    return 1;
}

/* Is a task of this generation interrupted, and about to go on? */
static int core_preempted(lua_State *L) {
    struct generation *g = generation_of(L);
    const struct task *t = g->rw->door.ready;
    while (t && (t->gen != g || t->yield != YIELD_PREEMPT)) t = t->next;
    lua_pushboolean(L, t != NULL);
    return 1;
}

static int parked(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return lua_gettop(L);
}

static int core_park(lua_State *L) {
    lua_settop(L, 0);
    return task_park(L, 0, parked);
}

static int task_resume_method(lua_State *L) {
    struct task_box *box = check_box(L);
    bool can = box->task && box->task->state == TASK_PARKED;
    if (can) task_wake(box->task, L, lua_gettop(L) - 1);
    lua_pushboolean(L, can);
    return 1;
}

static int task_on_cancel(lua_State *L) {
    struct task_box *box = check_box(L);
    lua_settop(L, 2);
    box->has_cancel = !lua_isnil(L, 2);
    if (box->has_cancel) luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_setiuservalue(L, 1, TASK_ON_CANCEL);
    return 0;
}

static int task_done(lua_State *L) {
    lua_pushboolean(L, check_box(L)->task == NULL);
    return 1;
}

/* task:waits(waiter or nil), task:waiter(): neither takes memory. */
static int task_waits(lua_State *L) {
    check_box(L);
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, TASK_WAITER);
    return 0;
}

static int task_waiter(lua_State *L) {
    check_box(L);
    lua_getiuservalue(L, 1, TASK_WAITER);
    return 1;
}

/* From now on it may use so many seconds of processor time. */
static int task_limit(lua_State *L) {
    struct task_box *box = check_box(L);
    lua_Number seconds = luaL_checknumber(L, 2);
    luaL_argcheck(L, seconds > 0 && seconds < 1e9, 2, "seconds, above 0");
    if (!box->task) return 0;
    box->task->budget = (uint64_t)(seconds * 1000) + 1;
    box->task->slices = 0;
    return 0;
}

/* Where it is; nil when it has ended. */
static int task_traceback(lua_State *L) {
    struct task_box *box = check_box(L);
    if (!box->task) return 0;
    luaL_traceback(L, box->task->co, NULL, 0);
    return 1;
}

static int task_tostring(lua_State *L) {
    struct task_box *box = check_box(L);
    static const char *const states[] = {"idle", "running", "parked", "ready"};
    lua_pushfstring(L, "task %p (%s)", (void *)box,
                    box->task ? states[box->task->state] : "ended");
    return 1;
}

static int call_on_cancel(lua_State *L) {
    struct task *t = lua_touserdata(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TASK_BOXES));
    lua_rawgetp(L, -1, t);
    lua_getiuservalue(L, -1, TASK_ON_CANCEL);
    lua_call(L, 0, 0);
    return 0;
}

/* One that failed, or had no memory to begin, has ended no wait. */
static void cancel_asked(struct task *asker, int status) {
    if (status < 0) task_kill(asker->owner);
}

bool task_ask_cancel(struct task *t) {
    if (!t->box || !t->box->has_cancel) return false;
    door_enter(t->gen, &(struct door_call){
        .body = call_on_cancel, .arg = t, .owner = t, .done = cancel_asked});
    return true;
}

/* The traceback of the running task, and of the coroutines within it. */
static int core_traceback(lua_State *L) {
    luaL_traceback(L, L, luaL_optstring(L, 1, NULL), 1);
    return 1;
}

void door_open(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"resume", task_resume_method}, {"on_cancel", task_on_cancel},
        {"done", task_done}, {"limit", task_limit},
        {"waits", task_waits}, {"waiter", task_waiter},
        {"traceback", task_traceback}, {NULL, NULL},
    };
    luaL_newmetatable(L, task_class);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, task_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);

    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TASK_BOXES));

    static const luaL_Reg functions[] = {
        {"spawn", core_spawn}, {"spawn_detached", core_spawn_detached},
        {"task", core_task}, {"preempted", core_preempted}, {"park", core_park},
        {"traceback", core_traceback}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
    coroutine_open(L);
}
