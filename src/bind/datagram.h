/* SPDX-License-Identifier: MIT */
/* A Lua protocol over a datagram socket: its port's, or a connected one of its
 * own. datagram.c runs its hooks, datagram_transport.c is what Lua holds. */
#ifndef BIND_DATAGRAM_H
#define BIND_DATAGRAM_H

#include "bind/bind.h"
#include "io/datagram.h"

struct dgram {
    struct dgram *next, **prev; /* list: gen->dgrams */
    struct generation *gen;
    struct port *port;       /* whose socket it is; NULL: its own, or closed */
    struct datagram *socket; /* NULL: closed */
    struct limits limits;
    struct scope scope;      /* of its hooks */
    struct debt debt;        /* start_protocol, then stop_protocol */
    struct scope_item item;  /* connected: in the scope of who connected it */
    struct dgram_box *box;   /* borrowed from Lua */
    unsigned tasks;          /* hooks that run or wait, and pins */
    uint64_t oversized;      /* of datagram_oversized(): counted */
    bool started;            /* start_protocol has returned */
    bool full;               /* tasks is at its limit: not reading */
    bool ending, stopped;    /* closed; stop_protocol was called */
};

struct dgram_box { /* userdata; uservalues: 1 protocol, 2 last address, 3 fields */
    struct dgram *dgram; /* NULL: over */
};
enum { DGRAM_PROTOCOL = 1, DGRAM_ADDRESS, DGRAM_FIELDS };

/* Makes one for the protocol at `index`, and pushes its transport. */
struct dgram *dgram_new(lua_State *L, int index, const struct limits *limits);
/* The port is its server's now: tells the protocol, then reads. */
void dgram_activate(struct dgram *d, struct port *port);
/* A connected one, whose protocol was told: reads. */
void dgram_start(struct dgram *d);
void dgram_deliver(struct dgram *d, struct str bytes, const struct datagram_address *from);
void dgram_refused(struct dgram *d);
/* Its port serves another one, or nobody: what waits may still send. */
void dgram_retire(struct dgram *d);
/* Now; hooks that wait are cancelled. */
void dgram_close(struct dgram *d);
void dgrams_close(struct generation *g);

void dgram_push_transport(lua_State *L, struct dgram *d);

#endif
