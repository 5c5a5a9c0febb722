/* SPDX-License-Identifier: MIT */
/* Frames with a length in front, by a format instead of by name.
 *
 * As in netstring.c, what is whole within one feed is given out uncopied;
 * otherwise it is collected in `held`, which then holds exactly one frame and
 * never a byte of the next, and grows with the bytes that came, not with those
 * that were announced.
 *
 * The header is looked at in the order of its bytes, so that the outcome does
 * not depend on how the input was cut: fixed bytes up to the length, the
 * length, fixed bytes behind it.
 */
#include "proto/frame.h"

static const struct event_def frame_events[] = {
    [FRAME_STRING] = {"string", "str:bytes", EVENT_BOTH},
    [FRAME_FRAME] = {"frame", "str:header str:payload str:trailer", EVENT_BOTH},
    {NULL, NULL, 0},
};

static const struct frame_format int32_format = {.header = 4, .width = 4, .plain = true};

static size_t longest(const struct frame *e) {
    uint64_t max = e->env.limits->max_frame;
    if (e->format.max && e->format.max < max) max = e->format.max;
    return max < SIZE_MAX / 16 ? (size_t)max : SIZE_MAX / 16;
}

int frame_configure(struct frame *e, const struct frame_format *f) {
    if (f->width < 1 || f->width > 8 || f->header > FRAME_MAX_HEADER ||
        f->offset + f->width > f->header || f->trailer > FRAME_MAX_TRAILER ||
        f->adjust > FRAME_MAX_ADJUST || f->adjust < -FRAME_MAX_ADJUST ||
        (f->plain && f->trailer))
        return RW_EINVAL;
    for (size_t i = f->offset; i < (size_t)f->offset + f->width; i++)
        if (f->mask[i]) return RW_EINVAL;
    e->format = *f;
    return 0;
}

static int frame_init(void *self, const struct engine_env *env) {
    struct frame *e = self;
    *e = (struct frame){.env = *env, .format = int32_format};
    buf_init(&e->held, env->mem, SIZE_MAX / 8); /* the limit may change: check_length() */
    return 0;
}

static void frame_fini(void *self) {
    struct frame *e = self;
    buf_release(&e->held);
}

static int64_t frame_feed(void *self, struct str bytes) {
    struct frame *e = self;
    if (e->error) return e->error;
    if (e->pending.n) return 0;
    e->pending = bytes;
    return (int64_t)bytes.n;
}

/* ---- the header ---- */

static uint64_t read_length(const struct frame_format *f, const char *header) {
    uint64_t length = 0;
    for (unsigned i = 0; i < f->width; i++) {
        unsigned at = f->offset + (f->little ? f->width - 1u - i : i);
        length = length << 8 | (unsigned char)header[at];
    }
    return length;
}

static void write_length(const struct frame_format *f, char *header, uint64_t length) {
    for (unsigned i = 0; i < f->width; i++, length >>= 8)
        header[f->offset + (f->little ? i : f->width - 1u - i)] = (char)length;
}

/* Bytes `from` to before `to` of s, those that are there. */
static int check_fixed(const struct frame_format *f, struct str s, size_t from, size_t to) {
    for (size_t i = from; i < to && i < s.n; i++)
        if ((s.p[i] ^ f->fixed[i]) & f->mask[i]) return RW_EPROTO;
    return 0;
}

static int check_length(struct frame *e, uint64_t length) {
    int64_t adjust = e->format.adjust;
    if (adjust < 0 && length < (uint64_t)-adjust) return RW_EPROTO;
    e->refused = length > INT64_MAX / 2 ? length : length + (uint64_t)adjust;
    if (e->refused > longest(e)) return RW_ELIMIT;
    e->payload = (size_t)e->refused;
    return 0;
}

static size_t whole(const struct frame *e) {
    return e->format.header + e->payload + e->format.trailer;
}

/* Looks at the front of a frame. 1: the length is known; 0: not yet; or < 0 at
 * the first byte that cannot be right. */
static int read_header(struct frame *e, struct str s) {
    const struct frame_format *f = &e->format;
    size_t end = (size_t)f->offset + f->width;
    int rc = check_fixed(f, s, 0, f->offset);
    if (rc < 0 || s.n < end) return rc;
    if ((rc = check_length(e, read_length(f, s.p))) < 0) return rc;
    rc = check_fixed(f, s, end, f->header);
    return rc < 0 ? rc : 1;
}

/* ---- frames ---- */

static int give(struct frame *e, struct event *out, struct str s) {
    const struct frame_format *f = &e->format;
    struct str payload = str_of(s.p + f->header, e->payload);
    e->patience.restart = true;
    if (f->plain) {
        out->type = FRAME_STRING;
        out->args[0].str = payload;
        return 1;
    }
    out->type = FRAME_FRAME;
    out->args[0].str = str_of(s.p, f->header);
    out->args[1].str = payload;
    out->args[2].str = str_of(payload.p + payload.n, f->trailer);
    return 1;
}

