/* SPDX-License-Identifier: MIT */
#include "bind/bind.h"

enum { AGAIN_MS = 10 };

static void finish(struct debt *d) {
    scope_remove(&d->item);
    timer_stop(d->gen->rw->loop, &d->timer);
    d->over(d);
}

static void generation_gone(struct scope_item *item) {
    finish(CONTAINER(item, struct debt, item));
}

static void pay(struct debt *d, struct scope *scope);

static void fired(struct timer *t) { pay(CONTAINER(t, struct debt, timer), NULL); }

static void tried(struct task *t, int status) {
    struct debt *d = t->owner;
    if (status != RW_ENOMEM || d->gen->debts.closed) {
        finish(d);
        return;
    }
    d->again = true;
    timer_start(d->gen->rw->loop, &d->timer, AGAIN_MS, fired);
}

static void pay(struct debt *d, struct scope *scope) {
    door_enter(d->gen, &(struct door_call){
        .body = d->body, .arg = d, .scope = scope, .owner = d, .done = tried});
}

void debt_owe(struct debt *d, struct generation *g, struct scope *scope) {
    d->gen = g;
    d->item.cancel = generation_gone;
    scope_add(&g->debts, &d->item);
    pay(d, scope);
}
