/* SPDX-License-Identifier: MIT */
/* core.simulator: the real side of simulations. A simulator holds one world (a
 * loop, a driver, a spare application, all booted and with the function that
 * was shipped to it) in an arena, and a copy of that arena's bytes. A run is
 * the copy put back, a seed, and turns of the loop, as many as fit into a
 * slice, until the function has returned or there is a reason why it cannot.
 *
 *     open ─→ call("load", fn) ─→ freeze ─→ start(seed) ─→ step … ─→ facts, trace
 *                                             ↑______________________│
 *
 * Nothing in the world knows of the real side. Before its bytes go, its states
 * are closed, for the sake of finalizers that hold what is of this world:
 * descriptors. Those that were open in the copy would then be closed twice, so
 * there must be none (simulation.lua sees to it).
 */
#include "bind/simulate.h"

#include <stdio.h>

#include "base/arena.h"
#include "bind/door.h"
#include "bind/leftover.h"
#include "bind/ship.h"
#include "bind/state.h"

static const char class_name[] = "ropewalk.simulator";
static const size_t WORLD_SIZE = (size_t)1 << 30; /* of addresses; pages as used */
enum { LOOK_EVERY = 32 }; /* turns between two looks at the real clock */

struct simulator { /* userdata */
    struct rw *rw; /* the real one */
    struct arena *arena;
    struct simulated *world;
    char *copy; /* owned; NULL: not frozen */
    size_t copy_size;
    uint64_t end;   /* on the world's loop_now */
    uint64_t turns; /* still allowed */
    bool dirty;     /* its code has run since the copy was made, or put back */
};

static struct simulator *check_simulator(lua_State *L) {
    struct simulator *m = luaL_checkudata(L, 1, class_name);
    if (!m->arena) luaL_error(L, "simulator is closed");
    return m;
}

/* ── the world's beginning and end ────────────────────────────────────────*/

/* What most scripts ask for is there already, and not loaded in each run. And
 * C modules stay in the process when a state is closed: the copy has them, too. */
static int load_common(lua_State *L) {
    if (lua_getfield(L, LUA_REGISTRYINDEX, "_CLIBS") == LUA_TTABLE) {
        lua_pushnil(L);
        lua_setmetatable(L, -2);
    }
    static const char *const modules[] = {"ropewalk.line", "ropewalk.factory", "ropewalk.server"};
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        lua_getglobal(L, "require");
        lua_pushstring(L, modules[i]);
        lua_call(L, 1, 0);
    }
    return 0;
}

static struct generation *boot(struct rw *rw) {
    struct generation *g = generation_new(rw);
    return g && door_protect(g, load_common, NULL) == 0 ? g : NULL;
}

static bool boot_driver(struct simulated *s) {
    struct generation *g = boot(s->driver);
    if (!g) return false;
    g->state = GENERATION_CURRENT;
    s->driver->current = g;
    return true;
}

static bool boot_world(struct simulator *m) {
    struct simulated *s = arena_realloc(m->arena, NULL, 0, sizeof *s);
    if (!s) return false;
    *s = (struct simulated){.arena = m->arena};
    shipment_init(&s->names, SHIP_MAX);
    m->world = s;
    struct mem *mem = arena_realloc(m->arena, NULL, 0, sizeof *mem);
    if (!mem) return false;
    mem_init(mem, 0);
    mem->arena = m->arena;
    s->loop = loop_new_simulated(mem);
    if (!s->loop) return false;
    s->driver = simulated_worker(s, m->rw);
    if (!s->driver || leftover_init(s->driver) < 0 || !boot_driver(s)) return false;
    s->spare = simulated_worker(s, m->rw);
    if (s->spare) s->spare->spare = boot(s->spare);
    return s->spare && s->spare->spare;
}

static void close_states(struct rw *rw) {
    for (struct generation *g = rw->generations; g; g = g->next) lua_close(g->L);
}

/* Finalizers run; memory is nobody's concern. */
static void end_world(struct simulator *m) {
    struct simulated *s = m->world;
    if (!m->dirty) return;
    m->dirty = false;
    close_states(s->driver);
    for (unsigned i = 0; i < s->app_count; i++) close_states(s->apps[i]);
}

static void close_simulator(struct simulator *m) {
    if (!m->arena) return;
    end_world(m);
    mem_free(&m->rw->mem, m->copy, m->copy_size);
    m->copy = NULL;
    arena_close(&m->arena);
}

