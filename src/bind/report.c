/* SPDX-License-Identifier: MIT */
/* What went wrong in a script, and where, for the log. */
#include "bind/task.h"

/* Makes a Failure with the traceback of where it was raised. */
int door_traceback(lua_State *L) {
    lua_settop(L, 1);
    struct task *t = task_running(generation_of(L)->rw);
    door_clear_hook(L); /* it may be a killed task's error; it is described */
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, "ropewalk.failure") != LUA_TTABLE) {
        lua_settop(L, 1);
        return 1;
    }
    lua_getfield(L, -1, "wrap");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    if (lua_getfield(L, -1, "traceback") == LUA_TNIL) {
        luaL_traceback(L, L, NULL, 1);
        lua_setfield(L, -3, "traceback");
    }
    lua_settop(L, 4);
    lua_replace(L, 1);
    lua_settop(L, 1);
    if (t) task_set_hook(t, L); /* and nobody on its way out may keep it */
    return 1;
}

static struct str traceback_of(lua_State *L, int index) {
    if (lua_istable(L, index) && lua_getfield(L, index, "traceback") == LUA_TSTRING)
        return str_c(lua_tostring(L, -1));
    return STR("");
}

void door_report(lua_State *L, int index, const char *message) {
    struct generation *g = generation_of(L);
    index = lua_absindex(L, index);
    const char *text = luaL_tolstring(L, index, NULL);
    log_error(&g->rw->log, message, LF_UINT("generation", g->id), LF_Z("error", text),
              LF_BLOCK("traceback", traceback_of(L, index)));
    lua_settop(L, index);
}

void door_report_request(lua_State *L, int index, struct str method, struct str target,
                         int cut_short) {
    struct generation *g = generation_of(L);
    index = lua_absindex(L, index);
    const char *text = luaL_tolstring(L, index, NULL);
    size_t path = 0; /* what stands behind it may be secret */
    while (path < target.n && target.p[path] != '?') path++;
    struct str shown = str_of(target.p, path);
    if (cut_short) /* anybody can do that to us: it is no error of ours */
        log_info(&g->rw->log, "request cut short", LF_STR("method", method),
                 LF_STR("path", shown), LF_UINT("generation", g->id),
                 LF_Z("reason", err_text(cut_short)), LF_Z("error", text));
    else
        log_error(&g->rw->log, "handler failed", LF_STR("method", method),
                  LF_STR("path", shown), LF_UINT("generation", g->id), LF_Z("error", text),
                  LF_BLOCK("traceback", traceback_of(L, index)));
    lua_settop(L, index);
}

/* Is there anything of the script in the traceback, or a mistake of ours? What
 * the library says of a file that is missing, say, needs none. */
static bool wants_traceback(lua_State *L, const char *text) {
    if (strstr(text, "\nstack traceback:")) return false; /* has one */
    if (strncmp(text, "ropewalk.", 9) == 0) return true;
    lua_Debug ar;
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline >= 0 && !door_in_library(L, &ar)) return true;
    }
    return false;
}

/* What was raised as text: error { code = "busy", message = "…" } by its message. */
static const char *describe(lua_State *L) {
    bool plain = lua_istable(L, -1);
    if (plain && luaL_getmetafield(L, -1, "__tostring") != LUA_TNIL) {
        lua_pop(L, 1);
        plain = false;
    }
    if (plain) {
        lua_pushliteral(L, "message");
        if (lua_rawget(L, -2) == LUA_TSTRING) return lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    return luaL_tolstring(L, -1, NULL);
}

void task_report(lua_State *L, const char *message) {
    int top = lua_gettop(L);
    struct generation *g = generation_of(L);
    const char *text = describe(L);
    if (wants_traceback(L, text)) luaL_traceback(L, L, text, 1);
    log_error(&g->rw->log, message, LF_UINT("generation", g->id),
              LF_BLOCK("traceback", str_c(lua_tostring(L, -1))));
    lua_settop(L, top);
}

static int log_place(lua_State *L) {
    struct task *t = lua_touserdata(L, 1);
    luaL_traceback(L, t->co, NULL, 0);
    log_error(&t->gen->rw->log, "the script is at this point",
              LF_UINT("generation", t->gen->id),
              LF_BLOCK("traceback", str_c(lua_tostring(L, -1))));
    return 0;
}

void door_report_place(struct task *t) { door_protect(t->gen, log_place, t); }
