/* SPDX-License-Identifier: MIT */
/* Listeners: one socket, or several when a name has several addresses. They are
 * ours and watched by a uv_poll each: libuv's own uv_listen accepts one
 * connection per turn and hides what happens without descriptors.
 *
 * Per turn and socket at most ACCEPT_SLICE connections are taken, so that a flood of new
 * ones does not starve the old ones; what is left is reported again by the next
 * poll. Without a free descriptor the loop's reserve is given up for a moment:
 * the connection is accepted and closed, which empties the backlog (a poll that
 * reports it for ever would spin) and tells the peer now rather than never.
 * Where even that fails, accepting pauses.
 */
#include "io/sim.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPT_SLICE = 64,
    ACCEPT_PAUSE = 100, /* ms */
};

struct ear { /* one socket */
    uv_poll_t poll;
    struct listener *listener;
    int fd;
    bool is_unix;
};

struct listener {
    struct loop *loop;
    const struct listener_hooks *hooks;
    void *owner;
    const struct limits *limits;
    struct timer pause;
    uint64_t accepted, shed;
    struct socket_file file;
    bool started, closing;
    struct sim_port simulated; /* in a simulated loop, instead of ears */
    struct deferral gone;      /* likewise */
    unsigned handles; /* libuv's that are open */
    unsigned count, room; /* ears, and what was allocated for them */
    struct ear ears[];
};

static size_t size_of(unsigned count) {
    return sizeof(struct listener) + count * sizeof(struct ear);
}

/* ── accepting ────────────────────────────────────────────────────────────*/

static void on_readable(uv_poll_t *p, int status, int events);

static void go_on(struct listener *s);

static void pause_over(struct timer *t) {
    go_on(CONTAINER(t, struct listener, pause));
}

static void stop_polling(struct listener *s) {
    for (unsigned i = 0; i < s->count; i++) uv_poll_stop(&s->ears[i].poll);
}

static void pause_accepting(struct listener *s) {
    stop_polling(s);
    timer_start(s->loop, &s->pause, ACCEPT_PAUSE, pause_over);
}

static void go_on(struct listener *s) {
    for (unsigned i = 0; i < s->count; i++) {
        if (uv_poll_start(&s->ears[i].poll, UV_READABLE, on_readable) == 0)
            continue;
        pause_accepting(s);
        return;
    }
}

