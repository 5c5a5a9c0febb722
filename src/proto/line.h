/* SPDX-License-Identifier: MIT */
/* The core of line protocols: lines until told otherwise, then raw bytes (a
 * literal, DATA, a body), then lines again, all within one segment if need be.
 *
 * Events in: `line` (without its end), `raw` (bytes), `raw_end` (the announced
 * number of raw bytes has come). Events out: `line` (the delimiter is added; a
 * line that contains it is RW_EINVAL: nobody smuggles a second command), `raw`.
 */
#ifndef PROTO_LINE_H
#define PROTO_LINE_H

#include "proto/engine.h"
#include "proto/patience.h"

enum line_event { LINE_LINE, LINE_RAW, LINE_RAW_END };

enum line_ending {
    LINE_CRLF,         /* strict: a bare CR or LF is RW_EPROTO */
    LINE_LF_OR_CRLF,   /* what people type; the default; CRLF is sent */
    LINE_CUSTOM,       /* a delimiter of 1 to 8 bytes */
};

struct line {
    struct engine_env env;
    struct str pending;  /* input taken but not yet parsed, borrowed */
    struct buf held;     /* input copied: the line that is not yet whole */
    size_t dropping;     /* of held: given out by the last next() */
    size_t scanned;      /* of held: no end within */
    uint64_t raw_left;   /* LINE_RAW_FOREVER: until line_set_lines */
    uint64_t raw_seen;
    struct patience patience;
    bool raw;
    bool unsettled;      /* held was not yet read in this mode */
    enum line_ending ending;
    uint8_t delimiter_len;
    char delimiter[8];
    int error;           /* sticky */
};

#define LINE_RAW_FOREVER UINT64_MAX

/* Between two next() calls, also while input is pending: what follows is read
 * as asked. After a change outside of an event ask next() again: what is held
 * may have become an event. RW_EINVAL: not 1 to 8 bytes. */
void line_set_raw(struct line *e, uint64_t bytes);
void line_set_lines(struct line *e);
int line_set_delimiter(struct line *e, enum line_ending ending, struct str custom);

/* Forgets what was taken but not given out. */
void line_clear(struct line *e);

#endif
