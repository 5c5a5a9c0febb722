/* SPDX-License-Identifier: MIT */
/* JSON (RFC 8259) and Lua values.
 *
 * Reading: yyjson parses, then the document is walked. Objects become tables,
 * arrays tables marked as arrays (so that an empty one stays one), null is
 * core.null, integers stay integers while they fit in 64 bits; of equal names
 * the last counts.
 *
 * Writing: a table with elements 1 … n and nothing else is an array, one
 * marked by core.array as well, any other has string keys and is an object.
 * What JSON cannot say is an error that names the place: NaN, infinity,
 * functions, sparse or mixed tables, text that is not UTF-8.
 *
 * Memory belongs to Lua all the time (userdata), so that an error raised in
 * the middle leaks nothing; both directions are bounded in depth.
 */
#include <math.h>
#include <stdlib.h>

#include <yyjson.h>

#include "base/codec.h"
#include "bind/bind.h"

enum {
    JSON_MAX_DEPTH = 100, /* nesting that exhausts the C stack; cycles */
    JSON_FIRST = 2048,    /* bytes on the stack before the heap is asked */
    JSON_POOL = 16384,    /* documents that need no more are read on the stack */
    JSON_PLACES = 12,     /* levels that a message names */
    JSON_SLICE = 4096,    /* of a long string escaped at a time */
};

static const char *const array_name = "ropewalk.array";
static const char *const null_name = "ropewalk.null";
static const char *const document_name = "ropewalk.json_document";

/* ── writing ──────────────────────────────────────────────────────────────*/

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

