/* SPDX-License-Identifier: MIT */
/* Interruptions: what ends the slice of a task that computes, and the task whose
 * budget is used up.
 *
 * Preemption costs nothing until it happens. The watchdog ticks in processor
 * time; when one entry has lasted for a slice, the signal handler sets a hook
 * on the coroutine that runs (lua_sethook is made for that), once: setting it walks
 * the whole stack of calls, which may last longer than a slice. Who ends soon
 * after that is not interrupted: the time was the collector's, or C's. Others are
 * between two lines, so that a line like n = n + 1 is one step for everybody. The
 * hook yields where the stack allows it; inside a C function that calls back
 * (gsub, sort) it cannot, and after BURST_SLICES of that it raises. A task
 * over its budget is killed: the hook raises at every instruction from then
 * on, so no pcall loop outlives it. What it has to close on its way out still
 * runs, for the limit script_close.
 */
#include <limits.h>
#include <signal.h>

#include "bind/bind.h"
#include "bind/coverage.h"
#include "bind/task.h"

/* The hook is called at each line and each STEP of instructions. Within so many steps
 * a task may end by itself (after another slice: an eighth). */
enum { STEP = 100, GRACE_STEPS = 128, GRACES = 4 };

enum { BURST_SLICES = 3, MAX_LIBRARY_STEPS = 10000, TICK_PERIOD_MS = 4,
       MAX_CLOSE_DEPTH = 200, TICKS_PER_SET = 16 };

/* ── the watchdog's view: one door is open per thread at a time ───────────*/

static _Thread_local struct door *volatile open_door;
static _Thread_local volatile unsigned long seen_entry;
static _Thread_local volatile unsigned seen_ticks;
static _Thread_local volatile unsigned slice_ticks;
static _Thread_local volatile unsigned seen_set; /* slices that ended with the hook set */
static _Thread_local volatile bool slice_over;   /* the hook has not seen it yet */
static _Thread_local volatile unsigned killed_slices; /* of a killed task, as well */

static void on_slice_end(lua_State *L, lua_Debug *ar);
static void on_killed(lua_State *L, lua_Debug *ar);
static void on_cancelled(lua_State *L, lua_Debug *ar);

static void on_tick(void) { /* in a signal handler */
    struct door *door = open_door;
    if (!door || !door->running) return;
    if (door->entries != seen_entry) {
        seen_entry = door->entries;
        seen_ticks = 0;
        slice_over = false;
        return;
    }
    if (++seen_ticks < slice_ticks) return;
    seen_ticks = 0;
    lua_State *L = door->running;
    lua_Hook hook = lua_gethook(L);
    if (hook == on_killed) killed_slices++;
    if (hook == on_killed || hook == on_cancelled) return; /* raises at the next instruction */
    slice_over = true;
    /* Now and then again, since Lua may lose one that is set while it looks. */
    if (hook == on_slice_end && ++seen_set % TICKS_PER_SET) return;
    lua_sethook(L, on_slice_end, LUA_MASKCOUNT | LUA_MASKLINE, STEP);
}

/* One watchdog per thread serves all doors of it; the shortest slice counts. */
static _Thread_local unsigned watched_doors;

struct door *door_seen(struct door *door) {
    struct door *before = open_door;
    open_door = door;
    return before;
}

