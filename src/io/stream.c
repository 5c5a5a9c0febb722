/* SPDX-License-Identifier: MIT */
/* A stream as its owner sees it: write, read, shutdown, close, abort.
 *
 *     owner   stream_write ↓                       ↑ on_data, on_eof, on_drain
 *     filter  output → filter_down ↓               ↑ filter_up ← input
 *     queue   outgoing_send ↓ (tries, then queues) ↑ stream_input
 *     transport  ops->write, ops->queue            its read callback
 *
 * Hooks never come from inside a call of the owner: what becomes due there is
 * left to `later`, which runs in the loop's deferral phase.
 */
#include "io/stream_private.h"

static void run_later(struct deferral *d) {
    struct flow *f = CONTAINER(d, struct flow, later);
    struct stream *s = &f->s;
    if (f->dying || s->state == STREAM_CLOSED) return;
    incoming_resume(s);
    if (f->flush_later) {
        f->flush_later = false;
        outgoing_flush(s);
    }
    outgoing_settle(s);
    if (!f->ended_due || s->state != STREAM_OPEN) return;
    f->ended_due = false;
    if (s->hooks && s->hooks->on_shutdown) s->hooks->on_shutdown(s);
}

void stream_later(struct stream *s) {
    struct flow *f = flow_of(s);
    f->later.run = run_later;
    loop_defer(s->loop, &f->later);
}

void flow_init(struct flow *f, struct loop *l, const struct limits *limits,
               const struct transport_ops *ops, enum ledger_kind kind) {
    f->s.ops = ops;
    f->s.loop = l;
    f->s.limits = limits;
    f->ledger = (uint8_t)kind;
    loop_opened(l, kind);
}

/* ── writing ──────────────────────────────────────────────────────────────*/

static int told(struct stream *s) {
    if (s->queued <= s->limits->high_water) return 0;
    s->told_to_pause = true;
    return 1;
}

int stream_write(struct stream *s, struct str bytes) {
    if (s->state != STREAM_OPEN || s->write_ended) return RW_ECLOSED;
    int rc = 0;
    if (bytes.n)
        rc = s->top ? filter_enter_output(s, bytes) : outgoing_send(s, bytes);
    if (rc < 0) {
        stream_abort(s, rc);
        return rc;
    }
    return told(s);
}

bool stream_can_send_file(const struct stream *s) {
    return s->state == STREAM_OPEN && !s->write_ended && !s->top &&
           s->ops->sendfile;
}

int stream_send_file(struct stream *s, int fd, uint64_t offset, uint64_t n) {
    if (!stream_can_send_file(s)) return RW_ESTATE;
    int rc = outgoing_send_file(s, fd, offset, n);
    if (rc < 0) {
        stream_abort(s, rc);
        return rc;
    }
    if (rc > 0) s->told_to_pause = true;
    return rc;
}

int stream_shutdown(struct stream *s) {
    if (s->state != STREAM_OPEN) return RW_ECLOSED;
    if (s->write_ended) return 0;
    s->write_ended = true;
    int rc = filter_enter_output_end(s);
    if (rc < 0) stream_abort(s, rc);
    return rc;
}

/* ── reading ──────────────────────────────────────────────────────────────*/

/* Off costs nothing: the transport asks stream_wants_input before it reads, and
 * most streams are on again before anything has come. */
void stream_read(struct stream *s, bool on) {
    struct flow *f = flow_of(s);
    if (s->state != STREAM_OPEN || s->reading == on) return;
    s->reading = on;
    if (!on) return;
    if (f->backlog || f->eof_due) stream_later(s);
    if (f->eof || f->polling) return;
    int rc = s->ops->read(s, true);
    if (rc < 0) stream_abort(s, rc);
}

/* ── what the transport knows ─────────────────────────────────────────────*/

int stream_peer(struct stream *s, struct address *out) {
    *out = (struct address){0};
    if (s->state == STREAM_CLOSED) return RW_ECLOSED;
    if (!s->introduction) return s->ops->peer(s, out);
    *out = s->introduction->source;
    return 0;
}

int stream_host(struct stream *s, struct address *out) {
    *out = (struct address){0};
    if (s->state == STREAM_CLOSED) return RW_ECLOSED;
    if (!s->introduction) return s->ops->host(s, out);
    *out = s->introduction->destination;
    return 0;
}

int stream_option(struct stream *s, const char *name, int64_t value) {
    if (flow_of(s)->dying) return RW_ECLOSED;
    return s->ops->option ? s->ops->option(s, name, value) : RW_EINVAL;
}
