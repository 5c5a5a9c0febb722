/* SPDX-License-Identifier: MIT */
/* `ropewalk test`: busted runs as one task of an ordinary generation, so specs
 * may wait wherever they like while servers of the same process go on. */
#include <signal.h>
#include <stdio.h>

#include "bind/bind.h"
#include "bind/coverage.h"
#include "bind/leftover.h"
#include "bind/tool.h"
#include "ropewalk.h"

/* ── the log of a test ────────────────────────────────────────────────────
 *
 * It is kept until somebody asks: the errors in it fail the test, and the lines
 * of a test that went well are nobody's business. */

enum { KEPT_MAX = 1 << 20 };

struct kept_log {
    struct buf lines, errors; /* errors: those lines, each ended by a NUL */
    bool shown;               /* they go out as they come, too */
};

static void keep_line(void *context, enum log_level level, struct str line) {
    struct kept_log *kept = context;
    if (kept->shown) fwrite(line.p, 1, line.n, stderr);
    if (buf_add_str(&kept->lines, line) < 0) buf_clear(&kept->lines);
    if (level < LOG_ERROR) return;
    char *room = buf_reserve(&kept->errors, line.n + 1); /* it fits with its NUL, or not at all */
    if (!room) return;
    memcpy(room, line.p, line.n);
    room[line.n] = 0;
    buf_commit(&kept->errors, line.n + 1);
}

/* core.test.log() → the lines since the last call, and a list of the errors
 * among them */
static int test_log(lua_State *L) {
    struct kept_log *kept = generation_of(L)->rw->log.context;
    struct str lines = buf_str(&kept->lines), errors = buf_str(&kept->errors);
    lua_pushlstring(L, lines.p ? lines.p : "", lines.n);
    lua_newtable(L);
    for (int n = 1; errors.n; n++) {
        size_t end = strlen(errors.p);
        lua_pushlstring(L, errors.p, end);
        lua_rawseti(L, -2, n);
        errors = str_of(errors.p + end + 1, errors.n - end - 1);
    }
    buf_clear(&kept->lines);
    buf_clear(&kept->errors);
    return 2;
}

/* core.test.show_log(level): from this level on, as it is written */
static int test_show_log(lua_State *L) {
    struct log *log = &generation_of(L)->rw->log;
    struct kept_log *kept = log->context;
    kept->shown = true;
    if (log_level_parse(str_c(luaL_checkstring(L, 1)), &log->level) < 0)
        return luaL_argerror(L, 1, "no level");
    return 0;
}

static int test_make_dir(lua_State *L) {
    char path[512];
    int rc = dir_make_temporary(path, sizeof path);
    if (rc < 0) return push_failure(L, rc);
    lua_pushstring(L, path);
    return 1;
}

static int test_remove_tree(lua_State *L) {
    int rc = dir_remove_tree(luaL_checkstring(L, 1));
    if (rc < 0) return push_failure(L, rc);
    lua_pushboolean(L, 1);
    return 1;
}

/* core.test */
static int open_test(lua_State *L) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "ropewalk.core");
    lua_newtable(L);
    leftover_open(L);
    coverage_open(L);
    static const luaL_Reg functions[] = {
        {"log", test_log}, {"show_log", test_show_log},
        {"make_dir", test_make_dir}, {"remove_tree", test_remove_tree}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, "test");
    return 0;
}

/* ── running ──────────────────────────────────────────────────────────────*/

/* A signal has ended it: which, and where the test that computed was. */
static int report_stopped(struct rw *rw, int signum) {
    log_error(&rw->log, "the tests were stopped",
              LF_Z("by", signum == SIGTERM ? "SIGTERM" : "SIGINT"));
    if (rw->door.ready) door_report_place(rw->door.ready);
    return ENDED_BY + signum;
}

int rw_test(struct rw *rw, int argc, const char *const *argv) {
    enum { HOURS = 24 };
    struct kept_log kept = {0};
    buf_init(&kept.lines, &rw->mem, KEPT_MAX);
    buf_init(&kept.errors, &rw->mem, KEPT_MAX);
    rw->testing = true;
    rw->limits.script_budget = HOURS * UINT64_C(3600000);
    struct log direct = rw->log;
    rw->log.sink = keep_line;
    rw->log.context = &kept;
    int status = 1;
    if (leftover_init(rw) == 0) status = tool_run(rw, "ropewalk.spec", open_test, argc, argv);
    rw->log = direct;
    if (signal_was_caught(SIGTERM)) status = report_stopped(rw, SIGTERM);
    else if (signal_was_caught(SIGINT)) status = report_stopped(rw, SIGINT);
    leftover_free(rw);
    buf_release(&kept.lines);
    buf_release(&kept.errors);
    return status;
}
