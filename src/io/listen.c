/* SPDX-License-Identifier: MIT */
/* Listeners. The socket is ours and watched by a uv_poll: libuv's own uv_listen
 * accepts one connection per turn and hides what happens without descriptors.
 *
 * Per turn at most ACCEPT_SLICE connections are taken, so that a flood of new
 * ones does not starve the old ones; what is left is reported again by the next
 * poll. Without a free descriptor the loop's reserve is given up for a moment:
 * the connection is accepted and closed, which empties the backlog (a poll that
 * reports it for ever would spin) and tells the peer now rather than never.
 * Where even that fails, accepting pauses.
 */
#include "io/sim.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ACCEPT_SLICE = 64,
    ACCEPT_PAUSE = 100, /* ms */
};

struct listener {
    uv_poll_t poll;
    struct loop *loop;
    const struct listener_hooks *hooks;
    void *owner;
    const struct limits *limits;
    struct timer pause;
    uint64_t accepted, shed;
    struct stat file; /* of a socket file that is ours to unlink */
    char *path;       /* likewise; owned, NULL: none */
    int fd;
    bool is_unix, started, closing;
    struct sim_port simulated; /* in a simulated loop, instead of poll and fd */
    struct deferral gone;      /* likewise */
};

/* ── accepting ────────────────────────────────────────────────────────────*/

static void on_readable(uv_poll_t *p, int status, int events);

static void go_on(struct listener *s);

static void pause_over(struct timer *t) {
    go_on(CONTAINER(t, struct listener, pause));
}

static void pause_accepting(struct listener *s) {
    uv_poll_stop(&s->poll);
    timer_start(s->loop, &s->pause, ACCEPT_PAUSE, pause_over);
}

static void go_on(struct listener *s) {
    if (uv_poll_start(&s->poll, UV_READABLE, on_readable) < 0)
        pause_accepting(s);
}

static int next_connection(struct listener *s) {
    int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Takes one connection out of the backlog, only to close it. */
static bool shed(struct listener *s) {
    struct loop *l = s->loop;
    if (l->reserve >= 0) close(l->reserve);
    int fd = next_connection(s);
    if (fd >= 0) {
        close(fd);
        s->shed++;
    }
    l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0 || fd == -EAGAIN;
}

static void hand_out(struct listener *s, int fd) {
    struct stream *stream;
    int rc = s->is_unix ? unix_adopt(s->loop, fd, s->limits, &stream)
                        : tcp_adopt(s->loop, fd, s->limits, &stream);
    if (rc < 0) {
        s->shed++;
        close(fd);
        return;
    }
    s->accepted++;
    s->hooks->on_accept(s, stream);
}

/* Whether there may be more. */
static bool accept_one(struct listener *s) {
    int fd = next_connection(s);
    if (fd >= 0) {
        hand_out(s, fd);
        return true;
    }
    switch (fd) {
    case -EAGAIN: return false;
    case -EMFILE:
    case -ENFILE:
        if (shed(s)) return true;
        break;
    case -ENOMEM:
    case -ENOBUFS:
    case -EBADF:
    case -EINVAL:
    case -ENOTSOCK: break;
    default: return true; /* this connection's own trouble: ECONNABORTED … */
    }
    pause_accepting(s);
    return false;
}

static void on_readable(uv_poll_t *p, int status, int events) {
    struct listener *s = CONTAINER(p, struct listener, poll);
    (void)events;
    if (status < 0) {
        pause_accepting(s);
        return;
    }
    for (int i = 0; i < ACCEPT_SLICE && s->started && !s->closing; i++)
        if (!accept_one(s)) return;
}

static void simulated_arrival(struct sim_port *p, struct stream *stream) {
    struct listener *s = CONTAINER(p, struct listener, simulated);
    s->accepted++;
    s->hooks->on_accept(s, stream);
}

/* ── opening ──────────────────────────────────────────────────────────────*/

/* An inherited descriptor: what is it? */
static int adopt(int fd) {
    int on = 0;
    socklen_t size = sizeof on;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &size) < 0)
        return -errno;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    if (!on && listen(fd, SOMAXCONN) < 0) return -errno;
    return fd;
}

static int open_socket(const struct endpoint *e) {
    switch (e->kind) {
    case ENDPOINT_TCP: return bind_tcp(e);
    case ENDPOINT_UNIX: return bind_unix(e);
    case ENDPOINT_FD: return adopt(e->fd);
    case ENDPOINT_STDIO: case ENDPOINT_UDP: break;
    }
    return RW_EINVAL;
}

