/* SPDX-License-Identifier: MIT */
/* Lines are counted per source in an array; the source of the line before is
 * remembered, since the next line is nearly always of the same one. */
#include "bind/coverage.h"

#include "bind/bind.h"

enum { SOURCES_MAX = 1 << 16, LINES_MAX = 1 << 20 };

struct counts {
    struct str name;  /* owned, NUL after it */
    uint32_t *lines;  /* owned; [0] is line 1 */
    size_t cap;
};

struct coverage {
    struct map sources; /* name → struct counts, owned */
    struct counts *last;
};

static struct counts *counts_new(struct rw *rw, struct str name) {
    union map_value *value;
    int rc = map_put(&rw->coverage->sources, name, &value);
    if (rc <= 0) return rc < 0 ? NULL : value->ptr;
    struct counts *c = mem_zalloc(&rw->mem, sizeof *c);
    char *copy = c ? mem_alloc(&rw->mem, name.n + 1) : NULL;
    if (!copy) {
        mem_free(&rw->mem, c, sizeof *c);
        map_remove(&rw->coverage->sources, name, NULL);
        return NULL;
    }
    memcpy(copy, name.p, name.n);
    copy[name.n] = 0;
    c->name = str_of(copy, name.n);
    return value->ptr = c;
}

static bool counts_reach(struct rw *rw, struct counts *c, size_t line) {
    if (line <= c->cap) return true;
    if (line > LINES_MAX) return false;
    size_t cap = c->cap ? c->cap : 128;
    while (cap < line) cap *= 2;
    uint32_t *lines = mem_realloc(&rw->mem, c->lines, c->cap * sizeof *lines,
                                  cap * sizeof *lines);
    if (!lines) return false;
    memset(lines + c->cap, 0, (cap - c->cap) * sizeof *lines);
    c->lines = lines;
    c->cap = cap;
    return true;
}

static void on_line(lua_State *L, lua_Debug *ar) {
    struct rw *rw = generation_of(L)->rw;
    struct coverage *cov = rw->coverage;
    if (!lua_getinfo(L, "S", ar) || *ar->source != '@' || ar->currentline < 1) return;
    struct str name = str_of(ar->source + 1, ar->srclen - 1);
    struct counts *c = cov->last;
    if (!c || !str_eq(c->name, name)) {
        union map_value *value = map_find(&cov->sources, name);
        c = value && value->ptr ? value->ptr : counts_new(rw, name);
        if (!c) return;
        cov->last = c;
    }
    size_t line = (size_t)ar->currentline;
    if (counts_reach(rw, c, line) && c->lines[line - 1] < UINT32_MAX) c->lines[line - 1]++;
}

void coverage_hook(lua_State *L) { lua_sethook(L, on_line, LUA_MASKLINE, 0); }

void coverage_free(struct rw *rw) {
    struct coverage *cov = rw->coverage;
    if (!cov) return;
    size_t cursor = 0;
    struct str key;
    union map_value *value;
    while (map_next(&cov->sources, &cursor, &key, &value)) {
        struct counts *c = value->ptr;
        if (!c) continue;
        mem_free(&rw->mem, c->lines, c->cap * sizeof *c->lines);
        mem_free(&rw->mem, (char *)c->name.p, c->name.n + 1);
        mem_free(&rw->mem, c, sizeof *c);
    }
    map_release(&cov->sources);
    mem_free(&rw->mem, cov, sizeof *cov);
    rw->coverage = NULL;
}

/* From now on; coroutines inherit the hook of the one that makes them. */
static int test_cover(lua_State *L) {
    static const uint64_t seed[2] = {1, 2}; /* the names are the tester's own */
    struct generation *g = generation_of(L);
    if (g->rw->coverage) return 0;
    struct coverage *cov = mem_zalloc(&g->rw->mem, sizeof *cov);
    if (!cov) return luaL_error(L, "not enough memory");
    map_init(&cov->sources, &g->rw->mem, seed, SOURCES_MAX);
    g->rw->coverage = cov;
    coverage_hook(g->L);
    coverage_hook(L);
    for (struct task *t = g->tasks; t; t = t->sibling) coverage_hook(t->co);
    return 0;
}

/* {[source] = {[line] = count}} */
static int test_covered(lua_State *L) {
    struct rw *rw = generation_of(L)->rw;
    lua_newtable(L);
    size_t cursor = 0;
    struct str key;
    union map_value *value;
    while (rw->coverage && map_next(&rw->coverage->sources, &cursor, &key, &value)) {
        const struct counts *c = value->ptr;
        lua_pushlstring(L, c->name.p, c->name.n);
        lua_newtable(L);
        for (size_t i = 0; i < c->cap; i++) {
            if (!c->lines[i]) continue;
            lua_pushinteger(L, c->lines[i]);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        lua_rawset(L, -3);
    }
    return 1;
}

void coverage_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"cover", test_cover}, {"covered", test_covered}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
