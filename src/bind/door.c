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
 * Preemption costs nothing until it happens. The watchdog ticks in processor
 * time; when one entry has lasted for a slice, the signal handler sets a count
 * hook on the coroutine that runs (lua_sethook is made for that). The hook
 * yields where the stack allows it; inside a C function that calls back
 * (gsub, sort) it cannot, and after BURST_SLICES of that it raises. A task
 * over its budget is killed: the hook raises at every instruction from then
 * on, so no pcall loop outlives it. What it has to close on its way out still
 * runs, for the limit script_close.
 */
#include "bind/conn.h"

#include <stdlib.h>

#include "bind/coverage.h"
#include "bind/state.h"
#include "bind/task.h"

enum { BURST_SLICES = 3, MAX_LIBRARY_STEPS = 10000, TICK_PERIOD_MS = 4, LIBRARY_STEP = 100,
       GC_TUNE_EACH = 1024, MAX_SPAWN_DEPTH = 64, MAX_CLOSE_DEPTH = 200, TICKS_PER_SET = 16 };

/* ── the watchdog's view: one door is open per thread at a time ───────────*/

static _Thread_local struct door *volatile open_door;
static _Thread_local volatile unsigned long seen_entry;
static _Thread_local volatile unsigned seen_ticks;
static _Thread_local volatile unsigned slice_ticks;
static _Thread_local volatile unsigned seen_set; /* slices that ended with the hook set */

static void on_slice_end(lua_State *L, lua_Debug *ar);

static void on_tick(void) { /* in a signal handler */
    struct door *door = open_door;
    if (!door || !door->running) return;
    if (door->entries != seen_entry) {
        seen_entry = door->entries;
        seen_ticks = 0;
        return;
    }
    if (++seen_ticks < slice_ticks) return;
    seen_ticks = 0;
    /* Setting it walks the whole stack of calls, which may be deep, and no hook
     * runs while a C function does: not each time. Now and then, since Lua may
     * lose one that is set while it looks. */
    if (lua_gethook(door->running) == on_slice_end && ++seen_set % TICKS_PER_SET) return;
    lua_sethook(door->running, on_slice_end, LUA_MASKCOUNT, 1);
}

/* One watchdog per thread serves all doors of it; the shortest slice counts. */
static _Thread_local unsigned watched_doors;

int door_watch(struct rw *rw) {
    unsigned ticks = (unsigned)(rw->limits.script_slice / TICK_PERIOD_MS);
    if (ticks < 1) ticks = 1;
    if (!watched_doors || ticks < slice_ticks) slice_ticks = ticks;
    int rc = watched_doors ? 0 : watchdog_start(TICK_PERIOD_MS, on_tick);
    if (rc == 0) watched_doors++;
    return rc;
}

void door_unwatch(void) {
    if (--watched_doors == 0) watchdog_stop();
}

/* Is it a __close, or called by one? Of a killed task nothing but that gets as
 * far as to be called anew, and by C. Another callback of a C function that caught
 * the error looks the same, and is as welcome to what is left of the time. */
static bool is_closing(struct task *t, lua_State *L, lua_Debug *ar) {
    lua_Debug frame;
    for (int level = 0; level < MAX_CLOSE_DEPTH && lua_getstack(L, level, &frame); level++)
        if (frame.i_ci == t->closer) return true;
    if (ar->event != LUA_HOOKCALL || !lua_getstack(L, 1, &frame)) return false;
    lua_getinfo(L, "S", &frame);
    if (*frame.what != 'C') return false;
    t->closer = ar->i_ci;
    return true;
}

/* Over its budget: raises at every instruction, so that nothing catches it. The
 * library tells those who wait for the result. */
