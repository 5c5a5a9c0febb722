/* SPDX-License-Identifier: MIT */
/* JSON (RFC 8259) to Lua values, by way of yyjson: it parses, then the document
 * is walked. Objects become tables, arrays tables marked as arrays (so that an
 * empty one stays one), null is core.null, integers stay integers while they
 * fit in 64 bits; of equal names the last counts.
 *
 * The document is on the C stack when it is small, else in a userdata, so that
 * an error raised in the middle leaks nothing. Writing: json_write.c.
 */
#include "bind/json.h"

#include <yyjson.h>

#include "bind/bind.h"

enum {
    JSON_POOL = 16384, /* documents that need no more are read on the stack */
};

static const char *const array_name = "ropewalk.array";
static const char *const null_name = "ropewalk.null";
static const char *const document_name = "ropewalk.json_document";

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

/* json_decode(string) → value; nil, message. Upvalues: null, the metatable of arrays. */
static int l_decode(lua_State *L) {
    struct str s = check_str(L, 1);
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
    yyjson_read_err error = {.code = YYJSON_READ_ERROR_MEMORY_ALLOCATION};
    yyjson_doc *doc = fits ? yyjson_read_opts((char *)s.p, s.n, 0, &small, &error) : NULL;
    /* what is nested deeply may want more than what is said to be the most */
    if (!doc && error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
        d = lua_newuserdatauv(L, sizeof *d, 0);
        d->doc = NULL;
        luaL_setmetatable(L, document_name);
        doc = d->doc = yyjson_read_opts((char *)s.p, s.n, 0, &large, &error);
    }
    if (!doc) return push_syntax_error(L, s, &error);
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
    lua_pushcclosure(L, json_encode, 2);
    lua_setfield(L, -4, "json_encode");
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, l_decode, 2);
    lua_setfield(L, -4, "json_decode");
    lua_pushcclosure(L, l_array, 1);
    lua_setfield(L, -3, "array");
    lua_setfield(L, -2, "null");
}
