/* SPDX-License-Identifier: MIT */
/* Names in a simulation: what the test says of them, for all states of the
 * world, and lookups, which take a while and may fail. What an answer holds is
 * the concern of names/simulated.lua.
 *
 * A lookup is a userdata, anchored and owned as those of names.c. */
#include <string.h>

#include "bind/leftover.h"
#include "bind/simulate.h"

static const char class_name[] = "ropewalk.simulated_lookup";

struct lookup {
    struct scope_item item;
    struct debt debt; /* its outcome */
    struct simulation_lookup simulated;
    struct generation *gen;
    struct scope *scope;
    int status;
    bool active;
};

static struct simulated *world(lua_State *L) { return generation_of(L)->rw->simulated; }

/* ── what the test says ───────────────────────────────────────────────────*/

static int push_refusal(lua_State *L, const char *name, const char *why) {
    lua_pushnil(L);
    if (name) lua_pushfstring(L, "%s: %s", name, why);
    else lua_pushstring(L, why);
    return 2;
}

/* Of the name at -2 the list at -1: 0 or < 0. */
static int say_addresses(lua_State *L, struct loop *l) {
    int rc = 0;
    luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING && lua_istable(L, -1), 1,
                  "lists of addresses by name are expected");
    for (lua_Integer i = 1; rc == 0 && lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
        const char *address = lua_tostring(L, -1);
        rc = address ? simulation_name(l, lua_tostring(L, -3), address) : RW_ESYNTAX;
        lua_pop(L, 1);
    }
    return rc;
}

/* names(addresses, records) → true, or nil and why not: from now on the names are
 * these, in all states. `addresses`: lists of texts, by name; `records`: whatever
 * names_since is to give. */
static int l_names(lua_State *L) {
    struct simulated *s = world(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkany(L, 2);
    shipment_release(&s->names);
    shipment_init(&s->names, SHIP_MAX);
    s->names.mem.arena = s->arena;
    s->names_version++;
    int rc = ship_pack(L, 2, 1, &s->names);
    if (rc < 0) return push_refusal(L, NULL, rc == RW_ENOMEM ? err_text(rc) : ship_refused());
    simulation_say_names(s->loop);
    lua_settop(L, 1);
    lua_pushnil(L);
    for (; lua_next(L, 1); lua_settop(L, 2)) {
        rc = say_addresses(L, s->loop);
        if (rc < 0) return push_refusal(L, lua_tostring(L, 2), err_text(rc));
    }
    lua_pushboolean(L, true);
    return 1;
}

/* names_since(version) → version, and the records if that is another one */
static int l_names_since(lua_State *L) {
    struct simulated *s = world(L);
    bool known = luaL_checkinteger(L, 1) == (lua_Integer)s->names_version;
    lua_pushinteger(L, (lua_Integer)s->names_version);
    return 1 + (known || !s->names_version ? 0 : ship_unpack(L, &s->names));
}

/* address(name) → that of a name of which nothing was said; nil, code, message */
static int l_address(lua_State *L) {
    char address[IP_TEXT_MAX];
    int rc = simulation_address(world(L)->loop, luaL_checkstring(L, 1), address);
    if (rc < 0) return push_failure(L, rc);
    lua_pushstring(L, address);
    return 1;
}

/* ── lookups ──────────────────────────────────────────────────────────────*/

static int done_body(lua_State *L) {
    struct lookup *k = CONTAINER(lua_touserdata(L, 1), struct lookup, debt);
    lua_rawgetp(L, LUA_REGISTRYINDEX, k);
    lua_getiuservalue(L, -1, 1);
    int n = 0;
    if (k->status < 0) {
        lua_pushstring(L, err_name(k->status));
        lua_pushstring(L, err_text(k->status));
        n = 2;
    }
    lua_callk(L, n, 0, 0, no_results);
    return 0;
}

static void told(struct debt *d) {
    struct lookup *k = CONTAINER(d, struct lookup, debt);
    if (d->gen->state != GENERATION_DEAD) door_protect(d->gen, registry_forget, k);
}

static void answered(struct simulation_lookup *simulated, int status) {
    struct lookup *k = CONTAINER(simulated, struct lookup, simulated);
    k->active = false;
    k->status = status;
    scope_remove(&k->item);
    k->debt = (struct debt){.body = done_body, .over = told};
    debt_owe(&k->debt, k->gen, k->scope);
}

static void drop(struct lookup *k) {
    k->active = false;
    simulation_lookup_stop(&k->simulated);
}

static void closed(struct scope_item *item) {
    struct lookup *k = CONTAINER(item, struct lookup, item);
    drop(k);
    if (k->gen->state != GENERATION_DEAD) door_protect(k->gen, registry_forget, k);
}

/* lookup(text, done) → lookup; done() when there is an answer, else
 * done(code, message) */
static int l_lookup(lua_State *L) {
    struct str text = check_str(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    struct lookup *k = lua_newuserdatauv(L, sizeof *k, 1);
    memset(k, 0, sizeof *k);
    luaL_setmetatable(L, class_name);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, k);
    struct generation *g = k->gen = generation_of(L);
    struct task *t = task_running(g->rw);
    k->item.cancel = closed;
    k->active = true;
    k->scope = t ? t->scope : &g->scope;
    scope_add(k->scope, &k->item);
    leftover_note(L, &k->item, "lookup");
    simulation_lookup_start(g->rw->loop, &k->simulated, text, g->limits.names_timeout, answered);
    return 1;
}

static int lookup_cancel(lua_State *L) {
    struct lookup *k = luaL_checkudata(L, 1, class_name);
    lua_pushboolean(L, k->active);
    if (!k->active) return 1;
    scope_remove(&k->item);
    drop(k);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, k);
    return 1;
}

void simulated_names_open(lua_State *L) {
    static const luaL_Reg methods[] = {{"cancel", lookup_cancel}, {NULL, NULL}};
    class_define(L, class_name, methods, NULL);
    static const luaL_Reg functions[] = {
        {"names", l_names}, {"names_since", l_names_since}, {"address", l_address},
        {"lookup", l_lookup}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
