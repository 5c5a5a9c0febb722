/* SPDX-License-Identifier: MIT */
/* What a certificate says, as a table. */
#include "bind/tls.h"

static void set_text(lua_State *L, const char *name, const char *value) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

static void set_names(lua_State *L, struct str der) {
    static const char *const fields[] = {
        [TLS_NAME_HOST] = "names", [TLS_NAME_EMAIL] = "emails", [TLS_NAME_URI] = "uris",
    };
    enum { KINDS = sizeof fields / sizeof *fields };
    struct tls_name names[TLS_NAMES_MAX];
    lua_Integer counts[KINDS] = {0};
    size_t n = tls_certificate_names(der, names, TLS_NAMES_MAX);
    int table = lua_gettop(L);
    for (int k = 0; k < KINDS; k++) lua_newtable(L);
    for (size_t i = 0; i < n; i++) {
        enum tls_name_kind kind = names[i].kind;
        lua_pushlstring(L, names[i].value.p, names[i].value.n);
        lua_rawseti(L, table + 1 + (int)kind, ++counts[kind]);
    }
    for (int k = KINDS - 1; k >= 0; k--) lua_setfield(L, table, fields[k]);
}

void tls_push_certificate(lua_State *L, const struct tls_certificate *c) {
    lua_createtable(L, 0, 16);
    set_text(L, "subject", c->subject);
    set_text(L, "issuer", c->issuer);
    set_text(L, "serial", c->serial);
    set_text(L, "fingerprint", c->fingerprint);
    set_text(L, "key", c->key);
    set_text(L, "signature", c->signature);
    lua_pushinteger(L, c->not_before);
    lua_setfield(L, -2, "not_before");
    lua_pushinteger(L, c->not_after);
    lua_setfield(L, -2, "not_after");
    lua_pushboolean(L, c->self_signed);
    lua_setfield(L, -2, "self_signed");
    lua_pushboolean(L, c->authority);
    lua_setfield(L, -2, "authority");
    lua_pushlstring(L, c->der.p, c->der.n);
    lua_setfield(L, -2, "der");
    lua_newtable(L);
    for (size_t i = 0; c->usage[i]; i++) {
        lua_pushstring(L, c->usage[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "usage");
    set_names(L, c->der);
}

/* core.tls_certificate_serves(der, name) → is it for this host? */
int core_tls_certificate_serves(lua_State *L) {
    size_t n, name_n;
    const char *der = luaL_checklstring(L, 1, &n), *name = luaL_checklstring(L, 2, &name_n);
    lua_pushboolean(L, tls_certificate_serves(str_of(der, n), str_of(name, name_n)));
    return 1;
}

/* core.tls_certificate(der) → what it says */
int core_tls_certificate(lua_State *L) {
    struct tls_certificate c;
    size_t n;
    const char *der = luaL_checklstring(L, 1, &n);
    int rc = tls_certificate_describe(str_of(der, n), &c);
    if (rc < 0) return push_failure(L, rc);
    tls_push_certificate(L, &c);
    return 1;
}
