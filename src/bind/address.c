/* SPDX-License-Identifier: MIT */
#include "bind/address.h"

#include <lauxlib.h>
#include <string.h>

#include "bind/libraries.h"

static const char address_class[] = "ropewalk.address";

struct held { /* userdata; a uservalue, if there are more fields: their table */
    uint8_t kind;
    bool is_system; /* a datagram_address is behind it, else the host */
    bool has_fields;
    uint16_t port;
};

/* ── making ───────────────────────────────────────────────────────────────*/

static struct held *push_held(lua_State *L, const void *behind, size_t n, bool has_fields) {
    struct held *h = lua_newuserdatauv(L, sizeof *h + n, has_fields);
    *h = (struct held){.has_fields = has_fields};
    memcpy(h + 1, behind, n);
    luaL_setmetatable(L, address_class);
    return h;
}

static void push(lua_State *L, const struct address *a, bool has_fields) {
    struct held *h = push_held(L, a->host, strlen(a->host) + 1, has_fields);
    h->kind = (uint8_t)a->kind;
    h->port = a->port;
}

void push_address(lua_State *L, const struct address *a) { push(L, a, false); }

void push_address_with_fields(lua_State *L, const struct address *a) {
    push(L, a, true);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
}

void push_datagram_address(lua_State *L, const struct datagram_address *a) {
    struct held *h = push_held(L, a, sizeof *a, false);
    h->kind = ADDRESS_UDP;
    h->is_system = true;
}

/* ── reading ──────────────────────────────────────────────────────────────*/

static void read_held(const struct held *h, struct address *out) {
    if (h->is_system) {
        datagram_address_read((const void *)(h + 1), out);
        return;
    }
    *out = (struct address){.kind = (enum address_kind)h->kind, .port = h->port};
    memcpy(out->host, h + 1, strlen((const char *)(h + 1)) + 1);
}

static struct held *check(lua_State *L) { return luaL_checkudata(L, 1, address_class); }

static int address_tostring(lua_State *L) {
    struct address a;
    char text[160];
    read_held(check(L), &a);
    struct str s = address_format(&a, text, sizeof text);
    lua_pushlstring(L, s.p, s.n);
    return 1;
}

static bool has_port(const struct address *a) {
    return a->kind == ADDRESS_TCP || a->kind == ADDRESS_UDP;
}

static int address_index(lua_State *L) {
    static const char *const kinds[] = {"none", "tcp", "unix", "stdio", "pair", "process", "udp"};
    const struct held *h = check(L);
    struct address a;
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "text") == 0) return address_tostring(L);
    read_held(h, &a);
    if (strcmp(key, "kind") == 0) lua_pushstring(L, kinds[a.kind]);
    else if (strcmp(key, a.kind == ADDRESS_UNIX ? "path" : "host") == 0) lua_pushstring(L, a.host);
    else if (strcmp(key, "port") == 0 && has_port(&a)) lua_pushinteger(L, a.port);
    else if (!h->has_fields) return 0;
    else if (lua_getiuservalue(L, 1, 1) == LUA_TTABLE) lua_getfield(L, -1, key);
    return 1;
}

/* "from " .. transport.peer */
static int address_concat(lua_State *L) {
    luaL_tolstring(L, 1, NULL);
    luaL_tolstring(L, 2, NULL);
    lua_concat(L, 2);
    return 1;
}

static int address_newindex(lua_State *L) {
    return luaL_error(L, "an address cannot be changed");
}

static bool same(const struct address *a, const struct address *b) {
    return a->kind == b->kind && a->port == b->port && strcmp(a->host, b->host) == 0;
}

static int address_eq(lua_State *L) {
    const struct held *h[2];
    struct address a[2];
    for (int i = 0; i < 2; i++) {
        if (!(h[i] = luaL_testudata(L, i + 1, address_class))) return 0;
        read_held(h[i], &a[i]);
    }
    lua_pushboolean(L, same(&a[0], &a[1]));
    return 1;
}

