/* SPDX-License-Identifier: MIT */
/* An endpoint in Lua (a table, of lua/ropewalk/endpoint/ or a script's own) as io has it.
 * What does not fit C's fields is refused, never cut: another port, or another path, would
 * be another endpoint. */
#include <limits.h>
#include <math.h>
#include <stdio.h>

#include "bind/port.h"

/* ── fields ───────────────────────────────────────────────────────────────*/

/* From 0 to `most`. */
static lua_Integer int_field(lua_State *L, int index, const char *name, lua_Integer otherwise,
                             lua_Integer most) {
    int fits = true;
    lua_Integer n = otherwise;
    if (lua_getfield(L, index, name) != LUA_TNIL) {
        n = lua_tointegerx(L, -1, &fits);
        fits = fits && n >= 0 && n <= most;
    }
    if (!fits) script_error(L, "endpoint: %s must be an integer from 0 to %I", name, most);
    lua_pop(L, 1);
    return n;
}

/* Seconds, as ms; 0: it does not say. */
static uint32_t time_field(lua_State *L, int index, const char *name) {
    int fits = true;
    lua_Number n = 0;
    if (lua_getfield(L, index, name) != LUA_TNIL) n = lua_tonumberx(L, -1, &fits);
    if (!fits || !(n >= 0)) script_error(L, "endpoint: %s must be a number of seconds", name);
    lua_pop(L, 1);
    return n < UINT32_MAX / 1000 ? (uint32_t)ceil(n * 1000) : UINT32_MAX;
}

void endpoint_text(lua_State *L, int index, const char *name, char *out, size_t size) {
    size_t n = 0;
    const char *text = "";
    if (lua_getfield(L, index, name) != LUA_TNIL) text = lua_tolstring(L, -1, &n);
    if (!text) script_error(L, "endpoint: %s must be a string", name);
    if (n >= size) script_error(L, "endpoint: %s is too long", name);
    if (strlen(text) != n) script_error(L, "endpoint: %s has a zero byte", name);
    memcpy(out, text, n + 1);
    lua_pop(L, 1);
}

static bool bool_field(lua_State *L, int index, const char *name, bool otherwise) {
    lua_getfield(L, index, name);
    bool value = lua_isnil(L, -1) ? otherwise : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* ── endpoints ────────────────────────────────────────────────────────────*/

/* What makes it the same port: not its options, which may change. */
static void make_key(const struct endpoint *e, const char *kind, char *key, size_t size) {
    if (e->kind == ENDPOINT_TCP || e->kind == ENDPOINT_UDP)
        snprintf(key, size, "%s:%s%s%d", kind, e->host, *e->host ? ":" : "", e->port);
    else if (e->fd >= 0)
        snprintf(key, size, "%s:%s%d%s", kind, e->kind == ENDPOINT_SYSTEMD ? "index=" : "", e->fd,
                 e->datagram ? ":datagram=1" : "");
    else
        snprintf(key, size, "%s:%s%s", kind, e->host, e->datagram ? ":datagram=1" : "");
}

void endpoint_check(lua_State *L, int index, struct endpoint *e, char *key, size_t key_size) {
    static const char *const kinds[] = {"tcp", "unix", "stdio", "fd", "systemd", "udp", "unixgram",
                                        NULL};
    static const char *const hosts[] = {"host", "path", "host", "host", "name", "host", "path"};
    luaL_checktype(L, index, LUA_TTABLE);
    *e = (struct endpoint){0};
    lua_getfield(L, index, "kind");
    e->kind = (enum endpoint_kind)luaL_checkoption(L, -1, NULL, kinds);
    lua_pop(L, 1);
    endpoint_text(L, index, hosts[e->kind], e->host, sizeof e->host);
    endpoint_text(L, index, "bind_path", e->bind_path, sizeof e->bind_path);
    endpoint_text(L, index, "user", e->user, sizeof e->user);
    endpoint_text(L, index, "group", e->group, sizeof e->group);
    e->port = (uint16_t)int_field(L, index, "port", 0, UINT16_MAX);
    e->fd = (int)int_field(L, index, e->kind == ENDPOINT_SYSTEMD ? "index" : "fd", -1, INT_MAX);
    e->mode = (int)int_field(L, index, "mode", 0, 07777);
    e->backlog = (int)int_field(L, index, "backlog", 0, INT_MAX);
    e->keepalive = (int)int_field(L, index, "keepalive", 0, INT_MAX);
    e->lock = bool_field(L, index, "lockfile", false);
    e->datagram = bool_field(L, index, "datagram", false) &&
                  (e->kind == ENDPOINT_FD || e->kind == ENDPOINT_SYSTEMD);
    e->reuse_port = bool_field(L, index, "reuseport", false);
    e->reuse_address = bool_field(L, index, "listen_multiple", false);
    e->ipv6_only = bool_field(L, index, "ipv6only", false);
    e->delay = !bool_field(L, index, "nodelay", true);
    e->timeout_ms = time_field(L, index, "timeout");
    make_key(e, kinds[e->kind], key, key_size);
}

/* endpoint.addresses: numeric ones, to be tried instead of the host's. */
static unsigned read_addresses(lua_State *L, int index, struct ip *out, unsigned max) {
    unsigned n = 0;
    lua_getfield(L, index, "addresses");
    for (lua_Integer i = 1; lua_istable(L, -1) && n < max; i++) {
        struct str text;
        if (lua_rawgeti(L, -1, i) == LUA_TNIL) {
            lua_pop(L, 1);
            break;
        }
        text.p = luaL_checklstring(L, -1, &text.n);
        if (ip_parse(text, &out[n++]) < 0)
            script_error(L, "endpoint: \"%s\" is no address", text.p);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return n;
}

int endpoint_check_outgoing(lua_State *L, int index, struct endpoint *e, struct ip *ips,
                            unsigned max) {
    char text[IP_TEXT_MAX];
    endpoint_text(L, index, "bind", text, sizeof text);
    if (*text && ip_parse(str_c(text), &e->bind_ip) < 0)
        return script_error(L, "endpoint: bind: \"%s\" is no address of this machine", text);
    e->bind_port = (uint16_t)int_field(L, index, "bind_port", 0, UINT16_MAX);
    e->addresses = ips;
    e->address_count = read_addresses(L, index, ips, max);
    struct generation *g = generation_of(L);
    if (e->kind != ENDPOINT_TCP || g->rw->simulated) return 0; /* there names are hosts */
    return generation_names(g, &e->names);
}
