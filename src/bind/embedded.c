/* SPDX-License-Identifier: MIT */
/* The library in the binary. A module is compiled once per process and kept as
 * bytecode, with its debug information: each further state (a reload, a
 * simulation) takes it from there, in a fraction of the time. */
#include "bind/embedded.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "bind/bind.h"

enum { MAX_MODULES = 1024 };

struct code { /* never freed: the process's */
    size_t n;
    char bytes[];
};
static _Atomic(struct code *) codes[MAX_MODULES]; /* by the module's number */

static int write_code(lua_State *L, const void *bytes, size_t n, void *to) {
    struct code **code = to;
    size_t had = *code ? (*code)->n : 0;
    struct code *more = realloc(*code, sizeof *more + had + n);
    (void)L;
    if (!more) return 1;
    memcpy(more->bytes + had, bytes, n);
    more->n = had + n;
    *code = more;
    return 0;
}

/* The function on top becomes the module's code, unless another thread was
 * faster. */
static void keep(lua_State *L, unsigned number) {
    struct code *code = NULL, *none = NULL;
    bool good = lua_dump(L, write_code, &code, 0) == 0;
    if (!good || !atomic_compare_exchange_strong(&codes[number], &none, code)) free(code);
}

static int compile(lua_State *L, const struct embedded_module *m) {
    lua_pushfstring(L, "@%s", m->name);
    int status = luaL_loadbufferx(L, m->start, (size_t)(m->end - m->start),
                                  lua_tostring(L, -1), "t");
    lua_remove(L, -2);
    return status;
}

/* For a simulation, which shall not notice whether it is the first to ask. */
static void compile_elsewhere(const struct embedded_module *m, unsigned number) {
    lua_State *L = luaL_newstate();
    if (!L) return;
    if (compile(L, m) == LUA_OK) keep(L, number);
    lua_close(L);
}

static int loaded(lua_State *L, int status, lua_KContext ctx) {
    (void)L, (void)status, (void)ctx;
    return 1;
}

static int load_embedded(lua_State *L) {
    const struct embedded_module *m = lua_touserdata(L, lua_upvalueindex(1));
    unsigned number = (unsigned)(m - embedded_modules);
    if (number >= MAX_MODULES) return luaL_error(L, "the library has too many modules");
    if (!codes[number] && generation_of(L)->rw->simulated) compile_elsewhere(m, number);
    const struct code *code = codes[number];
    int status = code ? luaL_loadbufferx(L, code->bytes, code->n, m->name, "b") : compile(L, m);
    if (status != LUA_OK) return lua_error(L);
    if (!code) keep(L, number);
    lua_pushstring(L, m->name);
    lua_callk(L, 1, 1, 0, loaded);
    return 1;
}

void embedded_open(lua_State *L) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (unsigned i = 0; i < embedded_module_count; i++) {
        lua_pushlightuserdata(L, (void *)&embedded_modules[i]);
        lua_pushcclosure(L, load_embedded, 1);
        lua_setfield(L, -2, embedded_modules[i].name);
    }
    lua_pop(L, 1);
}
