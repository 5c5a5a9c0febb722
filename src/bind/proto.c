/* SPDX-License-Identifier: MIT */
/* Where an engine meets a Lua protocol: bytes go into the engine, its events
 * become method calls, one at a time; while a method waits, the rest stays in
 * the engine and in `in`, and the peer is paused when that grows.
 *
 *      accept ─→ (lazy: first bytes) ─→ build_protocol, make_connection
 *             ─→ event methods … ─→ connection_lost ─→ freed
 */
#include "bind/child.h"
#include "bind/port.h"
#include "bind/proto.h"
#include "bind/tls.h"
#include "proto/line.h"

/* ── running a hook ───────────────────────────────────────────────────────*/

static void tell_lost(struct proto_conn *p);

/* Its task is over; who waits for the protocol may not have been told. */
static void making_over(struct proto_conn *p, int status) {
    struct making *m = p->making;
    int lost = p->base.reason ? p->base.reason : RW_ECLOSED;
    p->making = NULL;
    m->over(m, p->base.stream || (m->told && status == 0) ? status : lost);
}

void proto_hook_done(struct task *t, int status) {
    struct proto_conn *p = t->owner;
    struct conn *c = &p->base;
    if (p->making) making_over(p, status);
    c->busy = false;
    if (status < 0 && !c->closing) {
        c->reason = status;
        conn_close(c);
    }
    if (p->pumping) return;
    if (c->lost_due) tell_lost(p);
    else proto_continue(p);
}

/* False: it ended the connection, or waits. */
void proto_run_hook(struct proto_conn *p, lua_CFunction body, void *arg) {
    struct conn *c = &p->base;
    c->busy = true;
    door_enter(c->gen, &(struct door_call){
        .body = body, .arg = arg, .scope = &c->scope, .owner = p, .done = proto_hook_done});
}

/* ── events ───────────────────────────────────────────────────────────────*/

struct delivery {
    struct proto_conn *conn;
    const struct event *event;
};

static void push_fields(lua_State *L, struct fields fields) {
    lua_createtable(L, (int)fields.count, 0);
    for (size_t i = 0; i < fields.count; i++) {
        lua_createtable(L, 2, 0);
        lua_pushlstring(L, fields.at[i].name.p, fields.at[i].name.n);
        lua_rawseti(L, -2, 1);
        lua_pushlstring(L, fields.at[i].value.p, fields.at[i].value.n);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static int push_args(lua_State *L, const char *kinds, const struct event *ev) {
    int n = 0;
    for (; kinds[n]; n++) {
        const union event_arg *arg = &ev->args[n];
        if (kinds[n] == 's') lua_pushlstring(L, arg->str.p, arg->str.n);
        else if (kinds[n] == 'i') lua_pushinteger(L, arg->num);
        else push_fields(L, arg->fields);
    }
    return n;
}

/* Pushes a method of the protocol and the protocol, to be called; false: it has
 * no such method. What else it leaves on the stack is below these. */
static bool push_method(lua_State *L, struct proto_conn *p, const char *name) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, p);
    lua_getiuservalue(L, -1, TRANSPORT_PROTOCOL);
    if (lua_getfield(L, -1, name) == LUA_TNIL) return false;
    lua_pushvalue(L, -2);
    return true;
}

/* A body that calls a method without arguments, if there is one. */
static int call_method(lua_State *L, const char *name) {
    if (push_method(L, lua_touserdata(L, 1), name)) lua_callk(L, 1, 0, 0, no_results);
    return 0;
}

static int deliver_body(lua_State *L) {
    const struct delivery *d = lua_touserdata(L, 1);
    const struct proto_class *class = d->conn->class;
    push_method(L, d->conn, class->methods[d->event->type]); /* Lua says what is missing */
    int n = push_args(L, class->kinds[d->event->type], d->event);
    lua_callk(L, n + 1, 0, 0, no_results);
    return 0;
}

/* ── pumping ──────────────────────────────────────────────────────────────*/

enum { PUSHED_BACK = 2 };

static bool may_deliver(const struct proto_conn *p) {
    const struct conn *c = &p->base;
    return !c->busy && !c->paused && !c->closing && !c->piped && !p->switching;
}

/* The script may still say something to a peer that went over a limit. */
static int exceeded_body(lua_State *L) {
    struct proto_conn *p = lua_touserdata(L, 1);
    const struct engine *engine = p->class->engine;
    const char *hook = engine == &line_engine ? "line_length_exceeded" : "length_limit_exceeded";
    if (!push_method(L, p, hook)) return 0;
    bool known = engine == &frame_engine;
    if (known) lua_pushinteger(L, (lua_Integer)((struct frame *)p->engine)->refused);
    lua_callk(L, known ? 2 : 1, 0, 0, no_results);
    return 0;
}

