/* SPDX-License-Identifier: MIT */
/* Standard input and output as one stream, whatever they are: terminals, pipes,
 * sockets (inetd), files.
 *
 * Pipes and sockets become uv_pipes on duplicates of the descriptors, terminals
 * uv_ttys; their descriptions are shared with other processes (the shell), so
 * the blocking mode is put back at the end. Files are always ready and no poll
 * takes them: they are read from the deferral phase, a buffer a turn, and
 * written directly. A pipe has no half-close: the end of our output, or of the
 * stream, is the end of descriptor 1, which then is /dev/null; a peer sees the
 * end of a stream whoever else still holds the descriptor of a socket.
 */
#include "io/stream_private.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct side {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tty_t tty;
    } uv;
    int fd;    /* the duplicate; a file's own */
    int flags; /* to restore */
    bool is_file, is_tty, open;
    bool owned; /* fd is closed by us: no handle has it */
};

struct stdio {
    struct flow f;
    struct side in, out;
    struct deferral next; /* next piece of a file; the last hook */
    unsigned handles;
};

static struct stdio *stdio_of(struct stream *s) {
    return (struct stdio *)(void *)s;
}

/* ── reading ──────────────────────────────────────────────────────────────*/

static void read_file(struct deferral *d) {
    struct stdio *t = CONTAINER(d, struct stdio, next);
    struct stream *s = &t->f.s;
    if (!stream_wants_input(s)) {
        t->f.polling = false;
        return;
    }
    ssize_t n = read(t->in.fd, s->loop->buffer, LOOP_BUFFER);
    if (n > 0) {
        loop_defer(s->loop, d);
        stream_input(s, str_of(s->loop->buffer, (size_t)n));
    } else {
        t->f.polling = false;
        if (n == 0) stream_input_end(s);
        else if (errno == EINTR || errno == EAGAIN) s->ops->read(s, true);
        else stream_abort(s, -errno);
    }
}

static int stdio_read(struct stream *s, bool on) {
    struct stdio *t = stdio_of(s);
    if (!on) return 0;
    if (!t->in.is_file) return uvs_read(&t->in.uv.stream);
    t->f.polling = true;
    t->next.run = read_file;
    loop_defer(s->loop, &t->next);
    return 0;
}

/* ── writing ──────────────────────────────────────────────────────────────*/

static int stdio_write(struct stream *s, struct str bytes) {
    struct side *out = &stdio_of(s)->out;
    if (!out->open) return -EPIPE;
    if (!out->is_file) return uvs_write(&out->uv.stream, bytes);
    size_t done = 0;
    while (done < bytes.n) {
        ssize_t n = write(out->fd, bytes.p + done, bytes.n - done);
        if (n < 0 && errno != EINTR) return -errno;
        if (n > 0) done += (size_t)n;
    }
    return (int)done;
}

static int stdio_queue(struct stream *s, struct chunk *c) {
    struct side *out = &stdio_of(s)->out;
    return out->open && !out->is_file ? uvs_queue(&out->uv.stream, c) : -EPIPE;
}

static size_t stdio_unsent(struct stream *s) {
    struct side *out = &stdio_of(s)->out;
    return out->is_file ? 0 : uv_stream_get_write_queue_size(&out->uv.stream);
}

/* ── the end ──────────────────────────────────────────────────────────────*/

static void finished(struct stdio *t) {
    struct loop *l = t->f.s.loop;
    stream_closed(&t->f.s);
    loop_defer_cancel(&t->next);
    mem_free(l->mem, t, sizeof *t);
}

static void maybe_finished(struct stdio *t) {
    if (t->handles == 0 && t->f.dying) finished(t);
}

static void run_finished(struct deferral *d) {
    maybe_finished(CONTAINER(d, struct stdio, next));
}

static void on_gone(uv_handle_t *h) {
    struct flow *f = h->data;
    struct stdio *t = stdio_of(&f->s);
    t->handles--;
    maybe_finished(t);
}

