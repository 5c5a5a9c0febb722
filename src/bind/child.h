/* SPDX-License-Identifier: MIT */
/* Child processes of a generation: child.c is their life, launch.c reads what a
 * script wants of a new one. */
#ifndef BIND_CHILD_H
#define BIND_CHILD_H

#include "bind/conn.h"

/* A descriptor of the child's: a stream until Lua has made a protocol for it. */
struct child_pipe {
    struct child *child;
    struct stream *stream; /* NULL: a connection, or closed */
    struct conn *conn;     /* NULL: not yet one, or closed */
    int fd;
};

/* Userdata, anchored by its address until the child has ended: it was waited
 * for, and all pipes are closed. Uservalues: on_exit, on_end. */
struct child {
    struct child *next, **prev; /* list: gen->children; NULL prev: ended */
    struct generation *gen;
    struct process *process;
    struct scope_item item;
    struct debt exit, end; /* on_exit, on_end */
    struct timer timer;    /* of terminate */
    struct limits limits;  /* of its pipes */
    struct process_status status;
    struct child_pipe pipes[PROCESS_MAX_FDS];
    size_t pipe_count;
    unsigned open;         /* of the pipes */
    bool finishes;         /* its owner's end is not its own */
    bool reaped, told;     /* its status is there; on_exit has it */
    bool begun;            /* its pipes' hooks may come */
    enum { CHILD_RUNS, CHILD_TERMINATED, CHILD_KILLED, CHILD_CUT_OFF } stage;
};

/* Starts it; what is at the top of the stack is its userdata, zeroed. */
int child_start(lua_State *L, struct child *c, struct process_options *o, const char **step);
/* SIGTERM, then SIGKILL, to the group if it has one; then its pipes close. */
void child_terminate(struct child *c);
void child_pipe_gone(struct child_pipe *pipe);

void children_kill(struct generation *g);
void children_abandon(struct generation *g); /* the state is about to be closed */

void child_class_open(lua_State *L);
struct child *child_new(lua_State *L); /* pushes it */


#endif
