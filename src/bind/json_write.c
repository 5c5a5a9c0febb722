/* SPDX-License-Identifier: MIT */
/* Lua values to JSON: a table with elements 1 … n and nothing else is an array,
 * one marked by core.array as well, any other has string keys and is an object.
 * What JSON cannot say is an error that names the place: NaN, infinity,
 * functions, sparse or mixed tables, text that is not UTF-8.
 *
 * The text grows on the C stack first, then in userdata: memory is Lua's all
 * the time, and an error raised in the middle leaks nothing.
 */
#include "bind/json.h"

#include <math.h>
#include <stdio.h>

#include <yyjson.h>

#include "base/codec.h"
#include "bind/bind.h"

enum {
    JSON_FIRST = 2048,    /* bytes on the stack before the heap is asked */
    JSON_PLACES = 12,     /* levels that a message names */
    JSON_SLICE = 4096,    /* of a long string escaped at a time */
};

struct writer {
    lua_State *L;
    char *data; /* `first`, or a userdata at stack index `slot` */
    size_t n, cap;
    int slot, null;      /* stack indices */
    int array_metatable; /* … */
    bool pretty, sorted, huge;
    int depth;
    struct place { /* where we are, for errors */
        const char *key; /* NULL: an index */
        size_t length;
        lua_Integer index;
    } path[JSON_MAX_DEPTH + 1];
    const char *problem, *type; /* type: appended to the problem */
    char first[JSON_FIRST];
};

static char *reserve(struct writer *w, size_t n) {
    if (w->cap - w->n < n) {
        size_t cap = w->cap * 2 < w->n + n ? w->n + n : w->cap * 2;
        luaL_checkstack(w->L, 2, "json");
        char *grown = lua_newuserdatauv(w->L, cap, 0);
        memcpy(grown, w->data, w->n);
        lua_replace(w->L, w->slot);
        w->data = grown;
        w->cap = cap;
    }
    return w->data + w->n;
}

static void add(struct writer *w, const char *p, size_t n) {
    memcpy(reserve(w, n), p, n);
    w->n += n;
}

static void add_char(struct writer *w, char c) {
    *reserve(w, 1) = c;
    w->n++;
}

static void add_line(struct writer *w) {
    if (!w->pretty) return;
    size_t n = (size_t)w->depth * 2;
    char *out = reserve(w, n + 1);
    *out = '\n';
    memset(out + 1, ' ', n);
    w->n += n + 1;
}

static bool fail(struct writer *w, const char *problem) {
    w->problem = problem;
    return false;
}

/* Does it stand in JSON as it is? */
static bool is_plain(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == '"' || c == '\\' || c >= 0x7f) return false;
    }
    return true;
}

static bool add_string(struct writer *w, struct str s) {
    add_char(w, '"');
    if (is_plain(s)) {
        add(w, s.p, s.n);
    } else {
        if (!utf8_valid(s)) return fail(w, "text that is not UTF-8");
        while (s.n) { /* slices end between characters */
            size_t n = s.n < JSON_SLICE ? s.n : JSON_SLICE;
            while (n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80) n--;
            char *out = reserve(w, JSON_ESCAPE_MAX(n));
            w->n += (size_t)json_escape(str_of(s.p, n), out);
            s = str_skip(s, n);
        }
    }
    add_char(w, '"');
    return true;
}

static bool add_number(struct writer *w, int index) {
    char pool[512]; /* yyjson's own minimum for a single value is 32 */
    yyjson_val value = {0};
    yyjson_alc alc;
    if (lua_isinteger(w->L, index)) {
        value.tag = YYJSON_TYPE_NUM | YYJSON_SUBTYPE_SINT;
        value.uni.i64 = lua_tointeger(w->L, index);
        if (value.uni.i64 >= 0) value.tag = YYJSON_TYPE_NUM | YYJSON_SUBTYPE_UINT;
    } else {
        value.tag = YYJSON_TYPE_NUM | YYJSON_SUBTYPE_REAL;
        value.uni.f64 = lua_tonumber(w->L, index);
        if (!isfinite(value.uni.f64))
            return fail(w, "a number that is not finite");
    }
    size_t n;
    yyjson_alc_pool_init(&alc, pool, sizeof pool);
    char *text = yyjson_val_write_opts(&value, 0, &alc, &n, NULL);
    if (!text) return fail(w, "a number that cannot be written");
    add(w, text, n);
    return true;
}

static bool add_value(struct writer *w, int index);

static bool is_marked_array(struct writer *w, int index) {
    if (!lua_getmetatable(w->L, index)) return false;
    bool is = lua_rawequal(w->L, -1, w->array_metatable);
    lua_pop(w->L, 1);
    return is;
}

/* Are the keys 1 … n and no others? */
static bool check_keys(struct writer *w, int index, lua_Unsigned n) {
    lua_Unsigned count = 0;
    for (lua_pushnil(w->L); lua_next(w->L, index); count++) {
        lua_pop(w->L, 1);
        bool fits = lua_isinteger(w->L, -1);
        if (fits) {
            lua_Integer key = lua_tointeger(w->L, -1);
            fits = key >= 1 && (lua_Unsigned)key <= n;
        }
        if (!fits) {
            bool text = lua_type(w->L, -1) == LUA_TSTRING;
            lua_pop(w->L, 1);
            return fail(w, text ? "a table with both elements and names"
                                : "an array with holes or odd keys");
        }
    }
    return count == n || fail(w, "an array with holes");
}

