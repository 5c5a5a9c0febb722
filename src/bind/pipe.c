/* SPDX-License-Identifier: MIT */
/* core.pipe: two connections joined by a `struct pipe` of io. A joined
 * connection's operations are exchanged for those of the pipe, so that its
 * bytes do not come near its engine or Lua; nothing else knows of it but
 * conn->piped, by which bind does not read, deliver or set deadlines.
 *
 *      core.pipe ──→ both marked ──→ (deferral) what was read before goes first,
 *                                    then the streams are joined
 *      ends ──→ operations put back ──→ done(…) in a task
 *
 * It belongs to the connections: they end with their generation, and so does it;
 * unless it may be detached. Then a reload tells done(…) what was moved until
 * then, and takes everything of Lua's off the connections: they go on as a pair
 * of sockets, in whatever generation is the current one.
 */
#include <math.h>

#include "bind/proto.h"
#include "bind/tls.h"
#include "proto/line.h"

static const char pipe_class[] = "ropewalk.pipe";

struct joint { /* what a joined connection's `ops` point at */
    struct conn_ops ops;
    struct piping *piping;
    struct proto_conn *conn; /* NULL: gone, or given back */
};

struct piping {
    struct pipe pipe;
    struct deferral start;
    struct rw *rw;
    struct generation *gen; /* while there is a box: whose */
    struct pipe_box *box;   /* Lua's handle; NULL: was told, or detached */
    struct joint joint[2];
    bool begun;
    bool may_detach;
};

struct pipe_box { /* userdata; uservalue 1: done. In the registry by its own address */
    struct piping *piping; /* NULL: over */
    struct debt debt;      /* what `done` is told then: */
    uint64_t moved[2];
    int reason;
    bool detached;
};

static struct joint *joint_of(struct conn *c) {
    return CONTAINER(c->ops, struct joint, ops);
}

static int side_of(const struct joint *j) { return (int)(j - j->piping->joint); }

/* ── the end ──────────────────────────────────────────────────────────────*/

static int done_body(lua_State *L) {
    struct pipe_box *b = CONTAINER(lua_touserdata(L, 1), struct pipe_box, debt);
    lua_rawgetp(L, LUA_REGISTRYINDEX, b);
    lua_getiuservalue(L, -1, 1);
    lua_pushinteger(L, (lua_Integer)b->moved[0]);
    lua_pushinteger(L, (lua_Integer)b->moved[1]);
    if (b->reason) {
        lua_pushstring(L, err_name(b->reason));
        lua_pushstring(L, err_text(b->reason));
    } else {
        lua_pushnil(L);
        lua_pushnil(L);
    }
    lua_pushboolean(L, b->detached);
    lua_callk(L, 5, 0, 0, no_results);
    return 0;
}

static void done_told(struct debt *d) {
    if (d->gen->state == GENERATION_DEAD) return;
    door_protect(d->gen, registry_forget, CONTAINER(d, struct pipe_box, debt));
}

static void tell_done(struct piping *x) {
    struct pipe_box *b = x->box;
    const struct pipe *p = &x->pipe;
    if (!b) return;
    x->box = NULL;
    b->piping = NULL;
    if (x->gen->state == GENERATION_DEAD) return;
    memcpy(b->moved, p->moved, sizeof b->moved);
    b->reason = p->reason;
    b->detached = !p->over;
    b->debt = (struct debt){.body = done_body, .over = done_told};
    debt_owe(&b->debt, x->gen, NULL);
}

static void give_back(struct joint *j) {
    struct proto_conn *p = j->conn;
    if (!p) return;
    j->conn = NULL;
    p->base.ops = &proto_ops;
    p->base.piped = false;
    p->last_heard = conn_peer_clock(&p->base);
}

static void ended(struct pipe *p, int reason) {
    struct piping *x = CONTAINER(p, struct piping, pipe);
    loop_defer_cancel(&x->start);
    struct proto_conn *a = x->joint[0].conn, *b = x->joint[1].conn;
    for (int i = 0; i < 2; i++) give_back(&x->joint[i]);
    if (reason == RW_ETIMEDOUT) x->rw->stats.timeouts++;
    tell_done(x);
    mem_free(&x->rw->mem, x, sizeof *x);
    if (a && a->base.stream) proto_continue(a);
    if (b && b->base.stream) proto_continue(b);
}

/* ── the connections' operations ──────────────────────────────────────────*/

static void move(struct joint *j, struct str bytes) {
    j->conn->base.rw->stats.bytes_out += bytes.n;
    pipe_data(&j->piping->pipe, side_of(j), bytes);
}

