/* SPDX-License-Identifier: MIT */
/* Packing. An upvalue that functions share is written with the first of them;
 * the others name that function and the place. A function that calls itself
 * needs no care: it is numbered before its upvalues are written.
 *
 * The names of what modules hold are looked up in an index, made when the first
 * object asks for it and kept for this shipment. */
#include <stdarg.h>
#include <stdio.h>

#include "bind/ship_private.h"

enum { MAX_DEPTH = 128, MAX_OBJECTS = 1 << 20 };

static _Thread_local char refused[256];

const char *ship_refused(void) { return refused; }

struct packer {
    lua_State *L;
    struct buf *out;
    int seen; /* stack index: object or upvalue's id → number */
    int index[2]; /* stack indices: object → its name, or false: not made yet */
    lua_Integer objects;
    int depth;
};

enum which { MODULES, MODULES_AND_FIELDS }; /* of packer.index */

static int pack(struct packer *p, int index);

static int refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int refuse(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(refused, sizeof refused, format, args);
    va_end(args);
    return RW_EINVAL;
}

/* Something within could not be packed: says where, from the inside out. Of a
 * long way the beginning and the end are named. */
static int refuse_within(int rc, const char *format, const char *name)
    __attribute__((format(printf, 2, 0)));
static int refuse_within(int rc, const char *format, const char *name) {
    enum { KEPT = 160 }; /* and at most 60 of the place */
    if (rc != RW_EINVAL) return rc;
    char inner[KEPT + 1];
    size_t n = strlen(refused);
    bool whole = n <= KEPT, last = strncmp(refused, "is ", 3) == 0;
    memcpy(inner, refused + (whole ? 0 : n - KEPT), (whole ? n : KEPT) + 1);
    int place = snprintf(refused, sizeof refused, format, name);
    snprintf(refused + place, sizeof refused - (size_t)place, "%s%s",
             last ? " " : whole ? ": " : ": … ", inner);
    return rc;
}

static int add(struct packer *p, const void *bytes, size_t n) {
    int rc = buf_add(p->out, bytes, n);
    if (rc == RW_ELIMIT) refuse("more than %zu bytes", p->out->max);
    return rc;
}

static int add_tag(struct packer *p, enum tag tag) {
    unsigned char byte = (unsigned char)tag;
    return add(p, &byte, 1);
}

static int add_number(struct packer *p, enum tag tag, lua_Integer n) {
    int rc = add_tag(p, tag);
    return rc < 0 ? rc : add(p, &n, sizeof n);
}

static int add_text(struct packer *p, const char *text, size_t n) {
    int rc = add(p, &n, sizeof n);
    return rc < 0 ? rc : add(p, text, n);
}

/* A function may lie in several modules: the same name is chosen every time. */
static bool is_better(lua_State *L, int known, const char *name, size_t n) {
    size_t known_n;
    const char *other = lua_tolstring(L, known, &known_n);
    return !other || n < known_n || (n == known_n && memcmp(name, other, n) < 0);
}

/* names[object on top] = module \1 field, or the module alone; pops it. */
static void index_object(lua_State *L, int names, const char *module, const char *field) {
    int type = lua_type(L, -1);
    if (type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TUSERDATA) {
        lua_pushvalue(L, -1);
        lua_rawget(L, names);
        if (field) lua_pushfstring(L, "%s%c%s", module, 1, field);
        else lua_pushstring(L, module);
        size_t n;
        const char *name = lua_tolstring(L, -1, &n);
        if (is_better(L, -2, name, n)) {
            lua_pushvalue(L, -3);
            lua_insert(L, -2);
            lua_rawset(L, names);
            lua_pop(L, 2);
            return;
        }
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
}

static void index_fields(lua_State *L, int names, const char *module) {
    if (!lua_istable(L, -1)) return;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        if (lua_type(L, -2) == LUA_TSTRING)
            index_object(L, names, module, lua_tostring(L, -2)); /* pops the value */
        else lua_pop(L, 1);
    }
}

static void make_index(struct packer *p, enum which which) {
    lua_State *L = p->L;
    int names = p->index[which];
    lua_newtable(L);
    lua_replace(L, names);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    for (int fields = which; fields >= 0; fields--) { /* a module's own name is the shortest */
        lua_pushnil(L);
        while (lua_next(L, -2)) {
            const char *module = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
            if (fields) {
                index_fields(L, names, module);
                lua_pop(L, 1);
            } else {
                index_object(L, names, module, NULL);
            }
        }
    }
    lua_pop(L, 1);
}