void proto_fail(struct proto_conn *p, int code) {
    struct conn *c = &p->base;
    conn_note_failure(c, code, ((struct engine_env *)p->engine)->limit);
    if (code == RW_ELIMIT && p->box && !c->busy)
        door_enter(c->gen, &(struct door_call){
            .body = exceeded_body, .arg = p, .scope = &c->scope});
    conn_close(c);
}

/* What the engine borrows of `fed` is kept while the pulling rests. */
static void keep_fed(struct proto_conn *p, struct str fed) {
    if (buf_len(&p->stash)) return; /* it is from there */
    if (buf_add_str(&p->stash, fed) < 0) conn_abort(&p->base, RW_ENOMEM);
    else p->class->engine->moved(p->engine, fed.p, p->stash.data);
}

/* What the script gave back comes before anything else. */
static int feed_pushback(struct proto_conn *p) {
    const struct engine *engine = p->class->engine;
    buf_release(&p->stash);
    p->stash = p->pushback;
    buf_init(&p->pushback, p->stash.mem, p->stash.max);
    int64_t taken = engine->feed(p->engine, buf_str(&p->stash));
    if (taken < 0) return (int)taken;
    if ((size_t)taken < buf_len(&p->stash)) return RW_EPROTO;
    return PUSHED_BACK;
}

/* Pulls events until the engine wants more (1), the script must first do
 * something (0), or it is over (< 0). */
static int pull(struct proto_conn *p) {
    struct event ev;
    while (may_deliver(p)) {
        int rc = p->class->engine->next(p->engine, &ev); /* a hook may switch it */
        if (rc == 0 && buf_len(&p->pushback)) rc = feed_pushback(p);
        if (rc == PUSHED_BACK) continue;
        if (rc < 0) proto_fail(p, rc);
        if (rc == 0 && p->stash.cap) buf_release(&p->stash);
        if (rc <= 0) return rc < 0 ? rc : 1;
        proto_run_hook(p, deliver_body, &(struct delivery){p, &ev});
    }
    return 0;
}

void proto_keep(struct proto_conn *p, struct str rest) {
    struct conn *c = &p->base;
    if (rest.n && buf_add_str(&c->in, rest) < 0) conn_abort(c, RW_ENOMEM);
}

/* Feeds and pulls until the engine takes no more, or the script must first do
 * something: what is not taken stays in `unfed`. False: it is over. */
static bool pump_bytes(struct proto_conn *p, struct str bytes) {
    p->unfed = bytes;
    while (p->unfed.n && may_deliver(p)) {
        struct str rest = p->unfed;
        unsigned switches = p->switches;
        int64_t taken = p->class->engine->feed(p->engine, rest);
        if (taken < 0) proto_fail(p, (int)taken);
        if (taken < 0) return false;
        p->unfed = str_skip(rest, (size_t)taken);
        int rc = pull(p);
        if (rc < 0) return false;
        if (rc == 0 && switches == p->switches) keep_fed(p, str_of(rest.p, (size_t)taken));
        if (taken == 0) break;
    }
    return true;
}

/* `in` is taken out while it is pumped: a switch puts there what was unread. */
static bool pump_in(struct proto_conn *p) {
    struct conn *c = &p->base;
    struct buf in = c->in;
    size_t before = buf_len(&in);
    buf_init(&c->in, in.mem, in.max);
    bool goes_on = pump_bytes(p, buf_str(&in)) && p->unfed.n < before;
    if (p->unfed.n) {
        buf_drop(&in, before - p->unfed.n);
        c->in = in;
    } else {
        buf_release(&in);
    }
    p->unfed = STR_NONE;
    return goes_on;
}

static void pump_kept(struct proto_conn *p) {
    if (!may_deliver(p) || pull(p) != 1) return;
    while (buf_len(&p->base.in) && may_deliver(p))
        if (!pump_in(p)) return;
}

static int write_lost_body(lua_State *L) { return call_method(L, "write_connection_lost"); }

static int secured_body(lua_State *L) { return call_method(L, "handshake_completed"); }

static void pump_secured(struct proto_conn *p) {
    if (!p->secured_due || p->base.busy || p->base.closing) return;
    p->secured_due = false;
    proto_run_hook(p, secured_body, p);
}

static void pump_write_lost(struct proto_conn *p) {
    if (!p->write_lost_due || p->base.busy || p->base.closing) return;
    p->write_lost_due = false;
    proto_run_hook(p, write_lost_body, p);
}

