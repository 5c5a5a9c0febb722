/* SPDX-License-Identifier: MIT */
/* core.router(): a route table whose numbers stand for Lua functions. */
#ifndef BIND_ROUTER_H
#define BIND_ROUTER_H

#include <lua.h>

#include "base/route.h"

struct bind_router { /* the userdata; uservalue 1: functions, 2: values */
    struct route_table table;
    int count; /* ids given out: 1 … count */
};

/* The router at `index`, or an error in Lua. */
struct bind_router *router_check(lua_State *L, int index);

/* The id, or 0; no Lua. Slices borrow from `path` and from the router. */
static inline int router_find(const struct bind_router *r, struct str method,
                              struct str path, struct route_match *m) {
    return route_find(&r->table, method, path, m);
}

/* Push what router:add was given. `router_index`: the userdata. */
void router_push_handler(lua_State *L, int router_index, int id);
void router_push_value(lua_State *L, int router_index, int id); /* or nil */

/* Pushes {name = value decoded}; when an escape is malformed pushes nothing
 * and returns RW_ESYNTAX (answer 400; route_path_ok tells it before). */
int router_push_params(lua_State *L, const struct route_match *m);

/* Pushes the list of methods of m->allowed, or nil when there is none. */
void router_push_allowed(lua_State *L, const struct bind_router *r,
                         const struct route_match *m);

#endif
