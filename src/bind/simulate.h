/* SPDX-License-Identifier: MIT */
/* Simulations: simulate.c is the real side, a whole instance held in an arena
 * and run again and again; simulated.c is the inside, what scripts there can
 * do to their world, simulated_names.c its names. docs/simulation.md is for users. */
#ifndef BIND_SIMULATE_H
#define BIND_SIMULATE_H

#include "bind/bind.h"
#include "bind/ship.h"
#include "io/simulate.h"

enum { SIMULATED_APPS = 16 };

/* One world: all of it lies in the arena. */
struct simulated {
    struct arena *arena;
    uint64_t seed;
    struct loop *loop;
    struct rw *driver; /* runs the function */
    struct task *main; /* the function's task; NULL: it has ended */
    struct rw *apps[SIMULATED_APPS];
    unsigned app_count;
    struct rw *spare;  /* an app's worker whose first generation is booted */
    bool done, failed;
    char *text;        /* why it failed */
    struct shipment names; /* what the test says of them; all memory in the arena */
    uint64_t names_version; /* 0: it says nothing */
    bool forgives;     /* logged errors are no failure */
    char error[LOG_LINE_MAX]; /* the first that was logged */
};

/* A worker in the world `s`, with the limits and the library of `model`. */
struct rw *simulated_worker(struct simulated *s, const struct rw *model);
void simulated_finish(struct simulated *s, bool ok, struct str text);
/* A generation begins its life: its math.random follows from the seed. */
void simulated_begin(struct generation *g);
/* Expects the world's core table on top. */
void simulated_open(lua_State *L);
/* Adds names, names_since, address and lookup to the table on top. */
void simulated_names_open(lua_State *L);
/* The table of faults at `index`; nil: their defaults; false: none at all. */
struct simulation_faults check_faults(lua_State *L, int index);

#endif
