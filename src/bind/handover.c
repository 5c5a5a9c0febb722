/* SPDX-License-Identifier: MIT */
/* What services keep across a reload: boot.save() of the running generation
 * gives a table, path → data, which is copied value by value, and boot.restore
 * of the new one takes the copy. All of it in the commit's one step: neither
 * may wait. Of data that cannot go over (not plain, too much) the others'
 * does. */
#include "bind/bind.h"
#include "bind/state.h"

struct handover {
    struct generation *from, *to;
    lua_State *saved; /* boot.save's result is on top of it */
    bool refused;
};

static void report_lost(struct handover *h, const char *path) {
    log_error(&h->from->rw->log, "the state of a service is lost: only plain data can go over",
              LF_UINT("generation", h->from->id), LF_Z("service", path),
              LF_Z("found", transfer_refused()));
}

static void copy_saved(struct handover *h, lua_State *to) {
    lua_State *from = h->saved;
    int table = lua_gettop(from);
    size_t left = h->to->limits.max_saved;
    lua_pushnil(from);
    while (lua_next(from, table)) {
        const char *path = lua_tostring(from, table + 1);
        size_t rest = left;
        if (transfer(from, table + 2, to, &rest) == 0) {
            lua_setfield(to, -2, path);
            left = rest;
        } else {
            report_lost(h, path);
        }
        lua_settop(from, table + 1);
    }
}

static int restore(lua_State *L) {
    struct handover *h = lua_touserdata(L, 1);
    h->refused = true; /* if an error is raised */
    state_push_boot(L, "restore");
    lua_newtable(L);
    copy_saved(h, L);
    lua_call(L, 1, 0);
    h->refused = false;
    return 0;
}

static int save(lua_State *L) {
    struct handover *h = lua_touserdata(L, 1);
    state_push_boot(L, "save");
    lua_call(L, 0, 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_pushnil(L);
    if (!lua_next(L, -2)) return 0; /* nothing to hand over */
    lua_pop(L, 2);
    luaL_checkstack(L, 8, NULL);
    h->saved = L;
    door_enter(h->to, &(struct door_call){.body = restore, .arg = h, .in_one = true});
    return 0;
}

bool handover(struct generation *from, struct generation *to) {
    struct handover h = {.from = from, .to = to};
    door_enter(from, &(struct door_call){.body = save, .arg = &h, .in_one = true});
    return !h.refused;
}
