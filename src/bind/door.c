/* SPDX-License-Identifier: MIT */
/* The one door into Lua. Each call runs as a task: a coroutine from a pool,
 * resumed here and nowhere else. That buys four things at once: the call may
 * wait (park), it can be preempted, an error in it keeps its stack until the
 * traceback is written, and nothing C does is ever unwound by longjmp.
 *
 *      IDLE → RUNNING ⇄ PARKED (waits for task_wake)
 *               ⇅         ↓
 *              READY ←────┘ (in the queue: woken, or preempted)
 *
 * What interrupts them is in interrupt.c.
 */
#include "bind/conn.h"

#include <stdlib.h>

#include "bind/state.h"
#include "bind/task.h"

enum { GC_TUNE_EACH = 1024, MAX_SPAWN_DEPTH = 64, MAX_CANCELS = 100, HOUR_MS = 3600000 };

/* ── the pool ─────────────────────────────────────────────────────────────*/

int door_room(lua_State *L) {
    enum { CALLS = 8, SLOTS = 100 };
    lua_Integer depth = lua_tointeger(L, 1);
    if (depth == CALLS) {
        lua_pushboolean(L, lua_checkstack(L, SLOTS));
        return 1;
    }
    lua_pushcfunction(L, door_room);
    lua_pushinteger(L, depth + 1);
    lua_call(L, 1, 1);
    return 1;
}

/* With its place among the handles (task.c), so that to set one cannot fail. */
static int make_thread(lua_State *L) {
    struct task *t = lua_touserdata(L, 1);
    int results;
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TASK_BOXES));
    lua_pushboolean(L, 0);
    lua_rawsetp(L, -2, t);
    t->co = lua_newthread(L);
    lua_pushcfunction(t->co, door_room);
    if (lua_resume(t->co, L, 0, &results) != LUA_OK || !lua_toboolean(t->co, -1))
        return luaL_error(L, "no memory");
    lua_settop(t->co, 0);
    coroutine_note_waiting(L, -1, true);
    lua_rawsetp(L, LUA_REGISTRYINDEX, t);
    return 0;
}

static int forget_thread(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TASK_BOXES));
    lua_pushnil(L);
    lua_rawsetp(L, -2, lua_touserdata(L, 1));
    return registry_forget(L);
}

static int anchor_body(lua_State *L) {
    lua_rawsetp(L, LUA_REGISTRYINDEX, lua_touserdata(L, 1));
    return 0;
}

bool registry_anchor(lua_State *L, void *key) {
    lua_pushcfunction(L, anchor_body);
    lua_pushlightuserdata(L, key);
    lua_pushvalue(L, -3);
    return lua_pcall(L, 2, 0, 0) == LUA_OK;
}

int registry_forget(lua_State *L) {
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, lua_touserdata(L, 1));
    return 0;
}

int no_results(lua_State *L, int status, lua_KContext ctx) {
    (void)L, (void)status, (void)ctx;
    return 0;
}

int door_protect(struct generation *g, lua_CFunction fn, void *arg) {
    lua_State *L = g->L;
    int top = lua_gettop(L);
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, arg);
    int status = lua_pcall(L, 1, 0, 0);
    if (status != LUA_OK)
        log_error(&g->rw->log, "internal call failed",
                  LF_Z("error", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1)
                                                               : "no memory"));
    lua_settop(L, top);
    return status == LUA_OK ? 0 : RW_ENOMEM;
}

static struct task *task_take(struct generation *g) {
    struct task *t = g->idle_tasks;
    if (t) {
        g->idle_tasks = t->next;
        return t;
    }
    t = mem_zalloc(&g->rw->mem, sizeof *t);
    if (!t) return NULL;
    t->gen = g;
    if (door_protect(g, make_thread, t) < 0) {
        mem_free(&g->rw->mem, t, sizeof *t);
        return NULL;
    }
    t->sibling = g->tasks;
    t->sibling_prev = &g->tasks;
    if (t->sibling) t->sibling->sibling_prev = &t->sibling;
    g->tasks = t;
    return t;
}

