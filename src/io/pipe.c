/* SPDX-License-Identifier: MIT */
/* What is read from one stream is at once written to the other, out of the
 * loop's buffer: the kernel copies it twice, we do not. What the other does not
 * take is queued (one read at most) and reading rests until it is gone, so that
 * a pipe holds one buffer in each direction however much is offered.
 *
 *      both open ── eof of one ──→ other is shut down ── eof of the other ──→
 *          │                                        both close: flush, linger
 *          └── one is lost, or nothing moves: both are aborted
 *      on_end comes when both are closed.
 *
 * A pipe of one way ends with the eof of its source, and leaves both open.
 */
#include "io/pipe.h"

#include "io/stream_private.h"

static bool is_source(const struct pipe *p, int which) {
    return which == 0 || !p->one_way;
}

static void finish(struct pipe *p) {
    if (p->over) return;
    p->over = true;
    timer_stop(p->loop, &p->timer);
    p->on_end(p, p->reason); /* it may be freed by that */
}

static void close_side(struct pipe *p, int which) {
    if (!p->side[which]) return;
    if (p->reason) stream_abort(p->side[which], RW_EABORTED);
    else stream_close(p->side[which]);
}

/* ── time ─────────────────────────────────────────────────────────────────*/

static uint64_t taken_by_both(const struct pipe *p) {
    uint64_t n = 0;
    for (int i = 0; i < 2; i++)
        if (p->side[i]) n += outgoing_taken(p->side[i]);
    return n;
}

/* Nothing read is not idle while a slow reader takes what is queued. */
static void look(struct timer *t) {
    struct pipe *p = CONTAINER(t, struct pipe, timer);
    uint64_t now = loop_now(p->loop), taken = taken_by_both(p);
    if (taken != p->taken) {
        p->taken = taken;
        if (p->last + p->idle <= now) p->last = now;
    }
    if (p->last + p->idle > now) timer_start(p->loop, t, p->last + p->idle - now, look);
    else pipe_abort(p, RW_ETIMEDOUT);
}

void pipe_init(struct pipe *p, struct stream *a, struct stream *b,
               void (*on_end)(struct pipe *p, int reason)) {
    p->side[0] = a;
    p->side[1] = b;
    p->loop = a->loop;
    p->on_end = on_end;
}

void pipe_begin(struct pipe *p) {
    p->last = loop_now(p->loop);
    p->taken = taken_by_both(p);
    if (p->idle) timer_start(p->loop, &p->timer, p->idle, look);
    for (int i = 0; i < 2; i++)
        if (is_source(p, i)) stream_read(p->side[i], true);
}

void pipe_abort(struct pipe *p, int reason) {
    if (p->over) return;
    if (!p->reason) p->reason = reason;
    for (int i = 0; i < 2; i++) close_side(p, i);
}

/* ── what the streams say ─────────────────────────────────────────────────*/

void pipe_data(struct pipe *p, int from, struct str bytes) {
    struct stream *to = p->side[!from];
    p->moved[from] += bytes.n;
    p->last = loop_now(p->loop);
    if (!to || stream_write(to, bytes) < 0 || to->queued == 0) return;
    to->told_to_pause = true; /* until the queue is gone, not only above high water */
    if (p->side[from]) stream_read(p->side[from], false);
}

void pipe_drain(struct pipe *p, int from) {
    struct stream *source = p->side[!from];
    if (source && is_source(p, !from) && !p->ended[!from]) stream_read(source, true);
}

void pipe_eof(struct pipe *p, int from) {
    struct stream *to = p->side[!from];
    p->ended[from] = true;
    if (to && !p->keeps_end) stream_shutdown(to);
    if (p->one_way) {
        finish(p);
    } else if (p->ended[0] && p->ended[1]) {
        for (int i = 0; i < 2; i++) close_side(p, i);
    }
}

void pipe_closed(struct pipe *p, int from, int reason) {
    if (p->over) return;
    p->side[from] = NULL;
    if (!p->reason) p->reason = reason;
    if (p->one_way) {
        if (!p->reason) p->reason = RW_ECLOSED; /* the source has not ended */
        finish(p);
        return;
    }
    close_side(p, !from);
    if (!p->side[!from]) finish(p);
}
