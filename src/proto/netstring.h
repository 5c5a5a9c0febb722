/* SPDX-License-Identifier: MIT */
/* Netstrings: "5:hello," (D. J. Bernstein, 1997). Events both ways: `string`.
 * Lengths have no leading zero and at most as many digits as max_frame; the
 * string is announced only when it is whole. */
#ifndef PROTO_NETSTRING_H
#define PROTO_NETSTRING_H

#include "proto/engine.h"
#include "proto/patience.h"

enum netstring_event { NETSTRING_STRING };

struct netstring {
    struct engine_env env;
    struct str pending;  /* input taken but not yet parsed, borrowed */
    struct buf held;     /* input copied: the netstring that is not yet whole */
    bool dropping;       /* held was given out by the last next() */
    size_t head;         /* of held: bytes up to and with the colon, 0: not yet */
    size_t whole;        /* of held: bytes it will have, 0: not known */
    struct patience patience;
    int error;           /* sticky */
    const char *why;     /* after RW_EPROTO: what was wrong, for people */
};

#endif