/* 1 when the object has a name in a module, which is packed; 0, or an error. */
static int pack_name(struct packer *p, int index, enum which which) {
    lua_State *L = p->L;
    if (lua_isboolean(L, p->index[which])) make_index(p, which);
    lua_pushvalue(L, index);
    lua_rawget(L, p->index[which]);
    const char *name = lua_tostring(L, -1);
    if (!name) {
        lua_pop(L, 1);
        return 0;
    }
    const char *field = strchr(name, 1);
    int rc = add_tag(p, field ? TAG_FIELD : TAG_MODULE);
    size_t n = field ? (size_t)(field - name) : strlen(name);
    if (rc == 0) rc = add_text(p, name, n);
    if (rc == 0 && field) rc = add_text(p, field + 1, strlen(field + 1));
    lua_pop(L, 1);
    return rc < 0 ? rc : 1;
}

/* 1 when it came before: its number is packed; else it gets one. */
static int pack_again(struct packer *p, int index) {
    lua_State *L = p->L;
    lua_pushvalue(L, index);
    if (lua_rawget(L, p->seen) == LUA_TNUMBER) {
        int rc = add_number(p, TAG_AGAIN, lua_tointeger(L, -1));
        lua_pop(L, 1);
        return rc < 0 ? rc : 1;
    }
    lua_pop(L, 1);
    if (p->objects == MAX_OBJECTS) return refuse("is more than %d tables", MAX_OBJECTS);
    lua_pushvalue(L, index);
    lua_pushinteger(L, ++p->objects);
    lua_rawset(L, p->seen);
    return 0;
}

static const char *key_text(lua_State *L, int index, char *room, size_t n) {
    switch (lua_type(L, index)) {
    case LUA_TSTRING: return lua_tostring(L, index);
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) snprintf(room, n, "%lld", lua_tointeger(L, index));
        else snprintf(room, n, "%.14g", lua_tonumber(L, index));
        return room;
    default: return luaL_typename(L, index);
    }
}

static int pack_metatable(struct packer *p, int index) {
    lua_State *L = p->L;
    if (!lua_getmetatable(L, index)) return add_tag(p, TAG_NIL);
    lua_pushliteral(L, "__gc");
    bool finalizer = lua_rawget(L, -2) != LUA_TNIL;
    lua_pop(L, 1);
    int rc = finalizer ? refuse("is with a finalizer (__gc)") : pack(p, lua_gettop(L));
    lua_pop(L, 1);
    return refuse_within(rc, "field '%.40s'", "(metatable)");
}

/* The key and the value on top; pops the value. */
static int pack_entry(struct packer *p) {
    lua_State *L = p->L;
    char room[40];
    int top = lua_gettop(L);
    int rc = pack(p, top - 1);
    if (rc == 0) rc = pack(p, top);
    if (rc < 0) rc = refuse_within(rc, "field '%.40s'", key_text(L, top - 1, room, sizeof room));
    lua_pop(L, 1);
    return rc;
}

/* Names in their order, whatever the table's is: what is made of the same
 * values is the same, in any process. */
static int pack_names(struct packer *p, int index) {
    lua_State *L = p->L;
    size_t n;
    const struct str *names = push_keys(L, index, &n);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        lua_pushlstring(L, names[i].p, names[i].n);
        lua_pushvalue(L, -1);
        lua_rawget(L, index);
        rc = pack_entry(p);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return rc;
}

static int pack_entries(struct packer *p, int index) {
    lua_State *L = p->L;
    bool names = false;
    int rc = 0;
    lua_pushnil(L);
    while (rc == 0 && lua_next(L, index)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            rc = pack_entry(p);
            continue;
        }
        names = true;
        lua_pop(L, 1);
    }
    if (rc < 0) {
        lua_pop(L, 1);
        return rc;
    }
    if (names) rc = pack_names(p, index);
    if (rc == 0) rc = add_tag(p, TAG_NIL);
    return rc < 0 ? rc : pack_metatable(p, index);
}

static int write_code(lua_State *L, const void *bytes, size_t n, void *packer) {
    (void)L;
    return add(packer, bytes, n);
}

static int pack_code(struct packer *p, int index) {
    size_t at = buf_len(p->out), n = 0;
    int rc = add(p, &n, sizeof n);
    if (rc < 0) return rc;
    lua_pushvalue(p->L, index);
    rc = lua_dump(p->L, write_code, p, 0);
    lua_pop(p->L, 1);
    n = buf_len(p->out) - at - sizeof n;
    memcpy(p->out->data + p->out->head + at, &n, sizeof n);
    return rc;
}

/* Is the upvalue on top an environment that stands before the global table, as
 * test frameworks make them? (A plain table as _ENV is data.) */
static bool is_environment(lua_State *L, const char *name) {
    if (strcmp(name, "_ENV") != 0 || !lua_istable(L, -1) || !lua_getmetatable(L, -1)) return false;
    lua_pop(L, 1);
    return true;
}

