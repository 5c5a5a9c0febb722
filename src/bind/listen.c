/* SPDX-License-Identifier: MIT */
/* core.listen and core.connect. */
#include "bind/address.h"
#include "bind/datagram.h"
#include "bind/proto.h"
#include "bind/http.h"
#include "bind/leftover.h"
#include "bind/port.h"
#include "bind/tls.h"

static const char server_class[] = "ropewalk.server";
static const char connector_class[] = "ropewalk.connector";

/* ── servers ──────────────────────────────────────────────────────────────*/

static void read_factory(lua_State *L, int index, struct server *s) {
    lua_getfield(L, index, "http");
    s->http = lua_istable(L, -1);
    lua_getfield(L, index, "lazy");
    s->lazy = lua_toboolean(L, -1);
    lua_getfield(L, index, "reload_policy");
    const char *policy = luaL_optstring(L, -1, s->http ? "next_message" : "finish");
    s->policy = strcmp(policy, "migrate") == 0  ? POLICY_MIGRATE
                : strcmp(policy, "finish") == 0 ? POLICY_FINISH
                                                : POLICY_NEXT_MESSAGE;
    if (s->policy == POLICY_NEXT_MESSAGE && strcmp(policy, "next_message") != 0)
        script_error(L, "reload_policy '%s': 'next_message', 'migrate' or 'finish' expected",
                   policy);
    if (!s->http && s->policy == POLICY_NEXT_MESSAGE)
        script_error(L, "reload_policy 'next_message' needs messages that stand alone, as "
                   "HTTP has them; use 'migrate' or 'finish'");
    if (s->http && s->policy == POLICY_MIGRATE)
        script_error(L, "reload_policy 'migrate': HTTP connections go over by 'next_message'");
    lua_pop(L, 3);
}

/* The generation's, what the factory changes of them, what the endpoint does. */
struct limits limits_combined(lua_State *L, int factory, int endpoint, bool http) {
    struct generation *g = generation_of(L);
    struct limits limits = g->limits;
    limits.idle_timeout = 0; /* nobody has said anything yet */
    lua_getfield(L, factory, "limits");
    limits_override(L, lua_gettop(L), &limits);
    lua_pop(L, 1);
    limits_override(L, endpoint, &limits);
    if (!limits.idle_timeout)
        limits.idle_timeout = http ? g->limits.idle_timeout : limits.session_timeout;
    return limits;
}

/* factory.http at 2; the box on top. */
static struct bind_router *anchor_site(lua_State *L) {
    lua_getfield(L, 2, "http");
    lua_getfield(L, -1, "router");
    struct bind_router *router = router_check(L, -1);
    lua_setiuservalue(L, -3, BOX_ROUTER);
    lua_setiuservalue(L, -2, BOX_HTTP);
    return router;
}

/* A server for the factory at 2 with the limits at 3, and its box on top; it has
 * no port yet. */
struct server *server_new(lua_State *L) {
    struct generation *g = generation_of(L);
    struct server found = {.gen = g};
    read_factory(L, 2, &found);
    found.limits = limits_combined(L, 2, 3, found.http);

    struct server_box *box = lua_newuserdatauv(L, sizeof *box, BOX_TLS);
    *box = (struct server_box){0};
    luaL_setmetatable(L, server_class);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, BOX_FACTORY);
    found.router = found.http ? anchor_site(L) : NULL;
    found.box = box;

    struct server *s = mem_alloc(&g->rw->mem, sizeof *s);
    if (!s) luaL_error(L, "not enough memory");
    *s = found;
    if (!registry_anchor(L, s)) {
        mem_free(&g->rw->mem, s, sizeof *s);
        lua_error(L);
    }
    box->server = s;
    s->next = g->servers;
    s->prev = &g->servers;
    if (s->next) s->next->prev = &s->next;
    g->servers = s;
    lua_toclose(L, -1);
    return s;
}

/* Who has made it failed before it was in use. */
static int server_unmade(lua_State *L) {
    struct server_box *box = luaL_checkudata(L, 1, server_class);
    if (box->server && !box->used) server_cut(box->server);
    return 0;
}