static void pipe_input(struct conn *c, struct str bytes) {
    struct joint *j = joint_of(c);
    if (j->piping->begun) move(j, bytes);
    else proto_keep(j->conn, bytes);
}

static void source_eof(struct conn *c) {
    struct joint *j = joint_of(c);
    c->eof_due = true; /* for the protocol, when the pipe has one way */
    if (j->piping->begun) pipe_eof(&j->piping->pipe, side_of(j));
}

static void joint_drain(struct conn *c) {
    struct joint *j = joint_of(c);
    pipe_drain(&j->piping->pipe, side_of(j));
    proto_ops.drain(c);
}

static void joint_lost(struct conn *c, int reason) {
    struct joint *j = joint_of(c);
    struct pipe *p = &j->piping->pipe;
    int side = side_of(j);
    give_back(j);
    pipe_closed(p, side, reason);
    proto_ops.lost(c, reason);
}

static void no_deadline(struct conn *c) { (void)c; }

/* ── a reload ─────────────────────────────────────────────────────────────*/

/* Nothing in Lua waits for it, or is about to write; it outlives its server's
 * limits. */
static bool is_detachable(struct proto_conn *p) {
    if (!p || p->base.busy || p->pumping || p->producing || p->writers.first ||
        conn_in_handshake(p->base.stream))
        return false;
    if (!p->own_limits) {
        p->own_limits = mem_alloc(&p->base.rw->mem, sizeof *p->own_limits);
        if (p->own_limits) *p->own_limits = *p->base.limits;
    }
    return p->own_limits != NULL;
}

/* To the current generation, with nothing of Lua's. */
static void detach(struct proto_conn *p) {
    struct conn *c = &p->base;
    struct rw *rw = c->rw;
    c->limits = p->own_limits;
    if (c->stream) c->stream->limits = p->own_limits;
    if (p->box) transport_detach(p);
    if (p->engine) proto_engine_free(p);
    p->engine = NULL;
    p->class = NULL;
    c->tls = NULL;
    conn_set_server(c, NULL);
    conn_join(c, rw->current);
}

/* If it may not be detached, the handle and who waits for it are of the old code,
 * and it stays there until the connections are closed, or drained. */
static void joint_retire(struct conn *c) {
    struct joint *j = joint_of(c);
    struct piping *x = j->piping;
    if (c->rw->stopping) {
        conn_close(c);
        return;
    }
    if (!x->may_detach || !x->begun || x->pipe.over || !c->rw->current) return;
    if (x->box) {
        if (!is_detachable(x->joint[0].conn) || !is_detachable(x->joint[1].conn)) return;
        tell_done(x);
    }
    detach(proto_of(c)); /* the other one is asked as well */
}

static const struct conn_ops source_ops = {
    "pipe", pipe_input, source_eof, joint_drain, joint_lost, no_deadline, joint_retire,
    NULL, NULL,
};

/* ── the beginning ────────────────────────────────────────────────────────*/

/* The engine lives on: one way, the protocol goes on with it after the pipe. */
static void forget_left(struct proto_conn *p) {
    struct event ev;
    if (p->class->engine == &line_engine) line_clear(p->engine);
    else while (p->class->engine->next(p->engine, &ev) == 1) {}
}

/* What was read before is in the engine, given back by the script, or not yet
 * fed. All of it dies here: nothing of the connection is parsed any more. */
static void move_ahead(struct joint *j) {
    struct proto_conn *p = j->conn;
    struct buf pushback = p->pushback, in = p->base.in;
    buf_init(&p->pushback, pushback.mem, pushback.max);
    buf_init(&p->base.in, in.mem, in.max);
    struct str first = proto_engine_left(p);
    if (first.n) move(j, first);
    forget_left(p);
    if (buf_len(&pushback)) move(j, buf_str(&pushback));
    if (buf_len(&in)) move(j, buf_str(&in));
    buf_release(&p->stash);
    buf_release(&pushback);
    buf_release(&in);
}

static void begin(struct deferral *d) {
    struct piping *x = CONTAINER(d, struct piping, start);
    struct proto_conn *a = x->joint[0].conn, *b = x->joint[1].conn;
    if (!a || !b) return; /* the other one is about to close, too */
    x->begun = true;
    pipe_begin(&x->pipe);
    if (b->base.piped) {
        move_ahead(&x->joint[1]);
        if (b->base.eof_seen) pipe_eof(&x->pipe, 1);
    }
    move_ahead(&x->joint[0]);
    if (a->base.eof_seen) pipe_eof(&x->pipe, 0); /* may be the end of it */
}