/* simulator() → simulator; nil, code, message */
static int core_simulator(lua_State *L) {
    struct simulator *m = lua_newuserdatauv(L, sizeof *m, 0);
    *m = (struct simulator){.rw = generation_of(L)->rw};
    luaL_setmetatable(L, class_name);
    if (m->rw->simulated) return push_failure(L, RW_ESIMULATED);
    if (!state_has_seed()) return push_failure(L, RW_ESTATE);
    int rc = arena_open(WORLD_SIZE, &m->arena);
    if (rc < 0) return push_failure(L, rc);
    if (!boot_world(m)) {
        close_simulator(m);
        return push_failure(L, RW_ENOMEM);
    }
    return 1;
}

static int l_close(lua_State *L) {
    close_simulator(luaL_checkudata(L, 1, class_name));
    return 0;
}

/* ── calls into the world ─────────────────────────────────────────────────*/

struct world_call {
    const char *function;
    const struct shipment *arguments; /* NULL: none */
};

/* simulation[function](…) */
static int call_body(lua_State *L) {
    struct world_call call = *(struct world_call *)lua_touserdata(L, 1);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "ropewalk.simulation");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, call.function);
    int n = call.arguments ? ship_unpack(L, call.arguments) : 0;
    lua_callk(L, n, 0, 0, no_results);
    return 0;
}

static void ended(struct task *t, int status) {
    struct simulated *s = t->gen->rw->simulated;
    if (s->main == t) s->main = NULL;
    if (status < 0) simulated_finish(s, false, str_c(s->error));
}

static struct task *call_world(struct simulated *s, const char *function,
                               const struct shipment *arguments) {
    enum { BUDGET = 20000 }; /* ms of processor time: a run is one task */
    struct world_call call = {function, arguments};
    return door_enter(s->driver->current, &(struct door_call){
        .body = call_body, .arg = &call, .done = ended, .budget = BUDGET});
}

/* call(function, …) → true, or nil and why not: has a function of
 * ropewalk.simulation called in the world, with copies of the values. */
static int l_call(lua_State *L) {
    struct simulator *m = check_simulator(L);
    struct simulated *s = m->world;
    const char *function = luaL_checkstring(L, 2);
    int n = lua_gettop(L) - 2;
    struct shipment *shipment = shipment_push(L, NULL); /* packing may raise */
    int rc = ship_pack(L, 3, n, shipment);
    m->dirty = true;
    if (rc == 0) call_world(s, function, shipment);
    shipment_release(shipment);
    if (rc == 0 && !s->done) {
        lua_pushboolean(L, true);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, rc == 0 ? s->text : rc == RW_ENOMEM ? "not enough memory" : ship_refused());
    return 2;
}

/* ── runs ─────────────────────────────────────────────────────────────────*/

/* From now on each run begins here. → bytes */
static int l_freeze(lua_State *L) {
    struct simulator *m = check_simulator(L);
    if (m->copy) return luaL_error(L, "it is frozen already");
    m->copy_size = arena_used(m->arena);
    m->copy = mem_alloc(&m->rw->mem, m->copy_size);
    if (!m->copy) return luaL_error(L, "not enough memory");
    arena_copy(m->arena, m->copy);
    m->dirty = false;
    lua_pushinteger(L, (lua_Integer)m->copy_size);
    return 1;
}

static uint64_t option(lua_State *L, const char *name, double scale, uint64_t otherwise) {
    lua_getfield(L, 2, name);
    double n = luaL_optnumber(L, -1, -1);
    bool given = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (given && !(n > 0 && n < 1e12)) luaL_error(L, "%s: a positive number is expected", name);
    return given ? (uint64_t)(n * scale) : otherwise;
}

