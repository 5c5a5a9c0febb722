/* SPDX-License-Identifier: MIT */
/* Bytes on their way up. Without filters a slice of the loop's read buffer goes
 * straight to on_data. Where the owner cannot be called now (it paused while a
 * filter still had bytes, or it is in a call of its own), they wait in the
 * backlog; what a backlog holds is bounded by what filters make of one read,
 * since the transport asks stream_wants_input before the next.
 */
#include "io/stream_private.h"

#include <string.h>

bool stream_wants_input(const struct stream *s) {
    const struct flow *f = (const struct flow *)(const void *)s;
    if (f->dying) return false;
    if (f->lingering) return true;
    if (f->muted) return false;
    return (s->state == STREAM_OPEN && s->reading && !f->backlog) || f->held;
}

void stream_input(struct stream *s, struct str bytes) {
    s->bytes_in += bytes.n;
    if (!s->bottom) {
        incoming_deliver(s, bytes);
        return;
    }
    int rc = filter_enter_input(s, bytes);
    if (rc < 0) stream_abort(s, rc);
}

void stream_input_end(struct stream *s) {
    struct flow *f = flow_of(s);
    if (f->eof) return;
    f->eof = true;
    int rc = filter_enter_input_end(s);
    /* What a filter keeps back for an answer will not go out any more. */
    if (rc == 0 && s->state == STREAM_CLOSING && f->held) rc = RW_EOF;
    if (rc < 0) stream_abort(s, rc);
}

/* Room at the end of the backlog: for these bytes as they are if they are the
 * first, for more to come if they are not. NULL: out of memory. */
static struct chunk *backlog_room(struct stream *s, size_t n) {
    struct flow *f = flow_of(s);
    struct chunk *last = f->backlog ? f->backlog_last : NULL;
    if (last && last->cap - last->end >= n) return last;
    struct chunk *c = chunk_new(s->loop, last && n < CHUNK_MIN ? CHUNK_MIN : n);
    if (!c) return NULL;
    if (last) last->next = c;
    else f->backlog = c;
    f->backlog_last = c;
    return c;
}

static void backlog_add(struct stream *s, struct str bytes) {
    struct chunk *c = backlog_room(s, bytes.n);
    if (!c) {
        stream_abort(s, RW_ENOMEM);
        return;
    }
    memcpy(c->data + c->end, bytes.p, bytes.n);
    c->end += bytes.n;
    stream_later(s);
}

/* To the owner, now or later. */
void incoming_deliver(struct stream *s, struct str bytes) {
    struct flow *f = flow_of(s);
    if (s->state != STREAM_OPEN || bytes.n == 0) return;
    if (!s->reading || f->backlog || f->calls) backlog_add(s, bytes);
    else if (s->hooks && s->hooks->on_data) s->hooks->on_data(s, bytes);
}

static void tell_eof(struct stream *s) {
    flow_of(s)->eof_due = false;
    if (s->hooks && s->hooks->on_eof) s->hooks->on_eof(s);
    else stream_close(s);
}

void incoming_deliver_end(struct stream *s) {
    struct flow *f = flow_of(s);
    if (s->state != STREAM_OPEN) return;
    f->eof_due = true;
    if (!s->reading || f->backlog || f->calls) stream_later(s);
    else tell_eof(s);
}

/* From `later`: what had to wait, as long as the owner wants it. */
void incoming_resume(struct stream *s) {
    struct flow *f = flow_of(s);
    while (f->backlog && s->state == STREAM_OPEN && s->reading) {
        struct chunk *c = f->backlog;
        f->backlog = c->next;
        if (s->hooks && s->hooks->on_data)
            s->hooks->on_data(s, str_of(c->data, c->end));
        chunk_free(s->loop, c);
    }
    if (s->state != STREAM_OPEN || !s->reading || f->backlog) return;
    if (f->eof_due) {
        tell_eof(s);
    } else if (!f->eof && !f->polling) {
        int rc = s->ops->read(s, true);
        if (rc < 0) stream_abort(s, rc);
    }
}

void incoming_drop(struct stream *s) {
    struct flow *f = flow_of(s);
    while (f->backlog) {
        struct chunk *c = f->backlog;
        f->backlog = c->next;
        chunk_free(s->loop, c);
    }
}
