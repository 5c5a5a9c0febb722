/* SPDX-License-Identifier: MIT */
/* The request as handlers see it: made in one allocation, everything beyond
 * the slices is computed when it is asked for, and kept. */
#include "bind/address.h"
#include "bind/http.h"
#include "bind/tls.h"

#include "base/codec.h"
#include "bind/port.h"
#include "bind/proto.h"

static const char request_class[] = "ropewalk.request";
static const char headers_class[] = "ropewalk.headers";

static struct str moved(struct str s, const char *from, const char *to) {
    return s.p ? str_of(to + (s.p - from), s.n) : s;
}

struct request *request_push(lua_State *L, struct http_conn *h) {
    const struct http1_request *in = &h->engine.request;
    size_t table = in->headers.count * sizeof(struct field);
    struct request *r =
        lua_newuserdatauv(L, sizeof *r + table + in->bytes.n, 1);
    struct field *fields = (struct field *)(r + 1);
    char *bytes = (char *)fields + table;
    const char *from = in->bytes.p;
    memcpy(bytes, from, in->bytes.n);
    *r = (struct request){
        .conn = h,
        .method = moved(in->method, from, bytes),
        .target = moved(in->target, from, bytes),
        .host = moved(in->host, from, bytes),
        .version = in->version,
        .length = in->length,
        .keep_alive = in->keep_alive,
        .secure = conn_is_secure(h->base.stream),
        .field_count = in->headers.count,
        .fields = fields,
    };
    for (size_t i = 0; i < in->headers.count; i++) {
        fields[i].name = moved(in->headers.at[i].name, from, bytes);
        fields[i].value = moved(in->headers.at[i].value, from, bytes);
    }
    luaL_setmetatable(L, request_class);
    h->request = r;
    return r;
}

struct request *request_check(lua_State *L, int index) {
    return class_check(L, index, CLASS_REQUEST, request_class);
}

static void push_str(lua_State *L, struct str s) { lua_pushlstring(L, s.p ? s.p : "", s.n); }

/* ── kept fields ──────────────────────────────────────────────────────────*/

static void push_kept(lua_State *L, int index) { /* the table of kept fields */
    index = lua_absindex(L, index);
    if (lua_getiuservalue(L, index, 1) == LUA_TTABLE) return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, index, 1);
}

void request_set_params(lua_State *L, int index) {
    push_kept(L, index);
    lua_insert(L, -2);
    lua_setfield(L, -2, "params");
    lua_pop(L, 1);
}

/* ── headers ──────────────────────────────────────────────────────────────*/

/* Pushes the values of that name joined by ", ", or nil; cookies, which may hold
 * commas, by "; " (RFC 6265 §4.2.1; of several fields, RFC 9113 §8.2.3). */
static int push_header(lua_State *L, const struct request *r, struct str name) {
    const char *separator = str_eq_nocase(name, STR("cookie")) ? "; " : ", ";
    int found = 0;
    luaL_Buffer joined;
    const struct field *first = NULL;
    for (size_t i = 0; i < r->field_count; i++) {
        const struct field *f = &r->fields[i];
        if (f->name.n != name.n || !str_eq_nocase(f->name, name)) continue;
        if (found++ == 0) {
            first = f;
            continue;
        }
        if (found == 2) {
            luaL_buffinit(L, &joined);
            luaL_addlstring(&joined, first->value.p, first->value.n);
        }
        luaL_addlstring(&joined, separator, 2);
        luaL_addlstring(&joined, f->value.p, f->value.n);
    }
    if (found == 0) lua_pushnil(L);
    else if (found == 1) push_str(L, first->value);
    else luaL_pushresult(&joined);
    return 1;
}

static struct request *headers_request(lua_State *L) {
    luaL_checkudata(L, 1, headers_class);
    lua_getiuservalue(L, 1, 1);
    return request_check(L, -1);
}

