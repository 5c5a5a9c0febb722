/* SPDX-License-Identifier: MIT */
/* Streams over the descriptors of a child: pipes of one direction, a socket
 * pair, or the master's side of a terminal. True pipes, since a child may open
 * /dev/stdout anew, which sockets do not allow.
 *
 * Over uv_poll rather than uv_pipe: a pipe that is only written tells at once
 * when its last reader is gone, and a terminal's end, an error of its own, is
 * an end of file.
 */
#include "io/childpipe.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/stream_private.h"

struct childpipe {
    struct flow f;
    uv_poll_t poll;
    int fd;
    enum process_fd_kind kind;
    struct chunk *waiting; /* borrowed from the queue until stream_taken */
    struct stream **held;  /* who knows of the child's end points here; or NULL */
    bool hung;             /* a terminal that nobody has open, for now */
    bool end_due;          /* one that was too full for the end of file */
};

static struct childpipe *childpipe_of(struct stream *s) {
    return (struct childpipe *)(void *)s;
}

static void on_poll(uv_poll_t *h, int status, int events);

/* Asks for what is wanted now. */
static int arm(struct childpipe *p) {
    int events = 0;
    if (p->f.dying) return 0;
    if (p->f.polling && !p->hung) events |= UV_READABLE;
    if (p->waiting || p->end_due) events |= UV_WRITABLE;
    if (p->kind == PROCESS_FD_WRITE) events |= UV_DISCONNECT;
    if (events == 0) return uv_poll_stop(&p->poll);
    return uv_poll_start(&p->poll, events, on_poll);
}

/* ── reading ──────────────────────────────────────────────────────────────*/

static void stop_reading(struct childpipe *p) {
    p->f.polling = false;
    arm(p);
}

/* Its last process is gone: a terminal says EIO, a socket with unread bytes
 * that it was reset. */
static bool is_end(const struct childpipe *p, int error) {
    return (p->kind == PROCESS_FD_PTY && error == EIO) ||
           (p->kind == PROCESS_FD_BOTH && error == ECONNRESET);
}

static void receive(struct childpipe *p) {
    struct stream *s = &p->f.s;
    struct loop *l = s->loop;
    if (!p->f.polling) return;
    if (!stream_wants_input(s)) {
        stop_reading(p);
        return;
    }
    ssize_t n = read(p->fd, l->buffer, LOOP_BUFFER);
    if (n > 0) {
        l->buffer_busy = true;
        stream_input(s, str_of(l->buffer, (size_t)n));
        l->buffer_busy = false;
    } else if (n < 0 && p->held && errno == EIO) {
        p->hung = true; /* who lets go of it now, hangs the child up */
        arm(p);
    } else if (n == 0 || is_end(p, errno)) {
        stop_reading(p);
        stream_input_end(s);
    } else if (errno != EAGAIN && errno != EINTR) {
        stream_abort(s, -errno);
    }
}

static int childpipe_read(struct stream *s, bool on) {
    struct childpipe *p = childpipe_of(s);
    if (!on || p->kind == PROCESS_FD_WRITE) return 0;
    p->f.polling = true;
    return arm(p);
}

/* ── writing ──────────────────────────────────────────────────────────────*/

static int childpipe_write(struct stream *s, struct str bytes) {
    struct childpipe *p = childpipe_of(s);
    if (p->kind == PROCESS_FD_READ || p->kind == PROCESS_FD_NULL) return -EPIPE;
    ssize_t n;
    do n = write(p->fd, bytes.p, bytes.n);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
}

static int childpipe_queue(struct stream *s, struct chunk *c) {
    childpipe_of(s)->waiting = c;
    return arm(childpipe_of(s));
}

static size_t childpipe_unsent(struct stream *s) {
    return chunk_left(childpipe_of(s)->waiting);
}

/* The waiting chunk, as far as there is room. */
static void push(struct childpipe *p) {
    struct stream *s = &p->f.s;
    int rc;
    if (!p->waiting || p->f.dying || !outgoing_push(s, p->waiting, &rc)) return;
    p->waiting = NULL;
    arm(p);
    stream_taken(s, rc);
}

/* A terminal's input ends with a character; when there is no room for it, it
 * follows. */
static int send_end(struct childpipe *p) {
    static const char end_of_file = 4;
    ssize_t n;
    do n = write(p->fd, &end_of_file, 1);
    while (n < 0 && errno == EINTR);
    p->end_due = n < 0 && errno == EAGAIN;
    if (n < 0 && !p->end_due) return -errno;
    return arm(p);
}

