/* SPDX-License-Identifier: MIT */
/* A generation's lua_State: its allocator (an account with a limit), the
 * standard libraries, the embedded library, core. */
#include "bind/bind.h"

#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

#include "bind/embedded.h"
#include "bind/state.h"
#include "bind/task.h"
#include "bind/tls.h"

static void *allocate(void *ud, void *p, size_t old, size_t size) {
    struct mem *m = ud;
    if (size == 0) {
        mem_free(m, p, old);
        return NULL;
    }
    return mem_realloc(m, p, p ? old : 0, size); /* old is a type tag for new ones */
}

/* Lua starts a collection when memory has grown by a factor, which is good for
 * large heaps and absurd for small ones: a script of 400 kB that echoes 64 kB
 * strings would be marked whole every six of them. So the factor is chosen
 * such that some megabytes of garbage may gather, and follows the heap. */
enum { GC_GARBAGE = 8 << 20, GC_MIN_PAUSE = 200, GC_MAX_PAUSE = 1000 };

void state_tune_gc(struct generation *g) {
    size_t live = g->mem_low ? g->mem_low : 1;
    size_t pause = 100 + (size_t)GC_GARBAGE * 100 / live;
    if (pause < GC_MIN_PAUSE) pause = GC_MIN_PAUSE;
    if (pause > GC_MAX_PAUSE) pause = GC_MAX_PAUSE;
    if (g->mem.limit && live > g->mem.limit / 16) pause = GC_MIN_PAUSE;
    lua_gc(g->L, LUA_GCINC, (int)pause, 0, 0);
    g->mem_low = g->mem.live;
}

static int on_panic(lua_State *L) {
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
    log_error(&generation_of(L)->rw->log, "panic: an error outside of the door",
              LF_Z("error", text));
    return 0; /* Lua aborts: a bug of ours */
}

static int loaded(lua_State *L, int status, lua_KContext ctx) {
    (void)L, (void)status, (void)ctx;
    return 1;
}

static int load_embedded(lua_State *L) {
    const struct embedded_module *m = lua_touserdata(L, lua_upvalueindex(1));
    lua_pushfstring(L, "@%s", m->name);
    if (luaL_loadbufferx(L, m->start, (size_t)(m->end - m->start),
                         lua_tostring(L, -1), "t") != LUA_OK)
        return lua_error(L);
    lua_pushstring(L, m->name);
    lua_callk(L, 1, 1, 0, loaded);
    return 1;
}

static void add_embedded(lua_State *L) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (unsigned i = 0; i < embedded_module_count; i++) {
        lua_pushlightuserdata(L, (void *)&embedded_modules[i]);
        lua_pushcclosure(L, load_embedded, 1);
        lua_setfield(L, -2, embedded_modules[i].name);
    }
    lua_pop(L, 1);
}

static void use_tree(lua_State *L, const char *root) {
    lua_getglobal(L, "package");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;", root, root);
    lua_getfield(L, -2, "path");
    lua_concat(L, 2);
    lua_setfield(L, -2, "path");
    lua_pop(L, 1);
}

static int open_libraries(lua_State *L) {
    struct rw *rw = generation_of(L)->rw;
    luaL_openlibs(L);
    if (rw->lua_path) use_tree(L, rw->lua_path);
    else add_embedded(L);

    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_newtable(L);
    static void (*const open[])(lua_State *) = {
        door_open, core_open, timer_open, port_open, transport_open, http_open,
        request_open, router_open, json_open, text_open, dir_open_lib,
        sources_open, tls_open,
    };
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) open[i](L);
    lua_setfield(L, -2, "ropewalk.core");
    lua_pop(L, 1);

    lua_getglobal(L, "require");
    lua_pushliteral(L, "ropewalk.boot");
    lua_call(L, 1, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, BOOT_KEY);
    return 0;
}

int state_open(struct generation *g) {
    g->L = lua_newstate(allocate, &g->mem);
    if (!g->L) return RW_ENOMEM;
    *(struct generation **)lua_getextraspace(g->L) = g;
    lua_atpanic(g->L, on_panic);
    return door_protect(g, open_libraries, NULL);
}

void state_push_boot(lua_State *L, const char *function) {
    lua_getfield(L, LUA_REGISTRYINDEX, BOOT_KEY);
    lua_getfield(L, -1, function);
    lua_remove(L, -2);
}

void class_register(lua_State *L, enum bind_class class) {
    generation_of(L)->meta[class] = lua_topointer(L, -1);
}

void *class_check(lua_State *L, int index, enum bind_class class, const char *name) {
    void *object = lua_touserdata(L, index);
    if (object && lua_getmetatable(L, index)) {
        bool same = lua_topointer(L, -1) == generation_of(L)->meta[class];
        lua_pop(L, 1);
        if (same) return object;
    }
    return luaL_checkudata(L, index, name); /* says what it is instead */
}

int push_failure(lua_State *L, int code) {
    lua_pushnil(L);
    lua_pushstring(L, err_name(code));
    lua_pushstring(L, err_text(code));
    return 3;
}
