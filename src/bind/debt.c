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
    bool failed = status == RW_ENOMEM || (status == 0 && d->no_room);
    if (!failed || d->state != DEBT_OWED || d->gen->debts.closed) {
        finish(d);
        return;
    }
    d->again = true;
    timer_start(d->gen->rw->loop, &d->timer, AGAIN_MS, fired);
}

/* A script's function, once called, should not fail for want of room. */
static int body(lua_State *L) {
    struct debt *d = lua_touserdata(L, 1);
    lua_pushcfunction(L, door_room);
    lua_call(L, 0, 1);
    d->no_room = !lua_toboolean(L, -1);
    lua_pop(L, 1);
    return d->no_room ? 0 : d->body(L);
}

static void pay(struct debt *d, struct scope *scope) {
    struct task *t = door_enter(d->gen, &(struct door_call){
        .body = body, .arg = d, .scope = scope, .owner = d, .done = tried});
    if (!t || d->state != DEBT_TOLD) return;
    t->done = NULL;
    finish(d);
}

void debt_owe(struct debt *d, struct generation *g, struct scope *scope) {
    d->gen = g;
    d->item.cancel = generation_gone;
    scope_add(&g->debts, &d->item);
    pay(d, scope);
}
