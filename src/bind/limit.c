/* SPDX-License-Identifier: MIT */
#include "bind/limit.h"

#include <assert.h>
#include <string.h>

#include "bind/bind.h"

/* Is a line due? Then it is this one. */
static bool is_due(struct rw *rw, struct limit_line *line) {
    int64_t now = loop_unix_time(rw->loop);
    line->unlogged++;
    if (now == line->second || !log_wants(&rw->log, LOG_WARN)) return false;
    line->second = now;
    return true;
}

static void write_line(struct rw *rw, struct limit_line *line, const char *message,
                       struct log_field why, const struct log_field *more, size_t n) {
    struct log_field fields[LIMIT_MORE_FIELDS + 2];
    assert(n <= LIMIT_MORE_FIELDS);
    fields[0] = why;
    if (n) memcpy(&fields[1], more, n * sizeof *more);
    fields[1 + n] = LF_UINT("count", line->unlogged);
    log_write(&rw->log, LOG_WARN, str_c(message), fields, n + 2);
    line->unlogged = 0;
}

static void write_line_of_peer(struct rw *rw, struct limit_line *line, struct stream *peer,
                               const char *message, struct log_field why) {
    char text[160];
    struct address a = {0};
    if (peer) stream_peer(peer, &a);
    struct log_field who = LF_STR("peer", address_format(&a, text, sizeof text));
    write_line(rw, line, message, why, &who, peer ? 1 : 0);
}

static struct limit_line *count(struct rw *rw, const char *limit) {
    const struct limit_def *def = limit_find(str_c(limit));
    assert(def);
    rw->stats.limits_hit++;
    return &rw->limit_lines.at[def - limit_defs];
}

void limit_fired(struct rw *rw, struct stream *peer, const char *message, const char *limit) {
    struct limit_line *line = count(rw, limit);
    if (is_due(rw, line)) write_line_of_peer(rw, line, peer, message, LF_Z("limit", limit));
}

void limit_fired_with(struct rw *rw, const char *message, const char *limit,
                      const struct log_field *more, size_t n) {
    struct limit_line *line = count(rw, limit);
    if (is_due(rw, line)) write_line(rw, line, message, LF_Z("limit", limit), more, n);
}

void log_sparingly(struct rw *rw, struct stream *peer, const char *message,
                   struct log_field why) {
    struct limit_line *line = &rw->limit_lines.at[LIMIT_COUNT];
    if (is_due(rw, line)) write_line_of_peer(rw, line, peer, message, why);
}