int server_bind(lua_State *L, struct server *s, const struct endpoint *e, const char *key) {
    struct generation *g = s->gen;
    s->box->used = true;
    if (g->rw->checking) return 1;
    int rc = server_open_trace(L, 2, &s->trace);
    if (rc == 0) rc = port_claim(g, key, e, &s->port);
    if (rc < 0) {
        server_close(s);
        return push_failure(L, rc);
    }
    leftover_note(L, s, "listener");
    server_start(s);
    return 1;
}

/* endpoint.tls_context of the table at 1, pushed; NULL and nil: no TLS. */
static struct bind_tls *push_context(lua_State *L, bool client) {
    if (lua_getfield(L, 1, "tls_context") == LUA_TNIL) return NULL;
    struct bind_tls *t = tls_check_context(L, -1);
    luaL_argcheck(L, tls_context_is_server(t->context) != client, 1,
                  client ? "a server's TLS context" : "a client's TLS context");
    return t;
}

bool generation_may_listen(const struct generation *g) {
    return g->state != GENERATION_RETIRED && !g->rw->stopping;
}

static int core_listen(lua_State *L) {
    struct endpoint e;
    char key[sizeof ((struct port *)0)->key];
    endpoint_check(L, 1, &e, key, sizeof key);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 3);
    if (endpoint_is_datagram(&e)) return luaL_error(L, "listen: no streams over datagrams");
    if (!generation_may_listen(generation_of(L))) return push_failure(L, RW_ESTATE);
    struct trust trust;
    proxy_read_trust(L, 1, &trust);
    struct bind_tls *tls = push_context(L, false);
    lua_settop(L, 4);
    struct server *s = server_new(L);
    s->trust = trust;
    s->tls = tls;
    lua_pushvalue(L, 4);
    lua_setiuservalue(L, -2, BOX_TLS);
    return server_bind(L, s, &e, key);
}

/* Closing is done at once as far as Lua can tell; fn is called after. */
static int server_close_method(lua_State *L) {
    struct server_box *box = luaL_checkudata(L, 1, server_class);
    lua_settop(L, 2);
    if (box->server) server_cut(box->server);
    if (lua_isfunction(L, 2)) lua_call(L, 0, 0);
    return 0;
}

static int server_address_method(lua_State *L) {
    struct server_box *box = luaL_checkudata(L, 1, server_class);
    struct address a = {0};
    if (!box->server || !box->server->port) return 0;
    int rc = port_address(box->server->port, &a);
    if (rc < 0) return push_failure(L, rc);
    push_address(L, &a);
    return 1;
}

static int server_gc(lua_State *L) {
    struct server_box *box = luaL_checkudata(L, 1, server_class);
    if (box->server) box->server->box = NULL;
    return 0;
}

/* ── outgoing connections ─────────────────────────────────────────────────*/

/* Userdata, in the registry by its address until `done` is told. Uservalues: factory, done,
 * PROXY header, TLS context. */
struct connecting {
    struct scope_item item;
    struct making making;
    struct debt debt;            /* when it has failed … */
    int status;                  /* … like this … */
    const struct connected *how; /* … and so; borrowed for the first try */
    struct generation *gen;
    struct connector *connector; /* NULL: over */
    struct bind_tls *tls;        /* NULL: none */
    struct stream *stream;       /* in its TLS handshake; else NULL */
    struct limits limits;
    char name[256];              /* for TLS: who is expected */
};

struct connected { /* for the bodies below, on the C stack */
    struct connecting *c; /* NULL: somebody else sees to it that `done` is told */
    struct str report; /* what was tried */
    int status;
    struct stream *stream;
    const char *why;   /* TLS failed; or NULL */
};

/* Pushes `done`, which minds only the first call. */
static void push_done(lua_State *L, struct connecting *c) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, c);
    lua_getiuservalue(L, -1, 2);
    lua_remove(L, -2);
}

/* It was told: nothing is known of c any more. */
static void connecting_forget(struct connecting *c) {
    if (c->gen->state != GENERATION_DEAD) door_protect(c->gen, registry_forget, c);
}

