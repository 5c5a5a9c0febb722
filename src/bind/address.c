/* SPDX-License-Identifier: MIT */
/* Addresses in Lua: tables {kind, host, port, text}, or {kind, path, text}. */
#include "bind/proto.h"

static const char address_class[] = "ropewalk.address";

void push_address(lua_State *L, const struct address *a) {
    static const char *const kinds[] = {"none", "tcp", "unix", "stdio", "pair",
                                       "process", "udp"};
    char text[160];
    lua_createtable(L, 0, 4);
    lua_pushstring(L, kinds[a->kind]);
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, a->host);
    lua_setfield(L, -2, a->kind == ADDRESS_UNIX ? "path" : "host");
    if (a->kind == ADDRESS_TCP || a->kind == ADDRESS_UDP) {
        lua_pushinteger(L, a->port);
        lua_setfield(L, -2, "port");
    }
    struct str formatted = address_format(a, text, sizeof text);
    lua_pushlstring(L, formatted.p, formatted.n);
    lua_setfield(L, -2, "text");
    luaL_setmetatable(L, address_class);
}

static int address_tostring(lua_State *L) {
    lua_getfield(L, 1, "text");
    return 1;
}

static int address_call(lua_State *L) { /* transport:peer() is transport.peer */
    lua_settop(L, 1);
    return 1;
}

static int address_eq(lua_State *L) {
    lua_getfield(L, 1, "text");
    lua_getfield(L, 2, "text");
    lua_pushboolean(L, lua_rawequal(L, -1, -2));
    return 1;
}

void address_open(lua_State *L) {
    static const luaL_Reg meta[] = {
        {"__tostring", address_tostring}, {"__call", address_call},
        {"__eq", address_eq}, {NULL, NULL},
    };
    luaL_newmetatable(L, address_class);
    luaL_setfuncs(L, meta, 0);
    lua_pop(L, 1);
}