static void task_drop(struct task *t) {
    task_leave(t);
    *t->sibling_prev = t->sibling;
    if (t->sibling) t->sibling->sibling_prev = t->sibling_prev;
    mem_free(&t->gen->rw->mem, t, sizeof *t);
}

void tasks_free(struct generation *g) {
    struct door *door = &g->rw->door;
    door->ready_end = &door->ready;
    for (struct task *t = door->ready; t; t = t->next) { /* none of ours stays */
        if (t->gen == g) continue;
        *door->ready_end = t;
        door->ready_end = &t->next;
    }
    *door->ready_end = NULL;
    while (g->tasks) task_drop(g->tasks);
}

/* ── a task's life ────────────────────────────────────────────────────────*/

static void task_scope_closed(struct scope_item *item);

static struct task *task_new(struct generation *g, const struct door_call *call) {
    struct task *t = task_take(g);
    if (!t) return NULL;
    t->scope = call->scope ? call->scope : &g->scope;
    t->owner = call->owner;
    t->done = call->done;
    t->budget = call->budget ? call->budget : g->limits.script_budget;
    t->in_one = call->in_one;
    t->slices = t->burst = t->pins = t->library_steps = t->cancels = 0;
    t->result = LUA_OK;
    t->failed = t->reporting = t->killed = t->cancelled = t->cancel_due = t->orphan = false;
    t->hurried = false;
    t->yield = YIELD_NONE;
    t->box = NULL;
    t->item.cancel = task_scope_closed;
    scope_add(t->scope, &t->item);
    g->task_count++;
    return t;
}

/* The message handler: called where it is raised, and again if what is to be
 * closed then fails. */
static int task_failed(lua_State *L) {
    struct task *t = task_running(generation_of(L)->rw);
    bool again = t->failed;
    if (t->reporting) return 1; /* describing it failed, too */
    if (again || !t->orphan) { /* else: its connection went away, and it was told so */
        t->reporting = true;
        door_clear_hook(L); /* it may be a killed task's error; it is described */
        task_report(L, again ? "script error in __close" : "script error");
        task_set_hook(t, L);
        t->reporting = false;
    }
    t->failed = true;
    return 1;
}

static int task_over(lua_State *L, int status, lua_KContext ctx) {
    (void)ctx;
    struct task *t = task_running(generation_of(L)->rw);
    t->result = status == LUA_YIELD ? LUA_OK : status;
    return 0;
}

/* Below all that a task does: when that fails, what is to be closed is closed.
 * The stack is task_failed, a function and its arguments. */
static int task_main(lua_State *L) {
    return task_over(L, lua_pcallk(L, lua_gettop(L) - 2, 0, 1, 0, task_over), 0);
}

enum { BELOW_TASK = 2 };

static void push_below_task(lua_State *co) {
    lua_pushcfunction(co, task_main);
    lua_pushcfunction(co, task_failed);
}

static void task_forget(struct debt *d) {
    struct task *t = CONTAINER(d, struct task, debt);
    if (t->gen->state != GENERATION_DEAD) door_protect(t->gen, forget_thread, t);
    task_drop(t);
}

/* It is over; what went wrong has been logged. */
static void task_end(struct task *t, int status) {
    struct generation *g = t->gen;
    scope_remove(&t->item);
    bool owes = status < 0 && task_owes(t);
    if (!owes) task_box_detach(t);
    if (g->mem.live < g->mem_low) g->mem_low = g->mem.live;
    if (++g->tasks_ended % GC_TUNE_EACH == 0) state_tune_gc(g);
    if (t->done) t->done(t, status);
    t->state = TASK_IDLE;
    g->task_count--;
    if (status == 0) {
        lua_settop(t->co, 0);
        t->next = g->idle_tasks;
        g->idle_tasks = t;
    } else if (owes) {
        task_pay(t, task_forget);
    } else { /* a stack that failed is not used again */
        task_forget(&t->debt);
    }
    generation_check(g);
}