/* start { seed, faults, time_limit, turn_limit, allow_errors } */
static int l_start(lua_State *L) {
    struct simulator *m = check_simulator(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    if (!m->copy) return luaL_error(L, "it is not frozen yet");
    lua_getfield(L, 2, "seed");
    uint64_t seed = (uint64_t)luaL_checkinteger(L, -1);
    lua_getfield(L, 2, "faults");
    struct simulation_faults faults = check_faults(L, lua_gettop(L));
    uint64_t time = option(L, "time_limit", 1000, m->rw->limits.simulation_time);
    m->turns = option(L, "turn_limit", 1, m->rw->limits.simulation_turns);

    end_world(m);
    arena_restore(m->arena, m->copy, m->copy_size);
    m->dirty = true;
    struct simulated *s = m->world;
    m->end = loop_now(s->loop) + time;
    s->seed = seed;
    simulation_seed(s->loop, seed);
    simulation_set_faults(s->loop, &faults);
    lua_getfield(L, 2, "allow_errors");
    s->forgives = lua_toboolean(L, -1);
    simulated_begin(s->driver->current);
    s->main = call_world(s, "run", NULL);
    return 0;
}

static int push_place(lua_State *L) {
    struct simulated *s = lua_touserdata(L, 1);
    luaL_traceback(L, s->main->co, NULL, 0);
    size_t n;
    const char *text = lua_tolstring(L, -1, &n);
    lua_pushfstring(L, "%s; it waits here:\n%s", s->text, text);
    s->done = false;
    text = lua_tolstring(L, -1, &n);
    simulated_finish(s, false, str_of(text, n));
    return 0;
}

/* It cannot go on: why, and where it waits. */
static void fail(struct simulated *s, const char *why) {
    simulated_finish(s, false, str_c(why));
    if (s->main) door_protect(s->driver->current, push_place, s);
}

static void look(struct simulator *m, bool alive) {
    struct simulated *s = m->world;
    if (s->error[0] && !s->forgives && (!s->done || !s->failed)) {
        s->done = false;
        simulated_finish(s, false, str_c(s->error));
    } else if (s->done) {
        return;
    } else if (!alive) {
        fail(s, "deadlock: nothing is left that could happen, but the function waits");
    } else if (loop_now(s->loop) > m->end) {
        fail(s, "it takes too long (time_limit, or limit simulation_time)");
    } else if (m->turns-- == 0) {
        fail(s, "too much happens (turn_limit, or limit simulation_turns)");
    }
}

/* step(seconds) → "running"; "done"; "failed", why */
static int l_step(lua_State *L) {
    enum { LONGEST = 3600 };
    struct simulator *m = check_simulator(L);
    struct simulated *s = m->world;
    lua_Number seconds = luaL_checknumber(L, 2);
    luaL_argcheck(L, seconds >= 0 && seconds <= LONGEST, 2, "seconds are expected, up to 3600");
    uint64_t until = loop_hrtime() + (uint64_t)(seconds * 1e9);
    if (!m->dirty) return luaL_error(L, "it is not started");
    look(m, true); /* it may have ended at its start */
    for (unsigned turn = 1; !s->done; turn++) {
        look(m, loop_turn(s->loop, 0));
        if (turn % LOOK_EVERY == 0 && loop_hrtime() >= until) break;
    }
    lua_pushstring(L, !s->done ? "running" : s->failed ? "failed" : "done");
    if (!s->done || !s->failed) return 1;
    bool both = s->error[0] && s->text && strcmp(s->text, s->error) != 0;
    if (both) lua_pushfstring(L, "%s\nbefore that was logged: %s", s->text, s->error);
    else lua_pushstring(L, s->text);
    return 2;
}

/* facts() → events, virtual seconds, hash of the trace */
static int l_facts(lua_State *L) {
    const struct loop *loop = check_simulator(L)->world->loop;
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)simulation_hash(loop));
    lua_pushinteger(L, (lua_Integer)simulation_events(loop));
    lua_pushnumber(L, (lua_Number)loop_now(loop) / 1000);
    lua_pushstring(L, hash);
    return 3;
}

/* trace(n) → the last n events as text, the oldest first; as many as are kept */
static int l_trace(lua_State *L) {
    const struct loop *loop = check_simulator(L)->world->loop;
    char text[400];
    lua_Integer most = luaL_checkinteger(L, 2);
    if (most > SIMULATION_RECORDS) most = SIMULATION_RECORDS;
    lua_newtable(L);
    for (lua_Integer left = most, n = 0; left > 0; left--) {
        struct str line = simulation_event(loop, (unsigned)left - 1, text, sizeof text);
        if (!line.n) continue;
        lua_pushlstring(L, line.p, line.n);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

void simulator_open(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"call", l_call}, {"freeze", l_freeze}, {"start", l_start}, {"step", l_step},
        {"facts", l_facts}, {"trace", l_trace}, {"close", l_close}, {NULL, NULL},
    };
    if (generation_of(L)->rw->simulated) simulated_open(L);
    class_define(L, class_name, methods, l_close);
    lua_pushcfunction(L, core_simulator);
    lua_setfield(L, -2, "simulator");
}
