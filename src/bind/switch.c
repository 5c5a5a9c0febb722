/* SPDX-License-Identifier: MIT */
/* A live connection gets another protocol, and the engine that goes with it.
 *
 * What was read and not delivered is in up to four places, in this order: what
 * the engine has not given out, what the script gave back, what is being pumped
 * and not yet fed (`unfed`), and `in`. A switch gathers it all in `in`, so that
 * the new engine reads it once, in order, whether the switch happens between
 * two events of one packet, in a hook that waits, or at the peer's end.
 */
#include "bind/proto.h"
#include "proto/line.h"

struct str proto_engine_left(const struct proto_conn *p) {
    return p->class->engine->left ? p->class->engine->left(p->engine) : STR_NONE;
}

struct unread {
    struct str parts[4]; /* borrowed */
    size_t n;
};

static struct unread unread_of(const struct proto_conn *p) {
    struct unread all = {{proto_engine_left(p), buf_str(&p->pushback), p->unfed,
                          buf_str(&p->base.in)}, 0};
    for (size_t i = 0; i < 4; i++) all.n += all.parts[i].n;
    return all;
}

size_t proto_unread(const struct proto_conn *p) { return unread_of(p).n; }

/* To `out`, which has room for all of it. */
static void gather(const struct unread *all, char *out) {
    for (size_t i = 0; i < 4; i++) {
        if (all->parts[i].n) memcpy(out, all->parts[i].p, all->parts[i].n);
        out += all->parts[i].n;
    }
}

/* What the engine has is the caller's matter. */
static void forget_unread(struct proto_conn *p) {
    p->switches++;
    p->unfed = STR_NONE;
    buf_release(&p->pushback);
    buf_release(&p->base.in);
}

int proto_give_back(struct proto_conn *p, struct str bytes) {
    struct buf back;
    buf_init(&back, p->pushback.mem, p->pushback.max);
    const struct str parts[] = {bytes, proto_engine_left(p), buf_str(&p->pushback)};
    int rc = 0;
    for (size_t i = 0; i < 3 && rc == 0; i++)
        if (parts[i].n) rc = buf_add_str(&back, parts[i]);
    if (rc < 0) {
        buf_release(&back);
        return rc;
    }
    line_clear(p->engine);
    buf_release(&p->pushback);
    p->pushback = back;
    return 0;
}

/* transport:clear_buffer() → what was not read, which is now forgotten. */
static int transport_clear_buffer(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    if (!p || !p->engine) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (p->class->engine != &line_engine)
        return luaL_error(L, "this protocol's engine is '%s', not 'line'", p->class->engine->name);
    const struct unread all = unread_of(p);
    luaL_Buffer b;
    gather(&all, luaL_buffinitsize(L, &b, all.n));
    luaL_pushresultsize(&b, all.n);
    line_clear(p->engine);
    forget_unread(p);
    return 1;
}

/* transport:set_protocol(protocol, "keep" | "discard" | "refuse") → how many
 * bytes were unread; false and how many, when that is a reason to refuse; nil
 * when the connection is closed. Telling the protocols is the library's. */
static int transport_set_protocol(lua_State *L) {
    static const char *const modes[] = {"keep", "discard", "refuse", NULL};
    enum { KEEP, DISCARD, REFUSE };
    struct proto_conn *p = transport_check(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    int mode = luaL_checkoption(L, 3, "keep", modes);
    if (!p || !p->base.stream || p->base.closing) return 0;
    struct conn *c = &p->base;
    const struct proto_class *class = proto_class_of(L, 2);
    if (!p->class->engine->left)
        return luaL_error(L, "engine '%s' cannot be switched", p->class->engine->name);
    const struct unread unread = unread_of(p);
    if (mode == REFUSE && unread.n) {
        lua_pushboolean(L, 0);
        lua_pushinteger(L, (lua_Integer)unread.n);
        return 2;
    }
    void *engine = proto_engine_new(L, p, class);
    struct buf kept;
    buf_init(&kept, c->in.mem, c->in.max);
    if (mode == KEEP && unread.n) {
        char *room = buf_reserve(&kept, unread.n);
        if (!room) {
            class->engine->fini(engine);
            mem_free(&c->rw->mem, engine, class->engine->size);
            return luaL_error(L, "not enough memory");
        }
        gather(&unread, room);
        buf_commit(&kept, unread.n);
    }
    forget_unread(p);
    buf_release(&p->stash);
    proto_engine_free(p);
    p->engine = engine;
    p->class = class;
    c->in = kept;
    c->eof_due = c->eof_seen; /* the new one has not heard of it */
    p->switching = true;
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 1, TRANSPORT_PROTOCOL);
    lua_pushinteger(L, (lua_Integer)unread.n);
    return 1;
}

/* transport:read_on(): the new protocol was told. */
static int transport_read_on(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    if (!p) return 0;
    p->switching = false;
    if (p->base.stream && !p->base.busy) proto_continue(p);
    return 0;
}

void switch_open(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"clear_buffer", transport_clear_buffer},
        {"set_protocol", transport_set_protocol},
        {"read_on", transport_read_on},
        {NULL, NULL},
    };
    luaL_setfuncs(L, methods, 0);
}
