/* SPDX-License-Identifier: MIT */
/* What Lua holds of a datagram socket. */
#include "bind/address.h"
#include "bind/datagram.h"
#include "bind/leftover.h"
#include "bind/port.h"
#include "bind/proto.h"

static const char transport_class[] = "ropewalk.datagram_transport";

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

/* The argument at `index`, as an address that the socket can send to. It may be a
 * table with a metatable: what that does may be to close the socket. */
static const struct datagram_address *check_target(lua_State *L, int index,
                                                   struct datagram_address *space) {
    const struct datagram_address *to = check_datagram_address(L, index, space);
    const struct dgram *d = check_dgram(L);
    if (d && d->socket && !datagram_can_reach(d->socket, to))
        luaL_argerror(L, index, "an address is expected that is of the socket's kind: "
                                "UDP or UNIX");
    return to;
}

static int transport_write(lua_State *L) {
    struct datagram_address space;
    check_dgram(L);
    struct str bytes = check_str(L, 2);
    const struct datagram_address *to = lua_isnoneornil(L, 3) ? NULL : check_target(L, 3, &space);
    struct dgram *d = check_dgram(L);
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
    struct datagram_address space;
    check_dgram(L);
    const struct datagram_address *to = check_target(L, 2, &space);
    const struct dgram *d = check_dgram(L);
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
    if (d && !d->port) dgram_start(d); /* a port's begins by itself */
    return 0;
}

/* The socket of a port is its server's to close. */
static int transport_close(lua_State *L) {
    struct dgram *d = check_dgram(L);
    if (!d) return 0;
    struct server *s = d->port ? d->port->server : NULL;
    if (s && s->dgram == d) server_cut(s);
    else dgram_close(d);
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

    static const luaL_Reg functions[] = {
        {"listen_datagrams", core_listen_datagrams},
        {"connect_datagrams", core_connect_datagrams}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
