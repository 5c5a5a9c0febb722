/* SPDX-License-Identifier: MIT */
#include "bind/router.h"


#include "base/codec.h"
#include "bind/bind.h"

static const char *const class_name = "ropewalk.router";
enum { USER_HANDLERS = 1, USER_VALUES };

struct bind_router *router_check(lua_State *L, int index) {
    return luaL_checkudata(L, index, class_name);
}

static void push_user(lua_State *L, int router_index, int which, int id) {
    lua_getiuservalue(L, router_index, which);
    lua_rawgeti(L, -1, id);
    lua_remove(L, -2);
}

void router_push_handler(lua_State *L, int router_index, int id) {
    push_user(L, router_index, USER_HANDLERS, id);
}

void router_push_value(lua_State *L, int router_index, int id) {
    push_user(L, router_index, USER_VALUES, id);
}

/* Decodes into a buffer of Lua's: an error cannot leak it. */
static int push_decoded(lua_State *L, struct str s) {
    if (str_find(s, '%') == s.n) {
        lua_pushlstring(L, s.n ? s.p : "", s.n);
        return 0;
    }
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, s.n);
    int64_t n = percent_decode(s, PERCENT_PATH, out);
    luaL_pushresultsize(&b, n < 0 ? 0 : (size_t)n);
    if (n >= 0) return 0;
    lua_pop(L, 1);
    return (int)n;
}

int router_push_params(lua_State *L, const struct route_match *m) {
    lua_createtable(L, 0, (int)m->param_count);
    for (unsigned i = 0; i < m->param_count; i++) {
        const struct route_param *p = &m->params[i];
        lua_pushlstring(L, p->name.p, p->name.n);
        int failed = push_decoded(L, p->value);
        if (failed < 0) {
            lua_pop(L, 2);
            return failed;
        }
        lua_rawset(L, -3);
    }
    return 0;
}

void router_push_allowed(lua_State *L, const struct bind_router *r,
                         const struct route_match *m) {
    if (!m->allowed) {
        lua_pushnil(L);
        return;
    }
    lua_newtable(L);
    lua_Integer count = 0;
    for (unsigned i = 0; i < r->table.method_count; i++) {
        if (!(m->allowed >> i & 1)) continue;
        struct str method = route_method(&r->table, i);
        lua_pushlstring(L, method.p, method.n);
        lua_rawseti(L, -2, ++count);
    }
}

/* ── methods ──────────────────────────────────────────────────────────────*/

static void set_user(lua_State *L, int which, int id, int value_index) {
    lua_getiuservalue(L, 1, which);
    lua_pushvalue(L, value_index);
    lua_rawseti(L, -2, id);
    lua_pop(L, 1);
}

/* router:add(method, pattern, fn, value or nil) → id */
static int l_add(lua_State *L) {
    struct bind_router *r = router_check(L, 1);
    struct str method = check_str(L, 2), pattern = check_str(L, 3);
    luaL_checktype(L, 4, LUA_TFUNCTION);
    lua_settop(L, 5);
    int id = r->count + 1;
    /* Lua first: if it is out of memory, the table has not changed */
    set_user(L, USER_HANDLERS, id, 4);
    set_user(L, USER_VALUES, id, 5);
    int failed = route_add(&r->table, method, pattern, id);
    if (failed == -EEXIST)
        return luaL_error(L, "route %s %s is there already", method.p,
                          pattern.p);
    if (failed < 0)
        return luaL_error(L, "route %s %s: %s", method.p, pattern.p,
                          failed == RW_ESYNTAX ? "malformed pattern"
                                               : err_text(failed));
    r->count = id;
    lua_pushinteger(L, id);
    return 1;
}

/* router:set(id, fn): another function for a route. */
static int l_set(lua_State *L) {
    struct bind_router *r = router_check(L, 1);
    lua_Integer id = luaL_checkinteger(L, 2);
    luaL_argcheck(L, id >= 1 && id <= r->count, 2, "no such route");
    luaL_checktype(L, 3, LUA_TFUNCTION);
    set_user(L, USER_HANDLERS, (int)id, 3);
    return 0;
}

/* router:match(method, path) → fn, params, value; nil, allowed or nil. A bad
 * escape in the path matches nothing. */
static int l_match(lua_State *L) {
    struct bind_router *r = router_check(L, 1);
    struct route_match m;
    struct str method = check_str(L, 2), path = check_str(L, 3);
    int id = route_path_ok(path) ? router_find(r, method, path, &m)
                                 : (m = (struct route_match){0}).id;
    if (!id) {
        lua_pushnil(L);
        router_push_allowed(L, r, &m);
        return 2;
    }
    router_push_handler(L, 1, id);
    int failed = router_push_params(L, &m);
    if (failed < 0) return push_failure(L, failed);
    router_push_value(L, 1, id);
    return 3;
}

static int l_gc(lua_State *L) {
    struct bind_router *r = router_check(L, 1);
    route_fini(&r->table);
    r->count = 0;
    return 0;
}

/* core.router() → router */
static int l_router(lua_State *L) {
    uint64_t seed[2];
    if (!random_bytes(generation_of(L)->rw, seed, sizeof seed))
        return luaL_error(L, "no random bytes from the system");
    struct bind_router *r = lua_newuserdatauv(L, sizeof *r, 2);
    *r = (struct bind_router){0};
    route_init(&r->table, &generation_of(L)->mem, seed);
    luaL_setmetatable(L, class_name);
    for (int which = USER_HANDLERS; which <= USER_VALUES; which++) {
        lua_newtable(L);
        lua_setiuservalue(L, -2, which);
    }
    return 1;
}

void router_open(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"add", l_add}, {"set", l_set}, {"match", l_match}, {NULL, NULL}};
    class_define(L, class_name, methods, l_gc);
    lua_pushcfunction(L, l_router);
    lua_setfield(L, -2, "router");
}
