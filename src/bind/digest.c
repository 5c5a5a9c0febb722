/* SPDX-License-Identifier: MIT */
/* core.sha256, hmac_sha256, p256_point, p256_sign: what JOSE needs (lua/ropewalk/acme). */
#include "io/digest.h"

#include "bind/bind.h"
#include "bind/libraries.h"

/* The bytes; or nil, code name, why. */
static int push_result(lua_State *L, int rc, const void *bytes, size_t n, const char *why) {
    if (rc == 0) {
        lua_pushlstring(L, bytes, n);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, err_name(rc));
    lua_pushstring(L, *why ? why : err_text(rc));
    return 3;
}

/* core.sha256(bytes) → 32 bytes */
static int core_sha256(lua_State *L) {
    uint8_t out[DIGEST_SIZE];
    return push_result(L, digest_sha256(check_str(L, 1), out), out, sizeof out, "");
}

/* core.hmac_sha256(key, bytes) → 32 bytes */
static int core_hmac_sha256(lua_State *L) {
    uint8_t out[DIGEST_SIZE];
    struct str key = check_str(L, 1);
    luaL_argcheck(L, key.n > 0, 1, "the key is empty");
    return push_result(L, digest_hmac(key, check_str(L, 2), out), out, sizeof out, "");
}

/* core.p256_point(key) → x and y, 64 bytes */
static int core_p256_point(lua_State *L) {
    uint8_t out[P256_POINT_SIZE];
    struct tls_why why = {""};
    return push_result(L, p256_point(check_str(L, 1), out, &why), out, sizeof out, why.text);
}

/* core.p256_sign(key, bytes) → r and s, 64 bytes */
static int core_p256_sign(lua_State *L) {
    uint8_t out[P256_SIGNATURE_SIZE];
    struct tls_why why = {""};
    int rc = p256_sign(check_str(L, 1), check_str(L, 2), out, &why);
    return push_result(L, rc, out, sizeof out, why.text);
}

void digest_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"sha256", core_sha256},
        {"hmac_sha256", core_hmac_sha256},
        {"p256_point", core_p256_point},
        {"p256_sign", core_p256_sign},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
