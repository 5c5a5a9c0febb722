/* SPDX-License-Identifier: MIT */
#include "bind/tool.h"

#include <signal.h>
#include <stdio.h>

#include "bind/state.h"
#include "ropewalk.h"

enum { UNFINISHED = -1 };

struct tool {
    const char *module;
    int argc;
    const char *const *argv;
};

static int finished(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    struct rw *rw = generation_of(L)->rw;
    rw->status = (int)luaL_optinteger(L, -1, 1);
    worker_stop(rw);
    return 0;
}

static int tool_body(lua_State *L) {
    const struct tool *tool = lua_touserdata(L, 1);
    lua_getglobal(L, "require");
    lua_pushstring(L, tool->module);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "run");
    lua_createtable(L, tool->argc, 0);
    for (int i = 0; i < tool->argc; i++) {
        lua_pushstring(L, tool->argv[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_callk(L, 1, 1, 0, finished);
    return finished(L, LUA_OK, 0);
}

static void failed(struct task *t, int status) {
    struct rw *rw = t->gen->rw;
    if (status == 0) return;
    rw->status = 1;
    worker_stop(rw);
}

/* It was stopped, or waits for what nobody is left to do: that is no success. */
static int never_finished(void) {
    if (!signal_was_caught(SIGTERM) && !signal_was_caught(SIGINT))
        fputs("ropewalk: not come to its end: what it waits for will never happen\n", stderr);
    return 1;
}

int tool_run(struct rw *rw, const char *module, lua_CFunction prepare, int argc,
             const char *const *argv) {
    struct tool tool = {module, argc, argv};
    struct generation *g = generation_new(rw);
    if (g && prepare && door_protect(g, prepare, NULL) < 0) generation_free(&g);
    if (!g) return 1;
    g->state = GENERATION_CURRENT;
    rw->current = g;
    rw->status = UNFINISHED;
    door_enter(g, &(struct door_call){.body = tool_body, .arg = &tool, .done = failed});
    loop_run(rw->loop);
    return rw->status == UNFINISHED ? never_finished() : rw->status;
}

int rw_tool(struct rw *rw, const char *name, int argc, const char *const *argv) {
    char module[64];
    snprintf(module, sizeof module, "ropewalk.%s.command", name);
    return tool_run(rw, module, NULL, argc, argv);
}
