/* SPDX-License-Identifier: MIT */
/* What Lua reads of the outside's bytes, under libFuzzer. A program for each
 * script beside this file, found by its own name: fuzz_endpoint runs
 * endpoint.lua, which returns a function. The function gets each input as a
 * string, and raises when a property does not hold.
 *
 * libFuzzer sees edges of C only: a line hook tells it which lines of Lua
 * follow each other. Patterns are matched in C, where nothing interrupts them,
 * so time is a property, too: runs of one byte are short in the input
 * (RUN, the byte, how many) and long in the string, and each string must
 * be read within MAX_SECONDS of processor time, which what is quadratic is not. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bind/bind.h"
#include "ropewalk.h"

enum { RUN = 0xfe, LONGEST = 33000, EDGES = 1 << 14, LOAD_TURNS = 1000 };
static const double MAX_SECONDS = 1;

int LLVMFuzzerInitialize(int *argc, char ***argv);
const char *__asan_default_options(void);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Lua's heap lives on and is garbage in part: no leak, but looked for each time. */
const char *__asan_default_options(void) { return "detect_leaks=0:quarantine_size_mb=16"; }

static lua_State *lua;
static const char reader; /* where the registry has the script's function */
static char text[LONGEST];

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t edges[EDGES];

static void on_line(lua_State *L, lua_Debug *ar) {
    static const char *source;
    static uint32_t name, before;
    if (!lua_getinfo(L, "S", ar)) return;
    if (ar->source != source) {
        source = ar->source;
        name = 2166136261u;
        for (size_t i = 0; i < ar->srclen; i++) name = (name ^ (uint8_t)source[i]) * 16777619u;
    }
    uint32_t here = (name ^ (uint32_t)ar->currentline) * 2654435761u >> 16;
    uint8_t *edge = &edges[(before * 3 ^ here) % EDGES];
    if (*edge < UINT8_MAX) ++*edge;
    before = here;
}

static int explain(lua_State *L) {
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

static void require(bool ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void open_worker(void) {
    static const char script[] = "return require('ropewalk').Service()";
    static const struct rw_setting limits[] = {{"script_memory", "100000000"}};
    struct rw *rw = rw_new(&(struct rw_options){.log_level = "error", .limits = limits,
                                                .limit_count = 1}, NULL);
    require(rw && rw_script(rw, "parsers", script, sizeof script - 1) == 0 && rw_start(rw) == 0,
            "no worker");
    for (int turn = 0; turn < LOAD_TURNS && !rw->current; turn++) rw_step(rw, 1);
    require(rw->current, "the library does not load");
    lua = rw->current->L;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    char path[512];
    (void)argc;
    const char *name = strstr((*argv)[0], "fuzz_");
    for (const char *next; name && (next = strstr(name + 1, "fuzz_"));) name = next;
    require(name, "what is to be run is not said by the program's name");
    snprintf(path, sizeof path, "spec/fuzz/parsers/%s.lua", name + strlen("fuzz_"));
    open_worker();
    lua_getglobal(lua, "package");
    lua_pushliteral(lua, "spec/fuzz/parsers/?.lua");
    lua_setfield(lua, -2, "path");
    lua_pushcfunction(lua, explain);
    bool ok = luaL_loadfile(lua, path) == LUA_OK && lua_pcall(lua, 0, 1, -2) == LUA_OK;
    require(ok, ok ? "" : lua_tostring(lua, -1));
    lua_rawsetp(lua, LUA_REGISTRYINDEX, &reader);
    lua_settop(lua, 0);
    lua_sethook(lua, on_line, LUA_MASKLINE, 0);
    return 0;
}

/* The input with its runs written out. */
static size_t unfold(const uint8_t *data, size_t n) {
    size_t out = 0;
    for (size_t i = 0; i < n && out < LONGEST; i++) {
        if (data[i] != RUN || n - i < 3) {
            text[out++] = (char)data[i];
            continue;
        }
        size_t count = (size_t)1 << data[i + 2] % 16;
        for (; count && out < LONGEST; count--) text[out++] = (char)data[i + 1];
        i += 2;
    }
    return out;
}

static double processor_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    size_t size = unfold(data, n);
    double began = processor_time();
    lua_pushcfunction(lua, explain);
    lua_rawgetp(lua, LUA_REGISTRYINDEX, &reader);
    lua_pushlstring(lua, text, size);
    bool ok = lua_pcall(lua, 1, 0, 1) == LUA_OK;
    require(ok, ok ? "" : lua_tostring(lua, -1));
    require(processor_time() - began < MAX_SECONDS, "it takes too long to read");
    lua_settop(lua, 0);
    return 0;
}
