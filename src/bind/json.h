/* SPDX-License-Identifier: MIT */
/* Between json.c and json_write.c. */
#ifndef BIND_JSON_H
#define BIND_JSON_H

#include <lua.h>

enum {
    JSON_MAX_DEPTH = 100, /* nesting that exhausts the C stack; cycles */
};

/* json_encode(value[, pretty or {pretty, sorted}]) → string; nil, message.
 * Upvalues: null, the metatable of arrays. */
int json_encode(lua_State *L);

#endif
