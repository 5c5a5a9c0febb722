/* SPDX-License-Identifier: MIT */
/* An inotify descriptor on the loop. It alone does not keep the loop running.
 * There is one for all who want to know something, for a user may have only
 * some hundred. */
#include "io/notify.h"

#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "io/internal.h"

enum { NOTIFY_BUFFER = 16 * 1024 }; /* some hundred notices */

struct notifier {
    uv_poll_t poll;
    struct loop *loop;
    void (*hook)(void *owner, struct str notices);
    void *owner;
    int fd;
    _Alignas(struct inotify_event) char buffer[NOTIFY_BUFFER];
};

const struct notice_bit notice_bits[] = {
    {"ACCESS", IN_ACCESS}, {"MODIFY", IN_MODIFY}, {"ATTRIB", IN_ATTRIB},
    {"CLOSE_WRITE", IN_CLOSE_WRITE}, {"CLOSE_NOWRITE", IN_CLOSE_NOWRITE}, {"OPEN", IN_OPEN},
    {"MOVED_FROM", IN_MOVED_FROM}, {"MOVED_TO", IN_MOVED_TO}, {"CREATE", IN_CREATE},
    {"DELETE", IN_DELETE}, {"DELETE_SELF", IN_DELETE_SELF}, {"MOVE_SELF", IN_MOVE_SELF},
    {"UNMOUNT", IN_UNMOUNT}, {"Q_OVERFLOW", IN_Q_OVERFLOW}, {"IGNORED", IN_IGNORED},
    {"ISDIR", IN_ISDIR},
    {"ONLYDIR", IN_ONLYDIR}, {"DONT_FOLLOW", IN_DONT_FOLLOW},
    {NULL, 0},
};

const struct notice notice_lost = {.watch = -1, .what = IN_Q_OVERFLOW};

static void on_gone(uv_handle_t *h) {
    struct notifier *n = CONTAINER(h, struct notifier, poll);
    struct loop *l = n->loop;
    close(n->fd);
    l->closing--;
    loop_gone(l, LEDGER_WATCH);
    mem_free(l->mem, n, sizeof *n);
}

static void on_readable(uv_poll_t *p, int status, int events) {
    struct notifier *n = CONTAINER(p, struct notifier, poll);
    (void)status, (void)events;
    ssize_t got = read(n->fd, n->buffer, sizeof n->buffer);
    if (got <= 0) return; /* interrupted, or somebody has looked already */
    uv_poll_stop(p);
    n->hook(n->owner, str_of(n->buffer, (size_t)got));
}

bool notice_next(struct str *notices, struct notice *out) {
    struct inotify_event e;
    if (notices->n < sizeof e) return false;
    memcpy(&e, notices->p, sizeof e);
    *notices = str_skip(*notices, sizeof e);
    const char *name = notices->p;
    *out = (struct notice){.watch = e.wd, .what = e.mask, .pair = e.cookie,
                           .name = str_of(name, strnlen(name, e.len))};
    *notices = str_skip(*notices, e.len);
    return true;
}

void notifier_next(struct notifier *n) { uv_poll_start(&n->poll, UV_READABLE, on_readable); }

int notifier_new(struct loop *l, void (*hook)(void *owner, struct str notices), void *owner,
                 struct notifier **out) {
    if (l->sim) return RW_ESIMULATED;
    struct notifier *n = mem_zalloc(l->mem, sizeof *n);
    if (!n) return RW_ENOMEM;
    n->loop = l;
    n->hook = hook;
    n->owner = owner;
    n->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    int rc = n->fd < 0 ? -errno : uv_poll_init(&l->uv, &n->poll, n->fd);
    if (rc < 0) {
        if (n->fd >= 0) close(n->fd);
        mem_free(l->mem, n, sizeof *n);
        return rc;
    }
    uv_unref((uv_handle_t *)&n->poll);
    loop_opened(l, LEDGER_WATCH);
    notifier_next(n);
    *out = n;
    return 0;
}

int notifier_watch(struct notifier *n, const char *path, uint32_t what) {
    int watch = inotify_add_watch(n->fd, path, what | IN_MASK_ADD | IN_EXCL_UNLINK);
    return watch < 0 ? -errno : watch;
}

void notifier_unwatch(struct notifier *n, int watch) { inotify_rm_watch(n->fd, watch); }

void notifier_free(struct notifier **notifier) {
    struct notifier *n = *notifier;
    if (!n) return;
    *notifier = NULL;
    n->loop->closing++;
    uv_close((uv_handle_t *)&n->poll, on_gone);
}