/* ── of datagrams ─────────────────────────────────────────────────────────*/

static const struct datagram_address *of_system(lua_State *L, int index) {
    const struct held *h = luaL_testudata(L, index, address_class);
    return h && h->is_system ? (const void *)(h + 1) : NULL;
}

bool is_datagram_address(lua_State *L, int index, const struct datagram_address *a) {
    const struct datagram_address *b = of_system(L, index);
    return b && a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

static bool read_text(lua_State *L, int index, struct address *out) {
    struct str text;
    text.p = lua_tolstring(L, index, &text.n);
    return address_parse(text, out) == 0;
}

static bool read_table(lua_State *L, int index, struct address *out) {
    size_t n = 0;
    bool is_path = lua_getfield(L, index, "path") == LUA_TSTRING;
    lua_getfield(L, index, "host");
    lua_getfield(L, index, "port");
    int at = is_path ? -3 : -2;
    const char *host = lua_type(L, at) == LUA_TSTRING ? lua_tolstring(L, at, &n) : NULL;
    lua_Integer port = lua_tointeger(L, -1);
    bool fine = host && n < sizeof out->host && strlen(host) == n &&
                (is_path || (port > 0 && port <= UINT16_MAX));
    if (fine) {
        *out = (struct address){.kind = is_path ? ADDRESS_UNIX : ADDRESS_UDP,
                                .port = is_path ? 0 : (uint16_t)port};
        memcpy(out->host, host, n);
    }
    lua_pop(L, 3);
    return fine;
}

const struct datagram_address *check_datagram_address(lua_State *L, int index,
                                                      struct datagram_address *space) {
    const struct datagram_address *a = of_system(L, index);
    struct address said = {0};
    const struct held *h;
    if (a) return a;
    if (lua_type(L, index) == LUA_TSTRING) read_text(L, index, &said);
    else if (lua_type(L, index) == LUA_TTABLE) read_table(L, index, &said);
    else if ((h = luaL_testudata(L, index, address_class))) read_held(h, &said);
    if (datagram_address_make(&said, space) < 0)
        luaL_argerror(L, index, "an address is expected: \"127.0.0.1:53\", \"unix:/run/x\", "
                                "or as received");
    return space;
}

/* ── core.address ─────────────────────────────────────────────────────────*/

/* core.address("tcp" or "udp", host, port), ("unix", path), ("none", "") → address, as
 * it would be of a peer */
static int core_address(lua_State *L) {
    static const char *const names[] = {"none", "unix", "tcp", "udp", NULL};
    static const enum address_kind kinds[] = {ADDRESS_NONE, ADDRESS_UNIX, ADDRESS_TCP, ADDRESS_UDP};
    struct address a = {.kind = kinds[luaL_checkoption(L, 1, NULL, names)]};
    size_t n;
    const char *host = luaL_checklstring(L, 2, &n);
    lua_Integer port = has_port(&a) ? luaL_checkinteger(L, 3) : 0;
    luaL_argcheck(L, n < sizeof a.host && strlen(host) == n, 2, "a host is expected");
    luaL_argcheck(L, port >= 0 && port <= UINT16_MAX, 3, "a port is expected");
    memcpy(a.host, host, n);
    a.port = (uint16_t)port;
    push_address(L, &a);
    return 1;
}

void address_open(lua_State *L) {
    static const luaL_Reg meta[] = {
        {"__index", address_index}, {"__newindex", address_newindex},
        {"__tostring", address_tostring}, {"__eq", address_eq},
        {"__concat", address_concat}, {NULL, NULL},
    };
    luaL_newmetatable(L, address_class);
    luaL_setfuncs(L, meta, 0);
    lua_pop(L, 1);
    lua_pushcfunction(L, core_address);
    lua_setfield(L, -2, "address");
}
