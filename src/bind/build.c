/* SPDX-License-Identifier: MIT */
/* How a connection gets its protocol: accepted, made by core.connect, or taken
 * over from HTTP after an upgrade. In each case the factory's build_protocol
 * and the protocol's make_connection run as one hook of the connection. */
#include "bind/child.h"
#include "bind/leftover.h"
#include "bind/port.h"
#include "bind/proto.h"
#include "bind/tls.h"

/* ── classes ──────────────────────────────────────────────────────────────*/

static void read_class(lua_State *L, int index, struct proto_class *class) {
    lua_getfield(L, index, "engine");
    const char *name = luaL_optstring(L, -1, "raw");
    class->engine = engine_find(str_c(name));
    if (!class->engine) luaL_error(L, "unknown protocol engine '%s'", name);
    lua_pop(L, 1);
    lua_getfield(L, index, "events");
    int events = lua_gettop(L);
    for (int i = 0; i < PROTO_MAX_EVENTS && class->engine->events[i].name; i++) {
        const char *event = class->engine->events[i].name;
        if (lua_istable(L, events)) lua_getfield(L, events, event);
        else lua_pushnil(L);
        if (lua_isnil(L, -1)) lua_pushfstring(L, "on_%s", event);
        size_t n;
        const char *method = luaL_checklstring(L, -1, &n);
        if (n >= PROTO_NAME_SIZE) luaL_error(L, "name of a method is too long");
        memcpy(class->methods[i], method, n + 1);
        const char *args = class->engine->events[i].args;
        struct str name_of_arg;
        for (char *kind = class->kinds[i]; event_arg_next(&args, kind, &name_of_arg);) kind++;
        lua_settop(L, events);
    }
    lua_settop(L, events - 1);
    if (class->engine == &frame_engine) frame_format_read(L, index, &class->frame);
}

static bool frames_same(const struct frame_format *a, const struct frame_format *b) {
    return a->header == b->header && a->trailer == b->trailer && a->offset == b->offset &&
           a->width == b->width && a->little == b->little && a->plain == b->plain &&
           a->adjust == b->adjust && a->max == b->max &&
           memcmp(a->fixed, b->fixed, sizeof a->fixed) == 0 &&
           memcmp(a->mask, b->mask, sizeof a->mask) == 0;
}

static bool says_same(const struct proto_class *a, const struct proto_class *b) {
    return a->engine == b->engine && memcmp(a->methods, b->methods, sizeof a->methods) == 0 &&
           memcmp(a->kinds, b->kinds, sizeof a->kinds) == 0 &&
           frames_same(&a->frame, &b->frame);
}

static const struct proto_class *class_of(lua_State *L, const struct proto_class *wanted) {
    struct generation *g = generation_of(L);
    for (const struct proto_class *c = g->proto_classes; c; c = c->next)
        if (says_same(c, wanted)) return c;
    struct proto_class *c = mem_alloc(&g->rw->mem, sizeof *c);
    if (!c) luaL_error(L, "not enough memory");
    *c = *wanted;
    c->next = g->proto_classes;
    g->proto_classes = c;
    return c;
}

/* Pushes the table metatable → class. It is weak: there may be a metatable per connection. */
static void push_classes(lua_State *L) {
    const void *key = registry_key(KEY_PROTO_CLASSES);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TTABLE) return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

const struct proto_class *proto_class_of(lua_State *L, int index) {
    struct proto_class said = {0};
    index = lua_absindex(L, index);
    int top = lua_gettop(L);
    if (!lua_getmetatable(L, index)) {
        read_class(L, index, &said);
        return class_of(L, &said);
    }
    push_classes(L);
    lua_pushvalue(L, -2);
    lua_rawget(L, -2);
    const struct proto_class *class = lua_touserdata(L, -1);
    if (!class) {
        read_class(L, index, &said);
        class = class_of(L, &said);
        lua_pushvalue(L, top + 1);
        lua_pushlightuserdata(L, (void *)class);
        lua_rawset(L, top + 2);
    }
    lua_settop(L, top);
    return class;
}

void proto_classes_free(struct generation *g) {
    for (struct proto_class *c; (c = g->proto_classes);) {
        g->proto_classes = c->next;
        mem_free(&g->rw->mem, c, sizeof *c);
    }
}

/* ── building the protocol ────────────────────────────────────────────────*/

/* Stack: …, protocol or nil. */
static int protocol_made(lua_State *L, int status, lua_KContext ctx) {
    struct proto_conn *p = (struct proto_conn *)ctx;
    struct making *m = p->making;
    if (!m) return 0;
    m->told = true;
    return m->made(L, status, (lua_KContext)m);
}

