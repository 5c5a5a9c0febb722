/* SPDX-License-Identifier: MIT */
/* The io layer: the only place that sees libuv. It moves bytes between file
 * descriptors and owners, and tells the time.
 *
 * Rules that every owner may rely on:
 *
 *   1. Hooks are called from the loop only, never from inside a call that the
 *      owner makes. A close asked for in a hook happens after it.
 *   2. on_close is the last hook of an object, comes exactly once for an
 *      object that was handed out, and the object is gone when it returns.
 *   3. Bytes given to a hook are borrowed until it returns.
 *   4. Every write has a result; every queue has a maximum.
 */
#ifndef IO_IO_H
#define IO_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"

/* ── loop ─────────────────────────────────────────────────────────────────*/

struct loop;

/* NULL: out of memory or descriptors. SIGPIPE is ignored from here on. */
struct loop *loop_new(struct mem *mem);

/* Runs what is still closing to its end and frees; every handle must have been
 * closed by its owner before: what is left over is listed by loop_ledger. */
void loop_free(struct loop **loop);

/* Until loop_stop, or nothing is left to wait for. Wakers, signal watches and
 * file watches alone do not keep it running; active timers do. */
void loop_run(struct loop *l);
/* One turn; waits for at most `timeout_ms` (0: does not wait). Returns whether
 * something is still alive. */
bool loop_turn(struct loop *l, int timeout_ms);
void loop_stop(struct loop *l);

struct mem *loop_mem(struct loop *l);

/* Milliseconds of a monotonic clock, read once per turn; never 0. */
uint64_t loop_now(const struct loop *l);
/* The same clock in ns, read now. */
uint64_t loop_hrtime(void);
/* Wall clock, read once per turn at most: for Date and logs. */
int64_t loop_unix_time(struct loop *l);

/* The pollable descriptor and how long to wait, for a foreign loop. */
int loop_fd(const struct loop *l);
int loop_timeout(const struct loop *l);

/* Work for later in this turn or the next one, without waiting in between:
 * `run` is called once per loop_defer. Embedded, intrusive, cancellable. */
struct deferral {
    struct deferral *next, **prev; /* list: loop->deferred */
    void (*run)(struct deferral *d);
};
void loop_defer(struct loop *l, struct deferral *d); /* once until it ran */
void loop_defer_cancel(struct deferral *d);
static inline bool deferral_waits(const struct deferral *d) { return d->prev; }

/* Called after the callbacks of each turn (end of turn), in order of adding;
 * for reports of unhandled failures and the like. Stays until removed. */
struct turn_end {
    struct turn_end *next, **prev;
    void (*run)(struct turn_end *t);
};
void loop_at_turn_end(struct loop *l, struct turn_end *t);
void loop_turn_end_remove(struct turn_end *t);

/* Called on the loop's thread soon after wake(), which any thread and any
 * signal handler may call. */
struct waker;
struct waker *waker_new(struct loop *l, void (*run)(void *owner), void *owner);
void waker_wake(struct waker *w);
void waker_free(struct waker **w);

/* How many of what are open: "tcp 2, listener 1"; "" when nothing is. */
struct str loop_ledger(const struct loop *l, char *out, size_t size);

/* ── timers: a wheel, one per loop; O(1), no allocation ───────────────────*/

struct timer {
    struct timer *next, **prev; /* list: a slot of the wheel */
    uint64_t due;               /* loop_now() when it fires */
    void (*fire)(struct timer *t);
};
/* Arms, or moves. delay 0: in the next turn, never in this one. Timers due in
 * one turn fire in order of due time, then of arming; those armed meanwhile
 * wait for the next turn. A zeroed struct is an idle timer. */
void timer_start(struct loop *l, struct timer *t, uint64_t delay_ms,
                 void (*fire)(struct timer *t));
void timer_stop(struct loop *l, struct timer *t);
static inline bool timer_active(const struct timer *t) { return t->prev; }

/* ── signals ──────────────────────────────────────────────────────────────*/

struct signal_watch;
struct signal_watch *signal_watch_new(struct loop *l, int signum,
                                      void (*hook)(void *owner, int signum),
                                      void *owner);
void signal_watch_free(struct signal_watch **w);

/* ── the watchdog: processor time, not wall time ──────────────────────────*/

/* Calls `tick` in a signal handler on this thread after each `period_ms` of
 * processor time that the thread has used; an idle thread is never woken. tick
 * must be async-signal-safe. One per thread. */
int watchdog_start(unsigned period_ms, void (*tick)(void));
void watchdog_stop(void);

/* ── files ────────────────────────────────────────────────────────────────*/

/* Watches directories (files are replaced by rename, which a watch on the file
 * itself does not survive); `hook` comes once, `debounce_ms` after the last
 * of a burst of events. */
struct file_watch;
struct file_watch *file_watch_new(struct loop *l, uint64_t debounce_ms,
                                  void (*hook)(void *owner), void *owner);
int file_watch_add(struct file_watch *w, const char *directory); /* once each */
void file_watch_free(struct file_watch **w);