static int read_lost_body(lua_State *L) {
    struct proto_conn *p = lua_touserdata(L, 1);
    if (push_method(L, p, "read_connection_lost")) lua_callk(L, 1, 0, 0, no_results);
    else conn_close(&p->base);
    return 0;
}

static void pump_eof(struct proto_conn *p) {
    struct conn *c = &p->base;
    if (!c->eof_due || !may_deliver(p) || buf_len(&c->in)) return;
    c->eof_due = false;
    int rc = p->class->engine->eof(p->engine);
    if (rc < 0) log_debug(&c->rw->log, "the peer left in mid-message");
    proto_run_hook(p, read_lost_body, p);
}

/* All that is due, also for the protocol that it switches to meanwhile. */
static void pump(struct proto_conn *p) {
    unsigned switches;
    do {
        switches = p->switches;
        pump_secured(p);
        pump_kept(p);
        pump_eof(p);
    } while (switches != p->switches);
    pump_write_lost(p);
}

/* Nothing can come and nothing can be sent. */
static bool is_shut(const struct proto_conn *p) {
    const struct conn *c = &p->base;
    return p->write_ended && !p->write_lost_due && c->eof_seen && !c->eof_due && !c->busy;
}

/* A child's pipe has none but the script's: whoever computes is silent, in mid-line, too. */
static uint64_t engine_deadline(struct proto_conn *p) {
    struct engine_env *env = p->engine;
    if (!p->class || p->base.pipe) return 0;
    env->idle = p->idle_limit;
    uint64_t deadline = p->class->engine->tick(p->engine, conn_peer_clock(&p->base));
    return deadline == UINT64_MAX ? 0 : deadline;
}

static void update_deadline(struct proto_conn *p) {
    struct conn *c = &p->base;
    if (!c->stream || c->closing || c->piped) return;
    if (p->class) conn_begin_output(c); /* it may have something to say */
    uint64_t deadline = engine_deadline(p);
    conn_flush(c);
    uint64_t idle = p->idle_limit ? p->idle_limit : c->limits->idle_timeout;
    uint64_t quiet = p->last_heard + idle;
    if (idle != UINT64_MAX && (!deadline || (p->idle_limit && quiet < deadline)))
        deadline = quiet;
    conn_set_deadline(c, deadline);
}

void proto_settle(struct proto_conn *p) {
    struct conn *c = &p->base;
    conn_flush(c);
    if (c->lost_due && !c->busy) {
        tell_lost(p);
        return;
    }
    if (is_shut(p)) conn_close(c);
    if (p->retire_due && !c->busy) c->ops->retire(c);
    conn_update_reading(c);
    update_deadline(p);
}

void proto_continue(struct proto_conn *p) {
    if (p->pumping || !p->class) return;
    p->pumping = true;
    pump(p);
    p->pumping = false;
    proto_settle(p);
}

bool proto_ensure_made(struct proto_conn *p) {
    if (p->class || p->base.busy || p->base.closing) return p->class != NULL;
    bool outer = p->pumping;
    p->pumping = true;
    proto_run_hook(p, proto_build_body, p);
    p->pumping = outer;
    return p->class != NULL;
}

static void proto_input(struct conn *c, struct str bytes) {
    struct proto_conn *p = proto_of(c);
    p->last_heard = conn_peer_clock(c);
    bool kept = buf_len(&c->in) > 0;
    if (!proto_ensure_made(p) || kept || !may_deliver(p)) {
        proto_keep(p, bytes);
        if (p->class && may_deliver(p)) proto_continue(p);
        else proto_settle(p);
        return;
    }
    p->pumping = true;
    unsigned switches = p->switches;
    if (pump_bytes(p, bytes)) proto_keep(p, p->unfed);
    p->unfed = STR_NONE;
    if (switches != p->switches) pump(p);
    else pump_eof(p);
    p->pumping = false;
    proto_settle(p);
}

static void proto_eof(struct conn *c) {
    struct proto_conn *p = proto_of(c);
    c->eof_due = true;
    if (!p->class && !c->busy && c->server && c->server->lazy) conn_close(c);
    else if (p->class) proto_continue(p);
}

static void proto_shutdown(struct conn *c) {
    struct proto_conn *p = proto_of(c);
    p->write_ended = p->write_lost_due = true;
    proto_continue(p);
}

static void proto_secured(struct conn *c) {
    struct proto_conn *p = proto_of(c);
    p->last_heard = conn_peer_clock(c);
    p->secured_due = true;
    if (proto_ensure_made(p)) proto_continue(p);
    else proto_settle(p);
}