static void on_poll(uv_poll_t *h, int status, int events) {
    struct childpipe *p = CONTAINER(h, struct childpipe, poll);
    (void)events; /* reading and writing find out */
    if (status < 0 && (p->kind == PROCESS_FD_WRITE || arm(p) < 0)) {
        stream_abort(&p->f.s, -EPIPE); /* the last reader is gone */
        return;
    }
    if (!p->f.dying) receive(p);
    if (!p->f.dying) push(p);
    int rc = p->end_due && !p->f.dying ? send_end(p) : 0;
    if (rc < 0) stream_abort(&p->f.s, rc);
}

/* ── the end ──────────────────────────────────────────────────────────────*/

/* What ends the child's input: of a terminal a character, else the last of the
 * descriptor. */
static int childpipe_shutdown(struct stream *s) {
    struct childpipe *p = childpipe_of(s);
    switch (p->kind) {
    case PROCESS_FD_BOTH: return shutdown(p->fd, SHUT_WR) < 0 ? -errno : 0;
    case PROCESS_FD_PTY: return send_end(p);
    default: break;
    }
    p->kind = PROCESS_FD_NULL;
    uv_poll_stop(&p->poll);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0) return -errno;
    int rc = dup3(null, p->fd, O_CLOEXEC) < 0 ? -errno : 0; /* the number is libuv's */
    close(null);
    return rc;
}

static void on_gone(uv_handle_t *h) {
    struct childpipe *p = CONTAINER(h, struct childpipe, poll);
    struct loop *l = p->f.s.loop;
    if (p->held) *p->held = NULL;
    if (p->waiting) {
        p->waiting = NULL;
        stream_taken(&p->f.s, RW_ECANCELED);
    }
    stream_closed(&p->f.s);
    mem_free(l->mem, p, sizeof *p);
}

static void childpipe_close(struct stream *s) {
    struct childpipe *p = childpipe_of(s);
    uv_close((uv_handle_t *)&p->poll, on_gone);
    close(p->fd); /* not before, see process_free */
}

static int childpipe_address(struct stream *s, struct address *out) {
    (void)s;
    out->kind = ADDRESS_PROCESS;
    return 0;
}

/* "window": rows << 16 | columns, of a terminal. */
static int childpipe_option(struct stream *s, const char *name, int64_t value) {
    struct childpipe *p = childpipe_of(s);
    if (p->kind != PROCESS_FD_PTY || strcmp(name, "window") != 0) return RW_EINVAL;
    struct winsize size = {.ws_row = (unsigned short)(value >> 16),
                           .ws_col = (unsigned short)(value & 0xffff)};
    return ioctl(p->fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

static const struct transport_ops childpipe_ops = {
    .name = "process",
    .write = childpipe_write,
    .queue = childpipe_queue,
    .unsent = childpipe_unsent,
    .read = childpipe_read,
    .shutdown = childpipe_shutdown,
    .close = childpipe_close,
    .peer = childpipe_address,
    .host = childpipe_address,
    .option = childpipe_option,
};

int childpipe_adopt(struct loop *l, int fd, enum process_fd_kind kind,
                    const struct limits *limits, struct stream **out) {
    struct childpipe *p = mem_zalloc(l->mem, sizeof *p);
    if (!p) return RW_ENOMEM;
    int rc = uv_poll_init(&l->uv, &p->poll, fd); /* makes it non-blocking */
    if (rc < 0) {
        mem_free(l->mem, p, sizeof *p);
        return rc;
    }
    p->fd = fd;
    p->kind = kind;
    flow_init(&p->f, l, limits, &childpipe_ops, LEDGER_CHILDPIPE);
    *out = &p->f.s;
    return 0;
}

void childpipe_hold(struct stream *s, struct stream **held) {
    childpipe_of(s)->held = held;
    *held = s;
}

void childpipe_let_go(struct stream **held) {
    if (!*held) return;
    struct childpipe *p = childpipe_of(*held);
    *held = NULL;
    p->held = NULL;
    p->hung = false;
    if (!p->f.dying) arm(p);
}

void childpipe_start(struct stream *s) {
    if (arm(childpipe_of(s)) < 0) stream_abort(s, RW_ENOMEM);
}
