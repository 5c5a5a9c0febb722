/* SPDX-License-Identifier: MIT */
/* What Lua holds of a datagram socket, and the addresses of datagrams: userdata
 * with the system's form inside, since there is one per datagram; its fields are
 * made when somebody asks. */
#include "bind/datagram.h"
#include "bind/leftover.h"
#include "bind/port.h"
#include "bind/proto.h"

static const char transport_class[] = "ropewalk.datagram_transport";
static const char address_class[] = "ropewalk.datagram_address";

/* ── addresses ────────────────────────────────────────────────────────────*/

void dgram_push_address(lua_State *L, const struct datagram_address *a) {
    struct datagram_address *copy = lua_newuserdatauv(L, sizeof *copy, 0);
    *copy = *a;
    luaL_setmetatable(L, address_class);
}

static struct datagram_address *check_address(lua_State *L) {
    return luaL_checkudata(L, 1, address_class);
}

static int address_tostring(lua_State *L) {
    struct address a;
    char text[160];
    datagram_address_read(check_address(L), &a);
    struct str s = address_format(&a, text, sizeof text);
    lua_pushlstring(L, s.p, s.n);
    return 1;
}

static int address_index(lua_State *L) {
    struct address a;
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "text") == 0) return address_tostring(L);
    datagram_address_read(check_address(L), &a);
    if (strcmp(key, "host") == 0) lua_pushstring(L, a.host);
    else if (strcmp(key, "port") == 0) lua_pushinteger(L, a.port);
    else if (strcmp(key, "kind") == 0) lua_pushliteral(L, "udp");
    else return 0;
    return 1;
}

static int address_call(lua_State *L) {
    lua_settop(L, 1);
    return 1;
}

static int address_eq(lua_State *L) {
    const struct datagram_address *a = luaL_testudata(L, 1, address_class);
    const struct datagram_address *b = luaL_testudata(L, 2, address_class);
    lua_pushboolean(L, a && b && a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0);
    return 1;
}

static bool parse_text(lua_State *L, int index, struct datagram_address *out) {
    struct address a;
    struct str text;
    text.p = lua_tolstring(L, index, &text.n);
    return address_parse(text, &a) == 0 && a.kind == ADDRESS_TCP &&
           datagram_address_make(a.host, a.port, out) == 0;
}

/* "host:port", an address of a datagram, or any table with host and port. */
static const struct datagram_address *read_address(lua_State *L, int index,
                                                   struct datagram_address *space) {
    struct datagram_address *a = luaL_testudata(L, index, address_class);
    if (a) return a;
    bool fine = false;
    if (lua_type(L, index) == LUA_TSTRING) {
        fine = parse_text(L, index, space);
    } else if (lua_type(L, index) == LUA_TTABLE) {
        lua_getfield(L, index, "host");
        lua_getfield(L, index, "port");
        lua_Integer port = lua_tointeger(L, -1);
        fine = lua_type(L, -2) == LUA_TSTRING && port > 0 && port <= UINT16_MAX &&
               datagram_address_make(lua_tostring(L, -2), (uint16_t)port, space) == 0;
        lua_pop(L, 2);
    }
    if (!fine) luaL_argerror(L, index, "an address is expected: \"127.0.0.1:53\", or as received");
    return space;
}

/* ── the transport ────────────────────────────────────────────────────────*/

static struct dgram *check_dgram(lua_State *L) { /* NULL: over */
    return ((struct dgram_box *)luaL_checkudata(L, 1, transport_class))->dgram;
}

void dgram_push_transport(lua_State *L, struct dgram *d) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, d);
}

/* nil and a Failure */
static int fail(lua_State *L, int code) {
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "ropewalk.failure");
    lua_getfield(L, -1, "new");
    lua_pushstring(L, err_name(code));
    lua_pushstring(L, err_text(code));
    lua_call(L, 2, 1);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

static int result(lua_State *L, int rc) {
    if (rc < 0) return fail(L, rc);
    lua_pushboolean(L, 1);
    return 1;
}

static int transport_write(lua_State *L) {
    struct dgram *d = check_dgram(L);
    struct datagram_address space;
    struct str bytes;
    bytes.p = luaL_checklstring(L, 2, &bytes.n);
    const struct datagram_address *to =
        lua_isnoneornil(L, 3) ? NULL : read_address(L, 3, &space);
    if (!d || !d->socket) return fail(L, RW_ECLOSED);
    int rc = datagram_send(d->socket, bytes, to);
    struct rw *rw = d->gen->rw;
    if (rc == RW_ELIMIT) {
        rw->stats.datagrams_dropped++;
        limit_fired(rw, NULL, "datagrams were dropped", "max_datagram_queue");
        lua_pushboolean(L, 0);
        return 1;
    }
    if (rc == 0) {
        rw->stats.datagrams_out++;
        rw->stats.bytes_out += bytes.n;
    }
    return result(L, rc);
}

static int transport_connect(lua_State *L) {
    struct dgram *d = check_dgram(L);
    struct datagram_address space;
    const struct datagram_address *to = read_address(L, 2, &space);
    return result(L, d && d->socket ? datagram_set_peer(d->socket, to) : RW_ECLOSED);
}