static int headers_all(lua_State *L) {
    struct request *r = headers_request(L);
    struct str name = check_str(L, 2);
    lua_newtable(L);
    lua_Integer n = 0;
    for (size_t i = 0; i < r->field_count; i++) {
        if (!str_eq_nocase(r->fields[i].name, name)) continue;
        push_str(L, r->fields[i].value);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

static int headers_next(lua_State *L) {
    struct request *r = request_check(L, lua_upvalueindex(1));
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));
    if ((size_t)i >= r->field_count) return 0;
    lua_pushinteger(L, i + 1);
    lua_replace(L, lua_upvalueindex(2));
    push_str(L, r->fields[i].name);
    push_str(L, r->fields[i].value);
    return 2;
}

static int headers_pairs(lua_State *L) {
    headers_request(L);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, headers_next, 2);
    return 1;
}

static int headers_index(lua_State *L) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
    struct request *r = headers_request(L);
    if (lua_type(L, 2) != LUA_TSTRING) return 0;
    return push_header(L, r, check_str(L, 2));
}

static int headers_newindex(lua_State *L) {
    return luaL_error(L, "a request's headers cannot be changed");
}

/* ── fields computed in C ─────────────────────────────────────────────────*/

static struct str target_query(struct str target) {
    size_t at = str_find(target, '?');
    return at < target.n ? str_skip(target, at + 1) : str_of(target.p + target.n, 0);
}

static struct str target_path(struct str target) {
    return str_of(target.p, str_find(target, '?'));
}

typedef int getter(lua_State *L, struct request *r); /* 1 and a value, or 0 */

static int get_method(lua_State *L, struct request *r) { push_str(L, r->method); return 1; }
static int get_target(lua_State *L, struct request *r) { push_str(L, r->target); return 1; }
static int get_host(lua_State *L, struct request *r) { push_str(L, r->host); return 1; }
static int get_path(lua_State *L, struct request *r) {
    push_str(L, target_path(r->target));
    return 1;
}
static int get_query_string(lua_State *L, struct request *r) {
    push_str(L, target_query(r->target));
    return 1;
}
static int get_version(lua_State *L, struct request *r) {
    lua_pushstring(L, r->version == 10 ? "1.0" : "1.1");
    return 1;
}
static int get_length(lua_State *L, struct request *r) {
    if (r->length < 0) lua_pushnil(L);
    else lua_pushinteger(L, r->length);
    return 1;
}
static int get_keep_alive(lua_State *L, struct request *r) {
    lua_pushboolean(L, r->keep_alive);
    return 1;
}
static int get_started(lua_State *L, struct request *r) {
    lua_pushboolean(L, r->started);
    return 1;
}
static int get_finished(lua_State *L, struct request *r) {
    lua_pushboolean(L, r->finished || !r->conn);
    return 1;
}
static int get_scheme(lua_State *L, struct request *r) {
    lua_pushstring(L, r->secure ? "https" : "http");
    return 1;
}
static int get_tls(lua_State *L, struct request *r) {
    push_tls(L, r->conn ? r->conn->base.stream : NULL);
    return 1;
}
static int get_headers(lua_State *L, struct request *r) {
    (void)r;
    lua_newuserdatauv(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, headers_class);
    return 1;
}
static int get_params(lua_State *L, struct request *r) {
    (void)r;
    lua_newtable(L);
    return 1;
}
static int get_peer(lua_State *L, struct request *r) {
    if (r->conn && r->conn->base.stream) push_peer(L, r->conn->base.stream);
    else push_address(L, &(struct address){0});
    return 1;
}
static int get_local(lua_State *L, struct request *r) {
    struct address a = {0};
    if (r->conn && r->conn->base.stream) stream_host(r->conn->base.stream, &a);
    push_address(L, &a);
    return 1;
}
static int get_limits(lua_State *L, struct request *r) {
    (void)r;
    lua_newtable(L);
    const struct limits *l = r->conn ? r->conn->base.limits : &limits_default;
    for (size_t i = 0; i < LIMIT_COUNT; i++) {
        lua_pushinteger(L, (lua_Integer)limits_get(l, &limit_defs[i]));
        lua_setfield(L, -2, limit_defs[i].name);
    }
    return 1;
}
static int get_route(lua_State *L, struct request *r) {
    if (!r->route || !r->conn) return 0;
    lua_rawgetp(L, LUA_REGISTRYINDEX, r->conn->base.server);
    lua_getiuservalue(L, -1, BOX_ROUTER);
    router_push_value(L, -1, r->route);
    return 1;
}

