/* SPDX-License-Identifier: MIT */
/* The queue to the peer. A write first tries the system; what it does not take
 * is copied into chunks, small writes into the same one. The transport has at
 * most the first chunk (`busy`), so that the others can still grow. A piece of
 * a file is a chunk without bytes: it is sent by sendfile in slices; when the
 * socket is full, one chunk of it is read and queued like any other, since
 * that is how a uv stream tells that it is writable again.
 *
 * s->queued counts everything that the owner wrote and the system has not
 * taken: chunks, files, and what filters keep (filter_hold).
 */
#include "io/stream_private.h"

#include <limits.h>
#include <string.h>

/* ── chunks ───────────────────────────────────────────────────────────────*/

struct chunk *chunk_new(struct loop *l, size_t cap) {
    struct chunk *c = mem_alloc(l->mem, sizeof *c + cap);
    if (!c) return NULL;
    c->next = NULL;
    c->start = c->end = 0;
    c->cap = cap;
    c->offset = c->left = 0;
    c->fd = -1;
    return c;
}

void chunk_free(struct loop *l, struct chunk *c) {
    if (c->fd >= 0) file_close(c->fd);
    mem_free(l->mem, c, sizeof *c + c->cap);
}

static void append(struct flow *f, struct chunk *c) {
    if (f->tail) f->tail->next = c;
    else f->head = c;
    f->tail = c;
}

static void pop(struct flow *f) {
    struct chunk *c = f->head;
    f->head = c->next;
    if (!f->head) f->tail = NULL;
    chunk_free(f->s.loop, c);
}

void outgoing_drop(struct stream *s) {
    struct flow *f = flow_of(s);
    struct chunk *kept = f->busy ? f->head : NULL, *c = f->head;
    if (kept) c = kept->next;
    while (c) {
        struct chunk *next = c->next;
        chunk_free(s->loop, c);
        c = next;
    }
    f->head = f->tail = kept;
    if (kept) kept->next = NULL;
    f->in_files = 0;
    f->held = 0;
    s->queued = 0;
}

/* ── taken ────────────────────────────────────────────────────────────────*/

static void account(struct stream *s, size_t n) {
    s->bytes_out += n;
    s->queued -= n;
}

uint64_t outgoing_taken(struct stream *s) {
    struct flow *f = flow_of(s);
    uint64_t n = s->bytes_out;
    if (f->busy && s->ops->unsent)
        n += chunk_left(f->head) - s->ops->unsent(s);
    return n;
}

/* ── flushing ─────────────────────────────────────────────────────────────*/

/* The head chunk goes to the transport, which will say stream_taken. */
static int hand_over(struct stream *s) {
    struct flow *f = flow_of(s);
    f->busy = true;
    int rc = s->ops->queue(s, f->head);
    if (rc < 0) f->busy = false;
    return rc;
}

/* The socket is full in mid-file: its next bytes become a chunk. */
static int hand_over_file(struct stream *s) {
    struct flow *f = flow_of(s);
    struct chunk *file = f->head;
    size_t n = file->left < CHUNK_MAX ? (size_t)file->left : CHUNK_MAX;
    struct chunk *c = chunk_new(s->loop, n);
    if (!c) return RW_ENOMEM;
    int got = file_read(file->fd, file->offset, c->data, n);
    if (got <= 0) {
        chunk_free(s->loop, c);
        return got < 0 ? got : RW_EOF; /* it shrank: the promise is broken */
    }
    c->end = (size_t)got;
    file->offset += (uint64_t)got;
    file->left -= (uint64_t)got;
    f->in_files -= (uint64_t)got;
    c->next = file;
    f->head = c;
    if (file->left == 0) {
        c->next = file->next;
        if (f->tail == file) f->tail = c;
        chunk_free(s->loop, file);
    }
    return hand_over(s);
}

/* 1: go on with the next chunk; 0: enough for now. */
static int flush_file(struct stream *s, size_t *budget) {
    struct flow *f = flow_of(s);
    struct chunk *c = f->head;
    size_t n = c->left < *budget ? (size_t)c->left : *budget;
    int rc = s->ops->sendfile(s, c->fd, c->offset, n);
    if (rc == RW_EAGAIN || rc == RW_EINVAL || rc == -ENOSYS)
        return hand_over_file(s);
    if (rc <= 0) return rc < 0 ? rc : RW_EOF;
    c->offset += (uint64_t)rc;
    c->left -= (uint64_t)rc;
    f->in_files -= (uint64_t)rc;
    *budget -= (size_t)rc;
    account(s, (size_t)rc);
    if (c->left == 0) pop(f);
    return 1;
}

static int flush_bytes(struct stream *s, size_t *budget) {
    struct flow *f = flow_of(s);
    struct chunk *c = f->head;
    size_t n = chunk_left(c);
    int rc = s->ops->write(s, str_of(c->data + c->start, n));
    if (rc < 0 && rc != RW_EAGAIN) return rc;
    if (rc > 0) {
        c->start += (size_t)rc;
        account(s, (size_t)rc);
    }
    if (c->start < c->end) return hand_over(s);
    *budget -= n < *budget ? n : *budget;
    pop(f);
    return 1;
}

/* From the loop only. */
void outgoing_flush(struct stream *s) {
    struct flow *f = flow_of(s);
    size_t files = SENDFILE_SLICE, bytes = FLUSH_SLICE;
    int rc = 1;
    while (rc > 0 && f->head && !f->busy && !f->dying) {
        if (files == 0 || bytes == 0) {
            f->flush_later = true;
            stream_later(s);
            return;
        }
        rc = f->head->fd >= 0 ? flush_file(s, &files) : flush_bytes(s, &bytes);
    }
    if (rc < 0) stream_abort(s, rc);
}

