/* SPDX-License-Identifier: MIT */
/* Inside of a simulated loop: sim.c turns it and keeps the trace, sim_net.c is
 * the network, sim_stream.c its connections. */
#ifndef IO_SIM_H
#define IO_SIM_H

#include "base/random.h"
#include "io/internal.h"
#include "io/simulate.h"

/* Something that happens on the network. Events of one instant happen in the
 * order that chance gives them. A zeroed one is idle. */
struct sim_event {
    struct timer timer;
    struct sim_event *next, **prev; /* list: sim->due */
    struct loop *loop;
    void (*happen)(struct sim_event *e);
};

struct sim_record {
    uint64_t time;
    const char *what; /* a literal */
    unsigned id;
    uint32_t length;  /* of the whole text */
    char text[56];
};

enum {
    SIM_RECORDS = 256,
    SIM_CUTS = 16,
    SIM_HOST = 108,
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
    unsigned connections;       /* made so far: the last id */
    uint16_t next_port;
    char cut[SIM_CUTS][SIM_HOST];
    unsigned cuts, scheduled;   /* events to come */
    uint64_t hash, events;
    struct sim_record records[SIM_RECORDS]; /* a ring, at events % SIM_RECORDS */
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
    const struct limits *limits; /* borrowed */
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

#endif