static void on_killed(lua_State *L, lua_Debug *ar) {
    struct task *t = generation_of(L)->rw->door.task;
    if (t->grace && is_closing(t, L, ar)) return;
    if (door_in_library(L, ar) && t->library_steps++ < MAX_LIBRARY_STEPS) return;
    if (ar->event != LUA_HOOKCOUNT) return; /* what is called may be C */
    if (t->burst >= BURST_SLICES)
        luaL_error(L, "script ran on where it cannot be interrupted (inside a sort, gsub "
                   "or metamethod callback); limit script_slice");
    if (!t->grace)
        luaL_error(L, "what is to be closed takes too long: %d ms of processor time "
                   "(limit script_close)", (int)t->gen->limits.script_close);
    struct rw *rw = generation_of(L)->rw;
    if (rw->given_up && atomic_load(rw->given_up)) luaL_error(L, "cancelled");
    luaL_error(L, "script budget exceeded: %d ms of processor time (limit %s)", (int)t->budget,
               rw->given_up ? "thread_time" : "script_budget");
}

/* Its scope is gone: raises once, so that what is to be closed can close. */
static void on_cancelled(lua_State *L, lua_Debug *ar) {
    (void)ar;
    struct task *t = generation_of(L)->rw->door.task;
    door_clear_hook(L);
    if (!t->cancel_due) return;
    t->cancel_due = false;
    t->raising = true;
    luaL_error(L, "cancelled: what this task worked for is gone");
}

/* Back to what is watched all the time, usually nothing. */
void door_clear_hook(lua_State *L) {
    if (generation_of(L)->rw->coverage) coverage_hook(L);
    else lua_sethook(L, NULL, 0, 0);
}

void task_set_hook(struct task *t, lua_State *co) {
    if (t->killed) lua_sethook(co, on_killed, LUA_MASKCOUNT | LUA_MASKCALL, 1);
    else if (t->cancel_due) lua_sethook(co, on_cancelled, LUA_MASKCOUNT, 1);
}

static void task_doom(struct task *t, lua_State *L) {
    struct rw *rw = generation_of(L)->rw;
    if (!t->killed) rw->stats.script_kills++;
    t->killed = true;
    t->closer = NULL;
    t->library_steps = 0;
    t->grace = 1 + (unsigned)(t->gen->limits.script_close / rw->limits.script_slice);
    task_set_hook(t, L);
}

/* The library's own functions are not interrupted in the middle: what they
 * change (a Deferred, a queue) others could see half done. They are short. */
bool door_in_library(lua_State *L, lua_Debug *ar) {
    const char *tree = generation_of(L)->rw->lua_path;
    if (!lua_getinfo(L, "S", ar)) return false;
    if (strncmp(ar->source, "@ropewalk.", 10) == 0) return true;
    return tree && *ar->source == '@' && strncmp(ar->source + 1, tree, strlen(tree)) == 0;
}

static void on_slice_end(lua_State *L, lua_Debug *ar) {
    struct rw *rw = generation_of(L)->rw;
    struct task *t = rw->door.task;
    if (t && t->killed) {
        if (t->grace) t->grace--;
        task_set_hook(t, L);
        return;
    }
    if (t && door_in_library(L, ar) && ++t->library_steps < MAX_LIBRARY_STEPS) { /* soon again */
        /* setting it walks the whole stack of calls: not each time */
        if (lua_gethookcount(L) != LIBRARY_STEP)
            lua_sethook(L, on_slice_end, LUA_MASKCOUNT, LIBRARY_STEP);
        return;
    }
    door_clear_hook(L);
    if (!t) return;
    t->slices++;
    if (t->slices * rw->limits.script_slice > t->budget ||
        (rw->given_up && atomic_load(rw->given_up))) {
        task_doom(t, L);
        on_killed(L, ar);
    }
    if (rw->simulated) return; /* when it is interrupted would be real time's chance */
    if (rw->given_up) return; /* in a thread nobody waits for a turn */
    if (lua_isyieldable(L) && !t->pins) {
        t->burst = 0;
        t->yield = YIELD_PREEMPT;
        rw->stats.script_preemptions++;
        lua_yield(L, 0);
    } else if (!t->in_one && ++t->burst >= BURST_SLICES && !rw->testing) {
        task_doom(t, L);
        on_killed(L, ar);
    }
}

/* ── the pool ─────────────────────────────────────────────────────────────*/

