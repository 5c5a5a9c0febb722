/* SPDX-License-Identifier: MIT */
/* `ropewalk test`: busted runs as one task of an ordinary generation, so specs
 * may wait wherever they like while servers of the same process go on. */
#include "bind/bind.h"
#include "bind/state.h"
#include "ropewalk.h"

struct test_run {
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

static int test_body(lua_State *L) {
    const struct test_run *run = lua_touserdata(L, 1);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "ropewalk.spec");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "run");
    lua_createtable(L, run->argc, 0);
    for (int i = 0; i < run->argc; i++) {
        lua_pushstring(L, run->argv[i]);
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

int rw_test(struct rw *rw, int argc, const char *const *argv) {
    enum { HOURS = 24 };
    struct test_run run = {argc, argv};
    rw->testing = true;
    rw->limits.script_budget = HOURS * 3600000u;
    struct generation *g = generation_new(rw);
    if (!g) return 1;
    g->state = GENERATION_CURRENT;
    rw->current = g;
    door_enter(g, &(struct door_call){.body = test_body, .arg = &run, .done = failed});
    loop_run(rw->loop);
    return rw->status;
}