struct file_info {
    uint64_t size;
    int64_t mtime;    /* seconds */
    uint64_t mtime_ns; /* the fraction */
    uint64_t inode;
    bool is_directory, is_regular;
};
/* A directory that files are opened beneath: whatever the path says, nothing
 * outside is reached ("..", absolute paths, links that lead out: RW_ENONAME's
 * errno kin -ENOENT/-EXDEV/-ELOOP). */
int dir_open(const char *path);                          /* fd or < 0 */
int dir_open_file(int dir, struct str path, struct file_info *info); /* fd */
int file_read(int fd, uint64_t offset, char *out, size_t n); /* bytes or < 0 */
void file_close(int fd);

/* ── streams ──────────────────────────────────────────────────────────────*/

struct stream;

struct stream_hooks {
    void (*on_data)(struct stream *s, struct str bytes);
    void (*on_eof)(struct stream *s);   /* the peer will send no more; NULL:
                                           stream_close */
    void (*on_drain)(struct stream *s); /* the queue fell below low_water after
                                           a write that was told to pause */
    void (*on_close)(struct stream *s, int reason); /* 0: clean; see rule 2 */
};

/* Who is at the other end, or at ours. */
struct address {
    enum { ADDRESS_NONE, ADDRESS_TCP, ADDRESS_UNIX, ADDRESS_STDIO, ADDRESS_PAIR } kind;
    char host[108]; /* numeric address, or the path of a unix socket */
    uint16_t port;
};
/* "127.0.0.1:80", "[::1]:80", "unix:/path", "stdio", "pair"; parse takes the
 * first three back: 0, or RW_ESYNTAX. */
struct str address_format(const struct address *a, char *out, size_t size);
int address_parse(struct str text, struct address *out);

/* What carries the bytes in the end: one table per kind, one file per table.
 * The queue is the stream's; the transport has its first chunk at most. */
struct chunk;
struct transport_ops {
    const char *name; /* "tcp", "unix", "stdio", "pair" */
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
 * passes on. A popped filter is detached when it is no longer on the stack. Bytes that it
 * keeps back (a handshake, a throttle) it announces with filter_hold. */
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
/* So many bytes more (or fewer) wait here: they count as stream->queued, close
 * waits for them, the transport is read meanwhile. 0 again before a pop. */
void filter_hold(struct filter *f, int64_t change);

/* Public part of every stream; transports embed it as their first member. */
struct stream {
    const struct transport_ops *ops;
    const struct stream_hooks *hooks;
    void *owner;                 /* the hooks' */
    struct loop *loop;
    const struct limits *limits; /* borrowed */
    struct filter *top, *bottom; /* NULL: none */
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
void stream_abort(struct stream *s, int reason); /* at once (RST where there is one) */

int stream_peer(struct stream *s, struct address *out);
int stream_host(struct stream *s, struct address *out);
/* "nodelay", "keepalive" (seconds; 0: off), "send_buffer", "receive_buffer" */
int stream_option(struct stream *s, const char *name, int64_t value);

/* Two streams, each the other's peer, in memory; hooks come from the loop. */
int stream_pair(struct loop *l, const struct limits *limits, struct stream *out[2]);
/* Standard input and output as one stream. */
int stream_stdio(struct loop *l, const struct limits *limits, struct stream **out);

/* ── listening and connecting ─────────────────────────────────────────────*/

enum endpoint_kind { ENDPOINT_TCP, ENDPOINT_UNIX, ENDPOINT_STDIO, ENDPOINT_FD };

struct endpoint {
    enum endpoint_kind kind;
    char host[256]; /* tcp: name or address, "" any; unix: path, '@x' abstract */
    uint16_t port;
    int fd;         /* ENDPOINT_FD */
    int backlog;    /* 0: 1024 */
    int mode;       /* unix: of the socket file; 0: as umask says */
    bool reuse_port, ipv6_only;
    uint32_t timeout_ms; /* connect; 0: 30 s */
};

struct listener;
struct listener_hooks {
    /* The stream is the owner's now (hooks, owner, reading still unset). */
    void (*on_accept)(struct listener *l, struct stream *s);
    void (*on_close)(struct listener *l); /* last */
};
/* 0 or < 0 (EADDRINUSE, EACCES, …). Bound and listening when it returns, but
 * accepts only after listener_start: a connection waits in the backlog. */
int listener_open(struct loop *l, const struct endpoint *e,
                  const struct limits *limits, struct listener **out);
void listener_start(struct listener *l, const struct listener_hooks *hooks, void *owner);
void listener_stop(struct listener *l); /* stops accepting, stays bound */
void listener_close(struct listener *l);
void *listener_owner(const struct listener *l);
int listener_address(const struct listener *l, struct address *out); /* real port */
uint64_t listener_accepted(const struct listener *l);
uint64_t listener_shed(const struct listener *l); /* no descriptor, no memory */

/* Calls back once from the loop: status 0 and the stream, or < 0. */
struct connector;
int connector_open(struct loop *l, const struct endpoint *e, const struct limits *limits,
                   void (*done)(void *owner, int status, struct stream *s), void *owner,
                   struct connector **out);
void connector_cancel(struct connector *c); /* done comes with RW_ECANCELED */

#endif
