/* SPDX-License-Identifier: MIT */
/* What the files that make up a stream share: stream.c (the owner's side),
 * outgoing.c (the queue), incoming.c (bytes up), filter.c (the chain),
 * closing.c, and the transports below them. */
#ifndef IO_STREAM_PRIVATE_H
#define IO_STREAM_PRIVATE_H

#include "io/internal.h"

enum {
    CHUNK_MIN = 4096 - 256,       /* a small chunk fits a page */
    CHUNK_MAX = 64 * 1024,        /* progress shows at least this often */
    SENDFILE_SLICE = 256 * 1024,  /* per turn and stream: others want theirs */
    FLUSH_SLICE = 1024 * 1024,    /* likewise, from memory */
    FULL_READS = 8,               /* likewise, buffers that one read fills */
    LINGER_SILENCE = 1000,        /* ms; see closing.c */
};

/* Part of a queue: bytes, or a piece of a file. */
struct chunk {
    struct chunk *next;
    size_t start, end; /* live bytes of data[] */
    size_t cap;
    uint64_t offset, left; /* of the file */
    int fd;                /* -1: bytes */
    uv_write_t write;      /* while a uv transport has it */
    char data[];
};

/* The private half of a stream; transports embed it as first member. */
struct flow {
    struct stream s;
    struct timer deadline;  /* write_timeout, close_timeout or lingering */
    struct deferral later;  /* hooks that a call of the owner made due */
    struct chunk *head, *tail; /* owned: to the peer */
    struct chunk *backlog, *backlog_last; /* owned: to the owner, who paused */
    struct filter *dead;       /* popped, not yet detached */
    uint64_t in_files;         /* of s.queued: bytes that are still in files */
    size_t held;               /* of s.queued: bytes that filters keep */
    uint64_t taken;            /* by the system, when progress was last seen */
    uint64_t progress;         /* loop_now() then; lingering: its end */
    int reason;                /* on_close's */
    uint32_t full_turn;        /* the last one in which a whole buffer was read … */
    uint8_t full_reads;        /* … so often */
    uint8_t ledger;
    uint8_t calls;   /* the owner's calls on the stack: no hooks now */
    uint8_t depth;   /* filters on the stack: nobody detaches now */
    bool busy : 1;        /* the transport has the head chunk */
    bool flush_later : 1; /* the slice was over */
    bool ending : 1;      /* shutdown went through the filters */
    bool ended : 1;       /* and was done */
    bool ended_due : 1;   /* on_shutdown is to come */
    bool eof : 1;         /* the transport said so */
    bool eof_due : 1;     /* on_eof is to come */
    bool polling : 1;     /* the transport reads */
    bool muted : 1;       /* a filter wants no input now */
    bool reset : 1;       /* close rudely */
    bool dying : 1;       /* ops->close was called */
    bool lingering : 1;   /* the owner is gone, see closing.c */
};

static inline struct flow *flow_of(struct stream *s) {
    return (struct flow *)(void *)s;
}

/* ── by the transports ────────────────────────────────────────────────────*/

void flow_init(struct flow *f, struct loop *l, const struct limits *limits,
               const struct transport_ops *ops, enum ledger_kind kind);
/* Whether bytes that arrived now would have a taker. */
bool stream_wants_input(const struct stream *s);
/* From the loop only. */
void stream_input(struct stream *s, struct str bytes);
void stream_input_end(struct stream *s);
/* What ops->queue got is taken, or failed. */
void stream_taken(struct stream *s, int status);
/* The handle is gone: last hook. The transport frees the memory after it. */
void stream_closed(struct stream *s);

/* ── among each other ─────────────────────────────────────────────────────*/

int outgoing_send(struct stream *s, struct str bytes);
int outgoing_send_file(struct stream *s, int fd, uint64_t offset, uint64_t n);
int outgoing_end(struct stream *s); /* shutdown, after what is queued */
void outgoing_flush(struct stream *s);
void outgoing_drop(struct stream *s);
/* The queue may have become shorter: drain, shutdown, close. Loop only. */
void outgoing_settle(struct stream *s);
uint64_t outgoing_taken(struct stream *s);

/* For a transport that holds the chunk itself: writes what it can of it. True: it is
 * over, and stream_taken is due with *status. */
bool outgoing_push(struct stream *s, struct chunk *c, int *status);

struct chunk *chunk_new(struct loop *l, size_t cap);
void chunk_free(struct loop *l, struct chunk *c);
static inline size_t chunk_left(const struct chunk *c) { return c ? c->end - c->start : 0; }

void incoming_deliver(struct stream *s, struct str bytes);
void incoming_deliver_end(struct stream *s);
void incoming_resume(struct stream *s);
void incoming_drop(struct stream *s);

int filter_enter_input(struct stream *s, struct str bytes);
int filter_enter_input_end(struct stream *s);
int filter_enter_output(struct stream *s, struct str bytes);
int filter_enter_output_end(struct stream *s);
void filter_detach_all(struct stream *s);

void introduction_free(struct stream *s);
void stream_later(struct stream *s);
void closing_watch(struct stream *s); /* arms write_timeout or close_timeout */
void closing_finish(struct stream *s);
/* Bytes of the peer, or its end, after on_close. */
void closing_lingers(struct stream *s, bool over);

/* ── transports that are a uv_stream_t ────────────────────────────────────*/

/* Their ops, with the handle given (handle->data: the flow). */
int uvs_write(uv_stream_t *h, struct str bytes);
int uvs_queue(uv_stream_t *h, struct chunk *c);
int uvs_read(uv_stream_t *h);
int uvs_sendfile(uv_stream_t *h, int fd, uint64_t offset, size_t n);

/* tcp and unix: one handle. */
struct uvstream {
    struct flow f;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
};
static inline struct uvstream *uvstream_of(struct stream *s) {
    return (struct uvstream *)(void *)s;
}
int uvstream_write(struct stream *s, struct str bytes);
int uvstream_queue(struct stream *s, struct chunk *c);
size_t uvstream_unsent(struct stream *s);
int uvstream_sendfile(struct stream *s, int fd, uint64_t offset, size_t n);
int uvstream_read(struct stream *s, bool on);
int uvstream_shutdown(struct stream *s);
int uvstream_peer(struct stream *s, struct address *out);
int uvstream_host(struct stream *s, struct address *out);
int uvstream_buffer_option(struct stream *s, const char *name, int64_t value);
/* A stream, once its handle has taken a descriptor; opened < 0: frees it. */
int uvstream_begin(struct uvstream *u, int opened, struct loop *l, const struct limits *limits,
                   const struct transport_ops *ops, enum ledger_kind kind, struct stream **out);
void uvstream_gone(uv_handle_t *h); /* the close callback */

#endif