static void side_close(struct side *side) {
    if (!side->open) return;
    side->open = false;
    fcntl(side->fd, F_SETFL, side->flags);
    if (!side->is_file) uv_close(&side->uv.handle, on_gone);
    if (side->owned) close(side->fd);
}

/* The process's own descriptor would keep a pipe open. */
static int replace_by_null(int standard) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) return -errno;
    int rc = dup2(null, standard) < 0 ? -errno : 0;
    close(null);
    return rc;
}

static int stdio_shutdown(struct stream *s) {
    struct side *out = &stdio_of(s)->out;
    if (!out->open) return -ENOTCONN;
    if (shutdown(out->fd, SHUT_WR) == 0) return 0;
    side_close(out);
    return replace_by_null(STDOUT_FILENO);
}

/* A terminal stays the user's. */
static void give_up(struct side *side, int standard, int how) {
    if (side->open && !side->is_tty && shutdown(side->fd, how) < 0)
        replace_by_null(standard);
    side_close(side);
}

static void stdio_close(struct stream *s) {
    struct stdio *t = stdio_of(s);
    give_up(&t->out, STDOUT_FILENO, SHUT_WR);
    give_up(&t->in, STDIN_FILENO, SHUT_RD);
    if (t->handles) return; /* the last one says when */
    loop_defer_cancel(&t->next);
    t->next.run = run_finished;
    loop_defer(s->loop, &t->next);
}

static int stdio_address(struct stream *s, struct address *out) {
    (void)s;
    out->kind = ADDRESS_STDIO;
    return 0;
}

static const struct transport_ops stdio_ops = {
    .name = "stdio",
    .write = stdio_write,
    .queue = stdio_queue,
    .unsent = stdio_unsent,
    .read = stdio_read,
    .shutdown = stdio_shutdown,
    .close = stdio_close,
    .peer = stdio_address,
    .host = stdio_address,
};

/* ── opening ──────────────────────────────────────────────────────────────*/

static int side_open(struct stdio *t, struct side *side, int fd) {
    uv_loop_t *uv = &t->f.s.loop->uv;
    uv_handle_type kind = uv_guess_handle(fd);
    int rc = side->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (rc < 0) return -errno;
    side->open = true;
    side->is_file = kind == UV_FILE || kind == UV_UNKNOWN_HANDLE;
    side->is_tty = kind == UV_TTY;
    side->owned = side->is_file;
    if (side->is_file) return 0;
    if (side->is_tty) {
        int used;
        rc = uv_tty_init(uv, &side->uv.tty, side->fd, 0);
        if (rc < 0) goto no_handle;
        /* it opens the terminal anew, where it finds a name for it */
        side->owned = uv_fileno(&side->uv.handle, &used) == 0 && used != side->fd;
    } else {
        uv_pipe_init(uv, &side->uv.pipe, 0);
        rc = uv_pipe_open(&side->uv.pipe, side->fd);
    }
    side->uv.handle.data = &t->f;
    t->handles++;
    if (rc == 0) return 0;
    uv_close(&side->uv.handle, on_gone);
no_handle:
    side->open = false;
    close(side->fd);
    return rc;
}

int stream_stdio(struct loop *l, const struct limits *limits,
                 struct stream **out) {
    if (l->sim) return RW_ESIMULATED;
    struct stdio *t = mem_zalloc(l->mem, sizeof *t);
    if (!t) return RW_ENOMEM;
    flow_init(&t->f, l, limits, &stdio_ops, LEDGER_STDIO);
    t->in.flags = fcntl(STDIN_FILENO, F_GETFL); /* may be one and the same */
    t->out.flags = fcntl(STDOUT_FILENO, F_GETFL);
    int rc = side_open(t, &t->in, STDIN_FILENO);
    if (rc == 0) rc = side_open(t, &t->out, STDOUT_FILENO);
    if (rc < 0) {
        side_close(&t->in);        /* the descriptors are not ours */
        stream_abort(&t->f.s, rc); /* nobody's yet: no hook will come */
        return rc;
    }
    *out = &t->f.s;
    return 0;
}