static int connect_made(lua_State *L, int status, lua_KContext ctx) {
    (void)status; /* stack: …, protocol or nil */
    bool refused = lua_isnil(L, -1);
    push_done(L, CONTAINER((struct making *)ctx, struct connecting, making));
    lua_insert(L, -2);
    if (refused) {
        lua_pushliteral(L, "RW_EABORTED");
        lua_pushliteral(L, "the factory refused the connection");
    }
    lua_callk(L, refused ? 3 : 1, 0, 0, no_results);
    return 0;
}

static int connect_failed_body(lua_State *L) {
    struct connecting *c = CONTAINER(lua_touserdata(L, 1), struct connecting, debt);
    const struct connected nothing = {0}, *how = c->debt.again ? &nothing : c->how;
    push_done(L, c);
    push_failure(L, c->status);
    if (how->why && *how->why) {
        lua_pushstring(L, how->why);
        lua_replace(L, -2);
    }
    lua_pushlstring(L, how->report.n ? how->report.p : "", how->report.n);
    lua_callk(L, 4, 0, 0, no_results);
    return 0;
}

static void connect_told(struct debt *d) {
    connecting_forget(CONTAINER(d, struct connecting, debt));
}

static void connect_failed(const struct connected *a) {
    struct connecting *c = a->c;
    c->status = a->status;
    c->how = a;
    c->debt = (struct debt){.body = connect_failed_body, .over = connect_told};
    debt_owe(&c->debt, c->gen, NULL);
}

static void connect_over(struct making *m, int code) {
    struct connecting *c = CONTAINER(m, struct connecting, making);
    if (code == 0) connecting_forget(c);
    else connect_failed(&(struct connected){.c = c, .status = code});
}

static int connect_done_body(lua_State *L) {
    struct connected *given = lua_touserdata(L, 1), a = *given;
    lua_rawgetp(L, LUA_REGISTRYINDEX, a.c);
    lua_getiuservalue(L, -1, 1);
    int rc = server_trace_stream(L, lua_gettop(L), a.stream);
    if (rc < 0) {
        given->status = rc;
        return 0;
    }
    given->c = NULL;
    return proto_conn_connect(L, a.stream, &a.c->limits, &a.c->making);
}

/* Nobody took it: the factory raised, or there was no memory. */
static void connect_body_ended(struct task *t, int status) {
    struct connected *a = t->owner;
    if (status < 0) a->status = status;
}

static void connect_end(struct connected *a) {
    struct connecting *c = a->c;
    struct generation *g = c->gen;
    scope_remove(&c->item);
    c->connector = NULL;
    c->stream = NULL;
    g->connecting--;
    if (a->status == 0) {
        g->rw->stats.connections_opened++;
        leftover_pass(g->rw, &c->item, a->stream, "");
        door_enter(g, &(struct door_call){
            .body = connect_done_body, .arg = a, .owner = a, .done = connect_body_ended});
        if (a->c) stream_abort(a->stream, a->status); /* nobody's yet: no hook will come */
    }
    if (a->c) connect_failed(a);
    generation_check(g);
}

static void connect_secured(void *owner, int status, const char *why, struct stream *s) {
    connect_end(&(struct connected){.c = owner, .status = status, .stream = s, .why = why});
}

/* If it fails, on_close will say so. */
static int write_header(lua_State *L) {
    const struct connected *a = lua_touserdata(L, 1);
    struct str header;
    lua_rawgetp(L, LUA_REGISTRYINDEX, a->c);
    if (lua_getiuservalue(L, -1, 3) != LUA_TSTRING) return 0;
    header.p = lua_tolstring(L, -1, &header.n);
    stream_write(a->stream, header);
    return 0;
}

static void connect_done(void *owner, int status, struct stream *s) {
    struct connecting *c = owner;
    struct connected a = {c, c->connector ? connector_report(c->connector) : STR_NONE, status, s,
                          NULL};
    if (status == 0) a.status = door_protect(c->gen, write_header, &a);
    if (a.status == 0 && c->tls) {
        c->connector = NULL;
        c->stream = s;
        a.status = tls_secure(c->gen->rw, s, c->tls, c->name, connect_secured, c);
        if (a.status == 0) return;
    }
    if (status == 0 && a.status < 0) stream_abort(s, a.status); /* nobody's yet */
    connect_end(&a);
}

