/* SPDX-License-Identifier: MIT */
/* Ports belong to the worker and outlive generations; servers are what a
 * generation wants of a port: a factory and limits. A port has one current
 * server, set at the commit; servers of a generation that is being staged wait
 * with their claim until then. */
#include "bind/conn.h"
#include "bind/datagram.h"
#include "bind/port.h"

#include <stdio.h>

/* The listener survives a lack of descriptors by itself; somebody must learn
 * of it: at the next connection that could be accepted. */
static void report_shed(struct port *p) {
    uint64_t shed = listener_shed(p->listener);
    if (shed == p->shed) return;
    log_warn(&p->rw->log, "connections were refused: no descriptor or memory was left",
             LF_Z("endpoint", p->key), LF_UINT("count", shed - p->shed),
             LF_Z("see", "ulimit -n"));
    p->rw->stats.connections_refused += shed - p->shed;
    p->shed = shed;
}

static void on_accept(struct listener *l, struct stream *s) {
    struct port *p = listener_owner(l);
    report_shed(p);
    port_accept(p, s);
}

static void port_free(struct port *p) {
    struct rw *rw = p->rw;
    *p->prev = p->next;
    if (p->next) p->next->prev = p->prev;
    if (p->rates) throttle_group_leave(p->rates);
    mem_free(&rw->mem, p, sizeof *p);
    worker_check_stopped(rw);
}

static void port_closed(struct listener *l) { port_free(listener_owner(l)); }

static const struct listener_hooks port_hooks = {on_accept, port_closed};

/* ── datagrams ────────────────────────────────────────────────────────────*/

static void port_datagram(struct datagram *s, struct str bytes,
                          const struct datagram_address *from) {
    struct port *p = datagram_owner(s);
    if (p->server) dgram_deliver(p->server->dgram, bytes, from);
}

static void port_refused(struct datagram *s) {
    struct port *p = datagram_owner(s);
    if (p->server) dgram_refused(p->server->dgram);
}

static void port_socket_closed(struct datagram *s) { port_free(datagram_owner(s)); }

static const struct datagram_hooks port_datagram_hooks = {
    .on_datagram = port_datagram, .on_refused = port_refused, .on_close = port_socket_closed,
};

void port_read(struct port *p, const struct dgram *d) {
    if (p->server && p->server->dgram == d && p->socket && !p->closing)
        datagram_start(p->socket, &port_datagram_hooks, p, &d->limits);
}

/* What arrives waits, and nothing of a server is used. */
static void port_rest(struct port *p) {
    datagram_start(p->socket, &port_datagram_hooks, p, &p->rw->limits);
    datagram_stop(p->socket);
}

void port_borrow(struct port *p) { p->borrowers++; }

void port_give_back(struct port *p) {
    if (--p->borrowers == 0 && p->closing) datagram_close(p->socket);
}

/* ── ports ────────────────────────────────────────────────────────────────*/

static struct port *port_find(struct rw *rw, const char *key) {
    for (struct port *p = rw->ports; p; p = p->next)
        if (!p->closing && strcmp(p->key, key) == 0) return p;
    return NULL;
}

/* Nobody claims it any more. */
static void port_close(struct port *p) {
    if (p->closing) return;
    p->closing = true;
    p->server = NULL;
    arrivals_abort(p);
    for (struct generation *g = p->rw->generations; g; g = g->next)
        for (struct conn *c = g->conns; c; c = c->next)
            if (c->port == p) conn_leave_port(c);
    if (p->socket) {
        port_rest(p);
        if (!p->borrowers) datagram_close(p->socket);
        return;
    }
    if (!p->listener) {
        port_free(p);
        return;
    }
    listener_start(p->listener, &port_hooks, p); /* for the hook */
    listener_stop(p->listener);
    listener_close(p->listener);
}

/* Two servers of one generation cannot share a port. */
static bool is_claimed(const struct generation *g, const struct port *p) {
    for (const struct server *s = g->servers; s; s = s->next)
        if (s->port == p) return true;
    return false;
}