int door_watch(struct rw *rw) {
    uint64_t slice = rw->limits.script_slice / TICK_PERIOD_MS;
    unsigned ticks = slice < 1 ? 1 : slice < UINT_MAX ? (unsigned)slice : UINT_MAX;
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

static void count_grace(struct task *t) {
    unsigned gone = killed_slices;
    killed_slices = 0;
    t->grace -= gone < t->grace ? gone : t->grace;
}

/* Over its budget: raises at every instruction, so that nothing catches it. The
 * library tells those who wait for the result. */
static void on_killed(lua_State *L, lua_Debug *ar) {
    struct task *t = generation_of(L)->rw->door.task;
    if (killed_slices) count_grace(t);
    if (t->grace && is_closing(t, L, ar)) return;
    if (door_in_library(L, ar) && t->library_steps++ < MAX_LIBRARY_STEPS) return;
    if (ar->event != LUA_HOOKCOUNT) return; /* what is called may be C */
    if (t->burst >= BURST_SLICES)
        luaL_error(L, "script ran on where it cannot be interrupted (inside a sort, gsub "
                   "or metamethod callback); limit script_slice");
    if (!t->grace)
        luaL_error(L, "what is to be closed takes too long: %I ms of processor time "
                   "(limit script_close)", (lua_Integer)t->gen->limits.script_close);
    struct rw *rw = generation_of(L)->rw;
    if (rw->given_up && atomic_load(rw->given_up)) luaL_error(L, "cancelled");
    if (t->hurried)
        luaL_error(L, "cancelled: what this task worked for is gone, and it does not end "
                   "(limit script_close)");
    luaL_error(L, "script budget exceeded: %I ms of processor time (limit %s)",
               (lua_Integer)t->budget, rw->given_up ? "thread_time" : "script_budget");
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
    uint64_t grace = t->gen->limits.script_close / rw->limits.script_slice;
    t->grace = 1 + (grace < UINT_MAX ? (unsigned)grace : UINT_MAX - 1);
    killed_slices = 0;
    task_set_hook(t, L);
}

/* The library's own functions are not interrupted in the middle: what they
 * change (a Deferred, a queue) others could see half done. They are short. */
bool door_in_library(lua_State *L, lua_Debug *ar) {
    const char *tree = generation_of(L)->rw->lua_path;
    if (!lua_getinfo(L, "S", ar)) return false;
    if (strncmp(ar->source, "@ropewalk.", 10) == 0) /* a module, or a script ropewalk.lua? */
        return strcmp(ar->source + ar->srclen - 4, ".lua") != 0;
    if (!tree || *ar->source != '@') return false;
    size_t n = strlen(tree);
    return strncmp(ar->source + 1, tree, n) == 0 && ar->source[1 + n] == '/';
}

/* A test may be in a sort for long; but not once the tests are to end. */
static bool asked_to_end(void) {
    return signal_was_caught(SIGTERM) || signal_was_caught(SIGINT);
}

static bool is_over_budget(const struct task *t) {
    const struct rw *rw = t->gen->rw;
    return t->slices * rw->limits.script_slice > t->budget ||
           (rw->given_up && atomic_load(rw->given_up));
}

/* Of the first line that Lua tells of it may be in the midst: it compares with where
 * it was when it looked the last time, which is long ago. */
static bool is_between_lines(struct task *t, lua_State *L, const lua_Debug *ar) {
    if (ar->event != LUA_HOOKLINE) return false;
    if (t->line_seen == L) return true;
    t->line_seen = L;
    return false;
}

/* A slice counts once, also where C let more than one pass. */
static void count_slice(struct task *t) {
    slice_over = false;
    t->slices++;
    t->steps_left = t->graces < GRACES ? GRACE_STEPS >> 3 * t->graces++ : 0;
}

static bool is_in_grace(struct task *t, const lua_Debug *ar) {
    if (t->steps_left && ar->event == LUA_HOOKCOUNT) t->steps_left--;
    return t->steps_left;
}

/* The library is left to end what it does. */
static bool is_in_library(struct task *t, lua_State *L, lua_Debug *ar) {
    if (!door_in_library(L, ar)) return false;
    if (ar->event == LUA_HOOKCOUNT) t->library_steps++;
    return t->library_steps < MAX_LIBRARY_STEPS;
}

static void on_slice_end(lua_State *L, lua_Debug *ar) {
    struct rw *rw = generation_of(L)->rw;
    struct task *t = rw->door.task;
    if (t && t->killed) { /* in a coroutine that had no hook yet */
        if (t->grace) t->grace--;
        task_set_hook(t, L);
        return;
    }
    if (t && slice_over) {
        count_slice(t);
        if (is_over_budget(t)) {
            task_doom(t, L); /* the next instruction raises */
            return;
        }
    }
    if (t && (is_in_grace(t, ar) || is_in_library(t, L, ar) || !is_between_lines(t, L, ar)))
        return;
    door_clear_hook(L);
    if (!t) return;
    t->line_seen = NULL;
    if (rw->simulated) return; /* when it is interrupted would be real time's chance */
    if (rw->given_up) return; /* in a thread nobody waits for a turn */
    if (lua_isyieldable(L) && !t->pins) {
        t->burst = 0;
        t->yield = YIELD_PREEMPT;
        rw->stats.script_preemptions++;
        lua_yield(L, 0);
    } else if (!t->in_one && ++t->burst >= BURST_SLICES &&
               (!rw->testing || asked_to_end())) {
        task_doom(t, L);
    }
}