static int pack_upvalue(struct packer *p, int index, lua_Integer number, int i) {
    lua_State *L = p->L;
    void *id = lua_upvalueid(L, index, i);
    if (lua_rawgetp(L, p->seen, id) == LUA_TNUMBER) {
        lua_Integer first = lua_tointeger(L, -1);
        lua_pop(L, 1);
        return add_number(p, TAG_JOIN, first);
    }
    lua_pop(L, 1);
    lua_pushinteger(L, number * SHIP_PLACES + i);
    lua_rawsetp(L, p->seen, id);
    int rc = add_tag(p, TAG_OWN);
    if (rc < 0) return rc;
    const char *name = lua_getupvalue(L, index, i);
    if (is_environment(L, name)) rc = add_tag(p, TAG_GLOBALS);
    else rc = refuse_within(pack(p, lua_gettop(L)), "upvalue '%.40s'", name);
    lua_pop(L, 1);
    return rc;
}

static int pack_function(struct packer *p, int index, lua_Integer number) {
    lua_State *L = p->L;
    if (lua_iscfunction(L, index)) return refuse("is a C function that no module holds");
    int rc = add_tag(p, TAG_FUNCTION);
    if (rc == 0) rc = pack_code(p, index);
    lua_Debug ar;
    lua_pushvalue(L, index);
    lua_getinfo(L, ">u", &ar);
    unsigned char count = ar.nups;
    if (rc == 0) rc = add(p, &count, 1);
    for (int i = 1; rc == 0 && i <= count; i++) rc = pack_upvalue(p, index, number, i);
    return rc;
}

static int pack_table(struct packer *p, int index) {
    int rc = add_tag(p, TAG_TABLE);
    return rc < 0 ? rc : pack_entries(p, index);
}

static bool is_globals(lua_State *L, int index) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    bool yes = lua_rawequal(L, -1, index);
    lua_pop(L, 1);
    return yes;
}

/* A plain table in a module's field is data, and copied; a class has to be the
 * class. */
static enum which where_to_look(lua_State *L, int index) {
    if (!lua_istable(L, index)) return MODULES_AND_FIELDS;
    if (!lua_getmetatable(L, index)) return MODULES;
    lua_pop(L, 1);
    return MODULES_AND_FIELDS;
}

static int pack_object(struct packer *p, int index) {
    lua_State *L = p->L;
    int type = lua_type(L, index);
    if (type == LUA_TLIGHTUSERDATA) return refuse("is a light userdata");
    if (is_globals(L, index)) return add_tag(p, TAG_GLOBALS);
    int rc = pack_again(p, index);
    lua_Integer number = p->objects;
    if (rc == 0) rc = pack_name(p, index, where_to_look(L, index));
    if (rc != 0) return rc < 0 ? rc : 0;
    if (type == LUA_TTABLE) return pack_table(p, index);
    if (type == LUA_TFUNCTION) return pack_function(p, index, number);
    return refuse("is a %s", type == LUA_TTHREAD ? "coroutine" : lua_typename(L, type));
}

static int pack(struct packer *p, int index) {
    lua_State *L = p->L;
    switch (lua_type(L, index)) {
    case LUA_TNIL: return add_tag(p, TAG_NIL);
    case LUA_TBOOLEAN: return add_tag(p, lua_toboolean(L, index) ? TAG_TRUE : TAG_FALSE);
    case LUA_TNUMBER: {
        if (lua_isinteger(L, index)) return add_number(p, TAG_INTEGER, lua_tointeger(L, index));
        lua_Number n = lua_tonumber(L, index);
        int rc = add_tag(p, TAG_NUMBER);
        return rc < 0 ? rc : add(p, &n, sizeof n);
    }
    case LUA_TSTRING: {
        size_t n;
        const char *text = lua_tolstring(L, index, &n);
        int rc = add_tag(p, TAG_STRING);
        return rc < 0 ? rc : add_text(p, text, n);
    }
    default: {
        if (p->depth == MAX_DEPTH || !lua_checkstack(L, SHIP_STACK))
            return refuse("is nested more than %d deep", MAX_DEPTH);
        p->depth++;
        int rc = pack_object(p, index);
        p->depth--;
        return rc;
    }
    }
}

int ship_pack(lua_State *L, int index, int n, struct shipment *s) {
    index = lua_absindex(L, index);
    luaL_checkstack(L, SHIP_STACK, NULL);
    int top = lua_gettop(L);
    lua_newtable(L);
    lua_pushboolean(L, false);
    lua_pushboolean(L, false);
    struct packer p = {
        .L = L, .out = &s->bytes, .seen = top + 1, .index = {top + 2, top + 3},
    };
    int rc = 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", i);
        rc = pack(&p, index + i);
        if (rc < 0 && i > 0) rc = refuse_within(rc, "argument %.10s", number);
    }
    lua_settop(L, top);
    return rc;
}
