/* SPDX-License-Identifier: MIT */
/* A server that runs server.lua, peers that talk to it over loopback, and the
 * scenarios that are played while memory fails. */
#ifndef TORTURE_BIND_H
#define TORTURE_BIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct rw;

enum port_of { HTTP, ECHO, LINES, DATAGRAMS, PROXIED, FORWARDED, PORTS };

/* How an exchange ended, seen from the peer. All but the last are allowed while
 * memory fails; only the first when it does not. */
enum outcome { PERFECT, OTHERWISE, CUT, HUNG };

struct world {
    struct rw *rw;
    uint16_t ports[PORTS];
    unsigned tasks, items; /* at rest: of the generation, of its scope */
};

struct scenario {
    const char *name; /* a sentence */
    enum outcome (*play)(struct world *w, const struct scenario *s);
    enum port_of port;
    const char *say, *expect;
    enum { EACH, THINLY, ONE } fails; /* each allocation, and several in a row; of many
                                         some; only one: with more nobody is told */
};
extern const struct scenario scenarios[];

/* ── world.c ──────────────────────────────────────────────────────────────*/

/* What the script writes goes there; it knows the path from $TORTURE_BIND. */
void directory_make(void);
void directory_remove(void);

bool world_try(struct world *w); /* false: something failed; world_end nevertheless */
void world_begin(struct world *w);
void world_end(struct world *w);
bool world_step(struct world *w); /* waits a little; false: it has stopped */
bool world_rests(const struct world *w);
size_t world_script_memory(struct world *w); /* after a collection */
unsigned world_generation(const struct world *w); /* the current one */
enum outcome world_reload(struct world *w); /* HUNG, or PERFECT: there is a verdict */
void world_forget_log(void);
void world_print_log(void); /* the last lines */

struct peer {
    int fd;
    size_t n;
    bool over; /* the other end has closed */
    char got[8192];
};
bool peer_open(struct peer *p, const struct world *w, enum port_of port);
void peer_say(struct peer *p, const char *text, size_t n);
/* Steps until it has got that, is closed, or a while is over. */
enum outcome peer_await(struct peer *p, struct world *w, const char *text);
void peer_close(struct peer *p);

int64_t now_ms(void);
enum { PATIENCE_MS = 2000 };

#endif
