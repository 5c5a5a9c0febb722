/* SPDX-License-Identifier: MIT */
/* What all connections share: the stream's hooks, the generation's list, the
 * one output buffer, the deadline, and when to read.
 *
 * Output: while C or Lua works for a connection, its bytes gather in rw->out,
 * one buffer for the whole worker; they go to the stream when the work is done
 * or another connection's bytes come. An idle connection owns no buffer.
 *
 * The peer's clock stands still while we are the slow side: a hook runs or
 * waits, or reading is paused. Deadlines are on that clock.
 */
#include "bind/conn.h"

#include <assert.h>

#include "bind/leftover.h"
#include "bind/port.h"

/* ── output ───────────────────────────────────────────────────────────────*/

void conn_flush(struct conn *c) {
    struct rw *rw = c->rw;
    if (rw->out_owner != c) return;
    rw->out_owner = NULL;
    if (buf_len(&rw->out) == 0) return;
    if (c->stream) {
        struct str bytes = buf_str(&rw->out);
        int rc = stream_write(c->stream, bytes);
        if (rc >= 0) rw->stats.bytes_out += bytes.n;
    }
    buf_clear(&rw->out);
}

void conn_flush_all(struct rw *rw) {
    if (rw->out_owner) conn_flush(rw->out_owner);
}

void conn_begin_output(struct conn *c) {
    struct rw *rw = c->rw;
    if (rw->out_owner == c) return;
    conn_flush_all(rw);
    assert(buf_len(&rw->out) == 0); /* else one peer would get another's bytes */
    rw->out_owner = c;
}

/* ── the deadline ─────────────────────────────────────────────────────────*/

uint64_t conn_peer_clock(const struct conn *c) {
    uint64_t now = c->paused_at ? c->paused_at : loop_now(c->rw->loop);
    return now - c->away;
}

static void conn_timer_fired(struct timer *t) {
    struct conn *c = CONTAINER(t, struct conn, timer);
    uint64_t now = loop_now(c->rw->loop);
    if (!c->deadline || c->paused_at) return;
    if (now < c->deadline)
        timer_start(c->rw->loop, t, c->deadline - now, conn_timer_fired);
    else
        c->ops->deadline(c);
}

/* The timer is moved only when it would fire too late; too early costs one
 * look at the clock. */
static void conn_arm(struct conn *c) {
    if (!c->deadline || c->paused_at) return;
    if (timer_active(&c->timer) && c->timer.due <= c->deadline) return;
    uint64_t now = loop_now(c->rw->loop);
    uint64_t delay = c->deadline > now ? c->deadline - now : 0;
    timer_start(c->rw->loop, &c->timer, delay, conn_timer_fired);
}

void conn_set_deadline(struct conn *c, uint64_t peer_deadline) {
    c->deadline = peer_deadline ? peer_deadline + c->away : 0;
    conn_arm(c);
}

/* ── reading ──────────────────────────────────────────────────────────────*/

void conn_update_reading(struct conn *c) {
    if (!c->stream || c->piped) return;
    bool wants = !c->paused && !c->closing && !c->eof_seen &&
                 buf_len(&c->in) < c->limits->max_pipelined;
    if (wants != c->stream->reading) stream_read(c->stream, wants);
    bool stands = c->busy || (!wants && !c->closing);
    if (stands && !c->paused_at) {
        c->paused_at = loop_now(c->rw->loop);
    } else if (!stands && c->paused_at) {
        uint64_t away = loop_now(c->rw->loop) - c->paused_at;
        c->paused_at = 0;
        c->away += away;
        if (c->deadline) c->deadline += away;
        conn_arm(c);
    }
}

/* ── the stream's hooks ───────────────────────────────────────────────────*/

static void conn_on_data(struct stream *s, struct str bytes) {
    struct conn *c = s->owner;
    c->rw->stats.bytes_in += bytes.n;
    c->ops->input(c, bytes);
}

static void conn_on_eof(struct stream *s) {
    struct conn *c = s->owner;
    c->eof_seen = true;
    c->ops->eof(c);
}

static void conn_on_drain(struct stream *s) {
    struct conn *c = s->owner;
    c->ops->drain(c);
}

static void conn_on_shutdown(struct stream *s) {
    struct conn *c = s->owner;
    if (c->ops->shutdown) c->ops->shutdown(c);
}

