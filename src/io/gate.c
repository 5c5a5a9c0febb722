/* SPDX-License-Identifier: MIT */
/* Where a thread waits for the loop. Opened once, and for good. */
#include "io/internal.h"
#include "io/threads.h"

struct thread_gate {
    struct mem mem; /* this block */
    uv_mutex_t mutex;
    uv_cond_t opened;
    bool open;      /* under the mutex */
};

struct thread_gate *thread_gate_new(void) {
    struct mem account; /* it may end on any thread: no shared account */
    mem_init(&account, 0);
    struct thread_gate *g = mem_zalloc(&account, sizeof *g);
    if (!g) return NULL;
    g->mem = account;
    if (uv_mutex_init(&g->mutex) < 0) goto no_mutex;
    if (uv_cond_init(&g->opened) < 0) goto no_cond;
    return g;
no_cond:
    uv_mutex_destroy(&g->mutex);
no_mutex:
    account = g->mem;
    mem_free(&account, g, sizeof *g);
    return NULL;
}

bool thread_gate_wait(struct thread_gate *g, uint64_t timeout_ms) {
    uint64_t now = uv_hrtime(), until = now + timeout_ms * 1000000;
    uv_mutex_lock(&g->mutex);
    while (!g->open && now < until) {
        uv_cond_timedwait(&g->opened, &g->mutex, until - now);
        now = uv_hrtime();
    }
    bool open = g->open;
    uv_mutex_unlock(&g->mutex);
    return open;
}

void thread_gate_open(struct thread_gate *g) {
    uv_mutex_lock(&g->mutex);
    g->open = true;
    uv_cond_signal(&g->opened);
    uv_mutex_unlock(&g->mutex);
}

void thread_gate_free(struct thread_gate **gate) {
    struct thread_gate *g = *gate;
    if (!g) return;
    *gate = NULL;
    uv_cond_destroy(&g->opened);
    uv_mutex_destroy(&g->mutex);
    struct mem account = g->mem;
    mem_free(&account, g, sizeof *g);
}