static int task_status(const struct task *t) {
    if (t->result == LUA_OK) return 0;
    if (t->killed) return RW_EBUDGET;
    return t->result == LUA_ERRMEM ? RW_ENOMEM : RW_ESCRIPT;
}

#ifdef RW_DEBUG
/* `make gcstress`: what C holds without Lua knowing dies at once, not some day. */
static void stress_collector(lua_State *L) {
    static int wanted = -1;
    if (wanted < 0) wanted = getenv("RW_GC_STRESS") != NULL;
    if (wanted) lua_gc(L, LUA_GCCOLLECT);
}
#else
static void stress_collector(lua_State *L) { (void)L; }
#endif

static void task_cancel(struct task *t);

/* Runs it until it ends (false) or waits. */
static bool task_resume(struct task *t, lua_State *from, int nargs) {
    struct rw *rw = t->gen->rw;
    struct door *door = &rw->door;
    if (t->gen->killed) return task_end(t, RW_ECANCELED), false;
    task_leave(t);
    t->yield = YIELD_NONE;
    t->graces = t->steps_left = 0;
    t->line_seen = NULL;
    t->raising = false;
    struct task *outer_task = door->task;
    lua_State *outer_running = door->running;

    t->state = TASK_RUNNING;
    door->task = t;
    door->running = t->co;
    door->entries++;
    struct door *outer_door = door_seen(door);
    task_set_hook(t, t->co);

    int results, status = lua_resume(t->co, from, nargs, &results);
    stress_collector(t->gen->L);

    door_seen(outer_door);
    door->entries++;
    door->task = outer_task;
    door->running = outer_running;

    bool alive = status == LUA_YIELD;
    if (!alive) {
        door_clear_hook(t->co);
        if (status != LUA_OK) t->result = status; /* not even task_main had the memory */
        if (t->result && !t->orphan) rw->stats.script_errors++;
        if (t->result && !t->failed && !t->orphan)
            log_error(&rw->log, "script error", LF_UINT("generation", t->gen->id),
                      LF_Z("error", t->result == LUA_ERRMEM ? "not enough memory"
                                                            : "one that cannot be shown"));
        task_end(t, task_status(t));
    } else if (t->yield == YIELD_PREEMPT) {
        t->resume_args = 0;
        task_make_ready(t);
    } else {
        t->state = TASK_PARKED;
        if (t->orphan) task_cancel(t);
    }
    if (!door->task) conn_flush_all(rw);
    return alive;
}

struct task *door_enter(struct generation *g, const struct door_call *call) {
    struct task *t = task_new(g, call);
    if (!t) {
        log_error(&g->rw->log, "no memory for a script call",
                  LF_UINT("generation", g->id));
        if (call->done) {
            struct task none = {.gen = g, .owner = call->owner};
            call->done(&none, RW_ENOMEM);
        }
        return NULL;
    }
    lua_State *co = t->co;
    push_below_task(co);
    lua_pushcfunction(co, call->body);
    lua_pushlightuserdata(co, call->arg);
    return task_resume(t, g->rw->door.running, 3) ? t : NULL;
}

/* ── the ready queue ──────────────────────────────────────────────────────*/

void task_make_ready(struct task *t) {
    struct rw *rw = t->gen->rw;
    struct door *door = &rw->door;
    task_leave(t);
    t->state = TASK_READY;
    t->next = NULL;
    *door->ready_end = t;
    door->ready_end = &t->next;
    if (!deferral_waits(&door->pump)) loop_defer(rw->loop, &door->pump);
}

/* Runs those that are ready now, for about a slice in all; who is left, or
 * becomes ready meanwhile, waits for the next turn, after the loop has looked
 * at its sockets: ten tasks that compute delay the others no more than one. */
