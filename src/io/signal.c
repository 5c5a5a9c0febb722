/* SPDX-License-Identifier: MIT */
/* Signals as hooks of the loop: libuv's handler writes into a pipe, the hook
 * runs in the poll phase. Before libuv's comes a handler of ours that notes the
 * signal, for those who cannot get as far as to that phase. */
#include "io/internal.h"

#include <signal.h>
#include <stdatomic.h>

struct signal_watch {
    uv_signal_t signal;
    struct loop *loop;
    void (*hook)(void *owner, int signum);
    void *owner;
};

enum { NOTED = 64 };
static _Atomic uint64_t noted;               /* bits */
static void (*volatile next_handler)(int);   /* libuv's; one for all signals */

static void note(int signum) {
    atomic_fetch_or(&noted, UINT64_C(1) << signum % NOTED);
    next_handler(signum);
}

static void note_before(int signum) {
    struct sigaction action;
    if (sigaction(signum, NULL, &action) < 0 || action.sa_handler == note) return;
    next_handler = action.sa_handler;
    action.sa_handler = note;
    sigaction(signum, &action, NULL);
}

bool signal_was_caught(int signum) {
    return atomic_load(&noted) & UINT64_C(1) << signum % NOTED;
}

static void on_signal(uv_signal_t *s, int signum) {
    struct signal_watch *w = CONTAINER(s, struct signal_watch, signal);
    w->hook(w->owner, signum);
}

static void on_gone(uv_handle_t *h) {
    struct signal_watch *w = CONTAINER(h, struct signal_watch, signal);
    struct loop *l = w->loop;
    l->closing--;
    loop_gone(l, LEDGER_SIGNAL);
    mem_free(l->mem, w, sizeof *w);
}

struct signal_watch *signal_watch_new(struct loop *l, int signum,
                                      void (*hook)(void *owner, int signum),
                                      void *owner) {
    if (l->sim) return NULL;
    struct signal_watch *w = mem_zalloc(l->mem, sizeof *w);
    if (!w) return NULL;
    w->loop = l;
    w->hook = hook;
    w->owner = owner;
    if (uv_signal_init(&l->uv, &w->signal) < 0) {
        mem_free(l->mem, w, sizeof *w);
        return NULL;
    }
    loop_opened(l, LEDGER_SIGNAL);
    uv_unref((uv_handle_t *)&w->signal);
    if (uv_signal_start(&w->signal, on_signal, signum) < 0)
        signal_watch_free(&w); /* leaves NULL */
    else note_before(signum);
    return w;
}

void signal_watch_free(struct signal_watch **watch) {
    struct signal_watch *w = *watch;
    if (!w) return;
    *watch = NULL;
    w->loop->closing++;
    uv_close((uv_handle_t *)&w->signal, on_gone);
}
