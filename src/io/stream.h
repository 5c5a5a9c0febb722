/* SPDX-License-Identifier: MIT */
/* Streams, their filters, and the addresses at their ends. */
#ifndef IO_STREAM_H
#define IO_STREAM_H

#include "base/limits.h"
#include "io/loop.h"

/* ── streams ──────────────────────────────────────────────────────────────*/

struct stream;

struct stream_hooks {
    void (*on_data)(struct stream *s, struct str bytes);
    void (*on_eof)(struct stream *s);   /* the peer will send no more; NULL:
                                           stream_close */
    void (*on_drain)(struct stream *s); /* the queue fell below low_water after
                                           a write that was told to pause */
    void (*on_close)(struct stream *s, int reason); /* 0: clean; see rule 2 */
    void (*on_shutdown)(struct stream *s); /* stream_shutdown is done: all is sent */
};

/* Who is at the other end, or at ours. */
enum address_kind {
    ADDRESS_NONE, ADDRESS_TCP, ADDRESS_UNIX, ADDRESS_STDIO, ADDRESS_PAIR, ADDRESS_PROCESS,
    ADDRESS_UDP,
};
struct address {
    enum address_kind kind;
    char host[108]; /* numeric address, or the path of a unix socket */
    uint16_t port;
};
/* "127.0.0.1:80", "[::1]:80", "unix:/path", "stdio", "pair", "process"; parse takes
 * all but the last back: 0, or RW_ESYNTAX. */
struct str address_format(const struct address *a, char *out, size_t size);
int address_parse(struct str text, struct address *out);

/* What carries the bytes in the end: one table per kind, one file per table.
 * The queue is the stream's; the transport has its first chunk at most. */
struct chunk;
struct transport_ops {
    const char *name; /* "tcp", "unix", "stdio", "pair", "process" */
    bool lingers;     /* the peer's unread bytes make its close a reset */
    int (*write)(struct stream *s, struct str bytes); /* tries: taken, or < 0 */
    int (*queue)(struct stream *s, struct chunk *c);  /* then stream_taken() */
    size_t (*unsent)(struct stream *s); /* of queue's chunk; may be NULL */
    /* tries: sent (0: the file is shorter), or < 0; may be NULL */
    int (*sendfile)(struct stream *s, int fd, uint64_t offset, size_t n);
    int (*read)(struct stream *s, bool on);
    int (*shutdown)(struct stream *s); /* our direction; the queue is empty */
    void (*close)(struct stream *s);   /* at once; then stream_closed() */
    int (*peer)(struct stream *s, struct address *out);
    int (*host)(struct stream *s, struct address *out);
    int (*option)(struct stream *s, const char *name, int64_t value);
};

/* A filter sits between the owner and the transport (TLS, PROXY, throttle,
 * capture) and may be pushed or popped at any time, also in mid-stream. Bytes
 * from the peer go up through `input`, bytes to the peer go down through
 * `output`; a filter passes on with filter_up and filter_down, now or later,
 * and the ends with filter_up_end and filter_down_end. An op that is NULL
 * passes on. A popped filter is detached once it is off the stack. */
struct filter;
struct filter_ops {
    const char *name;
    int (*input)(struct filter *f, struct str bytes);  /* 0 or < 0: stream fails */
    int (*output)(struct filter *f, struct str bytes); /* 0 or < 0 */
    int (*input_end)(struct filter *f);                /* the peer's eof */
    int (*output_end)(struct filter *f);               /* our shutdown */
    void (*detach)(struct filter *f);                  /* frees it */
};
struct filter {
    const struct filter_ops *ops;
    struct stream *stream;
    struct filter *above, *below; /* NULL: the owner; the transport */
};
void stream_push_filter(struct stream *s, struct filter *f); /* on the owner's side */
void stream_pop_filter(struct filter *f);
int filter_up(struct filter *f, struct str bytes);
int filter_down(struct filter *f, struct str bytes);
int filter_up_end(struct filter *f);
int filter_down_end(struct filter *f);
/* So many bytes more (or fewer) are kept back here (a handshake):
 * they count as stream->queued, close waits for them, the transport is read
 * meanwhile. 0 again before a pop. */
void filter_hold(struct filter *f, int64_t change);
/* The same, but for bytes that wait for nothing from the peer (a throttle): the
 * transport is read only if the owner wants it. */
void filter_delay(struct filter *f, int64_t change);
/* No input for now: the transport is not read. */
void filter_mute(struct filter *f, bool on);

/* Public part of every stream; transports embed it as their first member. */
struct stream {
    const struct transport_ops *ops;
    const struct stream_hooks *hooks;
    void *owner;                 /* the hooks' */
    struct loop *loop;
    const struct limits *limits; /* borrowed */
    struct filter *top, *bottom; /* NULL: none */
    struct introduction *introduction; /* owned; io/proxy.h; NULL: none */
    uint64_t bytes_in, bytes_out;
    size_t queued;               /* written but not yet taken by the system */
    bool reading, told_to_pause;
    enum { STREAM_OPEN, STREAM_CLOSING, STREAM_CLOSED } state;
    bool write_ended;            /* shutdown asked for */
};

/* Takes all bytes or fails. 0: go on; 1: taken, but the queue is above
 * high_water: pause until on_drain; RW_ECLOSED; RW_ELIMIT: over max_buffered,
 * the stream is being aborted; or another error, likewise. */
int stream_write(struct stream *s, struct str bytes);

/* `n` bytes of the file at `offset`, after what is queued; the descriptor is
 * taken over and closed in the end, unless this is refused (RW_ESTATE: under a
 * filter, or closed): read and write then. on_drain follows when all is sent
 * (1), or all is sent (0). */
int stream_send_file(struct stream *s, int fd, uint64_t offset, uint64_t n);
bool stream_can_send_file(const struct stream *s);

void stream_read(struct stream *s, bool on); /* off after opening */
int stream_shutdown(struct stream *s);       /* half-close, flushes first */
/* Flushes first; a peer that takes nothing for close_timeout is aborted. */
void stream_close(struct stream *s);
/* The same, and on_close gets this reason: the peer shall read our last words. */
void stream_close_for(struct stream *s, int reason);
void stream_abort(struct stream *s, int reason); /* at once (RST where there is one) */

/* Of the connection that is carried, if a proxy introduced one. */
int stream_peer(struct stream *s, struct address *out);
int stream_host(struct stream *s, struct address *out);
/* "nodelay", "keepalive" (seconds; 0: off), "send_buffer", "receive_buffer" */
int stream_option(struct stream *s, const char *name, int64_t value);

/* Two streams, each the other's peer, in memory; hooks come from the loop. */
int stream_pair(struct loop *l, const struct limits *limits, struct stream *out[2]);
/* Standard input and output as one stream. */
int stream_stdio(struct loop *l, const struct limits *limits, struct stream **out);

#endif
