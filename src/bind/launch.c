/* SPDX-License-Identifier: MIT */
/* core.process: what a script wants of a new child, from a Lua table into
 * process_options. Arrays are userdata on the stack: an error frees them. */
#include <signal.h>

#include "bind/child.h"

enum { SPEC = 1 }; /* where the table is */

/* ── pieces of the table ──────────────────────────────────────────────────*/

static void *new_array(lua_State *L, size_t n, size_t size) {
    void *array = lua_newuserdatauv(L, n * size, 0);
    memset(array, 0, n * size);
    return array;
}

static const char *check_text(lua_State *L, int index, const char *what) {
    size_t n;
    if (lua_type(L, index) != LUA_TSTRING) /* nor a number, whose text nobody would hold */
        script_error(L, "%s: a string is expected, not %s", what, luaL_typename(L, index));
    const char *text = lua_tolstring(L, index, &n);
    if (strlen(text) != n) script_error(L, "%s: a zero byte is not possible", what);
    return text;
}

/* SPEC.key, a list of strings (anchored by the table), NULL-terminated. */
static char **read_texts(lua_State *L, const char *key) {
    if (lua_getfield(L, SPEC, key) != LUA_TTABLE)
        script_error(L, "%s: a table is expected", key);
    lua_Integer n = luaL_len(L, -1);
    if (n < 0 || n > INT32_MAX) script_error(L, "%s: too many", key);
    char **list = new_array(L, (size_t)n + 1, sizeof *list);
    for (lua_Integer i = 0; i < n; i++) {
        lua_rawgeti(L, -2, i + 1);
        list[i] = (char *)check_text(L, -1, key);
        lua_pop(L, 1);
    }
    return list;
}

static bool read_flag(lua_State *L, const char *key) {
    lua_getfield(L, SPEC, key);
    bool flag = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return flag;
}

static lua_Integer check_range(lua_State *L, int index, const char *what, lua_Integer max) {
    int is_integer;
    lua_Integer n = lua_tointegerx(L, index, &is_integer);
    if (!is_integer || n < 0 || n > max)
        script_error(L, "%s: a number from 0 to %I is expected", what, max);
    return n;
}

static lua_Integer read_number(lua_State *L, const char *key, lua_Integer max) {
    lua_Integer n = 0;
    if (lua_getfield(L, SPEC, key) != LUA_TNIL) n = check_range(L, -1, key, max);
    lua_pop(L, 1);
    return n;
}

/* ── descriptors ──────────────────────────────────────────────────────────*/

static enum process_fd_kind check_kind(lua_State *L, int index, struct process_fd *fd) {
    if (lua_isinteger(L, index)) {
        fd->source = (int)check_range(L, index, "fds", INT32_MAX);
        return PROCESS_FD_GIVEN;
    }
    static const struct { const char *name; enum process_fd_kind kind; } kinds[] = {
        {"r", PROCESS_FD_READ}, {"w", PROCESS_FD_WRITE}, {"rw", PROCESS_FD_BOTH},
        {"null", PROCESS_FD_NULL}, {"inherit", PROCESS_FD_GIVEN}, {"pty", PROCESS_FD_PTY},
    };
    const char *word = lua_tostring(L, index);
    for (size_t i = 0; word && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, word) == 0) {
            fd->source = fd->fd; /* for "inherit" */
            return kinds[i].kind;
        }
    script_error(L, "fds: 'r', 'w', 'rw', 'null', 'inherit' or a descriptor is expected "
               "for %d", fd->fd);
    return PROCESS_FD_NULL;
}

static void read_fds(lua_State *L, struct process_options *o) {
    o->fds = new_array(L, PROCESS_MAX_FDS, sizeof *o->fds);
    if (lua_getfield(L, SPEC, "fds") != LUA_TTABLE) script_error(L, "fds: a table is expected");
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        if (o->fd_count == PROCESS_MAX_FDS)
            script_error(L, "fds: at most %d", (int)PROCESS_MAX_FDS);
        struct process_fd *fd = &o->fds[o->fd_count++];
        if (!lua_isinteger(L, -2)) script_error(L, "fds: the keys are descriptors");
        fd->fd = (int)check_range(L, -2, "fds", PROCESS_MAX_FD);
        fd->kind = check_kind(L, -1, fd);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    o->rows = (unsigned short)read_number(L, "rows", UINT16_MAX);
    o->columns = (unsigned short)read_number(L, "columns", UINT16_MAX);
}

