/* SPDX-License-Identifier: MIT */
/* A loop whose world is simulated: a network in memory, a clock that jumps from
 * event to event, and faults. All chance in it comes from one seed, so that a
 * run is repeated by its seed. Streams, listeners, connectors, timers and
 * deferrals are used as ever; what needs the system (processes, signals, file
 * watches, standard input) is refused. docs/simulation.md is for its users. */
#ifndef IO_SIMULATE_H
#define IO_SIMULATE_H

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

/* All that goes to or from a host (of listeners) stays where it is, until it
 * is no longer cut off. RW_ELIMIT: too many hosts. */
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
/* The `back`th last event (0: the last) as a line; empty: not kept. */
struct str simulation_event(const struct loop *l, unsigned back, char *out, size_t size);

#endif