static int transport_set_option(lua_State *L) {
    struct dgram *d = check_dgram(L);
    const char *name = luaL_checkstring(L, 2);
    lua_Integer value = lua_isboolean(L, 3) ? lua_toboolean(L, 3) : luaL_checkinteger(L, 3);
    int rc = d && d->socket ? datagram_option(d->socket, name, value) : RW_ECLOSED;
    if (rc == RW_ENONAME) return luaL_error(L, "set_option: no option '%s'", name);
    return result(L, rc);
}

/* group(join, address[, interface]) */
static int transport_group(lua_State *L) {
    struct dgram *d = check_dgram(L);
    const char *group = luaL_checkstring(L, 3), *interface = luaL_optstring(L, 4, "");
    if (!d || !d->socket) return fail(L, RW_ECLOSED);
    int rc = datagram_group(d->socket, group, interface, lua_toboolean(L, 2));
    /* A member already: of the older code, whose socket this is. */
    return result(L, rc == -EADDRINUSE ? 0 : rc);
}

static int transport_outgoing_interface(lua_State *L) {
    struct dgram *d = check_dgram(L);
    const char *interface = luaL_checkstring(L, 2);
    return result(L, d && d->socket ? datagram_outgoing_interface(d->socket, interface)
                                    : RW_ECLOSED);
}

static int transport_begin(lua_State *L) {
    struct dgram *d = check_dgram(L);
    if (d) dgram_start(d);
    return 0;
}

static int transport_close(lua_State *L) {
    struct dgram *d = check_dgram(L);
    if (d) dgram_close(d);
    return 0;
}

static void push_end(lua_State *L, int (*end)(const struct datagram *, struct address *),
                     const struct dgram *d) {
    struct address a;
    if (!d || !d->socket || end(d->socket, &a) < 0) lua_pushnil(L);
    else push_address(L, &a);
}

static int transport_index(lua_State *L) {
    struct dgram *d = check_dgram(L);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "connected") == 0) lua_pushboolean(L, d && d->socket);
    else if (strcmp(key, "protocol") == 0) lua_getiuservalue(L, 1, DGRAM_PROTOCOL);
    else if (strcmp(key, "host") == 0) push_end(L, datagram_host, d);
    else if (strcmp(key, "peer") == 0) push_end(L, datagram_peer, d);
    else if (lua_getiuservalue(L, 1, DGRAM_FIELDS) == LUA_TTABLE) lua_getfield(L, -1, key);
    else lua_pushnil(L);
    return 1;
}

static int transport_newindex(lua_State *L) {
    luaL_checkudata(L, 1, transport_class);
    if (lua_getiuservalue(L, 1, DGRAM_FIELDS) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, DGRAM_FIELDS);
    }
    lua_insert(L, 2);
    lua_rawset(L, 2);
    return 0;
}

/* ── making ───────────────────────────────────────────────────────────────*/

/* core.listen_datagrams(endpoint, protocol, limits) → server */
static int core_listen_datagrams(lua_State *L) {
    struct endpoint e;
    char key[sizeof ((struct port *)0)->key];
    endpoint_check(L, 1, &e, key, sizeof key);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 3);
    if (!generation_may_listen(generation_of(L))) return push_failure(L, RW_ESTATE);
    struct server *s = server_new(L);
    s->dgram = dgram_new(L, 2, &s->limits);
    lua_pop(L, 1);
    return server_bind(L, s, &e, key);
}

/* core.connect_datagrams(endpoint, protocol, limits) → transport; it is read
 * after transport:begin() */
static int core_connect_datagrams(lua_State *L) {
    struct generation *g = generation_of(L);
    struct endpoint e;
    char key[sizeof ((struct port *)0)->key];
    struct datagram *socket;
    endpoint_check(L, 1, &e, key, sizeof key);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 3);
    struct limits limits = limits_combined(L, 2, 3, false);
    struct dgram *d = dgram_new(L, 2, &limits);
    int rc = datagram_connect(g->rw->loop, &e, &socket);
    if (rc < 0) {
        dgram_close(d);
        return push_failure(L, rc);
    }
    d->socket = socket;
    leftover_note(L, &d->item, "datagram socket");
    struct task *t = task_running(g->rw);
    scope_add(t ? t->scope : &g->scope, &d->item);
    return 1;
}

void dgram_transport_open(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"write", transport_write}, {"connect", transport_connect},
        {"set_option", transport_set_option}, {"group", transport_group},
        {"outgoing_interface", transport_outgoing_interface},
        {"begin", transport_begin}, {"close", transport_close}, {NULL, NULL},
    };
    luaL_newmetatable(L, transport_class);
    luaL_newlib(L, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, "datagram_methods"); /* of core */
    lua_pushcclosure(L, transport_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, transport_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pop(L, 1);

    static const luaL_Reg address_meta[] = {
        {"__index", address_index}, {"__tostring", address_tostring}, {"__call", address_call},
        {"__eq", address_eq}, {NULL, NULL},
    };
    luaL_newmetatable(L, address_class);
    luaL_setfuncs(L, address_meta, 0);
    lua_pop(L, 1);

    static const luaL_Reg functions[] = {
        {"listen_datagrams", core_listen_datagrams},
        {"connect_datagrams", core_connect_datagrams}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