static int by_name(const void *a, const void *b) {
    const struct str *x = a, *y = b;
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* The names in order; they live as long as the table has them. */
static bool add_sorted(struct writer *w, int index, struct place *place) {
    size_t count = 0, i = 0;
    for (lua_pushnil(w->L); lua_next(w->L, index); lua_pop(w->L, 1)) count++;
    struct str *names = lua_newuserdatauv(w->L, (count + 1) * sizeof *names, 0);
    for (lua_pushnil(w->L); lua_next(w->L, index); lua_pop(w->L, 1)) {
        if (lua_type(w->L, -2) != LUA_TSTRING)
            return fail(w, "a table with a key that is neither a string nor 1 … n");
        if (i == count) continue;
        names[i].p = lua_tolstring(w->L, -2, &names[i].n);
        i++;
    }
    qsort(names, i, sizeof *names, by_name);
    count = i;
    for (i = 0; i < count; i++) {
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

/* json_encode(value[, pretty or {pretty, sorted}]) → string; nil, message.
 * Upvalues: null, the metatable of arrays. */
static int l_encode(lua_State *L) {
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

/* ── reading ──────────────────────────────────────────────────────────────*/

struct document { /* userdata: frees what an error left behind */
    yyjson_doc *doc;
};

static int l_document_gc(lua_State *L) {
    struct document *d = luaL_checkudata(L, 1, document_name);
    yyjson_doc_free(d->doc);
    d->doc = NULL;
    return 0;
}

struct reader {
    lua_State *L;
    int null, array_metatable;
};

static bool push_value(struct reader *r, yyjson_val *v, int depth);

static bool push_array(struct reader *r, yyjson_val *v, int depth) {
    size_t index, count;
    yyjson_val *item;
    lua_createtable(r->L, (int)(yyjson_arr_size(v) & 0xffffff), 0);
    lua_pushvalue(r->L, r->array_metatable);
    lua_setmetatable(r->L, -2);
    yyjson_arr_foreach(v, index, count, item) {
        if (!push_value(r, item, depth + 1)) return false;
        lua_rawseti(r->L, -2, (lua_Integer)index + 1);
    }
    return true;
}

static bool push_object(struct reader *r, yyjson_val *v, int depth) {
    size_t index, count;
    yyjson_val *key, *item;
    lua_createtable(r->L, 0, (int)(yyjson_obj_size(v) & 0xffffff));
    yyjson_obj_foreach(v, index, count, key, item) {
        lua_pushlstring(r->L, yyjson_get_str(key), yyjson_get_len(key));
        if (!push_value(r, item, depth + 1)) return false;
        lua_rawset(r->L, -3);
    }
    return true;
}

static bool push_value(struct reader *r, yyjson_val *v, int depth) {
    switch (yyjson_get_type(v)) {
    case YYJSON_TYPE_STR:
        lua_pushlstring(r->L, yyjson_get_str(v), yyjson_get_len(v));
        return true;
    case YYJSON_TYPE_NUM:
        if (yyjson_is_real(v)) lua_pushnumber(r->L, yyjson_get_real(v));
        else if (yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX)
            lua_pushnumber(r->L, (lua_Number)yyjson_get_uint(v));
        else lua_pushinteger(r->L, yyjson_get_sint(v));
        return true;
    case YYJSON_TYPE_BOOL:
        lua_pushboolean(r->L, yyjson_get_bool(v));
        return true;
    case YYJSON_TYPE_ARR:
    case YYJSON_TYPE_OBJ:
        if (depth == JSON_MAX_DEPTH) return false;
        luaL_checkstack(r->L, 4, "json");
        return yyjson_is_arr(v) ? push_array(r, v, depth)
                                : push_object(r, v, depth);
    default:
        lua_pushvalue(r->L, r->null);
        return true;
    }
}

/* yyjson's allocator on Lua's: the memory counts as the script's. Lua wants
 * the size when freeing, so it stands in front. */
struct block {
    size_t size;
    size_t pad; /* keeps what follows aligned */
};

static void *block_resize(void *ctx, void *p, size_t old, size_t size) {
    void *ud;
    lua_Alloc alloc = lua_getallocf(ctx, &ud);
    struct block *b = p ? (struct block *)p - 1 : NULL;
    (void)old;
    if (size > SIZE_MAX - sizeof *b) return NULL;
    b = alloc(ud, b, b ? b->size : 0, size + sizeof *b);
    if (!b) return NULL;
    b->size = size + sizeof *b;
    return b + 1;
}

static void *block_new(void *ctx, size_t size) {
    return block_resize(ctx, NULL, 0, size);
}

static void block_free(void *ctx, void *p) {
    void *ud;
    lua_Alloc alloc = lua_getallocf(ctx, &ud);
    struct block *b = (struct block *)p - 1;
    alloc(ud, b, b->size, 0);
}

static int push_syntax_error(lua_State *L, struct str s,
                             const yyjson_read_err *error) {
    if (error->code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return luaL_error(L, "not enough memory");
    size_t line = 1, column = 1;
    for (size_t i = 0; i < error->pos && i < s.n; i++) {
        bool newline = s.p[i] == '\n';
        line += newline;
        column = newline ? 1 : column + 1;
    }
    lua_pushnil(L);
    lua_pushfstring(L, "line %d, column %d: %s", (int)line, (int)column,
                    error->msg ? error->msg : "malformed");
    return 2;
}

/* json_decode(string) → value; nil, message. Upvalues as for l_encode. */
static int l_decode(lua_State *L) {
    struct str s;
    s.p = luaL_checklstring(L, 1, &s.n);
    lua_settop(L, 1);
    /* A small document is read into the stack, where nothing can leak. */
    char pool[JSON_POOL];
    yyjson_alc small, large = {block_new, block_resize, block_free, NULL};
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    large.ctx = lua_tothread(L, -1);
    bool fits = s.n < JSON_POOL &&
                yyjson_read_max_memory_usage(s.n, 0) <= JSON_POOL - 256 &&
                yyjson_alc_pool_init(&small, pool, sizeof pool);
    struct document *d = NULL;
    if (!fits) {
        d = lua_newuserdatauv(L, sizeof *d, 0);
        d->doc = NULL;
        luaL_setmetatable(L, document_name);
    }
    yyjson_read_err error;
    yyjson_doc *doc = yyjson_read_opts((char *)s.p, s.n, 0,
                                       fits ? &small : &large, &error);
    if (!doc) return push_syntax_error(L, s, &error);
    if (d) d->doc = doc;
    struct reader r = {L, lua_upvalueindex(1), lua_upvalueindex(2)};
    bool ok = push_value(&r, yyjson_doc_get_root(doc), 0);
    if (d) {
        yyjson_doc_free(doc);
        d->doc = NULL;
    }
    if (ok) return 1;
    lua_settop(L, 0);
    lua_pushnil(L);
    lua_pushliteral(L, "more than 100 levels");
    return 2;
}

/* array([t]) → t, marked. Upvalue: the metatable. */
static int l_array(lua_State *L) {
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (lua_getmetatable(L, 1) && !lua_rawequal(L, -1, lua_upvalueindex(1)))
        return luaL_argerror(L, 1, "has a metatable already");
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_setmetatable(L, 1);
    return 1;
}

static int l_null_tostring(lua_State *L) {
    lua_pushliteral(L, "null");
    return 1;
}

void json_open(lua_State *L) {
    luaL_newmetatable(L, document_name);
    lua_pushcfunction(L, l_document_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);

    lua_newuserdatauv(L, 0, 0); /* null: one per state */
    luaL_newmetatable(L, null_name);
    lua_pushcfunction(L, l_null_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_setmetatable(L, -2);
    luaL_newmetatable(L, array_name); /* stack: core, null, metatable */

    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, l_encode, 2);
    lua_setfield(L, -4, "json_encode");
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, l_decode, 2);
    lua_setfield(L, -4, "json_decode");
    lua_pushcclosure(L, l_array, 1);
    lua_setfield(L, -3, "array");
    lua_setfield(L, -2, "null");
}