static int make_thread(lua_State *L) {
    struct task *t = lua_touserdata(L, 1);
    t->co = lua_newthread(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, t);
    return 0;
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
    t->slices = t->burst = t->pins = t->library_steps = 0;
    t->result = LUA_OK;
    t->failed = t->reporting = t->killed = t->cancelled = t->cancel_due = t->orphan = false;
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

/* Below all that a task does: when that fails, what is to be closed is closed. */
static int task_main(lua_State *L) {
    lua_pushcfunction(L, task_failed);
    lua_insert(L, 1);
    return task_over(L, lua_pcallk(L, lua_gettop(L) - 2, 0, 1, 0, task_over), 0);
}

/* It is over; what went wrong has been logged. */
static void task_end(struct task *t, int status) {
    struct generation *g = t->gen;
    scope_remove(&t->item);
    task_box_detach(t);
    if (g->mem.live < g->mem_low) g->mem_low = g->mem.live;
    if (++g->tasks_ended % GC_TUNE_EACH == 0) state_tune_gc(g);
    if (t->done) t->done(t, status);
    t->state = TASK_IDLE;
    g->task_count--;
    if (status == 0) {
        lua_settop(t->co, 0);
        t->next = g->idle_tasks;
        g->idle_tasks = t;
    } else { /* a stack that failed is not used again */
        door_protect(g, registry_forget, t);
        task_drop(t);
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

/* Runs it until it ends (false) or waits. */
static bool task_resume(struct task *t, lua_State *from, int nargs) {
    struct rw *rw = t->gen->rw;
    struct door *door = &rw->door;
    if (t->gen->killed) return task_end(t, RW_ECANCELED), false;
    task_leave(t);
    t->yield = YIELD_NONE;
    t->raising = false;
    struct task *outer_task = door->task;
    lua_State *outer_running = door->running;
    struct door *outer_door = open_door;

    t->state = TASK_RUNNING;
    door->task = t;
    door->running = t->co;
    door->entries++;
    open_door = door;
    task_set_hook(t, t->co);

    int results, status = lua_resume(t->co, from, nargs, &results);
    stress_collector(t->gen->L);

    open_door = outer_door;
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
        if (t->orphan && !task_ask_cancel(t)) task_kill(t);
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
    lua_pushcfunction(co, task_main);
    lua_pushcfunction(co, call->body);
    lua_pushlightuserdata(co, call->arg);
    return task_resume(t, g->rw->door.running, 2) ? t : NULL;
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
    uint64_t until = loop_hrtime() + rw->limits.script_slice * 1000000;
    struct task **last = door->ready_end;
    bool more = door->ready;
    while (more && (rw->simulated || loop_hrtime() < until)) {
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

/* The scope is gone. Lua, when it has said what to do (on_cancel), is asked
 * to end the wait in its own way; otherwise the wait ends with an error. */
static void task_scope_closed(struct scope_item *item) {
    struct task *t = CONTAINER(item, struct task, item);
    /* What it still does on its way out is the generation's; if that is what
     * closes, it is in no scope any more and ends with the state. */
    bool last = t->scope == &t->gen->scope;
    t->scope = &t->gen->scope;
    if (!last) scope_add(t->scope, item);
    t->orphan = true;
    if (last && t->state == TASK_READY && t->yield == YIELD_PREEMPT)
        t->cancelled = t->cancel_due = true;
    if (t->state == TASK_PARKED && !task_ask_cancel(t)) task_kill(t);
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

struct task *door_prepare(struct generation *g, struct scope *scope, lua_State *from) {
    struct task *outer = g->rw->door.task;
    const struct door_call call = {
        .scope = scope, .budget = outer ? outer->budget : 0};
    struct task *t = task_new(g, &call);
    if (!t) luaL_error(from, "not enough memory");
    return t;
}

void door_start(struct task *t, lua_State *from, int nargs) {
    struct door *door = &t->gen->rw->door;
    if (!lua_checkstack(t->co, nargs + 2)) luaL_error(from, "stack overflow");
    lua_pushcfunction(t->co, task_main);
    lua_xmove(from, t->co, nargs + 1);
    nargs++; /* of task_main's */
    if (door_may_nest(door)) {
        door->depth++;
        task_resume(t, from, nargs);
        door->depth--;
    } else {
        t->resume_args = nargs;
        task_make_ready(t);
    }
}