void *proto_engine_new(lua_State *L, struct proto_conn *p, const struct proto_class *class) {
    struct conn *c = &p->base;
    const struct engine *engine = class->engine;
    const struct engine_env env = {
        .role = ROLE_SERVER, .limits = c->limits, .mem = &c->rw->mem, .out = &c->rw->out};
    void *e = mem_zalloc(&c->rw->mem, engine->size);
    if (!e) luaL_error(L, "not enough memory");
    int rc = engine->init(e, &env);
    if (rc == 0 && engine == &frame_engine) rc = frame_configure(e, &class->frame);
    if (rc < 0) {
        mem_free(&c->rw->mem, e, engine->size);
        luaL_error(L, "engine %s: %s", engine->name, err_text(rc));
    }
    return e;
}

void proto_engine_free(struct proto_conn *p) {
    const struct engine *engine = p->class->engine;
    engine->fini(p->engine);
    mem_free(&p->base.rw->mem, p->engine, engine->size);
}

static bool is_class(lua_State *L, int index) {
    lua_pushvalue(L, index);
    lua_pushliteral(L, "__index");
    lua_rawget(L, -2);
    bool yes = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return yes;
}

/* Stack: …, factory, what its build_protocol gave. */
static void check_protocol(lua_State *L) {
    bool is_table = lua_istable(L, -1);
    if (is_table && !is_class(L, -1)) return;
    lua_Debug ar;
    lua_getfield(L, -2, "build_protocol");
    lua_getinfo(L, ">S", &ar);
    const char *what = is_table ? "a class; an object of it is expected, Class()"
                                : "not a protocol, and not nil, which refuses the peer";
    luaL_error(L, "%s:%d: build_protocol returned %s: %s", ar.short_src, ar.linedefined,
               luaL_tolstring(L, -1, NULL), what);
}

/* A protocol knows who has made it, also if a build_protocol of the script's did
 * not say so. Stack: …, factory, protocol. */
static void set_factory(lua_State *L) {
    int protocol = lua_gettop(L), factory = protocol - 1;
    lua_getfield(L, protocol, "factory");
    if (!lua_toboolean(L, -1) && lua_getfield(L, factory, "track") == LUA_TFUNCTION) {
        lua_pushvalue(L, factory);
        lua_setfield(L, protocol, "factory");
    }
    lua_settop(L, protocol);
}

/* Stack: …, factory, protocol or nil. ctx: the connection. */
static int protocol_built(lua_State *L, int status, lua_KContext ctx) {
    struct proto_conn *p = (struct proto_conn *)ctx;
    if (!p->base.stream) return 0; /* lost while it waited */
    if (lua_isnil(L, -1)) {
        conn_close(&p->base);
        return protocol_made(L, status, ctx);
    }
    check_protocol(L);
    set_factory(L);
    lua_remove(L, -2);
    const struct proto_class *class = proto_class_of(L, -1);
    p->engine = proto_engine_new(L, p, class);
    p->class = class;
    transport_push(L, p);
    lua_pushvalue(L, -2);
    lua_setiuservalue(L, -2, TRANSPORT_PROTOCOL);
    lua_getfield(L, -2, "make_connection");
    lua_pushvalue(L, -3);
    lua_pushvalue(L, -3);
    lua_remove(L, -4); /* protocol, make_connection, protocol, transport */
    lua_callk(L, 2, 0, ctx, protocol_made);
    return protocol_made(L, LUA_OK, ctx);
}

/* Stack: …, factory. */
static int build_protocol(lua_State *L, struct proto_conn *p) {
    lua_getfield(L, -1, "build_protocol");
    lua_pushvalue(L, -2);
    push_peer(L, p->base.stream);
    lua_callk(L, 2, 1, (lua_KContext)p, protocol_built);
    return protocol_built(L, LUA_OK, (lua_KContext)p);
}

int proto_build_body(lua_State *L) {
    struct proto_conn *p = lua_touserdata(L, 1);
    server_push_factory(L, p->base.server);
    return build_protocol(L, p);
}

/* ── making ───────────────────────────────────────────────────────────────*/

