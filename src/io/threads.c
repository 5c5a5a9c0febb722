/* SPDX-License-Identifier: MIT */
/* A pool of threads. What they share with the loop is under one mutex: the
 * queue of jobs one way, the list of notes the other, and who is there.
 *
 *      thread:  waits for a job ─→ run ─→ posts notes ─→ …  ─→ ended ─→ joined
 *
 * A pool is referred to by its loop and by each of its threads; the last one
 * frees it. So a thread that is stuck in a system call may be left behind when
 * the loop ends, and still finds all it needs. The account is its own for that
 * reason: nothing of the loop's is touched by a thread.
 *
 * All signals but the watchdog's stay with the loop's thread.
 */
#include "io/internal.h"

#include <pthread.h>
#include <signal.h>

#include "io/threads.h"

enum { IDLE_SECONDS = 10 };

struct thread {
    struct thread *next; /* list: pool->threads */
    struct thread_pool *pool;
    uv_thread_t id;
    void *data;          /* the owner's */
    bool ended;          /* under the mutex: does nothing any more */
};

struct thread_pool {
    uv_async_t async;
    struct thread_pool *sibling, **sibling_prev; /* list: loop->pools */
    struct loop *loop;
    struct mem mem;      /* this block; the others are on the loop's account */
    const struct thread_ops *ops;
    void *owner;
    unsigned min, max, users;

    uv_mutex_t mutex;    /* over all below */
    uv_cond_t work;
    struct thread *threads; /* only the loop adds and removes */
    unsigned alive, idle, running; /* running: a job */
    struct thread_job *queue, **queue_end;
    size_t queued, queue_max;
    struct thread_note *notes, **notes_end;
    size_t noted;
    unsigned refs;
    bool closed, abandoned; /* abandoned: the loop is gone */
};

/* ── the last one frees ───────────────────────────────────────────────────*/

/* With the mutex held; releases it. */
static void pool_release(struct thread_pool *p) {
    bool last = --p->refs == 0;
    uv_mutex_unlock(&p->mutex);
    if (!last) return;
    uv_mutex_destroy(&p->mutex);
    uv_cond_destroy(&p->work);
    struct mem account = p->mem;
    mem_free(&account, p, sizeof *p);
}

static void queue_remove(struct thread_pool *p, struct thread_job *job) {
    *job->prev = job->next;
    if (job->next) job->next->prev = job->prev;
    else p->queue_end = job->prev;
    job->prev = NULL;
    p->queued--;
}

/* ── on a thread ──────────────────────────────────────────────────────────*/

/* The next job; NULL: this thread has to end. The mutex is held. */
static struct thread_job *next_job(struct thread_pool *p) {
    while (!p->queue) {
        if (p->closed) return NULL;
        p->idle++;
        int rc = uv_cond_timedwait(&p->work, &p->mutex, IDLE_SECONDS * UINT64_C(1000000000));
        p->idle--;
        if (rc == UV_ETIMEDOUT && !p->queue && p->alive > p->min) return NULL;
    }
    if (p->closed) return NULL;
    struct thread_job *job = p->queue;
    queue_remove(p, job);
    return job;
}

static void thread_main(void *arg) {
    struct thread *t = arg;
    struct thread_pool *p = t->pool;
    uv_mutex_lock(&p->mutex);
    for (struct thread_job *job; (job = next_job(p));) {
        p->running++;
        uv_mutex_unlock(&p->mutex);
        p->ops->run(t->data, job);
        uv_mutex_lock(&p->mutex);
        p->running--;
    }
    p->alive--;
    uv_mutex_unlock(&p->mutex);
    p->ops->end(t->data);
    uv_mutex_lock(&p->mutex);
    t->ended = true;
    if (!p->abandoned) uv_async_send(&p->async);
    pool_release(p);
}

bool thread_pool_post(struct thread_pool *p, struct thread_note *n, bool must) {
    uv_mutex_lock(&p->mutex);
    bool closed = p->closed, room = must || p->noted < p->queue_max;
    if (room && !closed) {
        n->next = NULL;
        *p->notes_end = n;
        p->notes_end = &n->next;
        p->noted++;
        uv_async_send(&p->async);
    }
    uv_mutex_unlock(&p->mutex);
    if (room && closed) n->drop(n);
    return room;
}

/* ── on the loop ──────────────────────────────────────────────────────────*/

static struct thread_note *take_notes(struct thread_pool *p) {
    struct thread_note *first = p->notes;
    p->notes = NULL;
    p->notes_end = &p->notes;
    p->noted = 0;
    return first;
}

static void on_gone(uv_handle_t *h) {
    struct thread_pool *p = CONTAINER(h, struct thread_pool, async);
    p->loop->closing--;
    loop_gone(p->loop, LEDGER_THREADS);
    uv_mutex_lock(&p->mutex);
    pool_release(p);
}

static void forget_pool(struct thread_pool *p) {
    *p->sibling_prev = p->sibling;
    if (p->sibling) p->sibling->sibling_prev = p->sibling_prev;
    uv_close((uv_handle_t *)&p->async, on_gone);
}

static void thread_free(struct thread_pool *p, struct thread **link) {
    struct thread *t = *link;
    *link = t->next;
    mem_free(p->loop->mem, t, sizeof *t);
}

static void join_ended(struct thread_pool *p) {
    for (struct thread **link = &p->threads; *link;) {
        uv_mutex_lock(&p->mutex);
        bool ended = (*link)->ended;
        uv_mutex_unlock(&p->mutex);
        if (ended) {
            uv_thread_join(&(*link)->id);
            thread_free(p, link);
        } else {
            link = &(*link)->next;
        }
    }
    if (p->closed && !p->threads && !uv_is_closing((uv_handle_t *)&p->async)) forget_pool(p);
}