/* ── write side, deadline ─────────────────────────────────────────────────*/

static int drain_body(lua_State *L) { return call_method(L, "write_drained"); }

static void drain_told(struct task *t, int status) { *(int *)t->owner = status; }

static void proto_drain(struct conn *c) {
    struct proto_conn *p = proto_of(c);
    task_wake_all(&p->writers);
    p->filled = false;
    if (!p->producing || !p->class) return;
    int status = 0;
    struct task *t = door_enter(c->gen, &(struct door_call){
        .body = drain_body, .arg = p, .scope = &c->scope, .owner = &status, .done = drain_told});
    if (t) t->done = NULL;
    if (status == RW_ENOMEM) conn_abort(c, status); /* else the producer would pause for ever */
}

static void proto_deadline(struct conn *c) {
    struct proto_conn *p = proto_of(c);
    struct event ev;
    if (p->class) {
        conn_begin_output(c);
        engine_deadline(p);
        if (p->class->engine->next(p->engine, &ev) < 0) {
            proto_fail(p, RW_ETIMEDOUT);
            return;
        }
    }
    conn_note_failure(c, RW_ETIMEDOUT, "idle_timeout");
    conn_close(c);
}

/* ── the end ──────────────────────────────────────────────────────────────*/

static int lost_body(lua_State *L) {
    struct debt *d = lua_touserdata(L, 1);
    struct proto_conn *p = CONTAINER(d, struct transport_box, lost)->conn;
    if (!push_method(L, p, "connection_lost")) return 0;
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "ropewalk.failure");
    lua_getfield(L, -1, "from_close");
    lua_pushinteger(L, p->base.reason);
    lua_pushstring(L, err_name(p->base.reason));
    lua_pushstring(L, err_text(p->base.reason));
    lua_call(L, 3, 1);
    lua_replace(L, -3);
    lua_pop(L, 1); /* connection_lost, protocol, failure */
    d->state = DEBT_BEGUN;
    lua_callk(L, 2, 0, 0, no_results);
    return 0;
}

static void proto_free(struct proto_conn *p) {
    struct rw *rw = p->base.rw;
    struct child_pipe *pipe = p->base.pipe;
    if (p->box) transport_detach(p);
    if (p->engine) proto_engine_free(p);
    buf_release(&p->pushback);
    buf_release(&p->stash);
    mem_free(&rw->mem, p->own_limits, sizeof *p->own_limits);
    if (pipe) child_pipe_gone(pipe); /* before the generation may go */
    conn_free(&p->base);
}

static void lost_told(struct debt *d) {
    proto_free(CONTAINER(d, struct transport_box, lost)->conn);
}

static void tell_lost(struct proto_conn *p) {
    struct conn *c = &p->base;
    if (p->told_lost) return;
    p->told_lost = true;
    c->busy = true;
    if (!p->box) {
        proto_free(p);
        return;
    }
    p->box->lost = (struct debt){.body = lost_body, .over = lost_told};
    debt_owe(&p->box->lost, c->gen, NULL);
}

void proto_conn_begin(struct proto_conn *p) {
    p->base.busy = false;
    if (p->base.lost_due) tell_lost(p);
    else if (!p->box) conn_abort(&p->base, RW_ENOMEM); /* it was not made to its end */
    else proto_continue(p);
}

static void proto_lost(struct conn *c, int reason) {
    (void)reason;
    struct proto_conn *p = proto_of(c);
    c->lost_due = true;
    task_wake_all(&p->writers);
    bool pumping = p->pumping;
    p->pumping = true; /* what is cancelled may call the transport: not the end of us yet */
    scope_close(&c->scope); /* a waiting hook is told, and ends */
    p->pumping = pumping;
    if (!c->busy && !p->pumping) tell_lost(p);
}

static void proto_retire(struct conn *c) {
    struct proto_conn *p = proto_of(c);
    if (c->pipe) return; /* its last words are wanted */
    if (c->busy || p->pumping) {
        p->retire_due = true;
        return;
    }
    p->retire_due = false;
    if (c->rw->stopping) { /* what it had to say, it has said */
        conn_close(c);
        return;
    }
    /* A producer is an object of the old code. */
    if (!c->port || !c->server || c->server->policy != POLICY_MIGRATE || p->producing) return;
    if (conn_in_handshake(c->stream)) p->retire_due = true;
    else proto_migrate(p);
}

const struct conn_ops proto_ops = {
    "protocol", proto_input, proto_eof, proto_drain, proto_lost, proto_deadline,
    proto_retire, proto_shutdown, proto_secured,
};
