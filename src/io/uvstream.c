/* SPDX-License-Identifier: MIT */
/* What every transport that is a uv_stream_t does alike. All streams of a loop
 * read into the loop's one buffer: alloc gives it out, the read callback hands
 * a slice of it up and has it back before the next read.
 *
 * Reading is switched off lazily: as long as nothing comes, a pause and a
 * resume cost nothing; when something comes that nobody wants, alloc refuses
 * (libuv then does not even read) and the handle stops polling.
 *
 * libuv would read up to 32 buffers of one stream at once. Behind FULL_READS of
 * them alloc refuses, too, and the next poll reports the rest.
 */
#include "io/stream_private.h"

#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

/* ── reading ──────────────────────────────────────────────────────────────*/

static bool had_its_turn(const struct flow *f) {
    return f->full_turn == (uint32_t)f->s.loop->turn && f->full_reads >= FULL_READS;
}

static void count_full(struct flow *f) {
    uint32_t turn = (uint32_t)f->s.loop->turn;
    f->full_reads = f->full_turn == turn ? (uint8_t)(f->full_reads + 1) : 1;
    f->full_turn = turn;
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out) {
    struct flow *f = h->data;
    struct loop *l = f->s.loop;
    (void)hint;
    bool wanted = !l->buffer_busy && !had_its_turn(f) && stream_wants_input(&f->s);
    *out = uv_buf_init(wanted ? l->buffer : NULL, wanted ? LOOP_BUFFER : 0);
}

static void stop(uv_stream_t *h) {
    struct flow *f = h->data;
    f->polling = false;
    uv_read_stop(h);
}

static int socket_error(uv_stream_t *h) {
    int fd, error = 0;
    socklen_t size = sizeof error;
    if (uv_fileno((uv_handle_t *)h, &fd) < 0) return 0;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) return 0;
    return -error;
}

static void on_end(uv_stream_t *h, int status) {
    struct stream *s = &((struct flow *)h->data)->s;
    stop(h);
    if (!stream_wants_input(s)) return; /* asks again when it is wanted */
    if (status == UV_EOF) stream_input_end(s);
    else stream_abort(s, status);
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *buffer) {
    struct flow *f = h->data;
    struct loop *l = f->s.loop;
    if (n == 0 || f->dying) return;
    if (n == UV_ENOBUFS && !buffer->base && had_its_turn(f)) return;
    if (n == LOOP_BUFFER) count_full(f);
    if (f->lingering) {
        if (n < 0) stop(h);
        closing_lingers(&f->s, n < 0);
    } else if (n < 0) {
        /* No buffer: libuv concludes it from POLLHUP, which a reset gives,
         * too, behind the last bytes. */
        int error = n == UV_EOF && !buffer->base ? socket_error(h) : 0;
        on_end(h, error ? error : (int)n);
    } else {
        l->buffer_busy = true;
        stream_input(&f->s, str_of(buffer->base, (size_t)n));
        l->buffer_busy = false;
    }
}

int uvs_read(uv_stream_t *h) {
    struct flow *f = h->data;
    int rc = uv_read_start(h, on_alloc, on_read);
    if (rc == 0) f->polling = true;
    return rc;
}

/* ── writing ──────────────────────────────────────────────────────────────*/

int uvs_write(uv_stream_t *h, struct str bytes) {
    uv_buf_t b = uv_buf_init((char *)bytes.p, (unsigned)bytes.n);
    return uv_try_write(h, &b, 1);
}

static void on_written(uv_write_t *w, int status) {
    struct flow *f = w->handle->data;
    stream_taken(&f->s, status);
}

int uvs_queue(uv_stream_t *h, struct chunk *c) {
    uv_buf_t b = uv_buf_init(c->data + c->start, (unsigned)(c->end - c->start));
    return uv_write(&c->write, h, &b, 1, on_written);
}

int uvs_sendfile(uv_stream_t *h, int fd, uint64_t offset, size_t n) {
    int out, rc = uv_fileno((uv_handle_t *)h, &out);
    if (rc < 0) return rc;
    off_t from = (off_t)offset;
    ssize_t sent;
    do sent = sendfile(out, fd, &from, n);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : (int)sent;
}

/* ── tcp and unix ─────────────────────────────────────────────────────────*/

int uvstream_write(struct stream *s, struct str bytes) {
    return uvs_write(&uvstream_of(s)->uv.stream, bytes);
}

int uvstream_queue(struct stream *s, struct chunk *c) {
    return uvs_queue(&uvstream_of(s)->uv.stream, c);
}

size_t uvstream_unsent(struct stream *s) {
    return uv_stream_get_write_queue_size(&uvstream_of(s)->uv.stream);
}

int uvstream_sendfile(struct stream *s, int fd, uint64_t offset, size_t n) {
    return uvs_sendfile(&uvstream_of(s)->uv.stream, fd, offset, n);
}

int uvstream_read(struct stream *s, bool on) {
    return on ? uvs_read(&uvstream_of(s)->uv.stream) : 0;
}

static int fd_of(struct stream *s) {
    int fd;
    return uv_fileno(&uvstream_of(s)->uv.handle, &fd) < 0 ? -1 : fd;
}

int uvstream_shutdown(struct stream *s) {
    return shutdown(fd_of(s), SHUT_WR) < 0 ? -errno : 0;
}

int uvstream_peer(struct stream *s, struct address *out) {
    return address_of_socket(fd_of(s), true, out);
}

int uvstream_host(struct stream *s, struct address *out) {
    return address_of_socket(fd_of(s), false, out);
}

int uvstream_buffer_option(struct stream *s, const char *name, int64_t value) {
    int which = strcmp(name, "send_buffer") == 0      ? SO_SNDBUF
                : strcmp(name, "receive_buffer") == 0 ? SO_RCVBUF
                                                      : -1;
    if (which < 0 || value <= 0 || value > INT32_MAX) return RW_EINVAL;
    int n = (int)value;
    int rc = setsockopt(fd_of(s), SOL_SOCKET, which, &n, sizeof n);
    return rc < 0 ? -errno : 0;
}

static void on_refused(uv_handle_t *h) {
    struct uvstream *u = CONTAINER(h, struct uvstream, uv.handle);
    mem_free(u->f.s.loop->mem, u, sizeof *u);
}

int uvstream_begin(struct uvstream *u, int opened, struct loop *l, const struct limits *limits,
                   const struct transport_ops *ops, enum ledger_kind kind, struct stream **out) {
    u->uv.handle.data = &u->f;
    u->f.s.loop = l;
    if (opened < 0) {
        uv_close(&u->uv.handle, on_refused);
        return opened;
    }
    flow_init(&u->f, l, limits, ops, kind);
    *out = &u->f.s;
    return 0;
}

void uvstream_gone(uv_handle_t *h) {
    struct uvstream *u = CONTAINER(h, struct uvstream, uv.handle);
    struct loop *l = u->f.s.loop;
    stream_closed(&u->f.s);
    mem_free(l->mem, u, sizeof *u);
}
