/* SPDX-License-Identifier: MIT */
/* Ports (bound listeners of the worker) and servers (what a generation wants
 * of them). port.c owns them, listen.c is their Lua face. */
#ifndef BIND_PORT_H
#define BIND_PORT_H

#include "base/cidr.h"
#include "bind/bind.h"

/* Behind "proxy:" connections begin with a header; who may send one. */
enum { TRUST_MAX = 32 };
struct trust {
    bool proxy;
    unsigned count;
    struct cidr networks[TRUST_MAX];
};

struct bind_tls;

struct port {
    struct port *next, **prev; /* list: rw->ports */
    struct rw *rw;
    struct listener *listener;
    struct datagram *socket;   /* of datagrams: instead of the listener */
    unsigned borrowers;        /* likewise: protocols with hooks that wait, which may yet send */
    struct server *server;     /* who gets the connections; NULL: nobody yet */
    struct arrival *arrivals;  /* list: accept.c */
    uint64_t shed;             /* of listener_shed(): logged */
    unsigned claims;           /* servers that name this port */
    unsigned conns;            /* accepted here, and still open */
    struct throttle_group *rates; /* of all of them; NULL: not needed yet */
    char key[300];             /* the endpoint, canonical */
    struct endpoint endpoint;
    bool started; /* its one connection, when it is no listener */
    bool closing;
};

struct server {
    struct server *next, **prev; /* list: generation->servers */
    struct generation *gen;
    struct port *port;           /* NULL: closed */
    struct limits limits;
    struct dgram *dgram;         /* of datagrams: its protocol */
    struct trust trust;
    struct bind_tls *tls;        /* in the box; NULL: plain */
    struct trace *trace;         /* its connections' traffic log, or NULL */
    struct server_box *box;      /* Lua's handle; the factory is its uservalue */
    struct bind_router *router;  /* http: in the box, too */
    unsigned conns;              /* that use our limits */
    enum { POLICY_NEXT_MESSAGE, POLICY_MIGRATE, POLICY_FINISH } policy;
    bool http, lazy, closed;
};

void servers_commit(struct generation *g);  /* ports now point here; one step */
void servers_release(struct generation *g); /* its claims end; frees */
void server_push_factory(lua_State *L, struct server *s);
void server_unref(struct server *s); /* a connection less */
void ports_stop(struct rw *rw);      /* no more accepts */

/* accept.c: the stream becomes a connection of the port's server, or is
 * refused. */
void port_accept(struct port *p, struct stream *s);
/* Whoever has not said yet whom it comes for is turned away. */
void arrivals_abort(struct port *p);

/* ── for listen.c, by proxy.c ─────────────────────────────────────────────*/

/* endpoint.proxy of the table at `index`: whom to believe, when listening … */
void proxy_read_trust(lua_State *L, int index, struct trust *out);
/* … and the header to send when connecting: pushes it, or nil. */
void proxy_push_header(lua_State *L, int index);

/* ── for listen.c, by traffic.c ───────────────────────────────────────────*/

/* The traffic log of the factory at that index, or NULL: 0 or < 0. Raises nothing. */
int server_open_trace(lua_State *L, int factory, struct trace **out);
int server_trace_stream(lua_State *L, int factory, struct stream *s);

/* ── for listen.c ─────────────────────────────────────────────────────────*/

struct server_box { /* userdata; uservalue 1 is the factory */
    struct server *server; /* NULL: closed */
    bool used;             /* else who has made it closes it, by failing */
};

/* A further claim on the port of that name; opened if it is new. */
int port_claim(struct generation *g, const char *key, const struct endpoint *e,
               struct port **out);
/* Takes the port now, or at the commit if its generation is being staged. */
void server_start(struct server *s);
void server_close(struct server *s);
void server_cut(struct server *s); /* the same, but hooks of datagrams that wait end now */
int port_address(const struct port *p, struct address *out);

/* The endpoint at `index`, and what makes it the same port (endpoint.c); raises. */
void endpoint_check(lua_State *L, int index, struct endpoint *e, char *key, size_t key_size);
/* What only connecting knows: from where, to which addresses, asking whom. 0 or < 0; raises. */
int endpoint_check_outgoing(lua_State *L, int index, struct endpoint *e, struct ip *ips,
                            unsigned max);
/* A field of it, "" when it is not there; raises. */
void endpoint_text(lua_State *L, int index, const char *name, char *out, size_t size);

/* What listen.c and datagram_transport.c share. */
struct limits limits_combined(lua_State *L, int factory, int endpoint, bool http);
/* A server for the factory (or protocol) at 2 with the limits at 3, and its box
 * on top; it has no port yet. */
struct server *server_new(lua_State *L);
/* Gives it the port; what core.listen returns. */
int server_bind(lua_State *L, struct server *s, const struct endpoint *e, const char *key);
bool generation_may_listen(const struct generation *g);

/* ── for datagram.c ───────────────────────────────────────────────────────*/

void port_read(struct port *p, const struct dgram *d); /* if the port is d's */
void port_borrow(struct port *p);
void port_give_back(struct port *p); /* a port that nobody claims is closed */

#endif
