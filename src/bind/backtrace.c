/* SPDX-License-Identifier: MIT */
/* Where a coroutine is: its frames as they are. Far more failures are made than
 * tracebacks read, so lua/ropewalk/failure.lua makes text of them when asked. */
#include "bind/bind.h"
#include "bind/libraries.h"

enum { MAX_FRAMES = 24, VALUES = 4, USUAL_FRAMES = 8 };

/* Adds a frame's values to the list: the function, its line (-1: none) * 2 + 1 if
 * tail calls led there, its name or false, what kind of name that is. */
static void add_frame(lua_State *L, int list, lua_State *co, lua_Debug *ar, lua_Integer at) {
    lua_getinfo(co, "flnt", ar);
    if (co != L) lua_xmove(co, L, 1);
    lua_rawseti(L, list, at + 1);
    lua_pushinteger(L, (lua_Integer)ar->currentline * 2 + (ar->istailcall != 0));
    lua_rawseti(L, list, at + 2);
    if (ar->name) lua_pushstring(L, ar->name);
    else lua_pushboolean(L, false);
    lua_rawseti(L, list, at + 3);
    lua_pushstring(L, ar->namewhat);
    lua_rawseti(L, list, at + 4);
}

/* core.frames(level, co or nil, list or nil) → list, with the innermost 24 frames
 * of co (nil: of the running one) from a level on, in groups of four */
static int core_frames(lua_State *L) {
    lua_Integer level = luaL_checkinteger(L, 1);
    lua_State *co = lua_isnoneornil(L, 2) ? L : lua_tothread(L, 2);
    luaL_argexpected(L, co, 2, "coroutine");
    lua_settop(L, 3);
    if (!lua_istable(L, 3)) {
        lua_createtable(L, USUAL_FRAMES * VALUES, 0);
        lua_replace(L, 3);
    }
    if (!lua_checkstack(co, 2)) return 1; /* a coroutine that ran out of stack */
    lua_Integer at = (lua_Integer)lua_rawlen(L, 3);
    lua_Debug ar;
    for (int i = 0; i < MAX_FRAMES && lua_getstack(co, (int)level + i, &ar); i++, at += VALUES)
        add_frame(L, 3, co, &ar, at);
    return 1;
}

void backtrace_open(lua_State *L) {
    lua_pushcfunction(L, core_frames);
    lua_setfield(L, -2, "frames");
}