static struct proto_conn *proto_new(struct rw *rw, struct generation *g,
                                    struct stream *s) {
    struct proto_conn *p = mem_zalloc(&rw->mem, sizeof *p);
    if (!p) return NULL;
    p->base.size = sizeof *p;
    buf_init(&p->pushback, &rw->mem, SIZE_MAX / 4);
    buf_init(&p->stash, &rw->mem, SIZE_MAX / 4);
    conn_attach(&p->base, &proto_ops, rw, s);
    conn_join(&p->base, g);
    p->last_heard = conn_peer_clock(&p->base);
    return p;
}

struct conn *proto_conn_new(struct rw *rw, struct server *server, struct stream *s) {
    struct proto_conn *p = proto_new(rw, server->gen, s);
    if (!p) return NULL;
    conn_join_port(&p->base, server->port);
    conn_set_server(&p->base, server);
    stream_read(s, true);
    /* Who only validates a name is no guest of the script's: known after the handshake. */
    bool unknown = server->tls && server->tls->challenge;
    if (!server->lazy && !unknown) proto_ensure_made(p);
    if (p->class) proto_continue(p);
    else proto_settle(p);
    return &p->base;
}

/* The running task becomes the connection's hook. */
static void adopt_task(struct proto_conn *p, lua_State *L) {
    struct task *t = task_running(generation_of(L)->rw);
    scope_remove(&t->item);
    t->scope = &p->base.scope;
    scope_add(t->scope, &t->item);
    t->owner = p;
    t->done = proto_hook_done;
    p->base.busy = true;
}

int proto_conn_connect(lua_State *L, struct stream *s, const struct limits *limits,
                       struct making *m) {
    struct generation *g = generation_of(L);
    struct proto_conn *p = proto_new(g->rw, g, s);
    struct limits *own = p ? mem_alloc(&g->rw->mem, sizeof *own) : NULL;
    if (!own) {
        if (p) conn_abort(&p->base, RW_ENOMEM);
        else stream_abort(s, RW_ENOMEM);
        m->over(m, RW_ENOMEM);
        return 0;
    }
    *own = *limits;
    p->own_limits = own;
    p->base.limits = s->limits = own;
    leftover_pass(g->rw, s, &p->base, "connection");
    conn_throttle(&p->base);
    adopt_task(p, L);
    stream_read(s, true);
    p->making = m;
    return build_protocol(L, p);
}

void proto_conn_wrap(lua_State *L, int index, struct child_pipe *pipe) {
    struct generation *g = generation_of(L);
    index = lua_absindex(L, index);
    const struct proto_class *class = proto_class_of(L, index);
    struct stream *s = pipe->stream;
    struct limits *own = mem_alloc(&g->rw->mem, sizeof *own);
    struct proto_conn *p = own ? proto_new(g->rw, g, s) : NULL;
    if (!p) {
        mem_free(&g->rw->mem, own, sizeof *own);
        luaL_error(L, "not enough memory");
        return;
    }
    pipe->stream = NULL; /* it counts as the child's all the time */
    pipe->conn = &p->base;
    p->base.pipe = pipe;
    *own = pipe->child->limits;
    p->own_limits = own;
    p->base.limits = s->limits = own;
    p->base.busy = true;
    p->idle_limit = UINT64_MAX; /* its life is the child's */
    g->rw->stats.connections_opened++;
    p->engine = proto_engine_new(L, p, class);
    p->class = class;
    transport_push(L, p);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, TRANSPORT_PROTOCOL);
}

struct adoption {
    struct proto_conn *conn;
    lua_State *from;
    int index;
};

static int adopt_body(lua_State *L) {
    struct adoption a = *(struct adoption *)lua_touserdata(L, 1);
    lua_pushvalue(a.from, a.index);
    lua_xmove(a.from, L, 1);
    return build_protocol(L, a.conn);
}

int proto_conn_adopt(lua_State *L, int index, struct conn *from, struct str ahead) {
    struct proto_conn *p = proto_new(from->rw, from->gen, from->stream);
    if (!p) return RW_ENOMEM;
    struct conn *c = &p->base;
    from->stream = NULL;
    from->closing = from->lost_due = true;
    timer_stop(from->rw->loop, &from->timer);
    conn_join_port(c, from->port);
    conn_leave_port(from); /* it counts once */
    c->peer = from->peer;
    from->peer = 0;
    conn_set_server(c, from->server);
    p->idle_limit = from->limits->session_timeout;
    c->eof_seen = c->eof_due = from->eof_seen;
    proto_keep(p, ahead);
    p->pumping = true;
    proto_run_hook(p, adopt_body, &(struct adoption){p, L, index});
    p->pumping = false;
    if (p->class) proto_continue(p);
    else proto_settle(p);
    return 0;
}