static void connect_cancel(struct scope_item *item) {
    struct connecting *c = CONTAINER(item, struct connecting, item);
    if (c->connector) connector_cancel(c->connector);
    else if (c->stream) stream_abort(c->stream, RW_ECANCELED);
}

/* A factory at 2, done at 3, limits at 4: the userdata, on top. */
static struct connecting *connecting_new(lua_State *L) {
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    lua_settop(L, 4);
    struct connecting *c = lua_newuserdatauv(L, sizeof *c, 4);
    *c = (struct connecting){.gen = generation_of(L), .item.cancel = connect_cancel,
                             .making = {.made = connect_made, .over = connect_over}};
    c->limits = limits_combined(L, 2, 4, false);
    luaL_setmetatable(L, connector_class);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, -2, 2);
    return c;
}

/* It is on top. Anchored before there is a connector, whose owner it is. */
static void connecting_anchor(lua_State *L, struct connecting *c) {
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, c);
}

static int connecting_failed(lua_State *L, struct connecting *c, int code) {
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, c);
    return push_failure(L, code);
}

static void connecting_begin(lua_State *L, struct connecting *c) {
    struct generation *g = c->gen;
    g->connecting++;
    struct task *t = task_running(g->rw);
    scope_add(t ? t->scope : &g->scope, &c->item);
    leftover_note(L, &c->item, "connection attempt");
}

static int core_connect(lua_State *L) {
    struct generation *g = generation_of(L);
    struct endpoint e;
    char key[320];
    struct ip ips[32];
    endpoint_check(L, 1, &e, key, sizeof key);
    struct connecting *c = connecting_new(L);
    int rc = endpoint_check_outgoing(L, 1, &e, ips, sizeof ips / sizeof *ips);
    proxy_push_header(L, 1);
    lua_setiuservalue(L, -2, 3);
    c->tls = push_context(L, true);
    lua_setiuservalue(L, -2, 4);
    endpoint_text(L, 1, "tls_name", c->name, sizeof c->name);
    connecting_anchor(L, c);
    if (rc == 0)
        rc = connector_open(g->rw->loop, &e, &c->limits, connect_done, c, &c->connector);
    if (rc < 0) return connecting_failed(L, c, rc);
    connecting_begin(L, c);
    return 1;
}

/* core.pair(server factory, client factory, done): a connection in memory, with
 * everything above the transport as it is on a real one. */
static int core_pair(lua_State *L) {
    struct generation *g = generation_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 3);
    struct connecting *c = connecting_new(L); /* at 5 */
    lua_pushnil(L);
    lua_insert(L, 1); /* the server's factory is at 2 for server_new … */
    lua_pushnil(L);
    lua_replace(L, 3); /* … and its limits are the factory's */
    struct server *s = server_new(L);
    lua_pushvalue(L, 6);
    connecting_anchor(L, c);
    struct stream *ends[2];
    int rc = server_open_trace(L, 2, &s->trace);
    if (rc == 0) rc = stream_pair(g->rw->loop, &s->limits, ends);
    if (rc < 0) {
        server_close(s);
        return connecting_failed(L, c, rc);
    }
    s->box->used = true;
    leftover_note(L, s, "");
    connecting_begin(L, c);
    conn_serve(s, ends[0]);
    server_close(s); /* lives as long as the connection */
    connect_done(c, 0, ends[1]);
    return 0;
}

static int connector_cancel_method(lua_State *L) {
    struct connecting *c = luaL_checkudata(L, 1, connector_class);
    lua_pushboolean(L, c->connector || c->stream);
    connect_cancel(&c->item);
    return 1;
}

void port_open(lua_State *L) {
    static const luaL_Reg server_methods[] = {
        {"close", server_close_method}, {"address", server_address_method}, {NULL, NULL},
    };
    class_define(L, server_class, server_methods, server_gc);
    luaL_getmetatable(L, server_class);
    lua_pushcfunction(L, server_unmade);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);

    static const luaL_Reg connector_methods[] = {
        {"cancel", connector_cancel_method}, {NULL, NULL},
    };
    class_define(L, connector_class, connector_methods, NULL);

    static const luaL_Reg functions[] = {
        {"listen", core_listen}, {"connect", core_connect}, {"pair", core_pair}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
