/* SPDX-License-Identifier: MIT */
/* A live connection changes generations: the old protocol's save() gives plain
 * data, which is copied into the new lua_State, where the new factory's
 * restore(transport, data) makes the protocol that goes on with the same
 * socket, the same engine and whatever it holds half-read. Until restore has
 * returned a protocol nothing is lost: any failure leaves the connection with
 * the old code. Neither may wait. */
#include "bind/port.h"
#include "bind/proto.h"

static void restore(struct generation *g, void *migration);

struct migration {
    struct proto_conn *conn;
    struct server *target;
    lua_State *from;  /* save()'s result is on top of it */
    struct transport_box *box; /* the new one */
    const struct proto_class *class;
    bool moved;
};

static int saved(lua_State *L) {
    struct migration *m = lua_touserdata(L, 1);
    struct proto_conn *p = m->conn;
    lua_rawgetp(L, LUA_REGISTRYINDEX, p);
    lua_getiuservalue(L, -1, TRANSPORT_PROTOCOL);
    lua_getfield(L, -1, "save");
    if (lua_isnil(L, -1)) {
        lua_pushnil(L);
    } else {
        lua_insert(L, -2);
        lua_call(L, 1, 1);
    }
    m->from = L;
    restore(m->target->gen, m);
    return 0;
}

static int restored(lua_State *L) {
    struct migration *m = lua_touserdata(L, 1);
    struct proto_conn *p = m->conn;
    server_push_factory(L, m->target);
    lua_getfield(L, -1, "restore");
    lua_insert(L, -2);
    m->box = transport_new(L, p); /* one of this generation */
    lua_pushvalue(L, -1);
    lua_insert(L, 2); /* transport, restore, factory, transport */
    size_t left = p->base.limits->max_saved;
    if (transfer(m->from, -1, L, &left) < 0)
        return luaL_error(L, "save() of a connection returned %s: only plain data can "
                          "go over to new code", transfer_refused());
    lua_call(L, 3, 1);
    if (!lua_istable(L, -1)) return luaL_error(L, "restore() returned no protocol");
    m->class = proto_class_of(L, -1);
    if (m->class->engine != p->class->engine)
        return luaL_error(L, "restore() returned a protocol of another engine (%s, not %s)",
                          m->class->engine->name, p->class->engine->name);
    if (memcmp(&m->class->frame, &p->class->frame, sizeof p->class->frame) != 0)
        return luaL_error(L, "restore() returned a protocol of other frames");
    lua_setiuservalue(L, 2, TRANSPORT_PROTOCOL);
    m->moved = true;
    return 0;
}

static void restore(struct generation *g, void *migration) {
    door_enter(g, &(struct door_call){.body = restored, .arg = migration});
}

static void join_target(struct proto_conn *p, struct server *target) {
    struct conn *c = &p->base;
    conn_set_server(c, target);
    c->tls = NULL; /* the old code's */
    if (p->own_limits) { /* what the script changed stays changed */
        c->limits = p->own_limits;
        if (c->stream) c->stream->limits = p->own_limits;
    }
    if (p->engine) ((struct engine_env *)p->engine)->limits = c->limits;
    conn_join(c, target->gen);
}

void proto_migrate(struct proto_conn *p) {
    struct conn *c = &p->base;
    struct server *target = c->port->server;
    if (!target || target == c->server || target->http || !c->stream) return;
    if (!p->class) { /* nothing of it is in Lua yet */
        join_target(p, target);
        proto_settle(p);
        return;
    }
    struct generation *old = c->gen;
    struct migration m = {.conn = p, .target = target};
    conn_flush_all(c->rw);
    door_enter(old, &(struct door_call){.body = saved, .arg = &m});
    if (!m.moved) {
        char text[160];
        struct address a = {0};
        stream_peer(c->stream, &a);
        log_warn(&c->rw->log, "a connection stays with the old code",
                 LF_UINT("generation", old->id),
                 LF_STR("peer", address_format(&a, text, sizeof text)));
        if (m.box) {
            m.box->conn = NULL;
            door_protect(target->gen, registry_forget, p);
        }
        return;
    }
    door_protect(old, registry_forget, p);
    p->box->conn = NULL;
    p->box = m.box;
    p->class = m.class;
    join_target(p, target);
    proto_settle(p);
}
