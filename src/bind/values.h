/* SPDX-License-Identifier: MIT */
/* Values on their way: from one generation to another, between Lua and C. */
#ifndef BIND_VALUES_H
#define BIND_VALUES_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct generation;
struct limits;

/* Copies plain data (nil, booleans, numbers, strings, tables of these, to a
 * depth of 64) from the value at `index` of `from` to the top of `to`: 0,
 * RW_EINVAL when something else is in it, or RW_ELIMIT when it takes more than
 * *left bytes, of which it takes its own. Both protected by the caller. */
int transfer(lua_State *from, int index, lua_State *to, size_t *left);
const char *transfer_refused(void); /* "a function in users" */
/* What the services of one generation save, the other's restore (handover.c);
 * false: one of them failed, nothing is changed for the old generation. */
bool handover(struct generation *from, struct generation *to);

/* Limits as a proxy table, and the reading of overrides from a table. */
void limits_override(lua_State *L, int index, struct limits *l);
/* Pushes limit `key` (or nil); sets it from the value at `value`. */
void limits_push(lua_State *L, int key, const struct limits *l);
void limits_assign(lua_State *L, int key, int value, struct limits *l);

/* The text at `index`, good as long as it is there; raises. */
static inline struct str check_str(lua_State *L, int index) {
    struct str s;
    s.p = luaL_checklstring(L, index, &s.n);
    return s;
}

/* Pushes what holds the names (string keys) of the table at `index`, sorted as bytes;
 * good as long as it is there. It takes 5 slots. */
const struct str *push_keys(lua_State *L, int index, size_t *count);

/* "nil, code name, message" */
int push_failure(lua_State *L, int code);

#endif
