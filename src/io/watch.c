/* SPDX-License-Identifier: MIT */
/* File watches: directories only, since a file that is replaced by rename takes
 * a watch on itself away with it. Events come in bursts (an editor writes,
 * syncs, renames, removes a backup): the hook comes once, `debounce_ms` after
 * the last; but it does not wait for more than WATCH_PATIENCE such times, or a
 * log file in the directory would put it off for ever.
 */
#include "io/internal.h"

#include <string.h>

enum { WATCH_PATIENCE = 20 };

struct watched {
    uv_fs_event_t event;
    struct watched *next; /* list: file_watch->first */
    struct file_watch *watch;
    size_t size; /* of this block */
    char directory[];
};

struct file_watch {
    struct loop *loop;
    struct watched *first; /* owned */
    struct timer timer;
    uint64_t debounce, began; /* began: 0, or when the burst did */
    void (*hook)(void *owner);
    void *owner;
    unsigned handles;
    bool freed;
};

static void maybe_free(struct file_watch *w) {
    struct loop *l = w->loop;
    if (!w->freed || w->handles) return;
    l->closing--;
    loop_gone(l, LEDGER_WATCH);
    mem_free(l->mem, w, sizeof *w);
}

static void on_gone(uv_handle_t *h) {
    struct watched *d = CONTAINER(h, struct watched, event);
    struct file_watch *w = d->watch;
    mem_free(w->loop->mem, d, d->size);
    w->handles--;
    maybe_free(w);
}

static void on_quiet(struct timer *t) {
    struct file_watch *w = CONTAINER(t, struct file_watch, timer);
    w->began = 0;
    w->hook(w->owner);
}

static void on_event(uv_fs_event_t *e, const char *name, int events,
                     int status) {
    struct file_watch *w = CONTAINER(e, struct watched, event)->watch;
    (void)name, (void)events, (void)status;
    uint64_t now = loop_now(w->loop);
    if (!w->began) w->began = now;
    uint64_t latest = w->began + w->debounce * WATCH_PATIENCE;
    uint64_t wait = w->debounce;
    if (now + wait > latest) wait = latest > now ? latest - now : 0;
    timer_start(w->loop, &w->timer, wait, on_quiet);
}

struct file_watch *file_watch_new(struct loop *l, uint64_t debounce_ms,
                                  void (*hook)(void *owner), void *owner) {
    if (l->sim) return NULL;
    struct file_watch *w = mem_zalloc(l->mem, sizeof *w);
    if (!w) return NULL;
    w->loop = l;
    w->debounce = debounce_ms;
    w->hook = hook;
    w->owner = owner;
    loop_opened(l, LEDGER_WATCH);
    return w;
}

int file_watch_add(struct file_watch *w, const char *directory) {
    for (struct watched *d = w->first; d; d = d->next)
        if (strcmp(d->directory, directory) == 0) return 0;
    size_t n = strlen(directory) + 1, size = sizeof(struct watched) + n;
    struct watched *d = mem_zalloc(w->loop->mem, size);
    if (!d) return RW_ENOMEM;
    d->watch = w;
    d->size = size;
    memcpy(d->directory, directory, n);
    uv_fs_event_init(&w->loop->uv, &d->event);
    w->handles++;
    int rc = uv_fs_event_start(&d->event, on_event, directory, 0);
    if (rc < 0) {
        uv_close((uv_handle_t *)&d->event, on_gone);
        return rc;
    }
    uv_unref((uv_handle_t *)&d->event);
    d->next = w->first;
    w->first = d;
    return 0;
}

void file_watch_free(struct file_watch **watch) {
    struct file_watch *w = *watch;
    if (!w) return;
    *watch = NULL;
    w->freed = true;
    w->loop->closing++;
    timer_stop(w->loop, &w->timer);
    for (struct watched *d = w->first; d; d = d->next)
        uv_close((uv_handle_t *)&d->event, on_gone);
    maybe_free(w);
}
