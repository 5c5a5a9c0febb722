/* SPDX-License-Identifier: MIT */
/* What every engine owes, for fuzz targets: the events do not depend on how
 * the input was cut, nothing is read beside it or after its time, nothing
 * leaks, refused memory is survived. What is broken is an abort. */
#ifndef FUZZ_SPLITS_H
#define FUZZ_SPLITS_H

#include "proto/engine.h"

struct splits {
    const struct engine *engine;
    struct limits limits;
    enum role role;
    /* After each event, before the next is asked for: may send, switch modes.
     * `fed`: the input the engine has taken so far. May be NULL. */
    void (*hook)(void *e, const struct event *ev, struct str fed);
    struct buf *out; /* of the engine that runs */
};

/* Off the front of data: how to cut. Then runs the rest whole, cut, and cut
 * with a refused allocation. */
void splits_check(struct splits *s, struct str data);

/* One byte off the front, 0 when there is none. */
unsigned splits_byte(struct str *data);

/* Says what is wrong and aborts. */
void splits_assert(bool holds, const char *what);

#endif
