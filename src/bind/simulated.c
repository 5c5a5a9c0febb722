/* SPDX-License-Identifier: MIT */
/* The inside of a simulation: its workers, and core.simulation. The function
 * under test runs in a worker of its own, the driver; each application that it
 * runs has another one, with generations and reloads as in reality. They share
 * the loop, and so the network. What they log becomes part of the trace. */
#include <math.h>

#include "base/arena.h"
#include "bind/conn.h"
#include "bind/datagram.h"
#include "bind/leftover.h"
#include "bind/port.h"
#include "bind/simulate.h"
#include "bind/state.h"

enum { LOG_TIME = 25 }; /* "2026-01-02T03:04:05.123Z " */

/* ── workers ──────────────────────────────────────────────────────────────*/

static void take_line(void *context, enum log_level level, struct str line) {
    struct rw *rw = context;
    struct simulated *s = rw->simulated;
    line = str_skip(line, LOG_TIME);
    if (line.n && line.p[line.n - 1] == '\n') line.n--;
    simulation_trace(s->loop, "log", 0, line);
    if (level < LOG_ERROR || s->error[0]) return;
    size_t n = line.n < sizeof s->error - 1 ? line.n : sizeof s->error - 1;
    memcpy(s->error, line.p, n);
    s->error[n] = 0;
}

struct rw *simulated_worker(struct simulated *s, const struct rw *model) {
    static const uint64_t seed[2] = {0x7270, 0x776b};
    struct rw *rw = arena_realloc(s->arena, NULL, 0, sizeof *rw);
    if (!rw) return NULL;
    memset(rw, 0, sizeof *rw);
    rw->simulated = s;
    rw->loop = s->loop;
    worker_init(rw, s->arena, seed);
    log_init(&rw->log, -1);
    rw->log.sink = take_line;
    rw->log.context = rw;
    rw->limits = model->limits;
    rw->limits.script_budget = limits_default.script_budget;
    rw->lua_path = model->lua_path; /* borrowed */
    rw->waker = waker_new(rw->loop, worker_woken, rw);
    return rw->waker ? rw : NULL;
}

static int seed_random(lua_State *L) {
    struct generation *g = generation_of(L);
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushinteger(L, (lua_Integer)simulation_random(g->rw->loop));
    lua_call(L, 1, 0);
    return 0;
}

void simulated_begin(struct generation *g) { door_protect(g, seed_random, NULL); }

void simulated_finish(struct simulated *s, bool ok, struct str text) {
    if (s->done) return;
    s->done = true;
    s->failed = !ok;
    s->text = arena_realloc(s->arena, NULL, 0, text.n + 1);
    if (!s->text) return;
    if (text.n) memcpy(s->text, text.p, text.n);
    s->text[text.n] = 0;
}

/* ── applications ─────────────────────────────────────────────────────────*/

static char *copy(struct rw *rw, const char *text) {
    size_t n = strlen(text) + 1;
    char *to = mem_alloc(&rw->mem, n);
    return to ? memcpy(to, text, n) : NULL;
}

/* The settings at `index`, for this generation and those to come. */
static void set_config(lua_State *L, int index, struct rw *rw) {
    if (lua_isnoneornil(L, index)) return;
    luaL_checktype(L, index, LUA_TTABLE);
    lua_pushnil(L);
    for (; lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "a setting's name must be a string");
        size_t n = rw->config_count;
        struct config_item *items = mem_realloc(&rw->mem, rw->config, n * sizeof *items,
                                                (n + 1) * sizeof *items);
        if (!items) luaL_error(L, "not enough memory");
        rw->config = items;
        items[n].key = copy(rw, lua_tostring(L, -2));
        items[n].value = copy(rw, luaL_tolstring(L, -1, NULL));
        lua_pop(L, 1);
        if (!items[n].key || !items[n].value) luaL_error(L, "not enough memory");
        rw->config_count++;
    }
}

/* What was booted ahead did not know them. */
static int tell_config(lua_State *L) {
    const struct rw *rw = generation_of(L)->rw;
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "ropewalk.core");
    lua_getfield(L, -1, "config");
    for (size_t i = 0; i < rw->config_count; i++) {
        lua_pushstring(L, rw->config[i].value);
        lua_setfield(L, -2, rw->config[i].key);
    }
    return 0;
}

