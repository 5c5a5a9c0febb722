/* SPDX-License-Identifier: MIT */
/* Wakers: the one thing of a loop that other threads and signal handlers may
 * touch. Several wakes before the loop looks are one call of `run`. */
#include "io/internal.h"

struct waker {
    union {
        uv_async_t async;
        struct deferral simulated; /* there is one thread only */
    };
    struct loop *loop;
    void (*run)(void *owner);
    void *owner;
};

static void on_wake(uv_async_t *a) {
    struct waker *w = CONTAINER(a, struct waker, async);
    w->run(w->owner);
}

static void run_simulated(struct deferral *d) {
    struct waker *w = CONTAINER(d, struct waker, simulated);
    w->run(w->owner);
}

static void gone(struct waker *w) {
    struct loop *l = w->loop;
    l->closing--;
    loop_gone(l, LEDGER_WAKER);
    mem_free(l->mem, w, sizeof *w);
}

static void on_gone(uv_handle_t *h) { gone(CONTAINER(h, struct waker, async)); }

struct waker *waker_new(struct loop *l, void (*run)(void *owner), void *owner) {
    struct waker *w = mem_zalloc(l->mem, sizeof *w);
    if (!w) return NULL;
    w->loop = l;
    w->run = run;
    w->owner = owner;
    w->simulated.run = run_simulated;
    if (!l->sim && uv_async_init(&l->uv, &w->async, on_wake) < 0) {
        mem_free(l->mem, w, sizeof *w);
        return NULL;
    }
    if (!l->sim) uv_unref((uv_handle_t *)&w->async);
    loop_opened(l, LEDGER_WAKER);
    return w;
}

void waker_wake(struct waker *w) {
    if (w->loop->sim) loop_defer(w->loop, &w->simulated);
    else uv_async_send(&w->async);
}

void waker_keep(struct waker *w) { uv_ref((uv_handle_t *)&w->async); }

void waker_free(struct waker **waker) {
    struct waker *w = *waker;
    if (!w) return;
    *waker = NULL;
    w->loop->closing++;
    if (w->loop->sim) {
        loop_defer_cancel(&w->simulated);
        gone(w);
        return;
    }
    uv_close((uv_handle_t *)&w->async, on_gone);
}
