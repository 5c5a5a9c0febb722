/* SPDX-License-Identifier: MIT */
/* Threads that do work for the loop: a pool with a bounded queue. A thread
 * starts when there is work for it, ends when it had none for a while, and is
 * joined by the loop. What a job is, only its owner knows. */
#ifndef IO_THREADS_H
#define IO_THREADS_H

#include "io/loop.h"

struct thread_pool;

struct thread_job { /* embedded */
    struct thread_job *next, **prev; /* list: pool->queue; prev NULL: in none */
};

/* Something for the loop, from a thread; delivered in the order of posting. */
struct thread_note { /* embedded */
    struct thread_note *next;
    void (*deliver)(struct thread_note *n); /* on the loop's thread */
    void (*drop)(struct thread_note *n);    /* on any: the loop is gone */
};

struct thread_ops {
    /* On the loop's thread: what a new thread has; NULL: out of memory. */
    void *(*begin)(void *owner, struct thread_pool *p);
    /* The rest is called on the thread itself. */
    void (*run)(void *thread, struct thread_job *job);
    void (*end)(void *thread); /* frees it; also for a thread that never ran */
    void (*drop)(struct thread_job *job); /* on any: it will not run */
};

struct thread_pool_options {
    unsigned min, max; /* threads: those that stay, all of them (≥ 1) */
    size_t queue;      /* jobs that may wait; also notes */
    const struct thread_ops *ops;
    void *owner;       /* borrowed until thread_pool_close */
};

struct thread_count {
    unsigned threads, idle;
    size_t queued;
};

/* NULL: out of memory or descriptors. */
struct thread_pool *thread_pool_new(struct loop *l, const struct thread_pool_options *o);

/* 0: `run` will come, unless the job is taken back or the pool closes first;
 * RW_ELIMIT: the queue is full; or why no thread could be started. */
int thread_pool_add(struct thread_pool *p, struct thread_job *job);
/* False when a thread has it already. */
bool thread_pool_take_back(struct thread_pool *p, struct thread_job *job);
struct thread_count thread_pool_count(struct thread_pool *p);

/* A pool that is referred to keeps the loop running; once for each call. */
void thread_pool_ref(struct thread_pool *p);
void thread_pool_unref(struct thread_pool *p);

/* From a thread. `must`: also when there are too many of them already. False,
 * and nothing happened: too many. Dropped at once when the pool is closed. */
bool thread_pool_post(struct thread_pool *p, struct thread_note *n, bool must);

/* Where a thread waits until somebody opens it, for good; false: not in time. */
struct thread_gate;
struct thread_gate *thread_gate_new(void); /* NULL: out of memory */
bool thread_gate_wait(struct thread_gate *g, uint64_t timeout_ms);
void thread_gate_open(struct thread_gate *g); /* from any thread */
void thread_gate_free(struct thread_gate **g);

/* Waiting jobs and undelivered notes are dropped; threads end after what they
 * do, and the loop joins them: it does not wait here. loop_free does, for at
 * most THREAD_PATIENCE ms; then they are left to themselves. */
enum { THREAD_PATIENCE = 5000 };
void thread_pool_close(struct thread_pool **p);

#endif
