/* SPDX-License-Identifier: MIT */
/* What happens to files, as the system tells it: by inotify itself, since
 * libuv's fs events tell neither what it was nor that some were lost. (For
 * "something has changed here" there is file_watch in loop.h.) */
#ifndef IO_NOTIFY_H
#define IO_NOTIFY_H

#include "io/loop.h"

struct notifier;

struct notice {
    int watch;     /* -1: of none (the system's queue was full) */
    uint32_t what; /* bits of notice_bits */
    uint32_t pair; /* the two halves of a renaming have the same; or 0 */
    struct str name; /* in the directory that is watched; "": it itself */
};

/* Their names without IN_; ends with a NULL. The last ones are not told, they
 * say how to watch. */
struct notice_bit {
    const char *name;
    uint32_t bit;
};
extern const struct notice_bit notice_bits[];
extern const struct notice notice_lost; /* some were */

/* `hook` comes with what one look at the system's queue has brought, borrowed
 * until notifier_next or notifier_free, before which it does not come again: what is
 * slow to read waits in the system, whose queue is bounded, too. */
int notifier_new(struct loop *l, void (*hook)(void *owner, struct str notices), void *owner,
                 struct notifier **out);
/* Takes the first one off; false: there is none. */
bool notice_next(struct str *notices, struct notice *out);
void notifier_next(struct notifier *n);
/* The number of the watch (what is watched already keeps its number, and `what`
 * is added to it); or < 0. */
int notifier_watch(struct notifier *n, const char *path, uint32_t what);
void notifier_unwatch(struct notifier *n, int watch);
void notifier_free(struct notifier **n); /* also from within the hook */

#endif
