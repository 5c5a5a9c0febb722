/* SPDX-License-Identifier: MIT */
/* Plain data from one lua_State to another: what save() returns on its way to
 * restore(). */
#include <stdio.h>

#include "bind/bind.h"

enum { MAX_DEPTH = 64 };

static _Thread_local char refused[160]; /* what is not plain, and where */

enum { VALUE_SIZE = 16 }; /* about what one takes */

static int copy(lua_State *from, int index, lua_State *to, int depth, size_t *left);

static int spend(size_t *left, size_t n) {
    if (n <= *left) {
        *left -= n;
        return 0;
    }
    snprintf(refused, sizeof refused, "more than the limit max_saved allows");
    return RW_ELIMIT;
}

/* "a function" becomes "a function in users", and so on outwards. */
static void name_key(const char *key) {
    size_t n = strlen(refused);
    snprintf(refused + n, sizeof refused - n, " in %s", key);
}

static int copy_table(lua_State *from, int index, lua_State *to, int depth,
                      size_t *left) {
    if (depth == MAX_DEPTH || !lua_checkstack(from, 4) || !lua_checkstack(to, 4)) {
        snprintf(refused, sizeof refused, "a table nested more than %d deep", MAX_DEPTH);
        return RW_EINVAL;
    }
    lua_newtable(to);
    lua_pushnil(from);
    while (lua_next(from, index)) {
        int top = lua_gettop(from);
        int rc = copy(from, top - 1, to, depth + 1, left);
        if (rc == 0 && (rc = copy(from, top, to, depth + 1, left)) < 0) lua_pop(to, 1);
        if (rc < 0) {
            if (lua_type(from, top - 1) == LUA_TSTRING) name_key(lua_tostring(from, top - 1));
            lua_settop(from, top - 2);
            lua_pop(to, 1);
            return rc;
        }
        lua_rawset(to, -3);
        lua_pop(from, 1);
    }
    return 0;
}

static int copy(lua_State *from, int index, lua_State *to, int depth, size_t *left) {
    size_t n = 0;
    const char *s = lua_type(from, index) == LUA_TSTRING ? lua_tolstring(from, index, &n) : NULL;
    int rc = spend(left, VALUE_SIZE + n);
    if (rc < 0) return rc;
    switch (lua_type(from, index)) {
    case LUA_TNIL: lua_pushnil(to); return 0;
    case LUA_TBOOLEAN: lua_pushboolean(to, lua_toboolean(from, index)); return 0;
    case LUA_TNUMBER:
        if (lua_isinteger(from, index)) lua_pushinteger(to, lua_tointeger(from, index));
        else lua_pushnumber(to, lua_tonumber(from, index));
        return 0;
    case LUA_TSTRING: lua_pushlstring(to, s, n); return 0;
    case LUA_TTABLE: return copy_table(from, index, to, depth, left);
    default:
        snprintf(refused, sizeof refused, "a %s",
                 lua_typename(from, lua_type(from, index)));
        return RW_EINVAL;
    }
}

int transfer(lua_State *from, int index, lua_State *to, size_t *left) {
    if (!lua_checkstack(to, 4)) return RW_ENOMEM;
    return copy(from, lua_absindex(from, index), to, 0, left);
}

const char *transfer_refused(void) { return refused; }
