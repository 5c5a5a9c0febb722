/* SPDX-License-Identifier: MIT */
/* The codecs of base/codec.h for Lua. A decoder's nil says "malformed"; what
 * comes from a peer never raises. */
#include <time.h>

#include "base/codec.h"
#include "bind/bind.h"

enum { RANDOM_MAX = 1 << 20 };

/* Ends a buffer of which `n` bytes were written; n < 0: nil instead. */
static int push_result(lua_State *L, luaL_Buffer *b, int64_t n) {
    luaL_pushresultsize(b, n < 0 ? 0 : (size_t)n);
    if (n < 0) lua_pushnil(L);
    return 1;
}

/* ── percent, forms, cookies ──────────────────────────────────────────────*/

static int l_percent_decode(lua_State *L) {
    struct str s = check_str(L, 1);
    enum percent flavour = lua_toboolean(L, 2) ? PERCENT_QUERY : PERCENT_PATH;
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, PERCENT_DECODE_MAX(s.n));
    return push_result(L, &b, percent_decode(s, flavour, out));
}

static int l_percent_encode(lua_State *L) {
    struct str s = check_str(L, 1);
    enum percent flavour = lua_toboolean(L, 2) ? PERCENT_QUERY : PERCENT_PATH;
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, PERCENT_ENCODE_MAX(s.n));
    return push_result(L, &b, percent_encode(s, flavour, out));
}

/* Pushes the decoded member of a form; nil (and false) if it is malformed. */
static bool push_form_text(lua_State *L, struct str s) {
    luaL_Buffer b;
    if (str_find(s, '%') == s.n && str_find(s, '+') == s.n) {
        lua_pushlstring(L, s.n ? s.p : "", s.n);
        return true;
    }
    char *out = luaL_buffinitsize(L, &b, PERCENT_DECODE_MAX(s.n));
    push_result(L, &b, percent_decode(s, PERCENT_QUERY, out));
    return !lua_isnil(L, -1);
}

/* Sets t[name] = value unless it is there. Stack: …, name, value; both stay. */
static void set_first(lua_State *L, int table) {
    lua_pushvalue(L, -2);
    if (lua_rawget(L, table) == LUA_TNIL) {
        lua_pushvalue(L, -3);
        lua_pushvalue(L, -3);
        lua_rawset(L, table);
    }
    lua_pop(L, 1);
}

/* query_decode(s) → {name = first value}, {{name, value}, …}; or nil */
static int l_query_decode(lua_State *L) {
    struct str rest = check_str(L, 1), name, value;
    lua_Integer count = 0;
    lua_settop(L, 1);
    lua_newtable(L);
    lua_newtable(L);
    while (form_next(&rest, &name, &value)) {
        if (!push_form_text(L, name) || !push_form_text(L, value)) {
            lua_pushnil(L);
            return 1;
        }
        set_first(L, 2);
        lua_createtable(L, 2, 0);
        lua_insert(L, -3);
        lua_rawseti(L, -3, 2);
        lua_rawseti(L, -2, 1);
        lua_rawseti(L, 3, ++count);
    }
    return 2;
}

/* cookie_decode(s) → {name = first value}; quotes around a value go. */
static int l_cookie_decode(lua_State *L) {
    struct str rest = check_str(L, 1), name, value;
    lua_settop(L, 1);
    lua_newtable(L);
    while (cookie_next(&rest, &name, &value)) {
        if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
            value = str_of(value.p + 1, value.n - 2);
        lua_pushlstring(L, name.p, name.n);
        lua_pushlstring(L, value.n ? value.p : "", value.n);
        set_first(L, 2);
        lua_pop(L, 2);
    }
    return 1;
}

/* ── media types ──────────────────────────────────────────────────────────*/

/* media_type(s) → "type/subtype" in lower case, {name = value}; or nil */
static int l_media_type(lua_State *L) {
    struct str type, subtype, params, name, value, s = check_str(L, 1);
    int more;
    if (media_type(s, &type, &subtype, &params) < 0) {
        lua_pushnil(L);
        return 1;
    }
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < type.n; i++)
        luaL_addchar(&b, ascii_lower(type.p[i]));
    luaL_addchar(&b, '/');
    for (size_t i = 0; i < subtype.n; i++)
        luaL_addchar(&b, ascii_lower(subtype.p[i]));
    luaL_pushresult(&b);
    lua_newtable(L);
    int table = lua_gettop(L);
    while ((more = param_next(&params, &name, &value)) > 0) {
        char *out = luaL_buffinitsize(L, &b, name.n);
        for (size_t i = 0; i < name.n; i++) out[i] = ascii_lower(name.p[i]);
        luaL_pushresultsize(&b, name.n);
        out = luaL_buffinitsize(L, &b, QUOTED_DECODE_MAX(value.n));
        push_result(L, &b, quoted_decode(value, out));
        if (!lua_isnil(L, -1)) set_first(L, table);
        lua_settop(L, table);
    }
    if (more < 0) lua_pushnil(L);
    return more < 0 ? 1 : 2;
}

