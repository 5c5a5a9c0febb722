/* SPDX-License-Identifier: MIT */
/* A loop whose world is simulated: a network in memory, a clock that jumps from
 * event to event, and faults. All chance in it comes from one seed, so that a
 * run is repeated by its seed. Streams, listeners, connectors, datagram sockets,
 * timers and deferrals are used as ever; what needs the system (processes, signals, file
 * watches, standard input) is refused. docs/simulation.md is for its users. */
#ifndef IO_SIMULATE_H
#define IO_SIMULATE_H

#include "io/ip.h"
#include "io/listen.h"

struct simulation_faults {
    double split;   /* chance that what is written is cut in two, again and again */
    double partial; /* … that a write takes a part, though there is room */
    double reset;   /* … that a piece finds the connection reset */
    double refuse;  /* … that a connection is refused */
    double stall;   /* … that a piece is late by up to stall_max */
    uint64_t delay[2];  /* ms that a piece is under way: from, to */
    uint64_t stall_max; /* ms */
    uint64_t buffer[2]; /* bytes between the two, unread: from, to */
    double loss;        /* chance that a datagram is lost */
    double duplicate;   /* … that it comes twice */
    double name_failure; /* … that a lookup ends with RW_ESERVFAIL */
    double name_timeout; /* … that it has no answer */
    uint64_t name_delay[2]; /* ms that a lookup takes: from, to */
};

/* Seconds since 1970 when a simulation begins: 2030. */
#define SIMULATION_EPOCH INT64_C(1893456000)

/* NULL: out of memory. The chance is that of seed 0, without faults. */
struct loop *loop_new_simulated(struct mem *mem);
bool loop_is_simulated(const struct loop *l);

/* What follows is for simulated loops only. */

void simulation_seed(struct loop *l, uint64_t seed);
/* From now on, for what is not under way yet. */
void simulation_set_faults(struct loop *l, const struct simulation_faults *f);
/* For what is no part of the network: another sequence, of the same seed. */
uint64_t simulation_random(struct loop *l);

/* Something that happens on the network. Events of one instant happen in the
 * order that chance gives them. A zeroed one is idle. */
struct sim_event {
    struct timer timer;
    struct sim_event *next, **prev; /* list: sim->due */
    struct loop *loop;
    void (*happen)(struct sim_event *e);
};

/* ── names ────────────────────────────────────────────────────────────────*/

/* A question to the name servers; zeroed: none. */
struct simulation_lookup {
    struct sim_event event;
    int status; /* what will come of it */
    /* 0: there is an answer; RW_ESERVFAIL, -ETIMEDOUT. */
    void (*answered)(struct simulation_lookup *k, int status);
};
/* Takes a while, `timeout` ms at most. `text`: for the trace. */
void simulation_lookup_start(struct loop *l, struct simulation_lookup *k, struct str text,
                             uint64_t timeout,
                             void (*answered)(struct simulation_lookup *k, int status));
void simulation_lookup_stop(struct simulation_lookup *k);

/* From now on there are only those names that are said next; before that every
 * one is a host. */
void simulation_say_names(struct loop *l);
/* One more address of a name: 0, RW_ESYNTAX, RW_ELIMIT, RW_ENOMEM. */
int simulation_name(struct loop *l, const char *name, const char *address);
/* The numeric address of a host, by whatever it is called; a name of which nothing
 * was said has one of its own. 0 or RW_ELIMIT, RW_ENOMEM. */
int simulation_address(struct loop *l, const char *host, char out[IP_TEXT_MAX]);

/* ── cuts ─────────────────────────────────────────────────────────────────*/

/* All that goes to or from a host (of listeners) stays where it is, until it
 * is no longer cut off; datagrams are lost. A name stands for the addresses that
 * it has now. RW_ELIMIT: too many hosts. */
int simulation_cut(struct loop *l, const char *host, bool cut);

/* Nothing is under way or about to happen, but for timers. */
bool simulation_is_quiet(struct loop *l);
/* Connection `index` that is still open, as text: "#3 127.0.0.1:49153 →
 * 127.0.0.1:80"; empty: there are no more. */
struct str simulation_open(struct loop *l, unsigned index, char *out, size_t size);

/* ── the trace: what happened, as a hash and as its last events ───────────*/

/* `what` is a literal. `id`: a connection, or 0. */
void simulation_trace(struct loop *l, const char *what, unsigned id, struct str text);
uint64_t simulation_hash(const struct loop *l);
uint64_t simulation_events(const struct loop *l); /* so many since the seed */
/* The `back`th last event (0: the last) as a line; empty: not kept, as those
 * before the last SIMULATION_RECORDS are not. */
enum { SIMULATION_RECORDS = 256 };
struct str simulation_event(const struct loop *l, unsigned back, char *out, size_t size);

#endif
