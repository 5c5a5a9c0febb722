/* SPDX-License-Identifier: MIT */
/* Inside the io layer: the only header that includes uv.h. A loop is an
 * instance; nothing here is global, so a process may have several. */
#ifndef IO_INTERNAL_H
#define IO_INTERNAL_H

#include <stddef.h>
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
    struct timer ready;          /* delay 0, for this turn */
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
void wheel_fire(struct wheel *w, uint64_t now);

/* ── the loop ─────────────────────────────────────────────────────────────*/

enum ledger_kind {
    LEDGER_TCP, LEDGER_UNIX, LEDGER_STDIO, LEDGER_PAIR, LEDGER_LINGERING,
    LEDGER_LISTENER, LEDGER_CONNECTOR, LEDGER_WAKER, LEDGER_SIGNAL,
    LEDGER_WATCH, LEDGER_KINDS
};

enum {
    LOOP_BUFFER = 64 * 1024, /* one read of one stream */
};

struct loop {
    uv_loop_t uv; /* uv.data: this */
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
    size_t closing; /* objects whose end was asked for and has not come */
    int reserve;    /* descriptor given up to shed a connection; -1: none */
    uint64_t handshake_turn; /* turn in which … */
    unsigned handshakes;     /* … so many steps of TLS handshakes were made */
    bool turning, stopping;
    bool buffer_busy; /* a hook is looking at it */
    char buffer[LOOP_BUFFER];
};

static inline void loop_opened(struct loop *l, enum ledger_kind kind) {
    l->open[kind]++;
}
static inline void loop_gone(struct loop *l, enum ledger_kind kind) {
    l->open[kind]--;
}

/* ── addresses ────────────────────────────────────────────────────────────*/

struct sockaddr;
void address_of(const struct sockaddr *sa, size_t size, struct address *out);
/* getsockname or getpeername of a descriptor. */
int address_of_socket(int fd, bool peer, struct address *out);
/* The name of a unix socket, '@' for abstract: 0, or -ENAMETOOLONG. */
struct sockaddr_un;
int address_unix(const char *path, struct sockaddr_un *out, unsigned *size_out);

/* ── streams made from descriptors, listening sockets ─────────────────────*/

/* Takes the descriptor over unless it fails. */
int tcp_adopt(struct loop *l, int fd, const struct limits *limits,
              struct stream **out);
int unix_adopt(struct loop *l, int fd, const struct limits *limits,
               struct stream **out);

/* A bound, listening, non-blocking descriptor, or < 0. */
int bind_tcp(const struct endpoint *e);
int bind_unix(const struct endpoint *e);

/* getaddrinfo's errors in our space. */
int resolve_error(int eai);

#endif
