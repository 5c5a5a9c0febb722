/* SPDX-License-Identifier: MIT */
/* The chunked coding (RFC 9112 §7.1), as a byte machine: chunk lines are short
 * and may be cut anywhere, so nothing of them is ever held, and the number of
 * bytes that an extension may have is a matter of counting.
 *
 *      SIZE → DIGITS → LF → DATA → DATA_CR → DATA_LF → SIZE …
 *               ↓ ';'  ↑ └→ TRAILERS (size 0)
 *              EXT … ──┘
 *
 * Extensions are checked (name, name=token, name="quoted") and forgotten. The
 * blanks around ';' and '=' that RFC 9112 §7.1.1 calls bad are not taken: no
 * sender is allowed to make them. */
#include "proto/http1_inner.h"
#include "proto/scan.h"

enum { MAX_DIGITS = 16 };

/* A byte of the chunk's line counts against the excess; 16 are free, and as
 * much as there is data (see size_known). */
static int line_byte(struct http1 *e) {
    return ++e->chunk_excess > HTTP1_MAX_CHUNK_EXCESS ? -400 : 0;
}

/* The line's end was seen: body_left is the size of the chunk. */
static int size_known(struct http1 *e) {
    if (e->body_left == 0) {
        e->chunk = CHUNK_TRAILERS;
        return 0;
    }
    uint64_t max = e->env.limits->max_body;
    if (e->body_seen > max || e->body_left > max - e->body_seen) return -413;
    uint64_t free = 16 + e->body_left;
    e->chunk_excess -= free < e->chunk_excess ? (uint32_t)free
                                              : e->chunk_excess;
    e->chunk = CHUNK_DATA;
    return 0;
}

static int digit(struct http1 *e, char c) {
    int value = hex_digit(c);
    if (value < 0) return -400;
    if (e->chunk == CHUNK_SIZE) {
        e->body_left = 0;
        e->chunk_digits = 0;
        e->chunk = CHUNK_DIGITS;
    }
    if (++e->chunk_digits > MAX_DIGITS) return -400;
    e->body_left = e->body_left << 4 | (unsigned)value;
    return 0;
}

/* After a size, or a whole extension: the next one, or the end of the line. */
static int line_goes_on(struct http1 *e, char c) {
    if (c == ';') e->chunk = CHUNK_EXT;
    else if (c == '\r') e->chunk = CHUNK_LF;
    else return -400;
    return 0;
}

static int extension(struct http1 *e, char c) {
    bool token = scan_is(c, SCAN_TOKEN);
    switch (e->chunk) {
    case CHUNK_EXT:
        e->chunk = CHUNK_EXT_NAME;
        return token ? 0 : -400;
    case CHUNK_EXT_NAME:
        if (token) return 0;
        if (c != '=') return line_goes_on(e, c);
        e->chunk = CHUNK_EXT_EQUALS;
        return 0;
    case CHUNK_EXT_EQUALS:
        e->chunk = c == '"' ? CHUNK_QUOTED : CHUNK_EXT_VALUE;
        return token || c == '"' ? 0 : -400;
    case CHUNK_EXT_VALUE:
        return token ? 0 : line_goes_on(e, c);
    case CHUNK_QUOTED:
        if (c == '"') e->chunk = CHUNK_QUOTED_END;
        else if (c == '\\') e->chunk = CHUNK_QUOTED_PAIR;
        else if (!scan_is(c, SCAN_QUOTED)) return -400;
        return 0;
    case CHUNK_QUOTED_PAIR:
        e->chunk = CHUNK_QUOTED;
        return scan_is(c, SCAN_VALUE) ? 0 : -400;
    default:
        return line_goes_on(e, c);
    }
}

static int line(struct http1 *e, char c) {
    switch (e->chunk) {
    case CHUNK_SIZE:
        return digit(e, c);
    case CHUNK_DIGITS:
        return c == ';' || c == '\r' ? line_goes_on(e, c) : digit(e, c);
    case CHUNK_LF:
        return c == '\n' ? size_known(e) : -400;
    case CHUNK_DATA_CR:
        e->chunk = CHUNK_DATA_LF;
        return c == '\r' ? 0 : -400;
    case CHUNK_DATA_LF:
        e->chunk = CHUNK_SIZE;
        return c == '\n' ? 0 : -400;
    default:
        return extension(e, c);
    }
}

int64_t http1_chunk_parse(struct http1 *e, struct str bytes) {
    size_t i = 0;
    for (; i < bytes.n && e->chunk != CHUNK_TRAILERS; i++) {
        if (e->chunk == CHUNK_DATA) {
            struct str rest = str_skip(bytes, i);
            if (rest.n > e->body_left) rest.n = (size_t)e->body_left;
            e->data = rest;
            e->body_left -= rest.n;
            e->body_seen += rest.n;
            if (e->body_left == 0) e->chunk = CHUNK_DATA_CR;
            return (int64_t)(i + rest.n);
        }
        int rc = line_byte(e);
        if (rc == 0) rc = line(e, bytes.p[i]);
        if (rc < 0) return rc;
    }
    return (int64_t)i;
}
