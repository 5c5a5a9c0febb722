/* SPDX-License-Identifier: MIT */
/* Limits that fire: counted, and logged by their names. A flood must not become
 * a flood of lines: about each limit there is at most one a second, which says
 * how often it has fired since the one before. */
#ifndef BIND_LIMIT_H
#define BIND_LIMIT_H

#include "base/limits.h"
#include "base/log.h"

struct rw;
struct stream;

struct limit_lines {
    struct limit_line {
        int64_t second;    /* of the last line … */
        uint64_t unlogged; /* … and how often it was due since */
    } at[LIMIT_COUNT + 1]; /* as in limits.def; then what log_sparingly logs */
};

/* `peer` (may be NULL): who ran into it. `limit`: a name of limits.def. */
void limit_fired(struct rw *rw, struct stream *peer, const char *message, const char *limit);

/* The same, with fields of the caller's own. */
enum { LIMIT_MORE_FIELDS = 4 };
void limit_fired_with(struct rw *rw, const char *message, const char *limit,
                      const struct log_field *more, size_t n);

/* What a peer can cause at will and is no limit: a line a second for all of it. */
void log_sparingly(struct rw *rw, struct stream *peer, const char *message,
                   struct log_field why);

#endif