static int family_of(int fd) {
    int family = 0;
    socklen_t size = sizeof family;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0)
        return -errno;
    if (family == AF_INET || family == AF_INET6 || family == AF_UNIX)
        return family;
    return -EAFNOSUPPORT;
}

static int remember_file(struct listener *s, const char *path) {
    if (path[0] == '@' || stat(path, &s->file) < 0) return 0;
    size_t n = strlen(path) + 1;
    s->path = mem_alloc(s->loop->mem, n);
    if (!s->path) return RW_ENOMEM;
    memcpy(s->path, path, n);
    return 0;
}

/* Another process may have put its own in the place. */
static void forget_file(struct listener *s) {
    struct stat now;
    if (!s->path) return;
    if (stat(s->path, &now) == 0 && now.st_dev == s->file.st_dev &&
        now.st_ino == s->file.st_ino)
        unlink(s->path);
    mem_free(s->loop->mem, s->path, strlen(s->path) + 1);
    s->path = NULL;
}

int listener_open(struct loop *l, const struct endpoint *e,
                  const struct limits *limits, struct listener **out) {
    struct listener *s = mem_zalloc(l->mem, sizeof *s);
    if (!s) return RW_ENOMEM;
    s->loop = l;
    s->limits = limits;
    int rc;
    if (l->sim) {
        s->simulated.arrived = simulated_arrival;
        if ((rc = sim_port_open(l, e, limits, &s->simulated)) < 0) goto fail;
        loop_opened(l, LEDGER_LISTENER);
        *out = s;
        return 0;
    }
    rc = s->fd = open_socket(e);
    if (rc < 0) goto fail;
    int family = rc = family_of(s->fd);
    if (rc < 0) goto fail_open;
    s->is_unix = family == AF_UNIX;
    int on = 1;
    if (e->kind == ENDPOINT_FD && !s->is_unix)
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (e->kind == ENDPOINT_UNIX && (rc = remember_file(s, e->host)) < 0) {
        unlink(e->host);
        goto fail_open;
    }
    if ((rc = uv_poll_init(&l->uv, &s->poll, s->fd)) < 0) goto fail_open;
    loop_opened(l, LEDGER_LISTENER);
    *out = s;
    return 0;
fail_open:
    forget_file(s);
    if (e->kind != ENDPOINT_FD) close(s->fd); /* or it stays the caller's */
fail:
    mem_free(l->mem, s, sizeof *s);
    return rc;
}

void listener_start(struct listener *s, const struct listener_hooks *hooks,
                    void *owner) {
    s->hooks = hooks;
    s->owner = owner;
    if (s->started || s->closing) return;
    s->started = true;
    if (s->loop->sim) sim_port_start(&s->simulated, true);
    else go_on(s);
}

void listener_stop(struct listener *s) {
    if (!s->started || s->closing) return;
    s->started = false;
    if (s->loop->sim) {
        sim_port_start(&s->simulated, false);
        return;
    }
    timer_stop(s->loop, &s->pause);
    uv_poll_stop(&s->poll);
}

/* ── closing ──────────────────────────────────────────────────────────────*/

static void gone(struct listener *s) {
    struct loop *l = s->loop;
    if (s->hooks && s->hooks->on_close) s->hooks->on_close(s);
    l->closing--;
    loop_gone(l, LEDGER_LISTENER);
    mem_free(l->mem, s, sizeof *s);
}

static void on_gone(uv_handle_t *h) { gone(CONTAINER(h, struct listener, poll)); }

static void simulated_gone(struct deferral *d) {
    gone(CONTAINER(d, struct listener, gone));
}

void listener_close(struct listener *s) {
    if (s->closing) return;
    listener_stop(s);
    s->closing = true;
    s->loop->closing++;
    if (s->loop->sim) {
        sim_port_close(&s->simulated);
        s->gone.run = simulated_gone;
        loop_defer(s->loop, &s->gone);
        return;
    }
    uv_close((uv_handle_t *)&s->poll, on_gone);
    forget_file(s); /* first, or it could be somebody else's by then */
    close(s->fd);
}

/* ── questions ────────────────────────────────────────────────────────────*/

void *listener_owner(const struct listener *s) { return s->owner; }

int listener_address(const struct listener *s, struct address *out) {
    *out = (struct address){0};
    if (s->closing) return RW_ECLOSED;
    if (!s->loop->sim) return address_of_socket(s->fd, false, out);
    *out = s->simulated.address;
    return 0;
}

uint64_t listener_accepted(const struct listener *s) { return s->accepted; }

uint64_t listener_shed(const struct listener *s) { return s->shed; }
