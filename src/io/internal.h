/* SPDX-License-Identifier: MIT */
/* Inside the io layer: the only header that includes uv.h. A loop is an
 * instance; nothing here is global, so a process may have several. */
#ifndef IO_INTERNAL_H
#define IO_INTERNAL_H

#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#include "base/container.h"
#include "io/io.h"

/* ── the wheel ────────────────────────────────────────────────────────────*/

enum {
    WHEEL_BITS = 6,
    WHEEL_SLOTS = 1 << WHEEL_BITS,
    WHEEL_LEVELS = 7, /* 2^42 ms: 139 years of uptime */
};

/* Lists are circular through a sentinel, so that a timer can leave its list
 * without knowing which one it is in. */
struct wheel {
    uint64_t now;   /* every timer due up to here has left the slots */
    size_t count;   /* active timers */
    uint64_t used[WHEEL_LEVELS]; /* bit: the slot may have timers */
    struct timer ready;          /* due: delay 0, or left over, for this turn */
    struct timer soon;           /* delay 0, for the next turn */
    struct timer slot[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, uint64_t now);
void wheel_drop_all(struct wheel *w); /* every timer becomes idle */

/* Start of a turn: what was armed with delay 0 in the last one is ready. */
void wheel_turn(struct wheel *w);
bool wheel_is_ready(const struct wheel *w);
/* Not later than the first timer's due time; UINT64_MAX: no timer. */
uint64_t wheel_next(struct wheel *w);
/* At most LOOP_SLICE; what is left of those due is ready then. */
void wheel_fire(struct wheel *w, uint64_t now);

/* ── the loop ─────────────────────────────────────────────────────────────*/

enum ledger_kind {
    LEDGER_TCP, LEDGER_UNIX, LEDGER_STDIO, LEDGER_PAIR, LEDGER_SIMULATED, LEDGER_LINGERING,
    LEDGER_LISTENER, LEDGER_DATAGRAM, LEDGER_CONNECTOR, LEDGER_WAKER, LEDGER_SIGNAL,
    LEDGER_WATCH, LEDGER_NAMES, LEDGER_PROCESS, LEDGER_CHILDPIPE, LEDGER_THREADS, LEDGER_KINDS
};

enum {
    LOOP_BUFFER = 64 * 1024, /* one read of one stream */
    LOOP_SLICE = 256,        /* timers of one turn, and deferrals; then others */
};

struct loop {
    uv_loop_t uv; /* uv.data: this */
    struct sim *sim; /* owned; NULL: this is the real one, else uv is not in use */
    struct mem *mem;
    uv_timer_t tick;   /* wakes the poll for the wheel; does nothing else */
    uint64_t tick_due; /* while tick is active */
    struct wheel wheel;
    struct deferral deferred;  /* sentinel */
    struct turn_end turn_ends; /* sentinel */
    uint64_t turn;
    uint64_t unix_turn; /* turn in which unix_time was read */
    int64_t unix_time;
    unsigned open[LEDGER_KINDS];
    struct thread_pool *pools; /* list */
    size_t closing; /* objects whose end was asked for and has not come */
    struct names *names; /* list */
    int reserve;    /* descriptor given up to shed a connection; -1: none */
    uint64_t handshake_turn; /* turn in which … */
    uint64_t handshake_time; /* … so many nanoseconds went into TLS handshakes */
    size_t handshakes;       /* TLS handshakes that are under way */
    bool turning, stopping;
    bool buffer_busy; /* a hook is looking at it */
    char *batch; /* owned: what datagram sockets read into; NULL: there are none */
    char buffer[LOOP_BUFFER];
};

static inline void loop_opened(struct loop *l, enum ledger_kind kind) {
    l->open[kind]++;
}
static inline void loop_gone(struct loop *l, enum ledger_kind kind) {
    l->open[kind]--;
}

/* ── the simulated one (sim.h) ────────────────────────────────────────────*/

int sim_init(struct loop *l);
void sim_free(struct loop *l);
void sim_poll(struct loop *l);
bool sim_alive(const struct loop *l);
uint64_t sim_now(const struct loop *l);
/* Leaves the threads of all pools to themselves. */
void thread_pools_abandon(struct loop *l);

/* ── addresses ────────────────────────────────────────────────────────────*/

struct sockaddr;
void address_of(const struct sockaddr *sa, size_t size, struct address *out);
/* getsockname or getpeername of a descriptor. */
int address_of_socket(int fd, bool peer, struct address *out);
/* The name of a unix socket, '@' for abstract: 0, or -ENAMETOOLONG. */
struct sockaddr_un;
int address_unix(const char *path, struct sockaddr_un *out, unsigned *size_out);

/* Its size. */
struct ip;
struct sockaddr_storage;
unsigned ip_to_sockaddr(const struct ip *ip, uint16_t port, struct sockaddr_storage *out);

/* ── streams made from descriptors, listening sockets ─────────────────────*/

/* Takes the descriptor over unless it fails. */
int tcp_adopt(struct loop *l, int fd, const struct limits *limits,
              struct stream **out);
int unix_adopt(struct loop *l, int fd, const struct limits *limits,
               struct stream **out);

/* Bound, listening, non-blocking descriptors: how many, or < 0. */
int bind_tcp(const struct endpoint *e, int fds[LISTENER_SOCKETS]);
int backlog_of(const struct endpoint *e);
/* The same of descriptors that the process was started with (inherit.c):
 * duplicates, the originals stay. */
int inherit_listening(const struct endpoint *e, int fds[LISTENER_SOCKETS]);
int inherit_datagram(const struct endpoint *e);
/* Is that one of the kind that the endpoint wants? 0 or < 0. */
int inherit_check(const struct endpoint *e, int fd);
enum { TCP_KEEP_ALIVE_MAX = 32767 }; /* seconds, the kernel's */
/* After so many seconds of silence, and again, the peer is asked whether it is there; 0: never. */
int tcp_keep_alive(int fd, int seconds);
/* nodelay, keepalive: what a listening socket has its connections inherit. */
void tcp_options(const struct endpoint *e, int fd);

/* ── the files of UNIX sockets ────────────────────────────────────────────*/

struct socket_file {
    char path[108]; /* "": there is none that is ours */
    dev_t device;
    ino_t inode;
    int lock;       /* the one beside it; -1: none */
};
/* SOCK_STREAM, listening, or SOCK_DGRAM: the descriptor, or < 0. */
int bind_unix(const struct endpoint *e, int type, struct socket_file *file);
/* Unlinks it if it is still ours, and lets go of the lock. */
void socket_file_leave(struct socket_file *file);
/* Of user= and group=; -1: as it is. */
int unix_owner(const struct endpoint *e, uid_t *user, gid_t *group);
/* The descriptor that holds the lock; RW_ELOCKED: a living process has it. */
int unix_lock_take(const struct endpoint *e);
/* Does the owner of that socket live? 0, RW_EUNLOCKED or < 0. */
int unix_lock_check(const char *socket);

void datagram_free_batch(struct loop *l);

/* getaddrinfo's errors in our space. */
int resolve_error(int eai);

#endif
