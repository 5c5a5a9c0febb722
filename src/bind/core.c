/* SPDX-License-Identifier: MIT */
/* The rest of ropewalk.core: log, configuration, limits, counters, stopping. */
#include "bind/bind.h"

#include <lualib.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include "io/simulate.h"

/* ── log ──────────────────────────────────────────────────────────────────*/

enum { MAX_LOG_FIELDS = 32 };

static enum log_level check_level(lua_State *L, int index) {
    size_t n;
    const char *name = luaL_checklstring(L, index, &n);
    enum log_level level = LOG_INFO;
    luaL_argcheck(L, log_level_parse(str_of(name, n), &level) == 0, index,
                  "'debug', 'info', 'warn' or 'error'");
    return level;
}

static bool is_block(struct str s) { return memchr(s.p, '\n', s.n) != NULL; }

static void set_log_field(lua_State *L, struct log_field *f, const char *key) {
    f->key = key; /* both strings stay on the stack */
    switch (lua_type(L, -1)) {
    case LUA_TNUMBER:
        if (lua_isinteger(L, -1)) *f = LF_INT(key, lua_tointeger(L, -1));
        else *f = LF_REAL(key, lua_tonumber(L, -1));
        break;
    case LUA_TBOOLEAN:
        *f = LF_BOOL(key, lua_toboolean(L, -1));
        break;
    default: {
        struct str s;
        s.p = luaL_tolstring(L, -1, &s.n);
        lua_replace(L, -2);
        *f = is_block(s) ? LF_BLOCK(key, s) : LF_STR(key, s);
    }
    }
}

/* The record's own names stay its own. */
static const char *field_name(lua_State *L, int key) {
    static const char *const own[] = {"time", "level", "message", "source", "generation"};
    const char *name = lua_tostring(L, key);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (strcmp(name, own[i]) != 0) continue;
        name = lua_pushfstring(L, "field.%s", name);
        lua_insert(L, -2); /* the value stays on top */
        break;
    }
    return name;
}

/* By name, blocks last: a table has no order that lasts. */
static bool field_before(const struct log_field *a, const struct log_field *b) {
    if ((a->kind == LOG_BLOCK) != (b->kind == LOG_BLOCK)) return b->kind == LOG_BLOCK;
    return strcmp(a->key, b->key) < 0;
}

static void sort_fields(struct log_field *fields, size_t n) {
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && field_before(&fields[j], &fields[j - 1]); j--) {
            struct log_field f = fields[j];
            fields[j] = fields[j - 1];
            fields[j - 1] = f;
        }
}

/* core.log(level, source, message, fields) */
static int core_log(lua_State *L) {
    struct generation *g = generation_of(L);
    enum log_level level = check_level(L, 1);
    if (!log_wants(&g->rw->log, level)) return 0;
    struct str message, source = STR_NONE;
    source.p = luaL_optlstring(L, 2, "", &source.n);
    message.p = luaL_checklstring(L, 3, &message.n);
    struct log_field fields[MAX_LOG_FIELDS + 2];
    size_t n = 0;
    if (source.n) fields[n++] = LF_STR("source", source);
    fields[n++] = LF_UINT("generation", g->id);
    size_t own = n;
    if (lua_istable(L, 4)) {
        luaL_checkstack(L, 2 * MAX_LOG_FIELDS + 8, NULL);
        lua_pushnil(L);
        while (n < MAX_LOG_FIELDS && lua_next(L, 4)) {
            int key = lua_gettop(L) - 1;
            if (lua_type(L, key) != LUA_TSTRING) {
                lua_pop(L, 1);
                continue;
            }
            set_log_field(L, &fields[n++], field_name(L, key));
            lua_pushvalue(L, key); /* what is below stays anchored */
        }
    }
    sort_fields(fields + own, n - own);
    log_write(&g->rw->log, level, message, fields, n);
    return 0;
}

static int core_log_enabled(lua_State *L) {
    lua_pushboolean(L, log_wants(&generation_of(L)->rw->log, check_level(L, 1)));
    return 1;
}

