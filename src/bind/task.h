/* SPDX-License-Identifier: MIT */
/* Between the rooms of the door: door.c runs tasks, task.c is their Lua face,
 * coroutine.c lets waits and preemption pass through a script's coroutines. */
#ifndef BIND_TASK_H
#define BIND_TASK_H

#include "bind/bind.h"

/* Userdata; its uservalues: the on_cancel function, what it was begun for, its waiter. */
enum { TASK_ON_CANCEL = 1, TASK_DEFERRED, TASK_WAITER };
struct task_box {
    struct task *task; /* NULL: ended */
    bool has_cancel, has_deferred;
};

/* What must be raised in `co` when it runs next. */
void task_set_hook(struct task *t, lua_State *co);
void task_make_ready(struct task *t);
void task_leave(struct task *t); /* the list that it waits in, if any */
void task_box_detach(struct task *t);
/* NULL: it has ended, or that is no handle. */
struct task *task_of_handle(lua_State *L, int index);
/* The same for one that had no memory, if it was begun for a Deferred; else false. */
bool task_owes(struct task *t);
/* Then that fails, unless it has fired. */
void task_pay(struct task *t, void (*over)(struct debt *d));
/* Runs on_cancel, as a task of its own; false: there is none. */
bool task_ask_cancel(struct task *t);
/* A task to be started, with its handle in place before it runs; then the
 * function and its nargs arguments on top of `from` are moved to it. Only the
 * first of the two raises: what is between them must not, or it never ends. */
struct task *door_prepare(struct generation *g, struct scope *scope, lua_State *from, int nargs);
void door_start(struct task *t, lua_State *from, int nargs);

/* Logs the error on top of the stack, with the traceback. */
void task_report(lua_State *L, const char *message);

void coroutine_open(lua_State *L); /* replaces parts of the coroutine library */
/* Only who notes it may resume the one at `index`, as long as it waits. */
void coroutine_note_waiting(lua_State *L, int index, bool waits);

#endif
