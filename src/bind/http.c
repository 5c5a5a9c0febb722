/* SPDX-License-Identifier: MIT */
/* The faster door for HTTP: no event unions, no Lua object per connection.
 * Per request: the router is asked in C, a request object is made, the
 * handler runs as a task of the connection, a string result goes out in one
 * piece. An idle keep-alive connection holds nothing in any lua_State, which
 * is why it can change generations between two requests.
 *
 *      input ─→ feed ─→ REQUEST ─→ handler (task) ─→ respond
 *                 ↑        └ waits? the rest of the input is kept in `in`,
 *                 │          chunk() goes on pulling from there
 *                 └─ END, then the next request
 */
#include "bind/http.h"

#include "base/codec.h"
#include "bind/port.h"
#include "bind/proto.h"
#include "bind/tls.h"

struct str http_date(struct rw *rw) {
    int64_t now = loop_unix_time(rw->loop);
    if (now != rw->date_second) {
        rw->date_second = now;
        http_date_format(now, rw->date);
    }
    return str_c(rw->date);
}

/* ── output ───────────────────────────────────────────────────────────────*/

enum { OUT_FLUSH_AT = 65536 };

void http_begin_output(struct http_conn *h) { conn_begin_output(&h->base); }

void http_sent(struct http_conn *h) {
    if (buf_len(&h->base.rw->out) >= OUT_FLUSH_AT) conn_flush(&h->base);
}

void http_fail(struct http_conn *h, int code) {
    conn_note_failure(&h->base, code, h->engine.env.limit);
    conn_close(&h->base);
}

/* A whole answer from C, when Lua could not give one. */
static void respond_plain(struct http_conn *h, int status, struct str text) {
    http_begin_output(h);
    if (http1_respond(&h->engine, status, STR("text/plain; charset=utf-8"), text,
                      http_date(h->base.rw)) < 0)
        conn_abort(&h->base, RW_ENOMEM);
}

/* ── the handler's task ───────────────────────────────────────────────────*/

/* Stack of the task: 1 server's box, 2 request, 3 message handler, then what
 * the function called last has returned. */
enum { AT_BOX = 1, AT_REQUEST, AT_HANDLER, AT_RESULTS };

static int answered(lua_State *L, int status, lua_KContext ctx);
static int handled(lua_State *L, int status, lua_KContext ctx);

static void call_site(lua_State *L, const char *function, int nargs,
                      lua_KContext ctx) { /* arguments on top */
    lua_getiuservalue(L, AT_BOX, BOX_HTTP);
    lua_getfield(L, -1, function);
    lua_remove(L, -2);
    lua_insert(L, -nargs - 1);
    int status = lua_pcallk(L, nargs, 0, AT_HANDLER, ctx, answered);
    answered(L, status, ctx);
}

static void finish_response(struct http_conn *h) {
    struct request *r = h->request;
    if (!h->base.stream || r->finished) return;
    if (!r->started) {
        respond_plain(h, 500, STR("the handler gave no answer\n"));
    } else {
        http_begin_output(h);
        int rc = http1_send_end(&h->engine);
        if (rc < 0) conn_abort(&h->base, rc);
    }
    r->finished = true;
}

static void give_up(struct http_conn *h) { /* the failed handler failed */
    struct request *r = h->request;
    h->base.rw->stats.responses_error++;
    if (!h->base.stream || r->finished) return;
    if (r->started) conn_abort(&h->base, RW_ESCRIPT);
    else respond_plain(h, 500, STR("Internal Server Error\n"));
    r->started = r->finished = true;
}