static struct simulated *world(lua_State *L) { return generation_of(L)->rw->simulated; }

static struct rw *check_app(lua_State *L) {
    struct simulated *s = world(L);
    lua_Integer id = luaL_checkinteger(L, 1);
    luaL_argcheck(L, id >= 1 && id <= s->app_count, 1, "no application");
    return s->apps[id - 1];
}

/* app(path, settings) → its number; it begins to load */
static int l_app(lua_State *L) {
    struct simulated *s = world(L);
    const char *path = luaL_checkstring(L, 1);
    if (s->app_count == SIMULATED_APPS)
        return luaL_error(L, "at most %d applications run in one simulation", SIMULATED_APPS);
    struct rw *rw = s->spare ? s->spare : simulated_worker(s, s->driver);
    s->spare = NULL;
    if (!rw || !(rw->app = copy(rw, path))) return luaL_error(L, "not enough memory");
    set_config(L, 2, rw);
    if (rw->spare) door_protect(rw->spare, tell_config, NULL);
    s->apps[s->app_count++] = rw;
    simulation_trace(s->loop, "run", s->app_count, str_c(path));
    reload_begin(rw);
    lua_pushinteger(L, (lua_Integer)s->app_count);
    return 1;
}

static int l_reload(lua_State *L) {
    reload_begin(check_app(L));
    return 0;
}

/* The second time: at once. */
static int l_stop(lua_State *L) {
    worker_stop(check_app(L));
    return 0;
}

/* As if its process had died: its sockets are the system's to reset. */
static int l_kill(lua_State *L) {
    struct rw *rw = check_app(L);
    simulation_trace(rw->loop, "kill", (unsigned)lua_tointeger(L, 1), STR_NONE);
    rw->stopping = true;
    rw->current = rw->staging = NULL;
    ports_stop(rw);
    for (struct generation *g = rw->generations; g; g = g->next) {
        g->killed = g->retire_done = true;
        g->state = GENERATION_RETIRED;
        g->stage = NULL;
        timer_stop(rw->loop, &g->deadline);
        servers_release(g);
        for (struct conn *c = g->conns; c; c = c->next) conn_abort(c, RW_EABORTED);
        dgrams_close(g);
        scope_close(&g->scope);
        generation_check(g);
    }
    return 0;
}

/* state(app) → "loading", "running", "stopping", "ended"; generations */
static int l_state(lua_State *L) {
    const struct rw *rw = check_app(L);
    lua_pushstring(L, rw->staging     ? "loading"
                      : rw->current   ? "running"
                      : rw->generations ? "stopping"
                                      : "ended");
    lua_pushinteger(L, rw->generation_count);
    return 2;
}

/* ── the world ────────────────────────────────────────────────────────────*/

static double fault(lua_State *L, int index, const char *name, double otherwise) {
    lua_getfield(L, index, name);
    double p = luaL_optnumber(L, -1, otherwise);
    if (!(p >= 0 && p <= 1)) luaL_error(L, "fault %s: a chance is from 0 to 1", name);
    lua_pop(L, 1);
    return p;
}

static uint64_t in_range(lua_State *L, const char *name, double scale, double least) {
    double n = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(n >= least && n <= 1e6))
        luaL_error(L, "fault %s: a number or { from, to } is expected, %f or more", name, least);
    lua_pop(L, 1);
    return (uint64_t)ceil(n * scale);
}

/* A number, or { from, to }. */
static void range(lua_State *L, int index, const char *name, double scale, double least,
                  uint64_t out[2]) {
    if (lua_getfield(L, index, name) == LUA_TTABLE) {
        lua_rawgeti(L, -1, 1);
        out[0] = in_range(L, name, scale, least);
        lua_rawgeti(L, -1, 2);
        out[1] = in_range(L, name, scale, least);
        if (out[1] < out[0]) luaL_error(L, "fault %s: from is larger than to", name);
    } else if (!lua_isnil(L, -1)) {
        lua_pushvalue(L, -1);
        out[0] = out[1] = in_range(L, name, scale, least);
    }
    lua_pop(L, 1);
}

