/* SPDX-License-Identifier: MIT */
/* Objects are known by their address, and each note has a serial number: what
 * is alive with a number above a mark was made since then. Notes of objects
 * that are gone stay until their address is used again; they are found by
 * nobody, for only living objects are looked up. */
#include "bind/leftover.h"

#include <stdio.h>

#include "bind/conn.h"
#include "bind/datagram.h"
#include "bind/port.h"

enum { PLACES_MAX = 1 << 24 };

struct place {
    uint64_t serial;
    const char *kind;
    char where[112]; /* "spec/chat_spec.lua:12", or "" */
};

struct leftovers {
    struct map places; /* address → struct place, owned */
    uint64_t serial;
};

int leftover_init(struct rw *rw) {
    static const uint64_t seed[2] = {1, 2}; /* no peer chooses these keys */
    struct leftovers *all = mem_zalloc(&rw->mem, sizeof *all);
    if (!all) return RW_ENOMEM;
    map_init(&all->places, &rw->mem, seed, PLACES_MAX);
    rw->leftovers = all;
    return 0;
}

void leftover_free(struct rw *rw) {
    struct leftovers *all = rw->leftovers;
    if (!all) return;
    size_t cursor = 0;
    struct str key;
    union map_value *value;
    while (map_next(&all->places, &cursor, &key, &value))
        mem_free(&rw->mem, value->ptr, sizeof(struct place));
    map_release(&all->places);
    mem_free(&rw->mem, all, sizeof *all);
    rw->leftovers = NULL;
}

static struct str key_of(const void *const *object) {
    return str_of((const char *)object, sizeof *object);
}

static struct place *place_find(struct rw *rw, const void *object) {
    union map_value *value = map_find(&rw->leftovers->places, key_of(&object));
    return value ? value->ptr : NULL;
}

static struct place *place_new(struct rw *rw, const void *object, const char *kind) {
    union map_value *value;
    if (map_put(&rw->leftovers->places, key_of(&object), &value) < 0) return NULL;
    struct place *p = value->ptr;
    if (!p) p = value->ptr = mem_zalloc(&rw->mem, sizeof *p);
    if (!p) {
        map_remove(&rw->leftovers->places, key_of(&object), NULL);
        return NULL;
    }
    *p = (struct place){.serial = ++rw->leftovers->serial, .kind = kind};
    return p;
}

/* The innermost line that is not the library's; that one's, if all are. */
static void find_line(lua_State *L, char *out, size_t size) {
    lua_Debug ar;
    bool found = false;
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        if (!lua_getinfo(L, "Sl", &ar) || ar.currentline < 0) continue;
        bool ours = door_in_library(L, &ar);
        if (found && ours) continue;
        snprintf(out, size, "%s:%d", ar.short_src, ar.currentline);
        found = true;
        if (!ours) return;
    }
}

void leftover_note(lua_State *L, const void *object, const char *kind) {
    struct rw *rw = generation_of(L)->rw;
    if (!rw->leftovers) return;
    struct place *p = place_new(rw, object, kind);
    if (p) find_line(L, p->where, sizeof p->where);
}

void leftover_forget(lua_State *L, const void *object) {
    struct rw *rw = generation_of(L)->rw;
    if (!rw->leftovers) return;
    union map_value value = {0};
    map_remove(&rw->leftovers->places, key_of(&object), &value);
    mem_free(&rw->mem, value.ptr, sizeof(struct place));
}

void leftover_pass(struct rw *rw, const void *from, const void *to, const char *kind) {
    if (!rw->leftovers) return;
    struct place *p = place_new(rw, to, kind);
    const struct place *old = place_find(rw, from);
    if (p && old) memcpy(p->where, old->where, sizeof p->where);
}

/* ── looking ──────────────────────────────────────────────────────────────*/

struct look {
    lua_State *L; /* the list is on top */
    struct rw *rw;
    uint64_t mark;
    int count;
};

static void found(struct look *look, const void *object, const char *name) {
    const struct place *p = place_find(look->rw, object);
    if (!p || p->serial <= look->mark) return;
    lua_State *L = look->L;
    const char *kind = p->kind;
    lua_pushfstring(L, "%s%s%s%s%s", kind, *name ? " " : "", name,
                    *p->where ? ", made at " : "", p->where);
    lua_rawseti(L, -2, ++look->count);
}

static void look_in_scope(struct look *look, const struct scope *scope) {
    for (const struct scope_item *i = scope->items; i; i = i->next) found(look, i, "");
}

static void look_at_conn(struct look *look, struct conn *c) {
    struct address peer;
    char name[160] = "";
    if (c->stream && stream_peer(c->stream, &peer) == 0) {
        struct str text = address_format(&peer, name + 5, sizeof name - 5);
        memcpy(name, "with ", 5);
        memmove(name + 5, text.p, text.n);
        name[5 + text.n] = 0;
    }
    found(look, c, name);
    look_in_scope(look, &c->scope);
}

static int test_leftovers(lua_State *L) {
    struct generation *g = generation_of(L);
    struct look look = {L, g->rw, (uint64_t)luaL_checkinteger(L, 1), 0};
    lua_newtable(L);
    look_in_scope(&look, &g->scope);
    for (struct conn *c = g->conns; c; c = c->next) look_at_conn(&look, c);
    for (struct dgram *d = g->dgrams; d; d = d->next) look_in_scope(&look, &d->scope);
    for (struct server *s = g->servers; s; s = s->next)
        if (!s->closed) found(&look, s, s->port ? s->port->key : "");
    return 1;
}

static int test_mark(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)generation_of(L)->rw->leftovers->serial);
    return 1;
}

void leftover_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"mark", test_mark}, {"leftovers", test_leftovers}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