void stream_taken(struct stream *s, int status) {
    struct flow *f = flow_of(s);
    size_t n = chunk_left(f->head);
    f->busy = false;
    pop(f);
    if (f->dying) return;
    if (status < 0) {
        stream_abort(s, status);
        return;
    }
    account(s, n);
    f->progress = loop_now(s->loop);
    outgoing_flush(s);
    outgoing_settle(s);
}

/* ── adding ───────────────────────────────────────────────────────────────*/

static int start(struct stream *s, bool was_empty) {
    struct flow *f = flow_of(s);
    if (!f->deadline.prev) closing_watch(s);
    return was_empty && !f->busy ? hand_over(s) : 0;
}

static struct chunk *roomy_tail(struct flow *f) {
    struct chunk *c = f->tail;
    if (!c || c->fd >= 0 || c->end == c->cap) return NULL;
    return f->busy && c == f->head ? NULL : c;
}

static int add(struct stream *s, struct str bytes) {
    struct flow *f = flow_of(s);
    uint64_t in_memory = s->queued - f->in_files;
    if (in_memory + bytes.n > s->limits->max_buffered) return RW_ELIMIT;
    bool was_empty = !f->head;
    while (bytes.n) {
        struct chunk *c = roomy_tail(f);
        if (!c) {
            size_t cap = bytes.n < CHUNK_MIN ? CHUNK_MIN : bytes.n;
            c = chunk_new(s->loop, cap < CHUNK_MAX ? cap : CHUNK_MAX);
            if (!c) return RW_ENOMEM;
            append(f, c);
        }
        size_t n = c->cap - c->end < bytes.n ? c->cap - c->end : bytes.n;
        memcpy(c->data + c->end, bytes.p, n);
        c->end += n;
        s->queued += n;
        bytes = str_skip(bytes, n);
    }
    return start(s, was_empty);
}

int outgoing_send(struct stream *s, struct str bytes) {
    struct flow *f = flow_of(s);
    if (f->ending || f->dying) return RW_ECLOSED;
    if (!f->head) {
        if (bytes.n > INT_MAX) return RW_ELIMIT;
        int n = s->ops->write(s, bytes);
        if (n == RW_EAGAIN) n = 0;
        if (n < 0) return n;
        s->bytes_out += (uint64_t)n;
        if ((size_t)n == bytes.n) return 0;
        bytes = str_skip(bytes, (size_t)n);
    }
    return add(s, bytes);
}

bool outgoing_push(struct stream *s, struct chunk *c, int *status) {
    int n = s->ops->write(s, str_of(c->data + c->start, chunk_left(c)));
    *status = n < 0 ? n : 0;
    if (n < 0) return n != RW_EAGAIN;
    s->bytes_out += (uint64_t)n;
    s->queued -= (size_t)n;
    c->start += (size_t)n;
    return c->start == c->end;
}

/* 0: all is sent; 1: on the way; < 0. The descriptor is ours in any case. */
int outgoing_send_file(struct stream *s, int fd, uint64_t offset, uint64_t n) {
    struct flow *f = flow_of(s);
    bool at_once = !f->head;
    if (at_once && n <= SENDFILE_SLICE) {
        int rc = n ? s->ops->sendfile(s, fd, offset, (size_t)n) : 0;
        if (rc > 0) {
            s->bytes_out += (uint64_t)rc;
            offset += (uint64_t)rc;
            n -= (uint64_t)rc;
        }
        if (n == 0) {
            file_close(fd);
            return 0;
        }
    }
    struct chunk *c = chunk_new(s->loop, 0);
    if (!c) {
        file_close(fd);
        return RW_ENOMEM;
    }
    c->fd = fd;
    c->offset = offset;
    c->left = n;
    append(f, c);
    f->in_files += n;
    s->queued += n;
    if (!f->deadline.prev) closing_watch(s);
    if (at_once) {
        f->flush_later = true; /* errors come from there, too */
        stream_later(s);
    }
    return 1;
}

/* ── shorter ──────────────────────────────────────────────────────────────*/

static int end_now(struct stream *s) {
    struct flow *f = flow_of(s);
    f->ended = f->ended_due = true;
    int rc = s->ops->shutdown(s);
    stream_later(s);
    return rc == -ENOTCONN ? 0 : rc;
}

int outgoing_end(struct stream *s) {
    struct flow *f = flow_of(s);
    if (f->ending) return 0;
    f->ending = true;
    if (f->head || s->state != STREAM_OPEN) return 0;
    return end_now(s);
}

void outgoing_settle(struct stream *s) {
    struct flow *f = flow_of(s);
    if (f->dying || s->state == STREAM_CLOSED) return;
    if (s->queued == 0) {
        if (s->state == STREAM_CLOSING) {
            closing_finish(s);
            return;
        }
        timer_stop(s->loop, &f->deadline);
        if (f->ending && !f->ended) {
            int rc = end_now(s);
            if (rc < 0) {
                stream_abort(s, rc);
                return;
            }
        }
    }
    if (s->state != STREAM_OPEN || !s->told_to_pause || f->in_files) return;
    if (s->queued >= s->limits->low_water) return;
    s->told_to_pause = false;
    if (s->hooks && s->hooks->on_drain) s->hooks->on_drain(s);
}
