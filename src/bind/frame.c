/* SPDX-License-Identifier: MIT */
/* What the class of a protocol says of its frames: the table frame_format, with
 * the fields of struct frame_format; `fixed` and `mask` are strings. Written by
 * lua/ropewalk/frame.lua, so a mistake is ours. */
#include "bind/proto.h"

static lua_Integer number(lua_State *L, int index, const char *name, lua_Integer least,
                          lua_Integer most) {
    lua_getfield(L, index, name);
    lua_Integer n = luaL_optinteger(L, -1, 0);
    if (n > most || n < least) luaL_error(L, "frame_format: %s is out of range", name);
    lua_pop(L, 1);
    return n;
}

static bool yes(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    bool is = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return is;
}

static void bytes(lua_State *L, int index, const char *name, char *out) {
    lua_getfield(L, index, name);
    size_t n;
    const char *s = luaL_optlstring(L, -1, "", &n);
    if (n > FRAME_MAX_HEADER) luaL_error(L, "frame_format: %s is too long", name);
    if (n) memcpy(out, s, n);
    lua_pop(L, 1);
}

void frame_format_read(lua_State *L, int index, struct frame_format *out) {
    *out = (struct frame_format){0};
    lua_getfield(L, index, "frame_format");
    luaL_checktype(L, -1, LUA_TTABLE);
    int at = lua_gettop(L);
    out->header = (uint8_t)number(L, at, "header", 0, UINT8_MAX);
    out->trailer = (uint8_t)number(L, at, "trailer", 0, UINT8_MAX);
    out->offset = (uint8_t)number(L, at, "offset", 0, UINT8_MAX);
    out->width = (uint8_t)number(L, at, "width", 0, UINT8_MAX);
    out->adjust = (int32_t)number(L, at, "adjust", -FRAME_MAX_ADJUST, FRAME_MAX_ADJUST);
    out->max = (uint64_t)number(L, at, "max", 0, LUA_MAXINTEGER);
    out->little = yes(L, at, "little");
    out->plain = yes(L, at, "plain");
    bytes(L, at, "fixed", out->fixed);
    bytes(L, at, "mask", out->mask);
    lua_settop(L, at - 1);
}