/* ── who it is ────────────────────────────────────────────────────────────*/

static void read_ids(lua_State *L, struct process_options *o) {
    if (lua_getfield(L, SPEC, "uid") == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    lua_pop(L, 1);
    o->set_ids = true;
    o->uid = (uid_t)read_number(L, "uid", UINT32_MAX - 1);
    o->gid = (gid_t)read_number(L, "gid", UINT32_MAX - 1);
    if (lua_getfield(L, SPEC, "groups") != LUA_TTABLE) return;
    lua_Integer n = luaL_len(L, -1);
    if (n < 0 || n > UINT16_MAX) script_error(L, "groups: too many");
    gid_t *groups = new_array(L, (size_t)n, sizeof *groups);
    for (lua_Integer i = 0; i < n; i++) {
        lua_rawgeti(L, -2, i + 1);
        groups[i] = (gid_t)check_range(L, -1, "groups", UINT32_MAX - 1);
        lua_pop(L, 1);
    }
    o->groups = groups;
    o->group_count = (size_t)n;
}

/* ── core.process ─────────────────────────────────────────────────────────*/

/* The pipes of a child have no time-outs but their own: a child may compute. */
static void set_limits(lua_State *L, struct child *c) {
    c->limits = c->gen->limits;
    c->limits.write_timeout = c->limits.close_timeout = c->limits.process_write_timeout;
    lua_getfield(L, SPEC, "limits");
    limits_override(L, lua_gettop(L), &c->limits);
    lua_pop(L, 1);
}

static int refuse(lua_State *L, struct child *c) {
    struct log_field processes = LF_UINT("processes", c->gen->child_count);
    limit_fired_with(c->gen->rw, "a child process was not started", "max_processes", &processes, 1);
    push_failure(L, RW_ELIMIT);
    lua_pushliteral(L, "start a process");
    return 4;
}

/* core.process(spec, on_exit, on_end) → process, or nil, code, message, step */
static int core_process(lua_State *L) {
    struct process_options o = {0};
    luaL_checktype(L, SPEC, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    luaL_checkstack(L, 32, NULL);
    o.files = read_texts(L, "files");
    o.argv = read_texts(L, "argv");
    o.env = read_texts(L, "env");
    if (!o.argv[0]) return script_error(L, "argv: the name of the program is missing");
    read_fds(L, &o);
    read_ids(L, &o);
    if (lua_getfield(L, SPEC, "directory") != LUA_TNIL)
        o.directory = check_text(L, -1, "directory");
    o.own_group = read_flag(L, "own_group");
    o.death_signal = (int)read_number(L, "death_signal", NSIG - 1);
    struct child *c = child_new(L);
    c->finishes = read_flag(L, "finishes");
    set_limits(L, c);
    if (c->gen->child_count >= c->gen->limits.max_processes) return refuse(L, c);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, -2, 2);
    const char *step;
    int rc = child_start(L, c, &o, &step);
    if (rc == 0) return 1;
    push_failure(L, rc);
    lua_pushstring(L, step);
    return 4;
}

/* ── signals, environment ─────────────────────────────────────────────────*/

static void push_signals(lua_State *L) {
    lua_newtable(L);
    for (int i = 1; i < NSIG; i++) {
        const char *name = sigabbrev_np(i);
        if (!name) continue;
        lua_pushinteger(L, i);
        lua_setfield(L, -2, name);
        lua_pushstring(L, name);
        lua_rawseti(L, -2, i);
    }
}

/* core.environment() → list of "NAME=value" */
static int core_environment(lua_State *L) {
    lua_newtable(L);
    for (lua_Integer i = 0; environ && environ[i]; i++) {
        lua_pushstring(L, environ[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

void process_open(lua_State *L) {
    child_class_open(L);
    push_signals(L);
    lua_setfield(L, -2, "signals");
    static const luaL_Reg functions[] = {
        {"process", core_process}, {"environment", core_environment}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
