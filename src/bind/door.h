/* SPDX-License-Identifier: MIT */
/* The one door into Lua, and the tasks that run behind it (door.c). Task.c is
 * their Lua face, coroutine.c lets waits and preemption pass through a
 * script's own coroutines. Nothing else calls lua_resume, or lua_pcall into
 * scripts, but for what a task does itself (chain.c runs callbacks). */
#ifndef BIND_DOOR_H
#define BIND_DOOR_H

#include <lua.h>

#include "bind/debt.h"
#include "bind/scope.h"
#include "io/io.h"

struct generation;
struct rw;
struct task;

struct door { /* who is inside Lua right now; read by the watchdog's signal */
    struct task *task;             /* the running one, or NULL */
    lua_State *volatile running;   /* its innermost coroutine */
    volatile unsigned long entries; /* grows with each entry */
    struct task *ready, **ready_end; /* FIFO of tasks to go on with */
    struct deferral pump;
    int depth;                     /* tasks started by tasks */
};

/* One call into Lua. `body` runs in a coroutine, in protected mode, with the
 * light userdata `arg` as its only argument (borrowed: use it before the first
 * wait). It may call lua_callk and wait. `done`, if given, is told the end:
 * 0, RW_ESCRIPT (reported to the log already), RW_EBUDGET or RW_ENOMEM. */
struct door_call {
    lua_CFunction body;
    void *arg;
    struct scope *scope; /* whose work this is; NULL: the generation's */
    void *owner;         /* task_owner(); usually a conn */
    void (*done)(struct task *t, int status);
    uint64_t budget;     /* ms of processor time; 0: script_budget */
    bool in_one;         /* it cannot yield, and may use its budget nevertheless */
};
/* Runs until the end or the first wait. NULL when it has ended (done was
 * called) or could not begin (RW_ENOMEM to done). */
struct task *door_enter(struct generation *g, const struct door_call *call);

struct task {
    struct task *next; /* list: generation->idle_tasks, or door->ready */
    struct task *sibling, **sibling_prev; /* list: generation->tasks */
    struct generation *gen;
    lua_State *co;     /* anchored in the registry by this task's address */
    struct scope_item item;
    struct scope *scope;
    void *owner;
    void (*done)(struct task *t, int status);
    struct task_box *box; /* Lua's handle, or NULL */
    struct debt debt;     /* a Deferred that it leaves behind */
    uint64_t budget;
    unsigned slices;      /* used, of script_slice ms */
    unsigned graces;      /* slices that ended since it was entered, and it went on */
    unsigned steps_left;  /* until it is interrupted, unless it ends */
    unsigned burst;       /* of these, in a row where yielding is not possible */
    unsigned library_steps; /* times that the library was not interrupted */
    unsigned grace;       /* slices that a killed one may still close variables for */
    const void *closer;   /* the call that does so: lua_Debug's i_ci */
    const lua_State *line_seen; /* its slice is over, and here a line has begun since */
    unsigned cancels;     /* waits that ended since its scope has closed */
    unsigned pins;        /* coroutines within that were resumed where one cannot yield */
    struct wait_list *waits; /* NULL: in none; its neighbours there: */
    struct task *waits_before, *waits_behind;
    int resume_args;      /* on co's stack, for the ready queue */
    enum { TASK_IDLE, TASK_RUNNING, TASK_PARKED, TASK_READY } state;
    enum { YIELD_NONE, YIELD_PARK, YIELD_PREEMPT } yield;
    bool in_one;     /* as of its call */
    int result;      /* of Lua, when it is over */
    bool failed;     /* the log has it; what is to be closed may run still */
    bool reporting;  /* its error is being described */
    bool killed;     /* over its budget */
    bool orphan;     /* its scope has closed … */
    bool cancelled;  /* … and it was told so: it cannot wait any more */
    bool cancel_due; /* the telling is to come */
    bool hurried;    /* its budget became that of what is to be closed */
    bool raising;    /* the telling is on its way, from within a hook */
};

/* Tasks that wait for the same thing, first come, first woken. One that goes on
 * for another reason (it is cancelled) leaves by itself. All zero: empty. */
struct wait_list {
    struct task *first, *last;
};

/* Inside a body: waits; the task goes on at `k` after task_wake. */
int task_park(lua_State *L, lua_KContext ctx, lua_KFunction k);
/* The same, in a list. Both raise where one cannot wait, as task_may_park. */
int task_wait(lua_State *L, struct wait_list *list, lua_KFunction k);
struct task *task_may_park(lua_State *L);
void task_wake_all(struct wait_list *list);
/* The parked task goes on in the next phase of this turn with the nargs values
 * on top of `from`'s stack (moved). */
void task_wake(struct task *t, lua_State *from, int nargs);
/* The same, but it goes on now; only from the loop, not from within Lua. */
void task_continue(struct task *t);
struct task *task_running(struct rw *rw);
/* Ends a task that nobody will wake again: its coroutine is closed, pending
 * to-be-closed variables run. Not for the running one. */
void task_kill(struct task *t);
void tasks_free(struct generation *g); /* its state is closed */

/* Runs a short C function in protected mode on the main state (no script
 * code, no waits): for pushing and anchoring. The error is logged. */
int door_protect(struct generation *g, lua_CFunction fn, void *arg);

/* Takes the room for a call that fires a Deferred, which calls something: Lua keeps
 * what calls have needed. False, or an error: there is no memory for it. */
int door_room(lua_State *L);
/* registry[key] = what is on top. False: no memory; the error is on top then, to be raised
 * by who has tidied up. */
bool registry_anchor(lua_State *L, void *key);
/* For door_protect: registry[arg] = nil. */
int registry_forget(lua_State *L);
/* For lua_callk: the call's results do not matter. */
int no_results(lua_State *L, int status, lua_KContext ctx);

/* Is the function that runs one of the library's? ar: from lua_getstack, or a
 * hook's. */
bool door_in_library(lua_State *L, lua_Debug *ar);
/* Takes back a hook that was set to interrupt. */
void door_clear_hook(lua_State *L);

void door_init(struct rw *rw);
int door_watch(struct rw *rw);
void door_unwatch(void);
/* This thread is in that door now (NULL: in none); the one before. */
struct door *door_seen(struct door *door);
void door_open(lua_State *L); /* core.spawn, park, task, … and coroutine.* */
/* A message handler that makes a Failure of whatever was raised. */
int door_traceback(lua_State *L);
/* Logs where the task is, with its traceback. */
void door_report_place(struct task *t);
/* Logs the failure at `index` with its traceback. */
void door_report(lua_State *L, int index, const char *message);
/* The same of a request's handler; cut_short: why the request's body ended too soon, or 0. */
void door_report_request(lua_State *L, int index, struct str method, struct str target,
                         int cut_short);

#endif
