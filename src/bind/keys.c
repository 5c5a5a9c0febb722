/* SPDX-License-Identifier: MIT */
/* The names in a table, sorted: for what shall not depend on the order in which a
 * table happens to have them. They are held apart from the table, since every
 * allocation may run a finalizer, and that may take them out of it. */
#include <stdlib.h>

#include "bind/values.h"

static int compare(const void *a, const void *b) {
    const struct str *x = a, *y = b;
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

const struct str *push_keys(lua_State *L, int index, size_t *count) {
    size_t most = 0, n = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
        most += lua_type(L, -2) == LUA_TSTRING;
    struct str *names = lua_newuserdatauv(L, most * sizeof *names, 1);
    lua_createtable(L, (int)most, 0); /* nothing is allocated from here on */
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || n == most) continue;
        names[n].p = lua_tolstring(L, -2, &names[n].n);
        lua_pushvalue(L, -2);
        lua_rawseti(L, -4, (lua_Integer)++n);
    }
    lua_setiuservalue(L, -2, 1);
    qsort(names, n, sizeof *names, compare);
    *count = n;
    return names;
}