static void check_names(lua_State *L, int index) {
    static const char *const known[] = {"split", "partial", "reset", "refuse", "stall",
                                        "stall_max", "delay", "buffer", "loss", "duplicate",
                                        "name_delay", "name_failure", "name_timeout"};
    lua_pushnil(L);
    for (; lua_next(L, index); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        size_t i = 0, count = sizeof known / sizeof *known;
        while (i < count && strcmp(known[i], name) != 0) i++;
        if (i == count) luaL_error(L, "there is no fault '%s'", name);
    }
}

struct simulation_faults check_faults(lua_State *L, int index) {
    struct simulation_faults none = {
        .delay = {1, 1}, .buffer = {1 << 16, 1 << 16}, .stall_max = 10000, .name_delay = {1, 1}};
    struct simulation_faults f = {
        .split = 0.3, .partial = 0.1, .delay = {0, 20}, .buffer = {4096, 1 << 16},
        .stall_max = 10000, .loss = 0.05, .duplicate = 0.02, .name_delay = {0, 20}};
    if (lua_isboolean(L, index) && !lua_toboolean(L, index)) return none;
    if (lua_isnoneornil(L, index)) return f;
    luaL_checktype(L, index, LUA_TTABLE);
    check_names(L, index);
    f.split = fault(L, index, "split", f.split);
    f.partial = fault(L, index, "partial", f.partial);
    f.reset = fault(L, index, "reset", 0);
    f.refuse = fault(L, index, "refuse", 0);
    f.stall = fault(L, index, "stall", 0);
    range(L, index, "delay", 1000, 0, f.delay);
    range(L, index, "buffer", 1, 1, f.buffer);
    uint64_t stall[2] = {0, f.stall_max};
    range(L, index, "stall_max", 1000, 0.001, stall);
    f.stall_max = stall[1];
    f.loss = fault(L, index, "loss", f.loss);
    f.duplicate = fault(L, index, "duplicate", f.duplicate);
    f.name_failure = fault(L, index, "name_failure", 0);
    f.name_timeout = fault(L, index, "name_timeout", 0);
    range(L, index, "name_delay", 1000, 0, f.name_delay);
    return f;
}

static int l_faults(lua_State *L) {
    struct simulation_faults f = check_faults(L, 1);
    simulation_set_faults(world(L)->loop, &f);
    return 0;
}

static int l_cut(lua_State *L) {
    const char *host = luaL_checkstring(L, 1);
    int rc = simulation_cut(world(L)->loop, host, lua_toboolean(L, 2));
    if (rc < 0) return script_error(L, "cannot cut off %s: %s", host, err_text(rc));
    return 0;
}

/* ── the run ──────────────────────────────────────────────────────────────*/

static int l_trace(lua_State *L) {
    simulation_trace(world(L)->loop, "note", 0, check_str(L, 1));
    return 0;
}

static int l_quiet(lua_State *L) {
    lua_pushboolean(L, simulation_is_quiet(world(L)->loop));
    return 1;
}

/* open(index) → the index'th open connection's name, or nil */
static int l_open(lua_State *L) {
    char text[300];
    lua_Integer index = luaL_checkinteger(L, 1);
    struct str name = simulation_open(world(L)->loop, (unsigned)(index - 1), text, sizeof text);
    if (!name.n) return 0;
    lua_pushlstring(L, name.p, name.n);
    return 1;
}

static int l_seed(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)world(L)->seed);
    return 1;
}

static int l_finish(lua_State *L) {
    struct str text;
    text.p = luaL_optlstring(L, 2, "", &text.n);
    simulated_finish(world(L), lua_toboolean(L, 1), text);
    return 0;
}

void simulated_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"app", l_app}, {"reload", l_reload}, {"stop", l_stop}, {"kill", l_kill},
        {"state", l_state}, {"faults", l_faults}, {"cut", l_cut},
        {"trace", l_trace}, {"quiet", l_quiet}, {"open", l_open}, {"seed", l_seed},
        {"finish", l_finish}, {NULL, NULL},
    };
    luaL_newlib(L, functions);
    leftover_open(L); /* mark, leftovers: of the driver */
    simulated_names_open(L);
    lua_setfield(L, -2, "simulation");
}
