/* SPDX-License-Identifier: MIT */
/* request:on_finish: functions that are told when an exchange is over, some time later
 * if there is no memory for that, when its connection may be gone. */
#include "bind/http.h"

/* Calls the on_finish functions that were not told yet. */
static int tell(lua_State *L) {
    struct finish *f = CONTAINER(lua_touserdata(L, 1), struct finish, debt);
    lua_rawgetp(L, LUA_REGISTRYINDEX, f);
    lua_getiuservalue(L, -1, FINISH_FUNCTIONS);
    while (f->count < (lua_Integer)lua_rawlen(L, -1)) { /* they may add some */
        lua_rawgeti(L, -1, f->count + 1);
        if (f->reason) lua_pushstring(L, err_name(f->reason));
        else lua_pushnil(L);
        f->count++;
        if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
            door_report(L, -1, "on_finish failed");
            lua_pop(L, 1);
        }
    }
    return 0;
}

static void forget(struct generation *g, struct finish *f) {
    if (!f->held && f->over && g->state != GENERATION_DEAD) door_protect(g, registry_forget, f);
}

static void told(struct debt *d) {
    struct finish *f = CONTAINER(d, struct finish, debt);
    f->over = true;
    forget(d->gen, f);
}

struct finish *finish_push(lua_State *L, struct http_conn *h, int index) {
    if (h->finish) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, h->finish);
        return h->finish;
    }
    struct finish *f = lua_newuserdatauv(L, sizeof *f, FINISH_REQUEST);
    *f = (struct finish){.debt = {.body = tell, .over = told}, .held = true};
    lua_newtable(L);
    lua_setiuservalue(L, -2, FINISH_FUNCTIONS);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, FINISH_REQUEST);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, f);
    return h->finish = f;
}

void finish_owe(struct http_conn *h, struct generation *g) {
    struct finish *f = h->finish;
    if (!f) return;
    int reason = h->base.reason ? h->base.reason : h->base.stream ? 0 : RW_ECLOSED;
    f->reason = h->engine.in == HTTP1_IN_UPGRADED ? 0 : reason;
    debt_owe(&f->debt, g, NULL);
}

void finish_release(struct http_conn *h, struct generation *g) {
    struct finish *f = h->finish;
    if (!f) return;
    h->finish = NULL;
    f->held = false;
    forget(g, f);
}
