/* SPDX-License-Identifier: MIT */
/* Ownership: what belongs to a connection or to a generation is in its scope
 * and is cancelled with it. */
#ifndef BIND_SCOPE_H
#define BIND_SCOPE_H

#include <stdbool.h>
#include <stddef.h>

struct scope_item {
    struct scope_item *next, **prev; /* list: scope->items; NULL: in none */
    void (*cancel)(struct scope_item *item); /* leaves the scope itself */
};

struct scope {
    struct scope_item *items; /* newest first */
    bool closed;
};

static inline void scope_add(struct scope *s, struct scope_item *item) {
    item->next = s->items;
    item->prev = &s->items;
    if (s->items) s->items->prev = &item->next;
    s->items = item;
}

static inline void scope_remove(struct scope_item *item) {
    if (!item->prev) return;
    *item->prev = item->next;
    if (item->next) item->next->prev = item->prev;
    item->prev = NULL;
}

/* Cancels the items, newest first. What cancelling adds is cancelled too. */
static inline void scope_close(struct scope *s) {
    s->closed = true;
    for (struct scope_item *item; (item = s->items);) {
        scope_remove(item);
        item->cancel(item);
    }
}

#endif
