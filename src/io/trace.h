/* SPDX-License-Identifier: MIT */
/* A filter that writes down what passes: to a file, or to the log. */
#ifndef IO_TRACE_H
#define IO_TRACE_H

#include "base/log.h"
#include "io/stream.h"

enum trace_format { TRACE_HEX, TRACE_TEXT, TRACE_RAW };

struct trace_options {
    const char *path;    /* appended to, made readable for its owner only; NULL: the log */
    struct log *log;     /* borrowed; also told when it is over */
    enum trace_format format;
    uint64_t max_bytes;  /* of the file; with the log: of what is written to it */
    size_t max_record;   /* bytes shown of one piece */
};

/* Where the records of many streams go. Counted: each filter holds it, and its
 * maker until trace_leave. */
struct trace;
int trace_open(struct loop *l, const struct trace_options *o, struct trace **out);
void trace_leave(struct trace *t);

int trace_push(struct stream *s, struct trace *t); /* 0, or RW_ENOMEM */

#endif
