/* SPDX-License-Identifier: MIT */
/* Ports (bound listeners of the worker) and servers (what a generation wants
 * of them). port.c owns them, listen.c is their Lua face. */
#ifndef BIND_PORT_H
#define BIND_PORT_H

#include "bind/bind.h"

struct port {
    struct port *next, **prev; /* list: rw->ports */
    struct rw *rw;
    struct listener *listener;
    struct server *server;     /* who gets the connections; NULL: nobody yet */
    uint64_t shed;             /* of listener_shed(): logged */
    unsigned claims;           /* servers that name this port */
    unsigned conns;            /* accepted here, and still open */
    struct throttle_group *rates; /* of all of them; NULL: not needed yet */
    char key[300];             /* the endpoint, canonical */
    bool starts_stdio;
    struct endpoint endpoint;
    bool closing;
};

struct server {
    struct server *next, **prev; /* list: generation->servers */
    struct generation *gen;
    struct port *port;           /* NULL: closed */
    struct limits limits;
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

/* ── for listen.c ─────────────────────────────────────────────────────────*/

struct server_box { /* userdata; uservalue 1 is the factory */
    struct server *server; /* NULL: closed */
};

/* A further claim on the port of that name; opened if it is new. */
int port_claim(struct generation *g, const char *key, const struct endpoint *e,
               struct port **out);
/* Takes the port now, or at the commit if its generation is being staged. */
void server_start(struct server *s);
void server_close(struct server *s);

#endif
