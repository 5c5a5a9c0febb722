/* SPDX-License-Identifier: MIT */
/* Inside of a simulated loop: sim.c turns it and keeps the trace, sim_host.c has
 * its hosts, sim_net.c is the network, sim_stream.c its connections,
 * sim_datagram.c its datagrams. */
#ifndef IO_SIM_H
#define IO_SIM_H

#include <string.h>

#include "base/random.h"
#include "io/datagram.h"
#include "io/internal.h"
#include "io/simulate.h"

struct sim_record {
    uint64_t time;
    const char *what; /* a literal */
    unsigned id;
    uint32_t length;  /* of the whole text */
    char text[56];
};

enum {
    SIM_CUTS = 64,
    SIM_HOST = 108,
    SIM_ADDRESSES = 16, /* that one connection tries */
};

struct sim_cut {
    char by[SIM_HOST];   /* as the test said it */
    char host[SIM_HOST]; /* which that was then */
};

struct sim {
    uint64_t now; /* ms */
    unsigned still; /* turns that it has not moved for */
    struct random chance, other;
    struct simulation_faults faults;
    struct sim_event *due; /* list: happen in this turn or the next */
    unsigned due_count;
    struct sim_port *ports;
    struct sim_dial *dials;
    struct sim_stream *streams; /* oldest last */
    struct sim_datagram *sockets;
    struct sim_flight *flights; /* datagrams that are under way */
    size_t flying;              /* bytes that they take */
    unsigned connections;       /* and sockets, made so far: the last id */
    uint16_t next_port;
    struct sim_host *hosts;     /* owned */
    struct sim_name *names;     /* owned; in the order in which they were said */
    unsigned host_count, name_count;
    unsigned host_number;       /* of the last own address of a name */
    bool names_said;            /* others do not exist */
    struct sim_cut cut[SIM_CUTS];
    unsigned cuts, scheduled;   /* events to come */
    uint64_t hash, events;
    struct sim_record records[SIMULATION_RECORDS]; /* a ring */
};

/* ── time (sim.c) ─────────────────────────────────────────────────────────*/

/* (Re)schedules. */
void sim_schedule(struct loop *l, struct sim_event *e, uint64_t delay_ms,
                  void (*happen)(struct sim_event *e));
void sim_unschedule(struct loop *l, struct sim_event *e);
static inline bool sim_scheduled(const struct sim_event *e) {
    return e->prev || timer_active(&e->timer);
}
/* How long a piece is under way. */
uint64_t sim_delay(struct sim *s);
bool sim_is_cut(const struct sim *s, const char *host);

/* ── hosts (sim_host.c) ───────────────────────────────────────────────────*/

/* A host has one text: its address where that was said by the test or by who
 * asks; else its name, and an address of its own that nobody else has
 * (simulation_address). */

/* That text of what an endpoint or a datagram says; `out` may be `host`. */
void sim_host_text(const struct sim *s, const char *host, char out[SIM_HOST]);
/* Is it too long to be told from others? */
static inline bool sim_host_is_long(const char *host) { return strlen(host) >= SIM_HOST; }
/* Does it take a lookup to know where that is? */
bool sim_host_is_name(const char *host);
/* Something was bound there, so it is a machine that runs, whatever else it does. */
void sim_host_lives(struct loop *l, const char *host);
bool sim_host_is_alive(const struct sim *s, const char *host);
bool sim_host_is_any(const char *host);
/* The nth address that was said for a name; NULL: it has no more. */
const char *sim_name_address(const struct sim *s, const char *name, unsigned n);
void sim_hosts_free(struct loop *l);

/* ── listening and connecting (sim_net.c) ─────────────────────────────────*/

struct sim_port { /* in a listener */
    struct sim_port *next, **prev; /* list: sim->ports */
    struct loop *loop;
    struct address address;
    const struct limits *limits; /* borrowed */
    struct stream *backlog[64];  /* connected, not yet accepted: a queue */
    unsigned waiting, room;
    bool started;
    struct sim_event accept;
    void (*arrived)(struct sim_port *p, struct stream *s);
};
int sim_port_open(struct loop *l, const struct endpoint *e, const struct limits *limits,
                  struct sim_port *p);
void sim_port_start(struct sim_port *p, bool on);
void sim_port_close(struct sim_port *p);

struct sim_dial { /* in a connector */
    struct sim_dial *next, **prev; /* list: sim->dials */
    struct loop *loop;
    struct endpoint endpoint;
    struct ip addresses[SIM_ADDRESSES]; /* tried one after the other; none: it is the host */
    unsigned address_count, at;
    const struct limits *limits; /* borrowed */
    struct simulation_lookup lookup;
    struct sim_event event;
    void (*dialled)(struct sim_dial *d, int status, struct stream *s);
};
void sim_dial_start(struct loop *l, const struct endpoint *e, const struct limits *limits,
                    struct sim_dial *d);
void sim_dial_stop(struct sim_dial *d);

/* ── connections (sim_stream.c) ───────────────────────────────────────────*/

struct sim_stream;
/* Two ends of one: out[0] the client's, out[1] the server's. */
int sim_connection(struct loop *l, const struct address *client,
                   const struct address *server, const struct limits *const limits[2],
                   struct stream *out[2]);
/* What a cut kept back goes on. */
void sim_streams_go_on(struct loop *l);

/* ── datagrams (sim_datagram.c) ───────────────────────────────────────────*/

/* In a datagram socket; the functions are those of io/datagram.h for one. */
struct sim_datagram {
    struct sim_datagram *next, **prev; /* list: sim->sockets */
    unsigned id;
    char host[SIM_HOST];  /* "::": any */
    uint16_t port;
    bool refused;         /* a refusal of its peer's host has come, and was not told */
    struct datagram_address here, peer; /* peer.size 0: none */
    struct sim_flight *inbox, **inbox_end;
    size_t unread;
    struct sim_event ready; /* the inbox is looked at */
    struct deferral gone;
};
int sim_datagram_open(struct loop *l, const struct endpoint *e, struct datagram **out);
int sim_datagram_connect(struct loop *l, const struct datagram_address *to,
                         struct datagram **out);
void sim_datagram_watch(struct datagram *d);
void sim_datagram_close(struct datagram *d);
int sim_datagram_send(struct datagram *d, struct str bytes, const struct datagram_address *to);
int sim_datagram_set_peer(struct datagram *d, const struct datagram_address *to);
int sim_datagram_address(const struct datagram *d, bool peer, struct address *out);
int sim_datagram_option(const char *name, int64_t value);
void sim_flights_free(struct loop *l);

#endif
