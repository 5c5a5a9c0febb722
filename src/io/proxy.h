/* SPDX-License-Identifier: MIT */
/* The PROXY protocol over a stream: who the connection is for. */
#ifndef IO_PROXY_H
#define IO_PROXY_H

#include "base/proxy.h"
#include "io/stream.h"

/* What a header has said; the ends then are stream_peer and stream_host. A
 * proxy that speaks for itself, or does not tell, introduces nobody. */
struct introduction {
    struct address source, destination;
    uint8_t version;
    size_t size;      /* of tlvs */
    char tlvs[];
};

/* The stream has to begin with a header, which the owner does not see. `done`
 * comes once, from the loop: 0, with the owner's hooks still to be set, what
 * follows the header being input from then on; or < 0, the stream being
 * aborted: RW_EPROTO, RW_ELIMIT (longer than `max`), RW_ETIMEDOUT, RW_EOF (left
 * without a word), RW_ECLOSED and errors of the transport. */
int proxy_expect(struct stream *s, uint64_t timeout_ms, size_t max,
                 void (*done)(void *owner, struct stream *s, int status), void *owner);

/* The peer of the socket itself. */
int stream_carrier(struct stream *s, struct address *out);

/* A header about these two ends, whose kinds are known (UNKNOWN when they do
 * not go together); NULL, NULL: we speak for ourselves. */
void proxy_header_of(const struct address *source, const struct address *destination,
                     struct proxy_header *out);

#endif