/* An answer thrown on purpose (error(web.error(404))) is not a fault. */
static bool is_answer(lua_State *L, int index) {
    if (!lua_istable(L, index)) return false;
    int type = lua_getfield(L, index, "value");
    bool yes = false;
    if (type == LUA_TTABLE) {
        yes = lua_getfield(L, -1, "status") == LUA_TNUMBER;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return yes;
}

/* The error is on top. */
static void handler_failed(lua_State *L, struct http_conn *h, bool again) {
    struct task *t = task_running(h->base.rw);
    bool answer = is_answer(L, -1);
    if (t->killed) door_clear_hook(L); /* of the script nothing is left to stop */
    if (!answer && !t->orphan && h->base.stream) {
        if (!h->body_failed) h->base.rw->stats.script_errors++;
        door_report_request(L, -1, h->request->method, h->request->target, h->body_failed);
    }
    if (again || t->killed || t->cancelled || h->request->started || !h->base.stream) {
        give_up(h);
        return;
    }
    if (!answer) h->base.rw->stats.responses_error++;
    lua_pushvalue(L, AT_REQUEST);
    lua_insert(L, -2);
    call_site(L, "failed", 2, (lua_KContext)(intptr_t)h | 1);
}

/* After answer() or failed(); ctx: the connection, bit 0: it was failed(). */
static int answered(lua_State *L, int status, lua_KContext ctx) {
    struct http_conn *h = (struct http_conn *)(ctx & ~(lua_KContext)1);
    if (status == LUA_OK || status == LUA_YIELD) finish_response(h);
    else handler_failed(L, h, ctx & 1);
    return 0;
}

static int handled(lua_State *L, int status, lua_KContext ctx) {
    struct http_conn *h = (struct http_conn *)ctx;
    if (status != LUA_OK && status != LUA_YIELD) {
        handler_failed(L, h, false);
        return 0;
    }
    if (!h->base.stream || h->request->finished) return 0;
    int results = lua_gettop(L) - AT_HANDLER;
    luaL_checkstack(L, 4, NULL); /* they may have filled it */
    if (results == 1 && !h->request->started &&
        lua_type(L, AT_RESULTS) == LUA_TSTRING) {
        struct str body;
        body.p = lua_tolstring(L, AT_RESULTS, &body.n);
        respond_plain(h, 200, body);
        h->request->started = h->request->finished = true;
        http_sent(h);
        return 0;
    }
    if (h->request->started && results == 0) {
        finish_response(h);
        return 0;
    }
    lua_pushvalue(L, AT_REQUEST);
    lua_insert(L, AT_RESULTS);
    call_site(L, "answer", results + 1, ctx);
    return 0;
}

/* The engine has made a path of an absolute-form target already. */
static struct str path_of(struct str target) {
    return str_of(target.p, str_find(target, '?'));
}

static int handle_body(lua_State *L) {
    struct http_conn *h = lua_touserdata(L, 1);
    struct server *server = h->base.server;
    lua_rawgetp(L, LUA_REGISTRYINDEX, server);
    lua_replace(L, 1);
    struct request *r = request_push(L, h);
    lua_pushcfunction(L, door_traceback);

    struct route_match m;
    struct str path = path_of(r->target);
    lua_getiuservalue(L, AT_BOX, BOX_ROUTER);
    struct bind_router *router = server->router;
    int id = route_path_ok(path) ? router_find(router, r->method, path, &m) : -1;
    if (id < 0) {
        respond_plain(h, 400, STR("malformed path\n"));
        r->started = r->finished = true;
        return 0;
    }
    r->route = id;
    if (id == 0) {
        router_push_allowed(L, router, &m);
        lua_replace(L, -2);
        lua_pushvalue(L, AT_REQUEST);
        lua_insert(L, -2);
        call_site(L, "answer_missing", 2, (lua_KContext)h);
        return 0;
    }
    if (m.param_count) {
        if (router_push_params(L, &m) < 0) lua_newtable(L);
        request_set_params(L, AT_REQUEST);
    }
    router_push_handler(L, -1, id);
    lua_replace(L, -2);
    lua_pushvalue(L, AT_REQUEST);
    int status = lua_pcallk(L, 1, LUA_MULTRET, AT_HANDLER, (lua_KContext)h, handled);
    return handled(L, status, (lua_KContext)h);
}

static void http_continue(struct http_conn *h);
static void http_retire(struct conn *c);
static void http_gone(struct http_conn *h);

static void wake_all(struct http_conn *h) {
    task_wake_all(&h->readers);
    task_wake_all(&h->writers);
}

static void handler_done(struct task *t, int status) {
    struct http_conn *h = t->owner;
    finish_owe(h, t->gen);
    if (status < 0 && h->request) give_up(h); /* the error was in our own part */
    else if (status < 0) respond_plain(h, 500, STR("Internal Server Error\n"));
    if (h->request) h->request->conn = NULL;
    h->request = NULL;
    finish_release(h, t->gen);
    h->active = false;
    h->base.busy = false;
    wake_all(h); /* others that it has started: it is over for them, too */
    if (h->pumping) return;
    if (h->base.lost_due) http_gone(h);
    else http_continue(h);
}

/* ── generations ──────────────────────────────────────────────────────────*/

/* Between two messages the code may change. */
static void join_current(struct http_conn *h) {
    struct conn *c = &h->base;
    struct server *now = c->port ? c->port->server : NULL;
    if (now == c->server) return;
    if (!now || !now->http) {
        http1_close_after(&h->engine);
        return;
    }
    if (conn_in_handshake(c->stream)) return;
    conn_set_server(c, now);
    h->engine.env.limits = c->limits;
    conn_join(c, now->gen);
}

/* ── pumping ──────────────────────────────────────────────────────────────*/

static void begin_request(struct http_conn *h) {
    struct conn *c = &h->base;
    join_current(h);
    c->rw->stats.requests++;
    h->active = c->busy = true;
    door_enter(c->gen, &(struct door_call){
        .body = handle_body, .arg = h, .scope = &c->scope, .owner = h,
        .done = handler_done});
}

/* What `unread` and `in` hold goes into the engine piece by piece. */
static int64_t feed_some(struct http_conn *h) {
    struct conn *c = &h->base;
    int64_t taken;
    if (buf_len(&c->in)) {
        taken = http1_feed(&h->engine, buf_str(&c->in));
        if (taken > 0) buf_drop(&c->in, (size_t)taken);
    } else if (h->unread.n) {
        taken = http1_feed(&h->engine, h->unread);
        if (taken > 0) h->unread = str_skip(h->unread, (size_t)taken);
    } else {
        return 0;
    }
    return taken;
}

int http_pull_body(struct http_conn *h, struct str *data) {
    http_begin_output(h); /* a refusal may have to be said */
    for (;;) {
        int event = http1_next(&h->engine, data);
        if (event == HTTP1_BODY + 1) return 1;
        if (event == HTTP1_END + 1) return 0;
        if (event == 0) {
            int64_t taken = feed_some(h);
            if (taken > 0) continue;
            if (taken == 0 && h->base.eof_seen) taken = http1_eof(&h->engine);
            if (taken == 0) return h->base.stream ? RW_EAGAIN : RW_ECLOSED;
            event = (int)taken;
        }
        h->body_failed = event;
        http_fail(h, event);
        return event;
    }
}

static void pump(struct http_conn *h) {
    struct conn *c = &h->base;
    struct str data;
    h->pumping = true;
    while (!h->active && !c->closing && !c->lost_due) {
        http_begin_output(h);
        int event = http1_next(&h->engine, &data);
        int64_t taken = event;
        if (event == HTTP1_REQUEST + 1) begin_request(h);
        if (event > 0) continue;
        if (event == 0) taken = feed_some(h);
        if (taken < 0) http_fail(h, (int)taken);
        if (taken <= 0) break;
    }
    h->pumping = false;
}

/* The engine's time: it may have a 408 to say, so the output must be ours. */
void http_update_deadline(struct http_conn *h) {
    struct conn *c = &h->base;
    if (c->closing) return;
    http_begin_output(h);
    uint64_t deadline = http1_tick(&h->engine, conn_peer_clock(c));
    if (h->engine.error) {
        http_fail(h, h->engine.error);
        return;
    }
    conn_flush(c);
    conn_set_deadline(c, deadline);
}

static void settle(struct http_conn *h) {
    struct conn *c = &h->base;
    if (h->unread.n) { /* it dies with this round */
        if (buf_add_str(&c->in, h->unread) < 0) conn_abort(c, RW_ENOMEM);
        h->unread = STR_NONE;
    } else if (c->in.cap && buf_len(&c->in) == 0) {
        buf_release(&c->in);
    }
    conn_flush(c);
    if (c->lost_due && !h->active) {
        http_gone(h);
        return;
    }
    if (!c->stream) return;
    if (!h->active && !c->closing) {
        if (c->gen->state == GENERATION_RETIRED) http_retire(c);
        if (c->eof_seen && buf_len(&c->in) == 0 && http1_eof(&h->engine) < 0)
            http_fail(h, RW_EOF);
        else if (http1_finished(&h->engine))
            conn_close(c);
    }
    c->busy = h->active && !h->readers.first;
    conn_update_reading(c);
    http_update_deadline(h);
}

static void http_continue(struct http_conn *h) {
    pump(h);
    settle(h);
}

static void http_input(struct conn *c, struct str bytes) {
    struct http_conn *h = http_of(c);
    h->unread = bytes;
    if (!h->active) {
        pump(h);
    } else if (h->readers.first) {
        h->pumping = true;
        task_continue(h->readers.first);
        h->pumping = false;
        if (!h->active) pump(h);
    }
    settle(h);
}

static void http_eof(struct conn *c) {
    struct http_conn *h = http_of(c);
    if (h->readers.first) wake_all(h); /* chunk() finds the end */
    settle(h);
}

static void http_drain(struct conn *c) {
    task_wake_all(&http_of(c)->writers);
}

static void http_deadline(struct conn *c) {
    struct http_conn *h = http_of(c);
    struct str data;
    http_begin_output(h);
    http1_tick(&h->engine, conn_peer_clock(c));
    int rc = http1_next(&h->engine, &data);
    http_fail(h, rc < 0 ? rc : RW_ETIMEDOUT);
}

static void http_gone(struct http_conn *h) {
    http1_fini(&h->engine);
    conn_free(&h->base);
}

static void http_lost(struct conn *c, int reason) {
    (void)reason;
    struct http_conn *h = http_of(c);
    c->lost_due = true;
    if (h->active) {
        wake_all(h);         /* they see that it is over … */
        scope_close(&c->scope); /* … and other waits are cancelled */
    } else if (!h->pumping) {
        http_gone(h);
    }
}

int http_hand_over(lua_State *L, struct http_conn *h) {
    struct conn *c = &h->base;
    struct str ahead = h->unread;
    int rc = 0;
    if (buf_len(&c->in)) {
        rc = buf_add_str(&c->in, ahead);
        ahead = buf_str(&c->in);
    }
    if (rc == 0) rc = proto_conn_adopt(L, 4, c, ahead);
    if (rc == 0) h->unread = STR_NONE;
    return rc;
}

static void http_retire(struct conn *c) {
    struct http_conn *h = http_of(c);
    if (h->active) { /* begin_request looks again */
        if (!c->port) http1_close_after(&h->engine);
        return;
    }
    join_current(h);
    if (http1_finished(&h->engine) || (!c->port && http1_idle(&h->engine))) conn_close(c);
    else http_update_deadline(h);
}

static void http_secured(struct conn *c) { settle(http_of(c)); }

static const struct conn_ops http_ops = {
    "http", http_input, http_eof, http_drain, http_lost, http_deadline, http_retire,
    NULL, http_secured,
};

struct conn *http_conn_new(struct rw *rw, struct server *server, struct stream *s) {
    struct http_conn *h = mem_zalloc(&rw->mem, sizeof *h);
    if (!h) return NULL;
    struct conn *c = &h->base;
    c->size = sizeof *h;
    conn_join_port(c, server->port);
    conn_attach(c, &http_ops, rw, s);
    conn_join(c, server->gen);
    conn_set_server(c, server);
    const struct engine_env env = {
        .role = ROLE_SERVER, .limits = c->limits, .mem = &rw->mem, .out = &rw->out};
    http1_init(&h->engine, &env);
    stream_read(s, true);
    http_update_deadline(h);
    return c;
}