int port_claim(struct generation *g, const char *key, const struct endpoint *e,
               struct port **out) {
    struct rw *rw = g->rw;
    char numbered[sizeof ((struct port *)0)->key];
    struct port *p = port_find(rw, key);
    /* "Any port" may be asked for several times: the nth keeps the nth. */
    for (int n = 2; p && is_claimed(g, p); n++) {
        if ((e->kind != ENDPOINT_TCP && e->kind != ENDPOINT_UDP) || e->port != 0) return -EADDRINUSE;
        snprintf(numbered, sizeof numbered, "%.280s #%d", key, n);
        p = port_find(rw, numbered);
        if (!p) key = numbered;
    }
    if (e->kind == ENDPOINT_STDIO && rw->simulated) return RW_ESIMULATED;
    if (!p) {
        bool datagrams = endpoint_is_datagram(e);
        p = mem_zalloc(&rw->mem, sizeof *p);
        if (!p) return RW_ENOMEM;
        p->rw = rw;
        p->endpoint = *e;
        snprintf(p->key, sizeof p->key, "%s", key);
        int rc = datagrams ? datagram_open(rw->loop, e, &p->socket) : endpoint_is_stream(e);
        if (rc == 0 && !datagrams)
            rc = listener_open(rw->loop, e, &rw->limits, &p->listener);
        if (rc < 0) {
            mem_free(&rw->mem, p, sizeof *p);
            return rc;
        }
        p->next = rw->ports;
        p->prev = &rw->ports;
        if (p->next) p->next->prev = &p->next;
        rw->ports = p;
    }
    p->claims++;
    *out = p;
    return 0;
}

static void port_unclaim(struct port *p, struct server *s) {
    if (p->server == s) {
        p->server = NULL;
        if (p->socket && !p->closing) port_rest(p);
    }
    if (--p->claims == 0) port_close(p);
}

/* From now on this server gets the port's connections. */
static void server_activate(struct server *s) {
    struct port *p = s->port;
    bool first = !p->server;
    p->server = s;
    if (p->socket) {
        port_rest(p); /* until it has started */
        dgram_activate(s->dgram, p);
        return;
    }
    if (!first) return;
    if (p->listener) {
        listener_start(p->listener, &port_hooks, p);
    } else if (!p->started) {
        struct stream *stream;
        p->started = true;
        int rc = endpoint_stream(p->rw->loop, &p->endpoint, &s->limits, &stream);
        if (rc == 0) port_accept(p, stream);
        else
            log_error(&p->rw->log, "the connection of an endpoint cannot be used",
                      LF_Z("endpoint", p->key), LF_ERR("error", rc));
    }
}

void servers_commit(struct generation *g) {
    for (struct server *s = g->servers; s; s = s->next)
        if (s->port) server_activate(s);
}

void server_start(struct server *s) {
    if (s->gen->state == GENERATION_CURRENT) server_activate(s);
}

static void server_free(struct server *s) {
    struct rw *rw = s->gen->rw;
    if (s->gen->state != GENERATION_DEAD) door_protect(s->gen, registry_forget, s);
    if (s->box) s->box->server = NULL;
    if (s->trace) trace_leave(s->trace);
    *s->prev = s->next;
    if (s->next) s->next->prev = s->prev;
    mem_free(&rw->mem, s, sizeof *s);
}

void server_close(struct server *s) {
    if (s->closed) return;
    s->closed = true;
    struct port *p = s->port;
    s->port = NULL;
    if (p) port_unclaim(p, s);
    if (s->dgram) dgram_retire(s->dgram);
    s->dgram = NULL;
    if (!s->conns) server_free(s);
}

void server_cut(struct server *s) {
    struct dgram *d = s->dgram;
    s->dgram = NULL;
    server_close(s);
    if (d) dgram_close(d);
}

void server_unref(struct server *s) {
    if (--s->conns == 0 && s->closed) server_free(s);
}

void servers_release(struct generation *g) {
    for (struct server *s = g->servers, *next; s; s = next) {
        next = s->next;
        server_close(s);
    }
}

void server_push_factory(lua_State *L, struct server *s) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, s);
    lua_getiuservalue(L, -1, 1);
    lua_remove(L, -2);
}

int port_address(const struct port *p, struct address *out) {
    if (p->socket) return datagram_host(p->socket, out);
    return p->listener ? listener_address(p->listener, 0, out) : RW_ESTATE;
}

void ports_stop(struct rw *rw) {
    for (struct port *p = rw->ports, *next; p; p = next) {
        next = p->next;
        port_close(p);
    }
    for (struct generation *g = rw->generations; g; g = g->next)
        for (struct server *s = g->servers; s; s = s->next) {
            s->port = NULL;
            if (s->dgram) dgram_retire(s->dgram);
            s->dgram = NULL;
        }
}