static void conn_on_close(struct stream *s, int reason) {
    struct conn *c = s->owner;
    c->stream = NULL;
    c->closing = true;
    if (!c->reason) c->reason = reason;
    timer_stop(c->rw->loop, &c->timer);
    if (c->rw->out_owner == c) conn_flush(c);
    c->ops->lost(c, c->reason);
}

static const struct stream_hooks conn_hooks = {
    conn_on_data, conn_on_eof, conn_on_drain, conn_on_close, conn_on_shutdown,
};

/* ── life ─────────────────────────────────────────────────────────────────*/

void conn_join(struct conn *c, struct generation *g) {
    struct generation *old = c->gen;
    if (old && g && old != g) { /* what its code has begun is in its lua_State */
        scope_close(&c->scope);
        c->scope.closed = false;
    }
    if (c->prev) {
        *c->prev = c->next;
        if (c->next) c->next->prev = c->prev;
        c->prev = NULL;
    }
    c->gen = g;
    if (g) {
        c->next = g->conns;
        c->prev = &g->conns;
        if (c->next) c->next->prev = &c->next;
        g->conns = c;
    }
    if (old) generation_check(old);
}

/* Pushed once; it follows the limits from then on. */
int conn_push_throttle(struct stream *s, const struct limits *limits, struct port *p) {
    if (!throttle_wanted(limits) || throttle_has(s)) return 0;
    if (p && !p->rates) p->rates = throttle_group_new(p->rw->loop);
    if (p && !p->rates) return RW_ENOMEM;
    return throttle_push(s, p ? p->rates : NULL);
}

void conn_throttle(struct conn *c) {
    if (c->stream && conn_push_throttle(c->stream, c->limits, c->port) < 0) conn_abort(c, RW_ENOMEM);
}

void conn_set_server(struct conn *c, struct server *s) {
    if (c->server == s) return;
    if (s) {
        leftover_pass(c->rw, s, c, "connection");
        s->conns++;
        c->limits = &s->limits;
        if (c->stream) c->stream->limits = &s->limits;
        conn_throttle(c);
    }
    struct server *old = c->server;
    c->server = s;
    if (old) server_unref(old);
}

void conn_join_port(struct conn *c, struct port *p) {
    c->port = p;
    if (p) p->conns++;
}

void conn_leave_port(struct conn *c) {
    if (c->port) c->port->conns--;
    c->port = NULL;
}

void conn_attach(struct conn *c, const struct conn_ops *ops, struct rw *rw,
                 struct stream *s) {
    c->ops = ops;
    c->rw = rw;
    c->stream = s;
    buf_init(&c->in, &rw->mem, SIZE_MAX / 4);
    s->hooks = &conn_hooks;
    s->owner = c;
    rw->stats.connections_open++;
}

void conn_free(struct conn *c) {
    struct rw *rw = c->rw;
    timer_stop(rw->loop, &c->timer);
    if (rw->out_owner == c) {
        rw->out_owner = NULL;
        buf_clear(&rw->out);
    }
    buf_release(&c->in);
    scope_close(&c->scope);
    rw->stats.connections_open--;
    rw->stats.connections_closed++;
    peer_leave(rw, c->peer);
    conn_leave_port(c);
    conn_set_server(c, NULL);
    conn_join(c, NULL);
    mem_free(&rw->mem, c, c->size);
}

void conn_close(struct conn *c) {
    c->closing = true;
    conn_flush(c);
    if (c->stream) stream_close(c->stream);
}

void conn_abort(struct conn *c, int reason) {
    c->closing = true;
    if (!c->reason) c->reason = reason;
    if (c->stream) stream_abort(c->stream, reason);
}

void conn_note_failure(struct conn *c, int code, const char *limit) {
    struct rw *rw = c->rw;
    if (!c->reason) c->reason = code;
    if (code == RW_ETIMEDOUT) rw->stats.timeouts++;
    else if (code == RW_EPROTO || code == RW_ELIMIT) rw->stats.protocol_errors++;
    if (!limit)
        log_debug(&rw->log, "connection failed", LF_Z("protocol", c->ops->name),
                  LF_ERR("error", code));
    else if (strcmp(limit, "idle_timeout") == 0) /* everyday */
        log_debug(&rw->log, "connection timed out", LF_Z("limit", limit));
    else
        limit_fired(rw, c->stream, "a limit ended a connection", limit);
}