static void door_pump(struct deferral *d) {
    struct door *door = CONTAINER(d, struct door, pump);
    struct rw *rw = CONTAINER(door, struct rw, door);
    uint64_t slice = rw->limits.script_slice < HOUR_MS ? rw->limits.script_slice : HOUR_MS;
    uint64_t until = loop_hrtime() + slice * 1000000;
    struct task **last = door->ready_end;
    bool more = true;
    while (more && door->ready && (rw->simulated || loop_hrtime() < until)) {
        struct task *t = door->ready;
        more = &t->next != last;
        door->ready = t->next;
        if (!door->ready) door->ready_end = &door->ready;
        task_resume(t, NULL, t->resume_args);
    }
    if (door->ready && !deferral_waits(&door->pump)) loop_defer(rw->loop, &door->pump);
}

void door_init(struct rw *rw) {
    rw->door.ready_end = &rw->door.ready;
    rw->door.pump.run = door_pump;
}

void task_continue(struct task *t) {
    if (t->state == TASK_PARKED) task_resume(t, NULL, 0);
}

struct task *task_running(struct rw *rw) { return rw->door.task; }

/* From now on it has the time of what is to be closed, and no more. */
static void task_hurry(struct task *t) {
    uint64_t most = t->slices * t->gen->rw->limits.script_slice + t->gen->limits.script_close;
    if (t->budget <= most) return;
    t->budget = most;
    t->hurried = true;
}

/* Its scope is gone. Lua, when it has said what to do (on_cancel), is asked to end
 * the wait in its own way; otherwise the wait ends with an error. Who catches that
 * and waits again, time after time, can wait no more and has little time left. */
static void task_cancel(struct task *t) {
    if (t->cancels++ < MAX_CANCELS && task_ask_cancel(t)) return;
    if (t->cancels > MAX_CANCELS) task_hurry(t);
    task_kill(t);
}

static void task_scope_closed(struct scope_item *item) {
    struct task *t = CONTAINER(item, struct task, item);
    /* What it still does on its way out is the generation's; if that is what
     * closes, it is in no scope any more and ends with the state. */
    bool last = t->scope == &t->gen->scope;
    t->scope = &t->gen->scope;
    if (!last) scope_add(t->scope, item);
    t->orphan = true;
    if (last && t->state == TASK_READY && t->yield == YIELD_PREEMPT) {
        t->cancelled = t->cancel_due = true;
        task_hurry(t); /* it may catch that, and go on computing */
    }
    if (t->state == TASK_PARKED) task_cancel(t);
}

void task_kill(struct task *t) {
    if (t->state != TASK_PARKED) return;
    t->cancelled = t->cancel_due = true;
    t->resume_args = 0;
    task_make_ready(t);
}

static bool door_may_nest(const struct door *door) {
    return door->depth < MAX_SPAWN_DEPTH;
}

/* It has not begun. */
static void task_give_back(struct task *t) {
    scope_remove(&t->item);
    t->next = t->gen->idle_tasks;
    t->gen->idle_tasks = t;
    t->gen->task_count--;
}

struct task *door_prepare(struct generation *g, struct scope *scope, lua_State *from, int nargs) {
    struct task *outer = g->rw->door.task;
    const struct door_call call = {
        .scope = scope, .budget = outer ? outer->budget : 0};
    struct task *t = task_new(g, &call);
    if (t && lua_checkstack(t->co, BELOW_TASK + 1 + nargs)) return t;
    if (t) task_give_back(t);
    luaL_error(from, "not enough memory");
    return NULL;
}

void door_start(struct task *t, lua_State *from, int nargs) {
    struct door *door = &t->gen->rw->door;
    push_below_task(t->co);
    lua_xmove(from, t->co, nargs + 1);
    nargs += BELOW_TASK; /* of task_main's */
    if (door_may_nest(door)) {
        door->depth++;
        task_resume(t, from, nargs);
        door->depth--;
    } else {
        t->resume_args = nargs;
        task_make_ready(t);
    }
}