static bool add_array(struct writer *w, int index, lua_Unsigned n) {
    if (!check_keys(w, index, n)) return false;
    struct place *place = &w->path[w->depth++];
    place->key = NULL;
    add_char(w, '[');
    for (lua_Unsigned i = 1; i <= n; i++) {
        if (i > 1) add_char(w, ',');
        add_line(w);
        place->index = (lua_Integer)i;
        lua_rawgeti(w->L, index, (lua_Integer)i);
        if (!add_value(w, lua_gettop(w->L))) return false;
        lua_pop(w->L, 1);
    }
    w->depth--;
    if (n) add_line(w);
    add_char(w, ']');
    return true;
}

/* Stack: …, key, value */
static bool add_member(struct writer *w, struct place *place, bool first) {
    if (lua_type(w->L, -2) != LUA_TSTRING)
        return fail(w, "a table with a key that is neither a string nor 1 … n");
    place->key = lua_tolstring(w->L, -2, &place->length);
    if (!first) add_char(w, ',');
    add_line(w);
    if (!add_string(w, str_of(place->key, place->length))) return false;
    add(w, ": ", w->pretty ? 2 : 1);
    return add_value(w, lua_gettop(w->L));
}

static bool add_sorted(struct writer *w, int index, struct place *place) {
    for (lua_pushnil(w->L); lua_next(w->L, index); lua_pop(w->L, 1))
        if (lua_type(w->L, -2) != LUA_TSTRING)
            return fail(w, "a table with a key that is neither a string nor 1 … n");
    size_t count;
    const struct str *names = push_keys(w->L, index, &count);
    for (size_t i = 0; i < count; i++) {
        lua_pushlstring(w->L, names[i].p, names[i].n);
        lua_pushvalue(w->L, -1);
        lua_rawget(w->L, index);
        if (!add_member(w, place, i == 0)) return false;
        lua_pop(w->L, 2);
    }
    lua_pop(w->L, 1);
    return true;
}

static bool add_object(struct writer *w, int index) {
    struct place *place = &w->path[w->depth++];
    place->key = NULL;
    place->index = 0;
    size_t before = w->n;
    add_char(w, '{');
    if (w->sorted) {
        if (!add_sorted(w, index, place)) return false;
    } else {
        for (lua_pushnil(w->L); lua_next(w->L, index); lua_pop(w->L, 1))
            if (!add_member(w, place, w->n == before + 1)) return false;
    }
    w->depth--;
    if (w->n > before + 1) add_line(w);
    add_char(w, '}');
    return true;
}

static bool add_table(struct writer *w, int index) {
    if (w->depth == JSON_MAX_DEPTH)
        return fail(w, "more than 100 levels (a cycle?)");
    luaL_checkstack(w->L, 8, "json");
    lua_Unsigned n = lua_rawlen(w->L, index);
    if (n || is_marked_array(w, index)) return add_array(w, index, n);
    return add_object(w, index);
}

static bool add_value(struct writer *w, int index) {
    struct str s;
    switch (lua_type(w->L, index)) {
    case LUA_TSTRING:
        s.p = lua_tolstring(w->L, index, &s.n);
        return add_string(w, s);
    case LUA_TNUMBER:
        return add_number(w, index);
    case LUA_TBOOLEAN:
        if (lua_toboolean(w->L, index)) add(w, "true", 4);
        else add(w, "false", 5);
        return true;
    case LUA_TNIL:
        add(w, "null", 4);
        return true;
    case LUA_TTABLE:
        return add_table(w, index);
    default:
        if (!lua_rawequal(w->L, index, w->null)) {
            w->type = luaL_typename(w->L, index);
            return fail(w, "a ");
        }
        add(w, "null", 4);
        return true;
    }
}

/* "value.users[3].name" */
static void push_place(struct writer *w) {
    luaL_Buffer b;
    luaL_buffinit(w->L, &b);
    luaL_addstring(&b, "value");
    for (int i = 0; i < w->depth && i < JSON_PLACES; i++) {
        const struct place *p = &w->path[i];
        char index[32];
        if (p->key) {
            struct str key = str_of(p->key, p->length < 40 ? p->length : 40);
            luaL_addchar(&b, '.');
            if (utf8_valid(key)) luaL_addlstring(&b, key.p, key.n);
            else luaL_addchar(&b, '?');
        } else if (p->index) {
            snprintf(index, sizeof index, "[%lld]", (long long)p->index);
            luaL_addstring(&b, index);
        }
    }
    if (w->depth > JSON_PLACES) luaL_addstring(&b, "…");
    luaL_pushresult(&b);
}

int json_encode(lua_State *L) {
    struct writer w = {.L = L, .cap = JSON_FIRST, .slot = 3,
                       .null = lua_upvalueindex(1),
                       .array_metatable = lua_upvalueindex(2)};
    w.data = w.first;
    luaL_checkany(L, 1);
    lua_settop(L, 3);
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "pretty");
        lua_getfield(L, 2, "sorted");
        w.pretty = lua_toboolean(L, -2);
        w.sorted = lua_toboolean(L, -1);
        lua_settop(L, 3);
    } else {
        w.pretty = w.sorted = lua_toboolean(L, 2);
    }
    if (add_value(&w, 1)) {
        lua_pushlstring(L, w.data, w.n);
        return 1;
    }
    luaL_checkstack(L, 8, "json");
    lua_pushnil(L);
    push_place(&w);
    lua_pushfstring(L, "%s is %s%s", lua_tostring(L, -1), w.problem,
                    w.type ? w.type : "");
    lua_remove(L, -2);
    return 2;
}
