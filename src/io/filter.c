/* SPDX-License-Identifier: MIT */
/* The chain of filters of a stream: top is the owner's side, bottom the
 * transport's. Filters may come and go while others, or they themselves, are on
 * the stack: a popped filter leaves the chain at once and is detached when the
 * last filter has returned. Its filter_up and filter_down fail from then on.
 */
#include "io/stream_private.h"

static void enter(struct stream *s) { flow_of(s)->depth++; }

static void leave(struct stream *s) {
    struct flow *f = flow_of(s);
    if (--f->depth) return;
    while (f->dead) {
        struct filter *d = f->dead;
        f->dead = d->above;
        d->above = NULL;
        if (d->ops->detach) d->ops->detach(d);
    }
}

/* A filter that popped itself has nothing to say about the stream. */
static int verdict(const struct filter *f, int rc) {
    return f->stream ? rc : 0;
}

static int give_input(struct stream *s, struct filter *to, struct str bytes) {
    if (!to) {
        incoming_deliver(s, bytes);
        return 0;
    }
    if (!to->ops->input) return give_input(s, to->above, bytes);
    enter(s);
    int rc = verdict(to, to->ops->input(to, bytes));
    leave(s);
    return rc;
}

static int give_input_end(struct stream *s, struct filter *to) {
    if (!to) {
        incoming_deliver_end(s);
        return 0;
    }
    if (!to->ops->input_end) return give_input_end(s, to->above);
    enter(s);
    int rc = verdict(to, to->ops->input_end(to));
    leave(s);
    return rc;
}

static int give_output(struct stream *s, struct filter *to, struct str bytes) {
    if (!to) return outgoing_send(s, bytes);
    if (!to->ops->output) return give_output(s, to->below, bytes);
    enter(s);
    int rc = verdict(to, to->ops->output(to, bytes));
    leave(s);
    return rc;
}

static int give_output_end(struct stream *s, struct filter *to) {
    if (!to) return outgoing_end(s);
    if (!to->ops->output_end) return give_output_end(s, to->below);
    enter(s);
    int rc = verdict(to, to->ops->output_end(to));
    leave(s);
    return rc;
}

/* ── from the ends of the chain ───────────────────────────────────────────*/

int filter_enter_input(struct stream *s, struct str bytes) {
    return give_input(s, s->bottom, bytes);
}

int filter_enter_input_end(struct stream *s) {
    return give_input_end(s, s->bottom);
}

/* The owner is on the stack: what comes up meanwhile has to wait. */
int filter_enter_output(struct stream *s, struct str bytes) {
    flow_of(s)->calls++;
    int rc = give_output(s, s->top, bytes);
    flow_of(s)->calls--;
    return rc;
}

int filter_enter_output_end(struct stream *s) {
    flow_of(s)->calls++;
    int rc = give_output_end(s, s->top);
    flow_of(s)->calls--;
    return rc;
}

/* ── public ───────────────────────────────────────────────────────────────*/

void stream_push_filter(struct stream *s, struct filter *f) {
    f->stream = s;
    f->above = NULL;
    f->below = s->top;
    if (s->top) s->top->above = f;
    else s->bottom = f;
    s->top = f;
}

void stream_pop_filter(struct filter *f) {
    struct stream *s = f->stream;
    if (!s) return;
    if (f->above) f->above->below = f->below;
    else s->top = f->below;
    if (f->below) f->below->above = f->above;
    else s->bottom = f->above;
    f->stream = NULL;
    f->below = NULL;
    f->above = flow_of(s)->dead;
    flow_of(s)->dead = f;
    enter(s);
    leave(s);
}

int filter_up(struct filter *f, struct str bytes) {
    struct stream *s = f->stream;
    return s ? give_input(s, f->above, bytes) : RW_ESTATE;
}

int filter_up_end(struct filter *f) {
    struct stream *s = f->stream;
    return s ? give_input_end(s, f->above) : RW_ESTATE;
}

int filter_down(struct filter *f, struct str bytes) {
    struct stream *s = f->stream;
    return s ? give_output(s, f->below, bytes) : RW_ESTATE;
}

int filter_down_end(struct filter *f) {
    struct stream *s = f->stream;
    return s ? give_output_end(s, f->below) : RW_ESTATE;
}

void filter_delay(struct filter *f, int64_t change) {
    struct stream *s = f->stream;
    if (!s || flow_of(s)->dying) return;
    s->queued += (size_t)change;
    if (change < 0) stream_later(s);
    else if (!timer_active(&flow_of(s)->deadline)) closing_watch(s);
}

/* The transport asks stream_wants_input before it reads. */
static void read_on(struct stream *s) {
    struct flow *flow = flow_of(s);
    if (!flow->polling && !flow->eof && s->ops->read(s, true) < 0) stream_later(s);
}

void filter_hold(struct filter *f, int64_t change) {
    struct stream *s = f->stream;
    if (!s || flow_of(s)->dying) return;
    flow_of(s)->held += (size_t)change;
    filter_delay(f, change);
    if (change > 0) read_on(s);
}

void filter_mute(struct filter *f, bool on) {
    struct stream *s = f->stream;
    if (!s || flow_of(s)->dying || flow_of(s)->muted == on) return;
    flow_of(s)->muted = on;
    if (!on && stream_wants_input(s)) read_on(s);
}

void filter_detach_all(struct stream *s) {
    while (s->top) stream_pop_filter(s->top);
}
