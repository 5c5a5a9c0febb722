/* SPDX-License-Identifier: MIT */
/* A generation's lua_State: its allocator (an account with a limit), the
 * standard libraries, the embedded library, core. */
#include "bind/bind.h"

#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "bind/embedded.h"
#include "bind/ship.h"
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

static void use_tree(lua_State *L, const char *root) {
    lua_getglobal(L, "package");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;", root, root);
    lua_getfield(L, -2, "path");
    lua_concat(L, 2);
    lua_setfield(L, -2, "path");
    lua_pop(L, 1);
}

/* What of core needs neither a loop nor other tasks; in this order. */
static void (*const open_anywhere[])(lua_State *) = {
    door_open, core_open, backtrace_open, router_open, json_open, text_open, dir_open_lib,
    sources_open, ship_open, host_open, deferred_open, tls_open,
    digest_open,
};
static void (*const open_with_loop[])(lua_State *) = {
    timer_open, port_open, address_open, transport_open, request_open, thread_open,
    names_open_lib, process_open, simulator_open, dgram_transport_open, pipe_open,
    notify_open,
};

static void add_with_loop(lua_State *L) {
    for (size_t i = 0; i < sizeof open_with_loop / sizeof *open_with_loop; i++)
        open_with_loop[i](L);
}

static int not_in_thread(lua_State *L) {
    return script_error(L, "not in a thread: this needs the reactor (core.%s)",
                        lua_tostring(L, lua_upvalueindex(1)));
}

static void refuse_in_thread(lua_State *L, const char *name) { /* core is on top */
    lua_pushstring(L, name);
    lua_pushcclosure(L, not_in_thread, 1);
    lua_setfield(L, -2, name);
}

/* core.delayed_call makes rw.call_later: one that says so, too. */
static int no_delayed_call(lua_State *L) {
    lua_pushliteral(L, "delayed_call");
    lua_pushcclosure(L, not_in_thread, 1);
    return 1;
}

/* A thread has no loop: what needs one is there, and says so when called. */
static void open_in_thread(lua_State *L) {
    static const char *const more[] = {"spawn", "spawn_detached", "park", "turn_end", "stop"};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) refuse_in_thread(L, more[i]);
    lua_newtable(L);
    add_with_loop(L);
    lua_pushnil(L);
    while (lua_next(L, -2)) { /* core, what was opened, name, value */
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        if (lua_isfunction(L, -1)) {
            lua_pop(L, 1);
            lua_pushvalue(L, -1);
            lua_pushcclosure(L, not_in_thread, 1);
        }
        lua_rawset(L, -5);
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, no_delayed_call);
    lua_setfield(L, -2, "delayed_call");
    thread_open_inside(L);
}

static int open_libraries(lua_State *L) {
    struct rw *rw = generation_of(L)->rw;
    luaL_openlibs(L);
    if (rw->lua_path) use_tree(L, rw->lua_path);
    else embedded_open(L);

    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_newtable(L);
    for (size_t i = 0; i < sizeof open_anywhere / sizeof *open_anywhere; i++)
        open_anywhere[i](L);
    if (rw->given_up) open_in_thread(L);
    else add_with_loop(L);
    lua_setfield(L, -2, "ropewalk.core");
    lua_pop(L, 1);

    lua_getglobal(L, "require");
    lua_pushliteral(L, "ropewalk.boot");
    lua_call(L, 1, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, BOOT_KEY);
    return 0;
}

/* What Lua hashes strings with (deps/config/lua). In a simulation it is always
 * the same, and so is the order of pairs. */
static _Thread_local bool is_simulated, was_asked;

unsigned bind_lua_seed(void);
unsigned bind_lua_seed(void) {
    was_asked = true;
    unsigned seed = 0x5277;
    if (!is_simulated && getrandom(&seed, sizeof seed, 0) != sizeof seed) abort();
    return seed;
}

bool state_has_seed(void) { return was_asked; }

int state_open(struct generation *g) {
    is_simulated = g->rw->simulated;
    g->L = lua_newstate(allocate, &g->mem);
    is_simulated = false;
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

void class_define(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc) {
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    if (gc) {
        lua_pushcfunction(L, gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
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
