/* SPDX-License-Identifier: MIT */
/* A stream that was accepted becomes a connection, or is refused. Behind a
 * "proxy:" endpoint it is an arrival first: the port's, not a generation's, so
 * that it may come to either side of a reload; it has no hooks, no place in
 * Lua, and proxy_timeout to say for whom it comes. What counts from then on,
 * limits per peer among it, is the address that was said.
 */
#include "bind/conn.h"
#include "bind/port.h"
#include "bind/tls.h"

static const char refused[] = "connection refused"; /* in the log */

static void refuse(struct rw *rw, struct stream *s) {
    rw->stats.connections_refused++;
    stream_abort(s, RW_ELIMIT);
}

static void refuse_by_limit(struct rw *rw, struct stream *s, const char *limit) {
    limit_fired(rw, s, refused, limit);
    refuse(rw, s);
}

/* ── connections ──────────────────────────────────────────────────────────*/

/* The filters of its server's policies, above TLS: a trace of ciphertext would
 * tell nobody anything. */
static int push_policies(struct server *server, struct stream *s) {
    const struct limits *before = s->limits;
    s->limits = &server->limits; /* handshake_timeout */
    int rc = server->tls ? conn_tls_push(s, server->tls, NULL) : 0;
    s->limits = before;
    if (rc == 0 && server->trace) rc = trace_push(s, server->trace);
    return rc < 0 ? rc : conn_push_throttle(s, &server->limits, server->port);
}

static void serve(struct server *server, struct stream *s) {
    struct rw *rw = server->gen->rw;
    const struct limits *limits = &server->limits;
    struct port *port = server->port; /* NULL: a connection in memory */
    if (rw->stats.connections_open >= limits->max_connections) {
        refuse_by_limit(rw, s, "max_connections");
        return;
    }
    if (port && port->conns >= limits->max_port_connections) {
        refuse_by_limit(rw, s, "max_port_connections");
        return;
    }
    uint64_t peer = 0;
    if (port && !peer_enter(port, s, limits->max_connections_per_peer, &peer)) {
        refuse_by_limit(rw, s, "max_connections_per_peer");
        return;
    }
    struct conn *c = push_policies(server, s) < 0 ? NULL
                     : server->http               ? http_conn_new(rw, server, s)
                                                  : proto_conn_new(rw, server, s);
    if (c) {
        c->peer = peer;
        return;
    }
    peer_leave(rw, peer);
    refuse(rw, s);
}

/* ── arrivals ─────────────────────────────────────────────────────────────*/

struct arrival {
    struct arrival *next, **prev; /* list: port->arrivals */
    struct rw *rw;
    struct port *port; /* NULL: it has closed */
    struct stream *s;
};

static void leave_port(struct arrival *a) {
    if (!a->port) return;
    a->port = NULL;
    *a->prev = a->next;
    if (a->next) a->next->prev = a->prev;
}

static void arrival_free(struct arrival *a) {
    leave_port(a);
    a->rw->arriving--;
    mem_free(&a->rw->mem, a, sizeof *a);
}

static void note(struct rw *rw, struct stream *s, int status) {
    bool late = status == RW_ETIMEDOUT;
    rw->stats.connections_refused++;
    if (late || status == RW_ELIMIT) {
        rw->stats.timeouts += late;
        limit_fired(rw, s, refused, late ? "proxy_timeout" : "max_proxy_header");
    } else if (status == RW_EPROTO) {
        rw->stats.protocol_errors++;
        log_sparingly(rw, s, refused, LF_Z("reason", "no valid PROXY header"));
    } else { /* a check whether the port is open, say */
        log_debug(&rw->log, "a proxy left before its header", LF_ERR("error", status));
    }
}

static void introduced(void *owner, struct stream *s, int status) {
    struct arrival *a = owner;
    struct port *port = a->port;
    struct rw *rw = a->rw;
    arrival_free(a);
    if (status < 0) note(rw, s, status);
    else if (port->server) serve(port->server, s);
    else refuse(rw, s);
}

static bool is_trusted(const struct trust *trust, struct stream *s) {
    struct address peer;
    if (stream_peer(s, &peer) < 0) return false;
    if (peer.kind != ADDRESS_TCP) return true; /* the file's mode says who may */
    for (unsigned i = 0; i < trust->count; i++)
        if (cidr_has(&trust->networks[i], peer.host)) return true;
    return false;
}

static void arrive(struct port *port, struct stream *s) {
    struct rw *rw = port->rw;
    const struct server *server = port->server;
    const struct limits *limits = &server->limits;
    if (!is_trusted(&server->trust, s)) {
        log_sparingly(rw, s, refused, LF_ERR("reason", RW_ENOTTRUSTED));
        refuse(rw, s);
        return;
    }
    if (rw->stats.connections_open + rw->arriving >= limits->max_connections) {
        refuse_by_limit(rw, s, "max_connections");
        return;
    }
    struct arrival *a = mem_alloc(&rw->mem, sizeof *a);
    if (!a) {
        refuse(rw, s);
        return;
    }
    *a = (struct arrival){.next = port->arrivals, .prev = &port->arrivals,
                          .rw = rw, .port = port, .s = s};
    if (a->next) a->next->prev = &a->next;
    port->arrivals = a;
    rw->arriving++;
    if (proxy_expect(s, limits->proxy_timeout, limits->max_proxy_header, introduced, a) == 0)
        return;
    arrival_free(a);
    refuse(rw, s);
}

void arrivals_abort(struct port *p) {
    while (p->arrivals) {
        struct arrival *a = p->arrivals;
        leave_port(a);
        stream_abort(a->s, RW_ECANCELED); /* introduced() follows, and frees it */
    }
}

/* ── for listeners, and pairs in memory ───────────────────────────────────*/

void port_accept(struct port *p, struct stream *s) {
    p->rw->stats.connections_accepted++;
    if (!p->server) refuse(p->rw, s);
    else if (p->server->trust.proxy) arrive(p, s);
    else serve(p->server, s);
}

void conn_serve(struct server *server, struct stream *s) {
    server->gen->rw->stats.connections_accepted++;
    serve(server, s);
}