/* ── dates ────────────────────────────────────────────────────────────────*/

static int l_http_date(lua_State *L) {
    char out[HTTP_DATE_LEN + 1];
    lua_Number seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds > -1e15 && seconds < 1e15, 1, "out of range");
    http_date_format((int64_t)seconds, out);
    lua_pushlstring(L, out, HTTP_DATE_LEN);
    return 1;
}

static int l_http_date_parse(lua_State *L) {
    int64_t seconds;
    if (http_date_parse(check_str(L, 1), loop_unix_time(generation_of(L)->rw->loop), &seconds) < 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, seconds);
    return 1;
}

/* ── base64, hex ──────────────────────────────────────────────────────────*/

static int encode64(lua_State *L, enum base64 flavour) {
    struct str s = check_str(L, 1);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, BASE64_ENCODE_MAX(s.n));
    return push_result(L, &b, base64_encode(s, flavour, out));
}

static int decode64(lua_State *L, enum base64 flavour) {
    struct str s = check_str(L, 1);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, BASE64_DECODE_MAX(s.n));
    return push_result(L, &b, base64_decode(s, flavour, out));
}

static int l_base64_encode(lua_State *L) { return encode64(L, BASE64_STD); }
static int l_base64_decode(lua_State *L) { return decode64(L, BASE64_STD); }
static int l_base64url_encode(lua_State *L) { return encode64(L, BASE64_URL); }
static int l_base64url_decode(lua_State *L) { return decode64(L, BASE64_URL); }

static int l_hex_encode(lua_State *L) {
    struct str s = check_str(L, 1);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, HEX_ENCODE_MAX(s.n));
    return push_result(L, &b, hex_encode(s, out));
}

static int l_hex_decode(lua_State *L) {
    struct str s = check_str(L, 1);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, HEX_DECODE_MAX(s.n));
    return push_result(L, &b, hex_decode(s, out));
}

/* ── the rest ─────────────────────────────────────────────────────────────*/

/* For text and for attribute values in either kind of quotes. */
static int l_escape_html(lua_State *L) {
    struct str s = check_str(L, 1);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < s.n; i++) {
        switch (s.p[i]) {
        case '&': luaL_addstring(&b, "&amp;"); break;
        case '<': luaL_addstring(&b, "&lt;"); break;
        case '>': luaL_addstring(&b, "&gt;"); break;
        case '"': luaL_addstring(&b, "&quot;"); break;
        case '\'': luaL_addstring(&b, "&#39;"); break;
        default: luaL_addchar(&b, s.p[i]);
        }
    }
    luaL_pushresult(&b);
    return 1;
}

/* random(n) → n bytes nobody can foretell */
static int l_random(lua_State *L) {
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(L, n >= 0 && n <= RANDOM_MAX, 1, "out of range");
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, (size_t)n);
    if (!random_bytes(generation_of(L)->rw, out, (size_t)n))
        return luaL_error(L, "no random bytes from the system");
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

static int l_utf8_valid(lua_State *L) {
    lua_pushboolean(L, utf8_valid(check_str(L, 1)));
    return 1;
}

static int l_is_token(lua_State *L) {
    lua_pushboolean(L, is_token(check_str(L, 1)));
    return 1;
}

void text_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"percent_decode", l_percent_decode},
        {"percent_encode", l_percent_encode},
        {"query_decode", l_query_decode},
        {"cookie_decode", l_cookie_decode},
        {"media_type", l_media_type},
        {"http_date", l_http_date},
        {"http_date_parse", l_http_date_parse},
        {"base64_encode", l_base64_encode},
        {"base64_decode", l_base64_decode},
        {"base64url_encode", l_base64url_encode},
        {"base64url_decode", l_base64url_decode},
        {"hex_encode", l_hex_encode},
        {"hex_decode", l_hex_decode},
        {"escape_html", l_escape_html},
        {"random", l_random},
        {"utf8_valid", l_utf8_valid},
        {"is_token", l_is_token},
        {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