/* ── limits ───────────────────────────────────────────────────────────────*/

/* In the unit of the table, here as on the command line and in endpoints. */
static void push_limit(lua_State *L, const struct limits *l, const struct limit_def *def) {
    lua_pushinteger(L, (lua_Integer)limits_get(l, def));
}

void limits_assign(lua_State *L, int key, int value, struct limits *l) {
    struct str name;
    name.p = luaL_checklstring(L, key, &name.n);
    const struct limit_def *def = limit_find(name);
    if (!def) script_error(L, "there is no limit '%s' (see docs/limits.md)", name.p);
    int is_number;
    lua_Number n = ceil(lua_tonumberx(L, value, &is_number));
    if (!is_number)
        script_error(L, "limit %s: a number is expected, not a %s", name.p,
                     luaL_typename(L, value));
    if (!(n >= 1 && n < 9e15))
        script_error(L, "limit %s: a positive number is expected; a limit can be large, "
                     "not absent", name.p);
    limits_set(l, name, (uint64_t)n);
}

void limits_override(lua_State *L, int index, struct limits *l) {
    if (lua_isnoneornil(L, index)) return;
    luaL_checktype(L, index, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        limits_assign(L, lua_gettop(L) - 1, lua_gettop(L), l);
        lua_pop(L, 1);
    }
}

void limits_push(lua_State *L, int key, const struct limits *l) {
    struct str name;
    name.p = luaL_checklstring(L, key, &name.n);
    const struct limit_def *def = limit_find(name);
    if (def) push_limit(L, l, def);
    else lua_pushnil(L);
}

static int limits_index(lua_State *L) {
    limits_push(L, 2, &generation_of(L)->limits);
    return 1;
}

static int limits_newindex(lua_State *L) {
    limits_assign(L, 2, 3, &generation_of(L)->limits);
    return 0;
}

static int limits_iterate(lua_State *L) {
    lua_newtable(L);
    for (size_t i = 0; i < LIMIT_COUNT; i++) {
        push_limit(L, &generation_of(L)->limits, &limit_defs[i]);
        lua_setfield(L, -2, limit_defs[i].name);
    }
    lua_getglobal(L, "next");
    lua_insert(L, -2);
    return 2;
}

static void add_limits(lua_State *L) {
    static const luaL_Reg meta[] = {
        {"__index", limits_index}, {"__newindex", limits_newindex},
        {"__pairs", limits_iterate}, {NULL, NULL},
    };
    lua_newtable(L);
    luaL_newlib(L, meta);
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "limits");
}

/* ── the rest ─────────────────────────────────────────────────────────────*/

/* However deep in the library it was noticed. */
int script_error(lua_State *L, const char *format, ...) {
    va_list args;
    lua_Debug ar;
    va_start(args, format);
    const char *message = lua_pushvfstring(L, format, args);
    va_end(args);
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline < 0 || door_in_library(L, &ar)) continue;
        lua_pushfstring(L, "%s:%d: %s", ar.short_src, ar.currentline, message);
        break;
    }
    lua_error(L);
    abort();
}

static int core_misuse(lua_State *L) {
    return script_error(L, "%s", luaL_checkstring(L, 1));
}

static int core_stop(lua_State *L) {
    struct rw *rw = generation_of(L)->rw;
    lua_Integer status = luaL_optinteger(L, 1, 0);
    if (status < 0 || status > 255) /* the system would see another one, maybe 0 */
        return script_error(L, "stop: an exit status is a number from 0 to 255, not %I", status);
    if (rw->status == 0) rw->status = (int)status;
    /* Only an operator's second word cuts short what still ends: parts of a script
     * may ask without knowing of each other. */
    if (!rw->stopping) rw_ask_stop(rw);
    return 0;
}

static int core_stats(lua_State *L) {
    struct generation *g = generation_of(L);
    lua_newtable(L);
    for (size_t i = 0; i < stat_def_count; i++) {
        lua_pushinteger(L, (lua_Integer)stat_get(&g->rw->stats, &stat_defs[i]));
        lua_setfield(L, -2, stat_defs[i].name);
    }
    lua_pushinteger(L, (lua_Integer)g->mem.live);
    lua_setfield(L, -2, "script_memory");
    lua_pushinteger(L, (lua_Integer)g->task_count);
    lua_setfield(L, -2, "tasks");
    return 1;
}

