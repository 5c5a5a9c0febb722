/* SPDX-License-Identifier: MIT */
/* What the files of http1 share and nobody else sees.
 *
 *      http1.c         the two state machines, time, the end
 *      http1_head.c    head and trailers: the grammar, resumable
 *      http1_field.c   what single fields and targets mean, and forbid
 *      http1_chunk.c   the chunked coding
 *      http1_send.c    responses
 *      http1_status.c  status lines
 *      http1_engine.c  the generic contract
 */
#ifndef PROTO_HTTP1_INNER_H
#define PROTO_HTTP1_INNER_H

#include "proto/http1.h"

/* A body that comes after its answer is read and thrown away up to this much,
 * because a connection costs more than that; beyond it we close. */
enum { HTTP1_MAX_DISCARD = 65536 };

/* Chunk lines may be so much longer, summed over the message, than 16 bytes
 * and as much as their data again: a byte of data in a kilobyte of extension
 * would make us work for nothing (CVE-2023-39326). */
enum { HTTP1_MAX_CHUNK_EXCESS = 16384 };

/* Offsets into a head have 32 bits. The limit is max_head. */
enum { HTTP1_MAX_HELD = INT32_MAX };

enum http1_stage { /* of the head's parser: what is to come next */
    STAGE_START,   /* perhaps one empty line */
    STAGE_METHOD,
    STAGE_TARGET,
    STAGE_VERSION, /* with the end of the line */
    STAGE_FIELD,   /* a field line or the empty one */
    STAGE_NAME,
    STAGE_GAP,     /* blanks before the value */
    STAGE_VALUE,
};

enum http1_chunk { /* of the chunk parser: what is to come next */
    CHUNK_NONE,    /* the body is not chunked */
    CHUNK_SIZE,    /* the first digit */
    CHUNK_DIGITS,  /* more of them, an extension or the end of the line */
    CHUNK_EXT,     /* the first byte of its name */
    CHUNK_EXT_NAME,
    CHUNK_EXT_EQUALS, /* the first byte of its value */
    CHUNK_EXT_VALUE,
    CHUNK_QUOTED,
    CHUNK_QUOTED_PAIR,
    CHUNK_QUOTED_END,
    CHUNK_LF,      /* of the line */
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILERS,
};

enum { /* bits of http1.seen */
    SEEN_HOST = 1,
    SEEN_LENGTH = 2,
    SEEN_CODING = 4, /* Transfer-Encoding */
    SEEN_CLOSE = 8,
    SEEN_KEEP_ALIVE = 16,
    SEEN_UPGRADE = 32,         /* the field */
    SEEN_UPGRADE_OPTION = 64,  /* named by Connection */
};

/* Functions that judge the peer's bytes return 0 when they are fine, else the
 * status to refuse them with, negated: -400. */

/* Parses on in a head or in trailers whose bytes so far are the n at `base`:
 * length of the whole when it is complete, 0 when more is wanted. */
int64_t http1_head_parse(struct http1 *e, const char *base, size_t n);

/* max_head, but for absurd ones. */
size_t http1_head_max(const struct http1 *e);

/* The bytes moved: makes the request and the fields point to where they are now. */
void http1_head_moved(struct http1 *e, const char *from, const char *to);

/* Forgets the head: frees its memory, ends all that was borrowed from it. */
void http1_head_drop(struct http1 *e);

/* May a field of this name mean something to the engine? Nearly always not;
 * length and first letter tell. */
static inline bool http1_field_special(struct str name) {
    static const char first[18] = {
        [4] = 'h', [6] = 'e', [7] = 'u', [10] = 'c', [14] = 'c', [17] = 't'};
    return name.n < sizeof first && (name.p[0] | 0x20) == first[name.n];
}

/* A special field of the head. */
int http1_field_seen(struct http1 *e, struct str name, struct str value);

/* A field of the trailers: 0, a refusal, or 1 to leave it out. */
int http1_trailer_seen(struct str name);

/* Is this an authority? `port`: it must have a port. */
bool http1_authority_ok(struct str s, bool port);

/* Is the target of a form that the method may have? */
int http1_target_check(enum http1_method verb, struct str target);

/* Cuts "http://host/path" into host and "/path". */
struct str http1_target_authority(struct str *target);

/* Parses on in a chunked body. Stops behind the first data (then e->data has
 * it), at the trailers, or at the end: bytes taken or a refusal. */
int64_t http1_chunk_parse(struct http1 *e, struct str bytes);

/* Has the request a body of which not all was taken? */
bool http1_body_due(const struct http1 *e);

/* Ends the connection's use; both sides. */
void http1_shut(struct http1 *e);

/* Leaves a message that is over, unless something of it is borrowed still. */
void http1_settle(struct http1 *e);

/* The response is complete. */
void http1_answered(struct http1 *e);

/* Puts a whole error response into env->out. */
int http1_send_refusal(struct http1 *e, int status);

/* "HTTP/1.1 404 Not Found\r\n"; without bytes when the status is not known. */
struct str http1_status_line(int status);

#endif
