/* SPDX-License-Identifier: MIT */
/* The PROXY protocol in Lua: endpoint.proxy = {trust =, version =, source =,
 * destination =, alpn =, …} on the way in, address.via on the way out. */
#include "base/proxy.h"

#include "bind/address.h"
#include "bind/port.h"
#include "bind/proto.h"

enum { TLV_MAX = 255, HEADER_MAX = 1024 };

/* ── listening ────────────────────────────────────────────────────────────*/

void proxy_read_trust(lua_State *L, int index, struct trust *out) {
    int top = lua_gettop(L);
    *out = (struct trust){.proxy = lua_getfield(L, index, "proxy") == LUA_TTABLE};
    if (!out->proxy) {
        lua_settop(L, top);
        return;
    }
    lua_getfield(L, -1, "trust");
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_Integer n = luaL_len(L, -1);
    if (n > TRUST_MAX) script_error(L, "endpoint: more than %d networks", TRUST_MAX);
    for (lua_Integer i = 1; i <= n; i++) {
        struct str text;
        lua_rawgeti(L, -1, i);
        text.p = luaL_checklstring(L, -1, &text.n);
        if (cidr_parse(text, &out->networks[out->count++]) < 0)
            script_error(L, "endpoint: trust: '%s' is no network (no bits may be set behind "
                       "the prefix)", text.p);
        lua_pop(L, 1);
    }
    lua_settop(L, top);
}

/* ── connecting ───────────────────────────────────────────────────────────*/

static bool read_end(lua_State *L, int index, const char *name, struct address *out) {
    struct str text;
    *out = (struct address){0};
    bool there = lua_getfield(L, index, name) != LUA_TNIL;
    text.p = luaL_optlstring(L, -1, "", &text.n);
    if (there && address_parse(text, out) < 0) *out = (struct address){0};
    lua_pop(L, 1);
    return there;
}

static void add_tlv(lua_State *L, int index, const char *name, uint8_t type,
                    struct buf *out) {
    struct str value;
    if (lua_getfield(L, index, name) != LUA_TNIL) {
        value.p = luaL_checklstring(L, -1, &value.n);
        size_t most = type == PROXY_UNIQUE_ID ? 128 : TLV_MAX;
        if (value.n > most || proxy_tlv_add(out, type, value) < 0)
            script_error(L, "endpoint: %s is longer than %d bytes", name, (int)most);
    }
    lua_pop(L, 1);
}

void proxy_push_header(lua_State *L, int index) {
    char bytes[HEADER_MAX], additions[HEADER_MAX];
    struct buf out = buf_over(bytes, sizeof bytes);
    struct buf tlvs = buf_over(additions, sizeof additions);
    struct address source, destination;
    struct proxy_header h;
    if (lua_getfield(L, index, "proxy") != LUA_TTABLE) return;
    int proxy = lua_gettop(L);
    bool known = read_end(L, proxy, "source", &source);
    known = read_end(L, proxy, "destination", &destination) && known;
    proxy_header_of(known ? &source : NULL, known ? &destination : NULL, &h);
    lua_getfield(L, proxy, "version");
    lua_Integer version = luaL_optinteger(L, -1, 2);
    if (version != 1 && version != 2) script_error(L, "endpoint: the version of PROXY is 1 or 2");
    h.version = (uint8_t)version;
    add_tlv(L, proxy, "alpn", PROXY_ALPN, &tlvs);
    add_tlv(L, proxy, "authority", PROXY_AUTHORITY, &tlvs);
    add_tlv(L, proxy, "unique_id", PROXY_UNIQUE_ID, &tlvs);
    h.tlvs = buf_str(&tlvs);
    int rc = proxy_encode(&h, &out);
    if (rc < 0) script_error(L, "endpoint: no PROXY header can be made: %s", err_text(rc));
    lua_settop(L, proxy - 1);
    lua_pushlstring(L, bytes, buf_len(&out));
}

/* ── who introduced a peer ────────────────────────────────────────────────*/

static void set_str(lua_State *L, const char *name, struct str value) {
    lua_pushlstring(L, value.p, value.n);
    lua_setfield(L, -2, name);
}

static const char *name_of(uint8_t type) {
    switch (type) {
    case PROXY_ALPN: return "alpn";
    case PROXY_AUTHORITY: return "authority";
    case PROXY_UNIQUE_ID: return "unique_id";
    case PROXY_NETNS: return "netns";
    case PROXY_SSL_VERSION: return "version";
    case PROXY_SSL_CN: return "common_name";
    case PROXY_SSL_CIPHER: return "cipher";
    case PROXY_SSL_SIGNATURE: return "signature";
    case PROXY_SSL_KEY: return "key";
    default: return NULL;
    }
}

static void set_ssl(lua_State *L, struct str value) {
    struct proxy_ssl ssl;
    uint8_t type;
    if (proxy_ssl_read(value, &ssl) < 0) return;
    lua_newtable(L);
    lua_pushboolean(L, ssl.used);
    lua_setfield(L, -2, "used");
    lua_pushboolean(L, ssl.certificate);
    lua_setfield(L, -2, "certificate");
    lua_pushboolean(L, ssl.verified);
    lua_setfield(L, -2, "verified");
    while (proxy_tlv_next(&ssl.tlvs, &type, &value))
        if (type > PROXY_SSL && type < PROXY_NETNS && name_of(type))
            set_str(L, name_of(type), value);
    lua_setfield(L, -2, "ssl");
}

/* The table of an address's fields is on top; what has no name of its own is in `tlvs`, by
 * its number. */
static void set_tlvs(lua_State *L, struct str tlvs) {
    uint8_t type;
    struct str value;
    lua_newtable(L);
    while (proxy_tlv_next(&tlvs, &type, &value)) {
        lua_pushlstring(L, value.p, value.n);
        lua_rawseti(L, -2, type);
        lua_insert(L, -2); /* tlvs below the fields */
        if (type == PROXY_SSL) set_ssl(L, value);
        else if ((type < PROXY_SSL || type == PROXY_NETNS) && name_of(type))
            set_str(L, name_of(type), value);
        lua_insert(L, -2);
    }
    lua_setfield(L, -2, "tlvs");
}

static void push_carrier(lua_State *L, const struct introduction *i, struct stream *s) {
    struct address a;
    stream_carrier(s, &a);
    lua_newtable(L);
    lua_pushinteger(L, i->version);
    lua_setfield(L, -2, "version");
    set_tlvs(L, str_of(i->tlvs, i->size));
    push_address_with_fields(L, &a);
}

void push_peer(lua_State *L, struct stream *s) {
    struct address a = {0};
    stream_peer(s, &a);
    if (!s->introduction) {
        push_address(L, &a);
        return;
    }
    lua_createtable(L, 0, 1);
    push_carrier(L, s->introduction, s);
    lua_setfield(L, -2, "via");
    push_address_with_fields(L, &a);
}
