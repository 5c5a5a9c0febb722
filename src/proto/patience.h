/* SPDX-License-Identifier: MIT */
/* How long an engine waits for a peer: between two messages idle_timeout, for the
 * rest of a head head_timeout, for a body body_timeout and what min_rate grants
 * for the bytes that have come. */
#ifndef PROTO_PATIENCE_H
#define PROTO_PATIENCE_H

#include "proto/engine.h"

enum patience_for { PATIENCE_NONE, PATIENCE_IDLE, PATIENCE_HEAD, PATIENCE_BODY };

struct patience {
    uint64_t since;
    enum patience_for what; /* what the last tick found us waiting for */
    bool restart;           /* the wait began anew since; set by the engine */
};

/* For a body of which `seen` bytes have come. */
uint64_t patience_with_body(const struct limits *l, uint64_t seen);

/* Of tick(): the deadline. When it is over, *error becomes RW_ETIMEDOUT unless
 * there is one. `seen`: bytes of the body that have come. */
uint64_t patience_tick(struct patience *p, struct engine_env *env, int *error,
                       enum patience_for what, uint64_t seen, uint64_t now);

#endif
