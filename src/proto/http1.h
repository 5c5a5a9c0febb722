/* SPDX-License-Identifier: MIT */
/* HTTP/1.0 and 1.1 (RFC 9110, RFC 9112), server role.
 *
 * http1 obeys the engine contract (engine.h); what stands here is the faster
 * door that the HTTP binding uses: the same struct, typed calls, no event
 * unions. Per message, in order:
 *
 *      REQUEST → BODY* → END        from the peer
 *      (100)? → head → data* → end  to the peer; may start before END
 *
 * The next message is not looked at before both have ended: feed() takes
 * nothing meanwhile, so answers cannot overtake each other.
 */
#ifndef PROTO_HTTP1_H
#define PROTO_HTTP1_H

#include "proto/engine.h"

enum http1_event {
    /* in:  str:method str:target int:version fields:headers int:length
     * (length: bytes, 0 without a body, -1 chunked) */
    HTTP1_REQUEST,
    HTTP1_BODY, /* in: str:bytes */
    HTTP1_END,  /* in: fields:trailers */
    /* out: int:status str:reason fields:headers int:length (-1: not known) */
    HTTP1_RESPONSE,
    HTTP1_DATA,     /* out: str:bytes */
    HTTP1_FINISH,   /* out */
    HTTP1_CONTINUE, /* out: 100 Continue, if the peer waits for it */
};

enum http1_method { /* those with a meaning to the engine or the router */
    HTTP1_GET, HTTP1_HEAD, HTTP1_POST, HTTP1_PUT, HTTP1_DELETE,
    HTTP1_PATCH, HTTP1_OPTIONS, HTTP1_CONNECT, HTTP1_TRACE, HTTP1_OTHER,
};

enum http1_in {  /* what the peer's side is at */
    HTTP1_IN_IDLE,     /* between messages, nothing of the next seen */
    HTTP1_IN_HEAD,     /* a part of a head is here */
    HTTP1_IN_BODY,
    HTTP1_IN_ENDED,    /* whole message seen */
    HTTP1_IN_UPGRADED, /* the bytes belong to somebody else now */
    HTTP1_IN_CLOSED,   /* no further message: close, error or eof */
};
enum http1_out { /* what our side is at */
    HTTP1_OUT_IDLE,    /* no request to answer */
    HTTP1_OUT_WAITING, /* a request waits for its response */
    HTTP1_OUT_BODY,    /* head sent */
    HTTP1_OUT_DONE,    /* answered; waiting for the end of the request */
    HTTP1_OUT_CLOSED,
};

/* The head of the current request. `bytes` is the whole head as it came (from
 * the method to the empty line); every slice below points into it. All of it
 * lives until the next feed() or next(): copy `bytes` to keep it. */
struct http1_request {
    struct str bytes;
    struct str method, target;
    enum http1_method verb;
    int version;          /* 10 or 11 */
    struct fields headers;
    int64_t length;       /* of the body; 0: none; -1: chunked */
    bool keep_alive;      /* the peer lets us */
    bool expects_continue;
    struct str host;      /* empty only for 1.0 */
    struct str upgrade;   /* Upgrade field, if Connection names it */
};

enum { HTTP1_FEW = 3 }; /* fields kept inline, without memory of their own */