/* core.checking() → is this `ropewalk check`, which leaves nothing behind? */
static int core_checking(lua_State *L) {
    lua_pushboolean(L, generation_of(L)->rw->checking);
    return 1;
}

static int core_time(lua_State *L) {
    const struct rw *rw = generation_of(L)->rw;
    if (rw->simulated) {
        lua_pushnumber(L, (lua_Number)SIMULATION_EPOCH + (lua_Number)loop_now(rw->loop) / 1000);
        return 1;
    }
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec / 1e9);
    return 1;
}

struct turn_end_list { /* in the registry: functions, and the hook */
    struct turn_end hook;
    struct generation *gen;
    struct debt debt;
    bool set;
};

static int report_error(lua_State *L) {
    door_report(L, 1, "error at the end of a turn");
    return 0;
}

static int run_turn_end(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TURN_FUNCTIONS));
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TURN_FUNCTIONS));
    lua_Integer n = luaL_len(L, -1);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        if (lua_pcall(L, 0, 0, 0) != LUA_OK) { /* to report it may fail, too */
            lua_pushcfunction(L, report_error);
            lua_insert(L, -2);
            if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
        }
    }
    return 0;
}

static void turn_end_told(struct debt *d) { d->gen = NULL; }

static void turn_ended(struct turn_end *hook) {
    struct turn_end_list *list = (struct turn_end_list *)hook;
    loop_turn_end_remove(hook);
    list->set = false;
    if (list->debt.gen) return; /* there was no memory; it is tried again */
    list->debt = (struct debt){.body = run_turn_end, .over = turn_end_told};
    debt_owe(&list->debt, list->gen, NULL);
}

static int core_turn_end(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TURN_FUNCTIONS));
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TURN_END));
    struct turn_end_list *list = lua_touserdata(L, -1);
    if (!list->set) loop_at_turn_end(list->gen->rw->loop, &list->hook);
    list->set = true;
    return 0;
}

static int turn_end_gc(lua_State *L) {
    struct turn_end_list *list = lua_touserdata(L, 1);
    if (list->set) loop_turn_end_remove(&list->hook);
    list->set = false;
    return 0;
}

static void add_turn_end(lua_State *L) {
    struct turn_end_list *list = lua_newuserdatauv(L, sizeof *list, 0);
    *list = (struct turn_end_list){.hook.run = turn_ended, .gen = generation_of(L)};
    lua_newtable(L);
    lua_pushcfunction(L, turn_end_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TURN_END));
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, registry_key(KEY_TURN_FUNCTIONS));
}

static void add_config(lua_State *L) {
    struct rw *rw = generation_of(L)->rw;
    lua_newtable(L);
    for (size_t i = 0; i < rw->config_count; i++) {
        lua_pushstring(L, rw->config[i].value);
        lua_setfield(L, -2, rw->config[i].key);
    }
    lua_setfield(L, -2, "config");
    lua_createtable(L, (int)rw->arg_count, 0);
    for (size_t i = 0; i < rw->arg_count; i++) {
        lua_pushstring(L, rw->args[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "args");
}

void core_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"log", core_log}, {"log_enabled", core_log_enabled}, {"stop", core_stop},
        {"stats", core_stats}, {"time", core_time}, {"turn_end", core_turn_end},
        {"checking", core_checking},
        {"misuse", core_misuse}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
    lua_pushinteger(L, generation_of(L)->id);
    lua_setfield(L, -2, "generation");
    lua_pushstring(L, RW_VERSION);
    lua_setfield(L, -2, "version");
    if (generation_of(L)->rw->script) {
        lua_pushlstring(L, generation_of(L)->rw->script, generation_of(L)->rw->script_size);
        lua_setfield(L, -2, "script");
    }
    add_limits(L);
    add_config(L);
    add_turn_end(L);
}
