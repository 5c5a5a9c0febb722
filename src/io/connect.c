/* SPDX-License-Identifier: MIT */
/* Connecting: resolve, then try the addresses in turn, all within one time-out.
 *
 *     RESOLVING ──→ TRYING an address ──→ the next … ──→ done(0, stream)
 *         └────────────┴──── time-out, cancel, none left ──→ done(error)
 *
 * An attempt has a socket and a uv_poll of its own, so that the next one can
 * begin while the last one's handle is still closing; only a connected
 * descriptor becomes a stream. `done` comes from the deferral phase, after
 * which the connector waits for its handles and goes.
 */
#include "io/sim.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    CONNECT_TIMEOUT = 30000, /* ms */
    UNIX_RETRY = 20,         /* ms: the backlog is full */
};

struct attempt {
    uv_poll_t poll;
    struct connector *connector;
    int fd; /* -1: given away or closed */
};

struct connector {
    struct loop *loop;
    const struct limits *limits;
    void (*done)(void *owner, int status, struct stream *s);
    void *owner;
    struct endpoint endpoint;
    uv_getaddrinfo_t resolver;
    struct addrinfo *all, *next; /* all: owned */
    struct attempt *attempt;     /* the one under way */
    struct timer timeout, retry;
    struct deferral finish;
    struct sim_dial simulated; /* in a simulated loop, instead of the attempts */
    struct stream *stream; /* the result */
    int status;
    unsigned handles; /* libuv's that point here */
    bool resolving, finished, told;
};

static void try_next(struct connector *c);

/* ── the end ──────────────────────────────────────────────────────────────*/

static void maybe_free(struct connector *c) {
    struct loop *l = c->loop;
    if (!c->told || c->handles) return;
    uv_freeaddrinfo(c->all);
    l->closing--;
    loop_gone(l, LEDGER_CONNECTOR);
    mem_free(l->mem, c, sizeof *c);
}

static void run_finish(struct deferral *d) {
    struct connector *c = CONTAINER(d, struct connector, finish);
    c->told = true;
    c->done(c->owner, c->status, c->stream);
    maybe_free(c);
}

static void attempt_gone(uv_handle_t *h) {
    struct attempt *a = CONTAINER(h, struct attempt, poll);
    struct connector *c = a->connector;
    mem_free(c->loop->mem, a, sizeof *a);
    c->handles--;
    maybe_free(c);
}

static void attempt_end(struct connector *c) {
    struct attempt *a = c->attempt;
    if (!a) return;
    c->attempt = NULL;
    uv_close((uv_handle_t *)&a->poll, attempt_gone);
    if (a->fd >= 0) close(a->fd);
}

static void finish(struct connector *c, int status, struct stream *s) {
    if (c->finished) return;
    c->finished = true;
    c->status = status;
    c->stream = s;
    c->loop->closing++;
    timer_stop(c->loop, &c->timeout);
    timer_stop(c->loop, &c->retry);
    if (c->loop->sim) sim_dial_stop(&c->simulated);
    attempt_end(c);
    c->finish.run = run_finish;
    loop_defer(c->loop, &c->finish);
}

static void give_up(struct connector *c, int status) {
    if (c->resolving) uv_cancel((uv_req_t *)&c->resolver);
    finish(c, status, NULL);
}

static void on_timeout(struct timer *t) {
    give_up(CONTAINER(t, struct connector, timeout), RW_ETIMEDOUT);
}

/* ── one attempt ──────────────────────────────────────────────────────────*/

static void connected(struct connector *c, int fd) {
    struct stream *s = NULL;
    int on = 1, rc;
    if (c->endpoint.kind == ENDPOINT_UNIX) {
        rc = unix_adopt(c->loop, fd, c->limits, &s);
    } else {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        rc = tcp_adopt(c->loop, fd, c->limits, &s);
    }
    if (rc < 0) close(fd);
    finish(c, rc, s);
}

static void on_writable(uv_poll_t *p, int status, int events) {
    struct attempt *a = CONTAINER(p, struct attempt, poll);
    struct connector *c = a->connector;
    int error = 0, fd = a->fd;
    socklen_t size = sizeof error;
    (void)events;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
    if (!error && status < 0) error = -status;
    if (!error) a->fd = -1; /* becomes the stream's */
    attempt_end(c);
    if (!error) {
        connected(c, fd);
        return;
    }
    c->status = -error;
    try_next(c);
}