/* Moves n bytes of pending, or what there is, to held. */
static int hold(struct frame *e, size_t n) {
    if (n > e->pending.n) n = e->pending.n;
    int rc = buf_add(&e->held, e->pending.p, n);
    if (rc == 0) e->pending = str_skip(e->pending, n);
    return rc;
}

static int next_pending(struct frame *e, struct event *out) {
    struct str at = e->pending;
    int rc = read_header(e, at);
    if (rc < 0) return rc;
    if (rc == 1 && at.n >= whole(e)) {
        e->pending = str_skip(at, whole(e));
        return give(e, out, str_of(at.p, whole(e)));
    }
    e->known = rc == 1;
    return hold(e, at.n);
}

static int next_held(struct frame *e, struct event *out) {
    const struct frame_format *f = &e->format;
    int rc;
    if (buf_len(&e->held) < f->header) {
        if ((rc = hold(e, f->header - buf_len(&e->held))) < 0) return rc;
        if ((rc = read_header(e, buf_str(&e->held))) < 0) return rc;
        e->known = rc == 1;
    }
    if (!e->known) return 0;
    if ((rc = hold(e, whole(e) - buf_len(&e->held))) < 0) return rc;
    if (buf_len(&e->held) < whole(e)) return 0;
    e->dropping = true;
    return give(e, out, buf_str(&e->held));
}

static int frame_next(void *self, struct event *out) {
    struct frame *e = self;
    int rc = 0;
    if (e->error) return e->error;
    if (e->dropping) {
        buf_clear(&e->held);
        e->dropping = e->known = false;
    }
    if (e->pending.n) rc = buf_len(&e->held) ? next_held(e, out) : next_pending(e, out);
    if (rc < 0) e->error = rc;
    if (rc == RW_ELIMIT) e->env.limit = "max_frame";
    if (rc == 0 && buf_len(&e->held) == 0) buf_release(&e->held);
    return rc;
}

static void frame_moved(void *self, const char *from, const char *to) {
    struct frame *e = self;
    e->pending = slice_moved(e->pending, from, to);
}

static struct str frame_left(const void *self) {
    const struct frame *e = self;
    return e->dropping || buf_len(&e->held) == 0 ? e->pending : buf_str(&e->held);
}

/* ---- send ---- */

/* The header as it goes out, from what the sender gave. */
static int make_header(const struct frame *e, struct str given, size_t payload, char *out) {
    const struct frame_format *f = &e->format;
    if (payload > longest(e)) return RW_ELIMIT;
    if (f->adjust > 0 && payload < (size_t)f->adjust) return RW_EINVAL;
    uint64_t length = payload - (uint64_t)(int64_t)f->adjust;
    if (f->width < 8 && length >> (8 * f->width)) return RW_ELIMIT;
    memset(out, 0, f->header);
    if (given.n) memcpy(out, given.p, given.n);
    for (size_t i = 0; i < f->header; i++)
        out[i] = (char)((out[i] & ~f->mask[i]) | (f->fixed[i] & f->mask[i]));
    write_length(f, out, length);
    return 0;
}

static int frame_send(void *self, const struct event *ev) {
    struct frame *e = self;
    struct buf *out = e->env.out;
    const struct frame_format *f = &e->format;
    bool plain = ev->type == FRAME_STRING;
    struct str header = plain ? STR_NONE : ev->args[0].str;
    struct str payload = ev->args[plain ? 0 : 1].str;
    struct str trailer = plain ? STR_NONE : ev->args[2].str;
    char made[FRAME_MAX_HEADER];
    if (plain != f->plain || trailer.n != f->trailer || (!plain && header.n != f->header))
        return RW_EINVAL;
    size_t before = buf_len(out);
    int rc = make_header(e, header, payload.n, made);
    if (rc == 0) rc = buf_add(out, made, f->header);
    if (rc == 0) rc = buf_add_str(out, payload);
    if (rc == 0) rc = buf_add_str(out, trailer);
    if (rc < 0) buf_cut(out, before);
    return rc;
}

/* ---- the end, time ---- */

static int frame_eof(void *self) {
    struct frame *e = self;
    if (e->error) return e->error;
    return e->dropping || buf_len(&e->held) == 0 ? 0 : (e->error = RW_EOF);
}

static enum patience_for waiting_for(const struct frame *e) {
    if (e->dropping || buf_len(&e->held) == 0) return PATIENCE_IDLE;
    return e->known ? PATIENCE_BODY : PATIENCE_HEAD;
}

static uint64_t frame_tick(void *self, uint64_t now) {
    struct frame *e = self;
    return patience_tick(&e->patience, &e->env, &e->error, waiting_for(e), buf_len(&e->held), now);
}

const struct engine frame_engine = {
    .name = "frame", .size = sizeof(struct frame), .events = frame_events,
    .init = frame_init, .feed = frame_feed, .next = frame_next, .moved = frame_moved,
    .left = frame_left, .send = frame_send, .eof = frame_eof, .tick = frame_tick,
    .fini = frame_fini,
};