static void join(struct piping *x, int side, struct proto_conn *p) {
    struct joint *j = &x->joint[side];
    struct conn *c = &p->base;
    bool is_source = side == 0 || !x->pipe.one_way;
    conn_flush(c);
    j->piping = x;
    j->conn = p;
    j->ops = is_source ? source_ops : proto_ops;
    j->ops.drain = joint_drain;
    j->ops.lost = joint_lost;
    j->ops.retire = joint_retire;
    c->ops = &j->ops;
    c->piped = is_source;
    if (!is_source) return;
    c->paused = false;
    conn_set_deadline(c, 0);
}

/* ── Lua ──────────────────────────────────────────────────────────────────*/

static struct proto_conn *check_end(lua_State *L, int index) { /* NULL: closed */
    struct proto_conn *p = transport_check(L, index);
    if (!p || !p->base.stream || p->base.closing || !p->class) return NULL;
    if (p->base.ops != &proto_ops) luaL_argerror(L, index, "it is in a pipe already");
    const struct engine *engine = p->class->engine;
    if (engine != &raw_engine && engine != &line_engine)
        luaL_error(L, "pipe: the bytes of a %s protocol mean something else: only raw and "
                   "line protocols can be joined", engine->name);
    return p;
}

static bool option(lua_State *L, const char *name) {
    lua_getfield(L, 3, name);
    bool on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

/* ms; 0: it does not say */
static uint64_t check_idle(lua_State *L) {
    lua_getfield(L, 3, "idle");
    lua_Number seconds = luaL_optnumber(L, -1, 0);
    lua_pop(L, 1);
    if (!(seconds >= 0 && seconds < 1e9)) luaL_error(L, "pipe: idle: seconds expected");
    return (uint64_t)ceil(seconds * 1000);
}

static uint64_t shorter_idle(const struct conn *a, const struct conn *b) {
    uint64_t one = a->limits->idle_timeout, other = b->limits->idle_timeout;
    return one < other ? one : other;
}

/* core.pipe(a, b, options, done) → handle; nil, code, message */
static int core_pipe(lua_State *L) {
    struct generation *g = generation_of(L);
    luaL_checktype(L, 3, LUA_TTABLE);
    luaL_checktype(L, 4, LUA_TFUNCTION);
    lua_settop(L, 4);
    uint64_t idle = check_idle(L);
    bool one_way = option(L, "one_way"), keeps_end = option(L, "keep_end");
    bool may_detach = option(L, "detach");
    struct proto_conn *a = check_end(L, 1), *b = check_end(L, 2);
    if (!a || !b) return push_failure(L, RW_ECLOSED);
    luaL_argcheck(L, a != b, 2, "a transport cannot be joined to itself");
    struct pipe_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    box->piping = NULL;
    luaL_setmetatable(L, pipe_class);
    lua_pushvalue(L, 4);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, box);
    struct piping *x = mem_zalloc(&g->rw->mem, sizeof *x);
    if (!x) {
        lua_pushnil(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, box);
        return push_failure(L, RW_ENOMEM);
    }
    box->piping = x;
    x->box = box;
    x->gen = g;
    x->rw = g->rw;
    x->pipe.idle = idle ? idle : shorter_idle(&a->base, &b->base);
    x->pipe.one_way = one_way;
    x->pipe.keeps_end = keeps_end;
    x->may_detach = may_detach && !one_way;
    join(x, 0, a);
    join(x, 1, b);
    pipe_init(&x->pipe, a->base.stream, b->base.stream, ended);
    x->start.run = begin;
    loop_defer(g->rw->loop, &x->start);
    return 1;
}

static int pipe_cancel(lua_State *L) {
    struct pipe_box *box = luaL_checkudata(L, 1, pipe_class);
    lua_pushboolean(L, box->piping != NULL);
    if (box->piping) pipe_abort(&box->piping->pipe, RW_ECANCELED);
    return 1;
}

/* handle:moved() → bytes from a to b, bytes from b to a; nil when it is over */
static int pipe_moved(lua_State *L) {
    struct pipe_box *box = luaL_checkudata(L, 1, pipe_class);
    if (!box->piping) return 0;
    lua_pushinteger(L, (lua_Integer)box->piping->pipe.moved[0]);
    lua_pushinteger(L, (lua_Integer)box->piping->pipe.moved[1]);
    return 2;
}

void pipe_open(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"cancel", pipe_cancel}, {"moved", pipe_moved}, {NULL, NULL},
    };
    class_define(L, pipe_class, methods, NULL);
    lua_pushcfunction(L, core_pipe);
    lua_setfield(L, -2, "pipe");
}
