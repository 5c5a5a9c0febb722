/* SPDX-License-Identifier: MIT */
/* Shipments: unpacking (packing is ship_pack.c), and what Lua sees of them. */
#include "bind/ship_private.h"

void shipment_init(struct shipment *s, size_t max) {
    mem_init(&s->mem, 0);
    buf_init(&s->bytes, &s->mem, max);
}

void shipment_release(struct shipment *s) { buf_release(&s->bytes); }

void shipment_move(struct shipment *to, struct shipment *from) {
    *to = *from;
    to->bytes.mem = &to->mem;
    shipment_init(from, from->bytes.max);
}

/* ── unpacking ────────────────────────────────────────────────────────────*/

struct unpacker {
    lua_State *L;
    struct str rest;
    int objects; /* stack index: number → object */
    lua_Integer count;
};

static void unpack(struct unpacker *u);

static const char *take(struct unpacker *u, size_t n) {
    if (u->rest.n < n) luaL_error(u->L, "a shipment is cut short");
    const char *p = u->rest.p;
    u->rest = str_skip(u->rest, n);
    return p;
}

static lua_Integer take_number(struct unpacker *u) {
    lua_Integer n;
    memcpy(&n, take(u, sizeof n), sizeof n);
    return n;
}

static struct str take_text(struct unpacker *u) {
    size_t n;
    memcpy(&n, take(u, sizeof n), sizeof n);
    return str_of(take(u, n), n);
}

static void keep(struct unpacker *u, lua_Integer number) {
    lua_pushvalue(u->L, -1);
    lua_rawseti(u->L, u->objects, number);
}

static int require_module(lua_State *L) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, -2) != LUA_TNIL) return 1;
    if (lua_getfield(L, -2, "ropewalk.loader") == LUA_TTABLE) lua_getfield(L, -1, "require");
    else lua_getglobal(L, "require");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static void unpack_named(struct unpacker *u, bool field) {
    lua_State *L = u->L;
    lua_Integer number = ++u->count;
    struct str module = take_text(u);
    lua_pushcfunction(L, require_module);
    lua_pushlstring(L, module.p, module.n);
    lua_call(L, 1, 1);
    if (field) {
        struct str name = take_text(u);
        lua_pushlstring(L, name.p, name.n);
        if (lua_gettable(L, -2) == LUA_TNIL)
            luaL_error(L, "module '%s' has no '%s' here",
                       lua_pushlstring(L, module.p, module.n),
                       lua_pushlstring(L, name.p, name.n));
        lua_remove(L, -2);
    }
    keep(u, number);
}

static void unpack_table(struct unpacker *u) {
    lua_State *L = u->L;
    lua_newtable(L);
    keep(u, ++u->count);
    for (;;) {
        unpack(u);
        if (lua_isnil(L, -1)) break;
        unpack(u);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
    unpack(u);
    if (lua_istable(L, -1)) lua_setmetatable(L, -2);
    else lua_pop(L, 1);
}

static void join_upvalue(struct unpacker *u, int i) {
    lua_Integer first = take_number(u);
    lua_rawgeti(u->L, u->objects, first / SHIP_PLACES);
    lua_upvaluejoin(u->L, -2, i, -1, (int)(first % SHIP_PLACES));
    lua_pop(u->L, 1);
}

static void unpack_function(struct unpacker *u) {
    lua_State *L = u->L;
    struct str code = take_text(u);
    lua_Integer number = ++u->count;
    if (luaL_loadbufferx(L, code.p, code.n, "=shipped", "b") != LUA_OK) lua_error(L);
    keep(u, number);
    int count = (unsigned char)*take(u, 1);
    for (int i = 1; i <= count; i++) {
        if ((enum tag)*take(u, 1) == TAG_JOIN) {
            join_upvalue(u, i);
        } else {
            unpack(u);
            lua_setupvalue(L, -2, i);
        }
    }
}

static void unpack(struct unpacker *u) {
    lua_State *L = u->L;
    luaL_checkstack(L, SHIP_STACK, "shipment");
    enum tag tag = (enum tag)*take(u, 1);
    switch (tag) {
    case TAG_NIL: lua_pushnil(L); break;
    case TAG_FALSE: lua_pushboolean(L, false); break;
    case TAG_TRUE: lua_pushboolean(L, true); break;
    case TAG_INTEGER: lua_pushinteger(L, take_number(u)); break;
    case TAG_NUMBER: {
        lua_Number n;
        memcpy(&n, take(u, sizeof n), sizeof n);
        lua_pushnumber(L, n);
        break;
    }
    case TAG_STRING: {
        struct str text = take_text(u);
        lua_pushlstring(L, text.p, text.n);
        break;
    }
    case TAG_AGAIN: lua_rawgeti(L, u->objects, take_number(u)); break;
    case TAG_GLOBALS: lua_pushglobaltable(L); break;
    case TAG_MODULE:
    case TAG_FIELD: unpack_named(u, tag == TAG_FIELD); break;
    case TAG_TABLE: unpack_table(u); break;
    case TAG_FUNCTION: unpack_function(u); break;
    default: luaL_error(L, "a shipment is damaged");
    }
}

int ship_unpack(lua_State *L, const struct shipment *s) {
    luaL_checkstack(L, SHIP_STACK, NULL);
    lua_newtable(L);
    struct unpacker u = {.L = L, .rest = buf_str(&s->bytes), .objects = lua_gettop(L)};
    while (u.rest.n) unpack(&u);
    lua_remove(L, u.objects);
    return lua_gettop(L) - u.objects + 1;
}

/* ── in one go, and for Lua ───────────────────────────────────────────────*/

static const char class_name[] = "ropewalk.shipment";

static int shipment_gc(lua_State *L) {
    shipment_release(lua_touserdata(L, 1));
    return 0;
}

struct shipment *shipment_push(lua_State *L, struct shipment *from) {
    struct shipment *s = lua_newuserdatauv(L, sizeof *s, 0);
    shipment_init(s, SHIP_MAX);
    if (luaL_newmetatable(L, class_name)) {
        lua_pushcfunction(L, shipment_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    if (from) shipment_move(s, from);
    return s;
}

int ship_value(lua_State *from, int index, lua_State *to) {
    index = lua_absindex(from, index);
    luaL_checkstack(from, SHIP_STACK, NULL);
    struct shipment *s = shipment_push(from, NULL);
    int rc = ship_pack(from, index, 1, s);
    if (rc == 0) ship_unpack(to, s);
    shipment_release(s);
    lua_pop(from, 1);
    return rc;
}

static int core_ship(lua_State *L) {
    int n = lua_gettop(L);
    struct shipment *s = shipment_push(L, NULL);
    int rc = ship_pack(L, 1, n, s);
    if (rc < 0) return luaL_error(L, "%s", rc == RW_ENOMEM ? "not enough memory" : ship_refused());
    return 1;
}

static int core_unship(lua_State *L) {
    return ship_unpack(L, luaL_checkudata(L, 1, class_name));
}

void ship_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"ship", core_ship}, {"unship", core_unship}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