static void on_notes(uv_async_t *async) {
    struct thread_pool *p = CONTAINER(async, struct thread_pool, async);
    uv_mutex_lock(&p->mutex);
    struct thread_note *n = take_notes(p);
    uv_mutex_unlock(&p->mutex);
    for (struct thread_note *next; n; n = next) {
        next = n->next;
        if (p->closed) n->drop(n); /* by one of those before it */
        else n->deliver(n);
    }
    join_ended(p);
}

struct thread_pool *thread_pool_new(struct loop *l, const struct thread_pool_options *o) {
    struct mem account;
    mem_init(&account, 0);
    struct thread_pool *p = mem_zalloc(&account, sizeof *p);
    if (!p) return NULL;
    p->mem = account;
    p->loop = l;
    p->ops = o->ops;
    p->owner = o->owner;
    p->min = o->min;
    p->max = o->max;
    p->queue_max = o->queue;
    p->queue_end = &p->queue;
    p->notes_end = &p->notes;
    p->refs = 1;
    if (uv_mutex_init(&p->mutex) < 0) goto no_mutex;
    if (uv_cond_init(&p->work) < 0) goto no_cond;
    if (uv_async_init(&l->uv, &p->async, on_notes) < 0) goto no_async;
    uv_unref((uv_handle_t *)&p->async);
    loop_opened(l, LEDGER_THREADS);
    p->sibling = l->pools;
    p->sibling_prev = &l->pools;
    if (p->sibling) p->sibling->sibling_prev = &p->sibling;
    l->pools = p;
    return p;
no_async:
    uv_cond_destroy(&p->work);
no_cond:
    uv_mutex_destroy(&p->mutex);
no_mutex:
    mem_free(&account, p, sizeof *p);
    return NULL;
}

static int thread_start(struct thread_pool *p) {
    struct thread *t = mem_zalloc(p->loop->mem, sizeof *t);
    if (!t) return RW_ENOMEM;
    t->pool = p;
    t->data = p->ops->begin(p->owner, p);
    if (!t->data) {
        mem_free(p->loop->mem, t, sizeof *t);
        return RW_ENOMEM;
    }
    p->refs++;
    p->alive++;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = uv_thread_create(&t->id, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc < 0) {
        p->refs--;
        p->alive--;
        p->ops->end(t->data);
        mem_free(p->loop->mem, t, sizeof *t);
        return rc;
    }
    t->next = p->threads;
    p->threads = t;
    return 0;
}

int thread_pool_add(struct thread_pool *p, struct thread_job *job) {
    uv_mutex_lock(&p->mutex);
    /* each thread can have one, be it started already or not */
    int rc = p->queued + p->running >= p->queue_max + p->max ? RW_ELIMIT : 0;
    if (rc == 0 && p->queued >= p->idle && p->alive < p->max) {
        rc = thread_start(p);
        if (rc < 0 && p->alive) rc = 0; /* those that are there will do it */
    }
    if (rc == 0) {
        job->next = NULL;
        job->prev = p->queue_end;
        *p->queue_end = job;
        p->queue_end = &job->next;
        p->queued++;
        uv_cond_signal(&p->work);
    }
    uv_mutex_unlock(&p->mutex);
    return rc;
}

bool thread_pool_take_back(struct thread_pool *p, struct thread_job *job) {
    uv_mutex_lock(&p->mutex);
    bool waits = job->prev;
    if (waits) queue_remove(p, job);
    uv_mutex_unlock(&p->mutex);
    return waits;
}

struct thread_count thread_pool_count(struct thread_pool *p) {
    uv_mutex_lock(&p->mutex);
    struct thread_count c = {p->alive, p->idle, p->queued};
    uv_mutex_unlock(&p->mutex);
    return c;
}

void thread_pool_ref(struct thread_pool *p) {
    if (p->users++ == 0) uv_ref((uv_handle_t *)&p->async);
}

void thread_pool_unref(struct thread_pool *p) {
    if (--p->users == 0 && !p->closed) uv_unref((uv_handle_t *)&p->async);
}

/* ── the end ──────────────────────────────────────────────────────────────*/

void thread_pool_close(struct thread_pool **pool) {
    struct thread_pool *p = *pool;
    if (!p) return;
    *pool = NULL;
    p->loop->closing++;
    uv_mutex_lock(&p->mutex);
    p->closed = true;
    struct thread_job *job = p->queue;
    p->queue = NULL;
    p->queue_end = &p->queue;
    p->queued = 0;
    struct thread_note *note = take_notes(p);
    uv_cond_broadcast(&p->work);
    uv_mutex_unlock(&p->mutex);
    for (struct thread_job *next; job; job = next) {
        next = job->next;
        job->prev = NULL;
        p->ops->drop(job);
    }
    for (struct thread_note *next; note; note = next) {
        next = note->next;
        note->drop(note);
    }
    uv_ref((uv_handle_t *)&p->async); /* the loop waits for its threads */
    join_ended(p);
}

void thread_pools_abandon(struct loop *l) {
    while (l->pools) {
        struct thread_pool *p = l->pools;
        uv_mutex_lock(&p->mutex);
        p->abandoned = p->closed = true;
        uv_mutex_unlock(&p->mutex);
        for (struct thread *t = p->threads; t; t = t->next) pthread_detach(t->id);
        p->threads = NULL; /* they may still look at it: not freed */
        forget_pool(p);
    }
}
