/* SPDX-License-Identifier: MIT */
/* Between the two sides of a call in a thread: thread.c has the loop's,
 * thread_inside.c the thread's. */
#ifndef BIND_THREAD_H
#define BIND_THREAD_H

#include <stdatomic.h>

#include "bind/bind.h"
#include "bind/ship.h"

struct pool_box { /* userdata; its uservalue is the table of options */
    struct thread_pool *pool; /* NULL: closed */
    struct generation *gen;
    struct thread_call *calls; /* list: those that are wanted */
    struct limits limits;      /* of the threads' states */
    unsigned max;
    const char *script, *path, *cpath; /* in the options; may be NULL */
};

struct call_handle { /* userdata; uservalues: done, on_message */
    struct thread_call *call; /* NULL: over, or cancelled */
};

struct thread_call {
    struct debt debt; /* its result */
    struct mem mem; /* this block */
    struct thread_job job;
    struct thread_note note;
    struct shipment in, out; /* function and arguments; result or failure */
    bool ok;                 /* `out` is a result */
    atomic_bool given_up;    /* the thread may stop */
    /* the loop's: */
    bool unwanted;           /* it is not in the lists below any more */
    bool ended;              /* its result waits for its messages to be told … */
    bool owing;              /* … the first of which is being told */
    bool telling;            /* further up the stack */
    struct thread_message *messages, **messages_end; /* FIFO, not told yet */
    struct thread_ask *ask;  /* what its thread waits for; NULL: for nothing */
    struct thread_call *next, **prev; /* list: box->calls */
    struct pool_box *box;
    struct call_handle *handle;
    struct scope *scope;
    struct scope_item item;
};
void thread_call_free(struct thread_call *c);

struct thread_message { /* what a call says before its end */
    struct thread_message *next; /* list: call->messages */
    struct debt debt;
    struct mem mem; /* this block */
    struct thread_note note;
    struct thread_call *call;
    struct shipment value;
};
void thread_message_deliver(struct thread_note *n);
void thread_message_drop(struct thread_note *n);

/* A function that the loop runs for a thread (thread_ask.c). */
struct thread_ask {
    struct mem mem; /* this block */
    struct thread_note note;
    atomic_uint holders;
    struct thread_gate *gate;  /* NULL: nobody waits */
    struct shipment in, out;   /* function and arguments; result or failure */
    bool ok, answered;         /* set before the gate opens */
    bool taken;                /* there is a Lua object that will be answered */
    struct thread_call *call;  /* the loop's: whose; NULL: over */
};
struct thread_ask *thread_ask_new(struct thread_call *c, bool waits); /* NULL: no memory */
void thread_ask_release(struct thread_ask *a);
void thread_ask_end(struct thread_ask *a); /* on the loop: no more answer than it has */
void thread_ask_open(lua_State *L);

/* A thread's own worker and generation (thread_inside.c). */
void *thread_state_new(const struct pool_box *box, struct thread_pool *pool);
void thread_state_run(void *thread, struct thread_job *job);
void thread_state_free(void *thread);

#endif
