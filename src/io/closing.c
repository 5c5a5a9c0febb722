/* SPDX-License-Identifier: MIT */
/* The end of a stream.
 *
 *     OPEN ── stream_close ──→ CLOSING: flushes ──→ lingers ─→ handle closes
 *       │                          │ close_timeout      on_close comes here
 *       └── stream_abort, error, write_timeout ──────→ handle closes (RST),
 *                                                      on_close comes then
 *
 * A socket that is closed while bytes of the peer are unread, or still on
 * their way, answers with a reset, which destroys what the peer has not read
 * of our last words. So after the flush our direction is shut down, the owner
 * is told that the stream is gone, and what the peer still sends is thrown
 * away: until its eof, LINGER_SILENCE of silence, or close_timeout.
 *
 * One timer watches all of it. It looks at the bytes taken by the system four
 * times per limit, so that writing does not have to touch it.
 */
#include "io/stream_private.h"

static void die(struct stream *s) {
    struct flow *f = flow_of(s);
    if (f->dying) return;
    f->dying = true;
    timer_stop(s->loop, &f->deadline);
    loop_defer_cancel(&f->later);
    incoming_drop(s);
    outgoing_drop(s);
    s->ops->close(s);
}

static void tell_closed(struct stream *s) {
    const struct stream_hooks *hooks = s->hooks;
    s->state = STREAM_CLOSED;
    filter_detach_all(s);
    s->hooks = NULL;
    if (hooks && hooks->on_close) hooks->on_close(s, flow_of(s)->reason);
    s->owner = NULL;
    s->limits = NULL; /* borrowed until now */
}

void stream_closed(struct stream *s) {
    struct flow *f = flow_of(s);
    if (s->state != STREAM_CLOSED) tell_closed(s);
    outgoing_drop(s);
    introduction_free(s);
    s->loop->closing--;
    loop_gone(s->loop, f->ledger);
}

/* ── the timer ────────────────────────────────────────────────────────────*/

static void watch(struct timer *t);

static uint64_t patience(const struct stream *s) {
    return s->state == STREAM_OPEN ? s->limits->write_timeout
                                   : s->limits->close_timeout;
}

static void watch_on(struct stream *s, uint64_t limit) {
    uint64_t look = limit / 4 ? limit / 4 : 1;
    timer_start(s->loop, &flow_of(s)->deadline, look, watch);
}

void closing_watch(struct stream *s) {
    struct flow *f = flow_of(s);
    f->taken = outgoing_taken(s);
    f->progress = loop_now(s->loop);
    watch_on(s, patience(s));
}

static void watch(struct timer *t) {
    struct flow *f = CONTAINER(t, struct flow, deadline);
    struct stream *s = &f->s;
    uint64_t taken = outgoing_taken(s), limit = patience(s);
    if (taken != f->taken) {
        f->taken = taken;
        f->progress = loop_now(s->loop);
    }
    if (loop_now(s->loop) - f->progress >= limit)
        stream_abort(s, RW_ETIMEDOUT);
    else
        watch_on(s, limit);
}

/* ── lingering ────────────────────────────────────────────────────────────*/

static void silence(struct timer *t) {
    die(&CONTAINER(t, struct flow, deadline)->s);
}

static void linger(struct stream *s) {
    struct flow *f = flow_of(s);
    if (!f->ended && s->ops->shutdown(s) < 0) {
        die(s);
        return;
    }
    f->ended = true;
    f->progress = loop_now(s->loop) + s->limits->close_timeout;
    timer_start(s->loop, &f->deadline, LINGER_SILENCE, silence);
    loop_gone(s->loop, f->ledger);
    f->ledger = LEDGER_LINGERING;
    loop_opened(s->loop, f->ledger);
    f->lingering = true;
    tell_closed(s);
    if (!f->polling && s->ops->read(s, true) < 0) die(s);
}

void closing_lingers(struct stream *s, bool over) {
    struct flow *f = flow_of(s);
    if (over || loop_now(s->loop) >= f->progress) die(s);
    else timer_start(s->loop, &f->deadline, LINGER_SILENCE, silence);
}

void closing_finish(struct stream *s) {
    if (s->ops->lingers && !flow_of(s)->eof) linger(s);
    else die(s);
}

/* ── public ───────────────────────────────────────────────────────────────*/

void stream_close(struct stream *s) {
    struct flow *f = flow_of(s);
    if (s->state != STREAM_OPEN) return;
    s->state = STREAM_CLOSING;
    s->reading = false;
    s->loop->closing++;
    incoming_drop(s);
    if (!s->write_ended && s->top) {
        s->write_ended = true;
        int rc = filter_enter_output_end(s);
        if (rc < 0) stream_abort(s, rc);
    }
    if (f->dying) return;
    if (s->queued) closing_watch(s);
    else stream_later(s);
}

void stream_close_for(struct stream *s, int reason) {
    if (s->state == STREAM_OPEN) flow_of(s)->reason = reason;
    stream_close(s);
}

void stream_abort(struct stream *s, int reason) {
    struct flow *f = flow_of(s);
    if (f->dying || s->state == STREAM_CLOSED) return;
    if (s->state == STREAM_OPEN) s->loop->closing++;
    s->state = STREAM_CLOSING;
    s->reading = false;
    f->reason = reason ? reason : RW_EABORTED;
    f->reset = true;
    die(s);
}
