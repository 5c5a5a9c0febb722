/* SPDX-License-Identifier: MIT */
/* Wakers: the one thing of a loop that other threads and signal handlers may
 * touch. Several wakes before the loop looks are one call of `run`. */
#include "io/internal.h"

struct waker {
    uv_async_t async;
    struct loop *loop;
    void (*run)(void *owner);
    void *owner;
};

static void on_wake(uv_async_t *a) {
    struct waker *w = CONTAINER(a, struct waker, async);
    w->run(w->owner);
}

static void on_gone(uv_handle_t *h) {
    struct waker *w = CONTAINER(h, struct waker, async);
    struct loop *l = w->loop;
    l->closing--;
    loop_gone(l, LEDGER_WAKER);
    mem_free(l->mem, w, sizeof *w);
}

struct waker *waker_new(struct loop *l, void (*run)(void *owner), void *owner) {
    struct waker *w = mem_zalloc(l->mem, sizeof *w);
    if (!w) return NULL;
    w->loop = l;
    w->run = run;
    w->owner = owner;
    if (uv_async_init(&l->uv, &w->async, on_wake) < 0) {
        mem_free(l->mem, w, sizeof *w);
        return NULL;
    }
    uv_unref((uv_handle_t *)&w->async);
    loop_opened(l, LEDGER_WAKER);
    return w;
}

void waker_wake(struct waker *w) { uv_async_send(&w->async); }

void waker_keep(struct waker *w) { uv_ref((uv_handle_t *)&w->async); }

void waker_free(struct waker **waker) {
    struct waker *w = *waker;
    if (!w) return;
    *waker = NULL;
    w->loop->closing++;
    uv_close((uv_handle_t *)&w->async, on_gone);
}