/* Calls a function of core with the string on top. */
static int through_core(lua_State *L, const char *function) {
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "ropewalk.core");
    lua_getfield(L, -1, function);
    lua_pushvalue(L, -4);
    lua_call(L, 1, 1);
    return 1;
}
static int get_query(lua_State *L, struct request *r) {
    push_str(L, target_query(r->target));
    through_core(L, "query_decode");
    if (lua_isnil(L, -1)) lua_newtable(L);
    return 1;
}
static int get_cookies(lua_State *L, struct request *r) {
    push_header(L, r, STR("cookie"));
    if (lua_isnil(L, -1)) lua_newtable(L);
    else through_core(L, "cookie_decode");
    if (lua_isnil(L, -1)) lua_newtable(L);
    return 1;
}

static const struct computed {
    const char *name;
    getter *get;
    bool keep; /* compute once */
} computed[] = {
    {"method", get_method, false}, {"target", get_target, false},
    {"path", get_path, false}, {"query_string", get_query_string, false},
    {"version", get_version, false}, {"host", get_host, false},
    {"authority", get_host, false}, {"length", get_length, false},
    {"keep_alive", get_keep_alive, false}, {"started", get_started, false},
    {"finished", get_finished, false}, {"scheme", get_scheme, false},
    {"headers", get_headers, true}, {"params", get_params, true},
    {"peer", get_peer, true}, {"local_address", get_local, true},
    {"query", get_query, true}, {"cookies", get_cookies, true},
    {"tls", get_tls, true}, {"limits", get_limits, true}, {"route", get_route, true},
};

/* Upvalues: methods, name → position in `computed`. */
static int request_index(lua_State *L) {
    struct request *r = request_check(L, 1);
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
    lua_pop(L, 1);
    if (lua_getiuservalue(L, 1, 1) == LUA_TTABLE) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, -2) != LUA_TNIL) return 1;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) == LUA_TNIL) return 0;
    const struct computed *field = &computed[lua_tointeger(L, -1)];
    if (!field->get(L, r)) return 0;
    if (field->keep) {
        push_kept(L, 1);
        lua_pushvalue(L, -2);
        lua_setfield(L, -2, field->name);
        lua_pop(L, 1);
    }
    return 1;
}

static int request_newindex(lua_State *L) {
    request_check(L, 1);
    lua_settop(L, 3);
    push_kept(L, 1);
    lua_insert(L, 2);
    lua_rawset(L, 2);
    return 0;
}

static int request_tostring(lua_State *L) {
    struct request *r = request_check(L, 1);
    lua_pushliteral(L, "request ");
    push_str(L, r->method);
    lua_pushliteral(L, " ");
    push_str(L, r->target);
    lua_concat(L, 4);
    return 1;
}

static int request_header(lua_State *L) {
    return push_header(L, request_check(L, 1), check_str(L, 2));
}

void request_open(lua_State *L) {
    static const luaL_Reg methods[] = {{"header", request_header}, {NULL, NULL}};
    luaL_newmetatable(L, request_class);
    class_register(L, CLASS_REQUEST);
    luaL_newlib(L, methods);
    response_methods(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, "request_methods"); /* of core */
    lua_newtable(L);
    for (size_t i = 0; i < sizeof computed / sizeof *computed; i++) {
        lua_pushinteger(L, (lua_Integer)i);
        lua_setfield(L, -2, computed[i].name);
    }
    lua_pushcclosure(L, request_index, 2);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, request_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, request_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);

    static const luaL_Reg header_methods[] = {
        {"all", headers_all}, {"pairs", headers_pairs}, {NULL, NULL},
    };
    luaL_newmetatable(L, headers_class);
    luaL_newlib(L, header_methods);
    lua_pushcclosure(L, headers_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, headers_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, headers_pairs);
    lua_setfield(L, -2, "__pairs");
    lua_pop(L, 1);
}
