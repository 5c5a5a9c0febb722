/* SPDX-License-Identifier: MIT */
/* How a task waits: parked, until somebody wakes it, alone or in a list of those
 * that wait for the same thing. Door.c goes on with them, and takes them out
 * of their list whatever that is for. */
#include "bind/task.h"

struct task *task_may_park(lua_State *L) {
    struct task *t = generation_of(L)->rw->door.task;
    if (!t) script_error(L, "cannot wait here: no task is running");
    if (t->killed) script_error(L, "cannot wait here: this task has used up its budget");
    if (!lua_isyieldable(L) || t->pins)
        script_error(L, "cannot wait here, inside a callback of a C function (table.sort, "
                     "string.gsub, __tostring, __gc, …); wait before, and use the result there");
    if (t->cancelled) luaL_error(L, "cancelled: what this task worked for is gone");
    return t;
}

int task_park(lua_State *L, lua_KContext ctx, lua_KFunction k) {
    task_may_park(L)->yield = YIELD_PARK;
    return lua_yieldk(L, 0, ctx, k);
}

int task_wait(lua_State *L, struct wait_list *list, lua_KFunction k) {
    struct task *t = task_may_park(L);
    t->waits = list;
    t->waits_before = list->last;
    t->waits_behind = NULL;
    *(list->last ? &list->last->waits_behind : &list->first) = t;
    list->last = t;
    return task_park(L, 0, k);
}

void task_leave(struct task *t) {
    struct wait_list *list = t->waits;
    if (!list) return;
    *(t->waits_before ? &t->waits_before->waits_behind : &list->first) = t->waits_behind;
    *(t->waits_behind ? &t->waits_behind->waits_before : &list->last) = t->waits_before;
    t->waits = NULL;
}

void task_wake(struct task *t, lua_State *from, int nargs) {
    if (t->state != TASK_PARKED) {
        if (nargs) lua_pop(from, nargs);
        return;
    }
    if (nargs) {
        if (!lua_checkstack(t->co, nargs + 1)) luaL_error(from, "stack overflow");
        lua_xmove(from, t->co, nargs);
    }
    t->resume_args = nargs;
    task_make_ready(t);
}

void task_wake_all(struct wait_list *list) {
    while (list->first) task_wake(list->first, NULL, 0); /* which leaves */
}
