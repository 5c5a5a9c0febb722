/* SPDX-License-Identifier: MIT */
/* Binary frames: a header of fixed size with the payload's length in it, the
 * payload, and perhaps a trailer of fixed size (a checksum).
 *
 *      │ header: … length … │ payload │ trailer │
 *
 * Events both ways: `string` (the payload) where the format is plain, `frame`
 * with all three parts where it is not. In a header that is sent the length is
 * filled in, and what is fixed. A length is checked as soon as its last byte is
 * there, fixed bytes at the first that differs: nothing is kept of a frame that
 * will be refused.
 */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H

#include "proto/engine.h"
#include "proto/patience.h"

enum frame_event { FRAME_STRING, FRAME_FRAME };

enum { FRAME_MAX_HEADER = 64, FRAME_MAX_TRAILER = 64, FRAME_MAX_ADJUST = 1 << 20 };

struct frame_format {
    uint8_t header, trailer; /* bytes; the header has at least the length */
    uint8_t offset, width;   /* of the length, in the header; width 1 to 8 */
    bool little;             /* the length's byte order */
    bool plain;              /* `string` events; then there is no trailer */
    int32_t adjust;          /* bytes of payload = the length + adjust */
    uint64_t max;            /* bytes of payload, besides max_frame; 0: none */
    char fixed[FRAME_MAX_HEADER]; /* what the header has where … */
    char mask[FRAME_MAX_HEADER];  /* … these bits are set; not in the length */
};

struct frame {
    struct engine_env env;
    struct frame_format format;
    struct str pending;  /* input taken but not yet parsed, borrowed */
    struct buf held;     /* input copied: the frame that is not yet whole */
    bool dropping;       /* held was given out by the last next() */
    bool known;          /* of the frame in held: its length is here */
    size_t payload;      /* then: bytes */
    uint64_t refused;    /* after RW_ELIMIT: the length that was too much */
    struct patience patience;
    int error;           /* sticky */
};

/* Before the first feed(); without it: 32 bits big endian, plain. RW_EINVAL:
 * the parts do not fit each other. */
int frame_configure(struct frame *e, const struct frame_format *format);

#endif