static int next_connection(const struct ear *e) {
    int fd = accept4(e->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Takes one connection out of the backlog, only to close it. */
static bool shed(const struct ear *e) {
    struct loop *l = e->listener->loop;
    if (l->reserve >= 0) close(l->reserve);
    int fd = next_connection(e);
    if (fd >= 0) {
        close(fd);
        e->listener->shed++;
    }
    l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0 || fd == -EAGAIN;
}

static void hand_out(const struct ear *e, int fd) {
    struct listener *s = e->listener;
    struct stream *stream;
    int rc = e->is_unix ? unix_adopt(s->loop, fd, s->limits, &stream)
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
static bool accept_one(const struct ear *e) {
    int fd = next_connection(e);
    if (fd >= 0) {
        hand_out(e, fd);
        return true;
    }
    switch (fd) {
    case -EAGAIN: return false;
    case -EMFILE:
    case -ENFILE:
        if (shed(e)) return true;
        break;
    case -ENOMEM:
    case -ENOBUFS:
    case -EBADF:
    case -EINVAL:
    case -ENOTSOCK: break;
    default: return true; /* this connection's own trouble: ECONNABORTED … */
    }
    pause_accepting(e->listener);
    return false;
}

static void on_readable(uv_poll_t *p, int status, int events) {
    struct ear *e = CONTAINER(p, struct ear, poll);
    struct listener *s = e->listener;
    (void)events;
    if (status < 0) {
        pause_accepting(s);
        return;
    }
    for (int i = 0; i < ACCEPT_SLICE && s->started && !s->closing; i++)
        if (!accept_one(e)) return;
}

static void simulated_arrival(struct sim_port *p, struct stream *stream) {
    struct listener *s = CONTAINER(p, struct listener, simulated);
    s->accepted++;
    s->hooks->on_accept(s, stream);
}

/* ── opening ──────────────────────────────────────────────────────────────*/

static int open_sockets(const struct endpoint *e, int fds[LISTENER_SOCKETS],
                        struct socket_file *file) {
    switch (e->kind) {
    case ENDPOINT_TCP: return bind_tcp(e, fds);
    case ENDPOINT_UNIX:
        fds[0] = bind_unix(e, SOCK_STREAM, file);
        return fds[0] < 0 ? fds[0] : 1;
    case ENDPOINT_FD:
    case ENDPOINT_SYSTEMD: return inherit_listening(e, fds);
    case ENDPOINT_STDIO:
    case ENDPOINT_UDP:
    case ENDPOINT_UNIXGRAM: break;
    }
    return RW_EINVAL;
}

static int family_of(int fd) {
    int family = 0;
    socklen_t size = sizeof family;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0)
        return -errno;
    return family;
}

static int open_ear(struct listener *s, int fd) {
    struct ear *e = &s->ears[s->count];
    int rc = uv_poll_init(&s->loop->uv, &e->poll, fd);
    if (rc < 0) return rc;
    e->listener = s;
    e->fd = fd;
    e->is_unix = family_of(fd) == AF_UNIX;
    s->count++;
    s->handles++;
    return 0;
}

static int open_simulated(struct loop *l, const struct endpoint *e,
                          const struct limits *limits, struct listener **out) {
    struct listener *s = mem_zalloc(l->mem, size_of(0));
    if (!s) return RW_ENOMEM;
    s->loop = l;
    s->limits = limits;
    s->simulated.arrived = simulated_arrival;
    int rc = sim_port_open(l, e, limits, &s->simulated);
    if (rc < 0) {
        mem_free(l->mem, s, size_of(0));
        return rc;
    }
    loop_opened(l, LEDGER_LISTENER);
    *out = s;
    return 0;
}

int listener_open(struct loop *l, const struct endpoint *e,
                  const struct limits *limits, struct listener **out) {
    int fds[LISTENER_SOCKETS];
    if (l->sim) return open_simulated(l, e, limits, out);
    struct socket_file file = {.lock = -1};
    int count = open_sockets(e, fds, &file), rc = RW_ENOMEM;
    if (count < 0) return count;
    struct listener *s = mem_zalloc(l->mem, size_of((unsigned)count));
    if (s) {
        s->loop = l;
        s->limits = limits;
        s->room = (unsigned)count;
        s->file = file;
        rc = 0;
        loop_opened(l, LEDGER_LISTENER);
    }
    int opened = 0;
    while (rc == 0 && opened < count) {
        rc = open_ear(s, fds[opened]);
        opened += rc == 0;
    }
    *out = s;
    if (rc == 0) return 0;
    while (count > opened) close(fds[--count]);
    if (s) listener_close(s);
    else socket_file_leave(&file);
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
    stop_polling(s);
}

/* ── closing ──────────────────────────────────────────────────────────────*/

static void gone(struct listener *s) {
    struct loop *l = s->loop;
    if (s->hooks && s->hooks->on_close) s->hooks->on_close(s);
    l->closing--;
    loop_gone(l, LEDGER_LISTENER);
    mem_free(l->mem, s, size_of(s->room));
}

static void on_gone(uv_handle_t *h) {
    struct listener *s = CONTAINER(h, struct ear, poll)->listener;
    if (--s->handles == 0) gone(s);
}

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
    socket_file_leave(&s->file); /* now: later it could be somebody else's */
    for (unsigned i = 0; i < s->count; i++) {
        uv_close((uv_handle_t *)&s->ears[i].poll, on_gone);
        close(s->ears[i].fd);
    }
    if (s->count == 0) gone(s);
}

/* ── questions ────────────────────────────────────────────────────────────*/

void *listener_owner(const struct listener *s) { return s->owner; }

int listener_address(const struct listener *s, unsigned n,
                     struct address *out) {
    *out = (struct address){0};
    if (s->closing) return RW_ECLOSED;
    if (s->loop->sim) {
        if (n > 0) return RW_ENONAME;
        *out = s->simulated.address;
        return 0;
    }
    if (n >= s->count) return RW_ENONAME;
    return address_of_socket(s->ears[n].fd, false, out);
}

uint64_t listener_accepted(const struct listener *s) { return s->accepted; }

uint64_t listener_shed(const struct listener *s) { return s->shed; }
