/* SPDX-License-Identifier: MIT */
#include "bind/bind.h"

enum { AGAIN_MS = 10, ROOM_CALLS = 8, ROOM_SLOTS = 240 };

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

/* Lua keeps what calls have needed. */
static int nest(lua_State *L) {
    lua_Integer depth = lua_tointeger(L, 1);
    if (depth == 0) return 0;
    lua_pushcfunction(L, nest);
    lua_pushinteger(L, depth - 1);
    lua_call(L, 1, 0);
    return 0;
}

/* First the room that a call takes, and one that fires a Deferred in it: a script's
 * function, once called, should not fail for that. */
static int body(lua_State *L) {
    struct debt *d = lua_touserdata(L, 1);
    lua_pushcfunction(L, nest);
    lua_pushinteger(L, ROOM_CALLS);
    lua_call(L, 1, 0);
    d->no_room = !lua_checkstack(L, ROOM_SLOTS);
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