struct http1 {
    struct engine_env env;
    enum http1_in in;
    enum http1_out out;
    struct http1_request request;
    /* the rest is private to http1*.c */
    int error;              /* sticky */
    uint32_t field_count, field_cap, field_room;
    struct field *fields;   /* of the head or the trailers: `few`, or owned */
    struct str data;        /* of a BODY not yet pulled; borrowed */
    struct buf held;        /* an incomplete head, or incomplete trailers */
    struct {                /* where its parser stopped: offsets from its
                             * first byte (http1_head.c) */
        uint32_t at, start, target, target_end, name, colon, value;
    } mark;
    uint32_t host_at, upgrade_at; /* indices into fields */
    uint32_t chunk_excess;  /* bytes of chunk lines beyond what is decent */
    uint64_t body_left;     /* of the body or of the chunk; once we answered:
                             * what was announced */
    uint64_t body_seen;
    uint64_t phase_since;   /* tick(): when the phase began, 0: unset */
    uint64_t out_left;      /* of a response with a known length */
    uint32_t discard_left;  /* of a body that came after its answer */
    uint8_t stage;          /* of the head's parser */
    uint8_t chunk;          /* of the chunk parser */
    uint8_t chunk_digits;   /* of the size */
    uint8_t seen;           /* special fields in this head */
    uint8_t ready;          /* event to give, as enum http1_event + 1 */
    bool blank;             /* the one empty line before a head was there */
    bool in_trailers, borrowed, eof;
    bool out_chunked, out_length_known, out_no_body, close_after, sent_continue;
    struct field few[HTTP1_FEW];
};

int http1_init(struct http1 *e, const struct engine_env *env);
void http1_fini(struct http1 *e);

/* As in the contract. http1_next returns an enum http1_event + 1 (so > 0), 0
 * when it wants more, < 0 on error; `data` gets BODY's bytes. The request is
 * e->request. On an error the reply (400, 413, 414, 431, 501, 505 … with
 * Connection: close) has been put into env->out if a response was still due. */
int64_t http1_feed(struct http1 *e, struct str bytes);
int http1_next(struct http1 *e, struct str *data);
void http1_moved(struct http1 *e, const char *from, const char *to);
int http1_eof(struct http1 *e);
uint64_t http1_tick(struct http1 *e, uint64_t now);

/* The trailers of a chunked request, valid at END. */
struct fields http1_trailers(const struct http1 *e);

/* Begins the response. `headers`: fields as they shall be sent; names and
 * values with CR, LF or NUL are RW_EINVAL, and so are Content-Length,
 * Transfer-Encoding and Connection, which are the engine's. `length`: of the
 * body, or -1 when it is not known (then chunked, or until close for a 1.0
 * peer). HEAD, 1xx, 204 and 304 never carry a body: data is swallowed (HEAD,
 * 304 keep the Content-Length they were told). `date`: value for the Date
 * field, empty: none. `reason`: empty: the standard phrase.
 * RW_ESTATE when no response is due. */
int http1_send_head(struct http1 *e, int status, struct str reason,
                    struct fields headers, int64_t length, struct str date);

/* Body bytes. RW_ESTATE without a head; RW_EINVAL beyond the length told. */
int http1_send_data(struct http1 *e, struct str bytes);

/* `n` bytes of the body go to the stream by another way (sendfile): accounts
 * for them; only with a known length. */
int http1_send_elsewhere(struct http1 *e, uint64_t n);

/* Ends the response. RW_EINVAL when fewer bytes came than were told (the
 * connection must then be closed: the engine is in error). */
int http1_send_end(struct http1 *e);

/* Head, body and end in one call, encoded at once: the hello path. `type`:
 * Content-Type, empty: none. */
int http1_respond(struct http1 *e, int status, struct str type, struct str body,
                  struct str date);

/* 100 Continue, once, and only if the peer expects it and nothing was sent. */
int http1_send_continue(struct http1 *e);

/* Answers 101 and hands over: from here feed() takes nothing. */
int http1_upgrade(struct http1 *e, struct str protocol, struct fields headers);

/* After the current response the connection shall close (drain, limits). Says
 * so to the peer if the head is not yet sent. */
void http1_close_after(struct http1 *e);

/* Is nothing going on, so that the connection may be closed or handed to other
 * code without losing a message? */
static inline bool http1_idle(const struct http1 *e) {
    return e->in == HTTP1_IN_IDLE && e->out == HTTP1_OUT_IDLE;
}
/* Has the connection no further use once env->out is flushed? */
bool http1_finished(const struct http1 *e);

const char *http1_reason(int status); /* "Not Found"; "" when unknown */

#endif