static int watch(struct connector *c, int fd) {
    struct attempt *a = mem_zalloc(c->loop->mem, sizeof *a);
    if (!a) return RW_ENOMEM;
    int rc = uv_poll_init(&c->loop->uv, &a->poll, fd);
    if (rc < 0) {
        mem_free(c->loop->mem, a, sizeof *a);
        return rc;
    }
    a->connector = c;
    a->fd = fd;
    c->handles++;
    c->attempt = a;
    return uv_poll_start(&a->poll, UV_WRITABLE, on_writable);
}

/* 0: under way or done; < 0: not this one. */
static int try_address(struct connector *c, const struct sockaddr *sa,
                       socklen_t size) {
    int rc, fd = socket(sa->sa_family,
                        SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    do rc = connect(fd, sa, size) < 0 ? -errno : 0;
    while (rc == -EINTR);
    if (rc == 0) {
        connected(c, fd);
        return 0;
    }
    if (rc == -EINPROGRESS) {
        rc = watch(c, fd);
        if (rc == 0) return 0;
        if (c->attempt) { /* owns the descriptor */
            attempt_end(c);
            return rc;
        }
    }
    close(fd);
    return rc;
}

static void try_next(struct connector *c) {
    while (c->next) {
        struct addrinfo *a = c->next;
        c->next = a->ai_next;
        int rc = try_address(c, a->ai_addr, a->ai_addrlen);
        if (rc == 0) return;
        c->status = rc;
    }
    finish(c, c->status ? c->status : RW_ENONAME, NULL);
}

/* ── unix ─────────────────────────────────────────────────────────────────*/

static void try_unix(struct timer *t) {
    struct connector *c = CONTAINER(t, struct connector, retry);
    struct sockaddr_un un;
    unsigned size;
    int rc = address_unix(c->endpoint.host, &un, &size);
    if (rc == 0) rc = try_address(c, (struct sockaddr *)&un, size);
    if (rc == RW_EAGAIN) timer_start(c->loop, t, UNIX_RETRY, try_unix);
    else if (rc < 0) finish(c, rc, NULL);
}

/* ── tcp ──────────────────────────────────────────────────────────────────*/

static void on_resolved(uv_getaddrinfo_t *r, int status, struct addrinfo *all) {
    struct connector *c = CONTAINER(r, struct connector, resolver);
    c->handles--;
    c->resolving = false;
    c->all = c->next = all;
    if (c->finished) maybe_free(c);
    else if (status < 0) finish(c, resolve_error(status), NULL);
    else try_next(c);
}

/* A numeric address asks no thread. */
static int resolve(struct connector *c) {
    const char *host = c->endpoint.host[0] ? c->endpoint.host : "localhost";
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)c->endpoint.port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST};
    if (getaddrinfo(host, port, &hints, &c->all) == 0) {
        c->next = c->all;
        try_next(c);
        return 0;
    }
    c->all = NULL;
    hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
    int rc = uv_getaddrinfo(&c->loop->uv, &c->resolver, on_resolved, host, port,
                            &hints);
    if (rc == 0) {
        c->handles++;
        c->resolving = true;
    }
    return rc;
}

static void dialled(struct sim_dial *d, int status, struct stream *s) {
    finish(CONTAINER(d, struct connector, simulated), status, s);
}

/* ── public ───────────────────────────────────────────────────────────────*/

int connector_open(struct loop *l, const struct endpoint *e,
                   const struct limits *limits,
                   void (*done)(void *owner, int status, struct stream *s),
                   void *owner, struct connector **out) {
    if (e->kind != ENDPOINT_TCP && e->kind != ENDPOINT_UNIX) return RW_EINVAL;
    struct connector *c = mem_zalloc(l->mem, sizeof *c);
    if (!c) return RW_ENOMEM;
    c->loop = l;
    c->limits = limits;
    c->done = done;
    c->owner = owner;
    c->endpoint = *e;
    if (l->sim) {
        c->simulated.dialled = dialled;
        sim_dial_start(l, e, limits, &c->simulated);
    } else if (e->kind == ENDPOINT_UNIX) {
        try_unix(&c->retry);
    } else {
        int rc = resolve(c);
        if (rc < 0) {
            mem_free(l->mem, c, sizeof *c);
            return rc;
        }
    }
    loop_opened(l, LEDGER_CONNECTOR);
    if (!c->finished)
        timer_start(l, &c->timeout,
                    e->timeout_ms ? e->timeout_ms : CONNECT_TIMEOUT,
                    on_timeout);
    *out = c;
    return 0;
}

/* A stream that was there already is taken back. */
void connector_cancel(struct connector *c) {
    if (c->told) return;
    if (c->finished) {
        if (c->stream) stream_abort(c->stream, RW_ECANCELED);
        c->stream = NULL;
        c->status = RW_ECANCELED;
        return;
    }
    give_up(c, RW_ECANCELED);
}
