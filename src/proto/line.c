/* SPDX-License-Identifier: MIT */
/* Lines and raw bytes: the core that SMTP, POP3, IMAP, FTP, IRC and every
 * home-made line protocol share.
 *
 * Where input is. What was fed is `pending`, borrowed from the caller; lines
 * that are whole there are given out as slices of it, uncopied. When pending
 * ends within a line, that rest moves to `held`, so that nothing borrowed
 * outlives next() == 0. More input completes it: pending is searched for the
 * end, and exactly the bytes up to there join held, which then is one line.
 *
 * Invariants, when next() returns:
 *   - held, without `dropping`, and pending are not both filled: a rest is
 *     always one slice (left);
 *   - held has no line end in its first `scanned` bytes, so that a line that
 *     comes a byte at a time is looked at once, not once a byte;
 *   - on 0, pending is empty, and held is freed unless it has part of a line.
 * A mode that is changed while held is filled (from a timer, say) makes held
 * `unsettled`: pending joins it whole, and it is read anew from its start.
 *
 * The limit counts what is before the delimiter, and is checked so that the
 * outcome never depends on how the input was cut: the line that is one byte
 * too long is refused whether its end is here yet or not.
 */
#include "proto/line.h"

static const struct event_def line_events[] = {
    [LINE_LINE] = {"line", "str:bytes", EVENT_BOTH},
    [LINE_RAW] = {"raw", "str:bytes", EVENT_BOTH},
    [LINE_RAW_END] = {"raw_end", "", EVENT_IN},
    {NULL, NULL, 0},
};

static int line_init(void *self, const struct engine_env *env) {
    struct line *e = self;
    *e = (struct line){.env = *env};
    buf_init(&e->held, env->mem, 0);
    return line_set_delimiter(e, LINE_LF_OR_CRLF, STR_NONE);
}

static void line_fini(void *self) {
    struct line *e = self;
    buf_release(&e->held);
}

static int64_t line_feed(void *self, struct str bytes) {
    struct line *e = self;
    if (e->error) return e->error;
    if (e->pending.n) return 0;
    e->pending = bytes;
    return (int64_t)bytes.n;
}

/* ---- finding the end of a line ---- */

static size_t longest(const struct line *e) {
    uint64_t max = e->env.limits->max_line;
    return max < SIZE_MAX / 4 ? (size_t)max : SIZE_MAX / 4;
}

/* The first byte `c` in s at or behind `from`, or s.n. */
static size_t find_from(struct str s, size_t from, char c) {
    if (from >= s.n) return s.n;
    return from + str_find(str_skip(s, from), c);
}

/* All three look at `text`, in which nothing ends before `from`: 1 and the
 * lengths without and with the delimiter, 0, or < 0. Of the text that has no
 * end, its last bytes may be the first of a delimiter. */

static int find_lf(const struct line *e, struct str text, size_t from,
                   size_t *bare, size_t *whole) {
    size_t lf = find_from(text, from, '\n');
    *bare = lf && text.p[lf - 1] == '\r' ? lf - 1 : lf;
    *whole = lf + 1;
    if (*bare > longest(e)) return RW_ELIMIT;
    return lf < text.n;
}

static int find_crlf(const struct line *e, struct str text, size_t from,
                     size_t *bare, size_t *whole) {
    size_t lf = find_from(text, from, '\n');
    size_t cr = find_from(str_of(text.p, lf), from ? from - 1 : 0, '\r');
    *bare = cr;
    *whole = cr + 2;
    if (cr > longest(e)) return RW_ELIMIT;
    if (cr == lf) return lf < text.n ? RW_EPROTO : 0; /* a bare LF, or no end */
    if (cr + 1 == text.n) return 0;
    return cr + 1 == lf ? 1 : RW_EPROTO;
}

static int find_custom(const struct line *e, struct str text, size_t from,
                       size_t *bare, size_t *whole) {
    size_t n = e->delimiter_len;
    from = from < n ? 0 : from - (n - 1);
    const char *hit = memmem(text.p + from, text.n - from, e->delimiter, n);
    *bare = hit ? (size_t)(hit - text.p) : text.n;
    *whole = *bare + n;
    if (*bare > longest(e) + (hit ? 0 : n - 1)) return RW_ELIMIT;
    return hit != NULL;
}

static int find_end(const struct line *e, struct str text, size_t from,
                    size_t *bare, size_t *whole) {
    switch (e->ending) {
    case LINE_CRLF: return find_crlf(e, text, from, bare, whole);
    case LINE_CUSTOM: return find_custom(e, text, from, bare, whole);
    default: return find_lf(e, text, from, bare, whole);
    }
}

/* How many bytes of pending complete the line that begins in held; all of
 * them when they do not. */
static size_t rest_of_line(const struct line *e) {
    struct str held = buf_str(&e->held), pending = e->pending;
    size_t n = e->delimiter_len;
    if (e->ending != LINE_CUSTOM) {
        size_t lf = str_find(pending, '\n');
        return lf < pending.n ? lf + 1 : lf;
    }
    /* A delimiter across the seam lies within n-1 bytes on each side. */
    char seam[2 * sizeof e->delimiter];
    size_t left = held.n < n - 1 ? held.n : n - 1;
    size_t right = pending.n < n - 1 ? pending.n : n - 1;
    memcpy(seam, held.p + held.n - left, left);
    memcpy(seam + left, pending.p, right);
    const char *hit = memmem(seam, left + right, e->delimiter, n);
    if (hit) return (size_t)(hit - seam) + n - left;
    hit = memmem(pending.p, pending.n, e->delimiter, n);
    return hit ? (size_t)(hit - pending.p) + n : pending.n;
}

/* ---- next ---- */

/* Moves the first n bytes of pending to held: no more than a line's worth, or,
 * after a change of mode, what the caller fed once. */
static int hold(struct line *e, size_t n) {
    size_t want = buf_len(&e->held) + n;
    if (e->held.max < want) e->held.max = want;
    int rc = buf_add(&e->held, e->pending.p, n);
    if (rc == 0) e->pending = str_skip(e->pending, n);
    return rc;
}

static int give(struct line *e, struct event *out, unsigned type, struct str bytes) {
    out->type = type;
    out->args[0].str = bytes;
    e->patience.restart |= type != LINE_RAW || e->raw_left == LINE_RAW_FOREVER;
    return 1;
}

static int next_raw(struct line *e, struct event *out) {
    bool from_held = buf_len(&e->held) != 0;
    struct str at = from_held ? buf_str(&e->held) : e->pending;
    if (e->raw_left == 0) {
        line_set_lines(e);
        return give(e, out, LINE_RAW_END, STR_NONE);
    }
    if (at.n == 0) return 0;
    if (at.n > e->raw_left) at.n = (size_t)e->raw_left;
    if (e->raw_left != LINE_RAW_FOREVER) e->raw_left -= at.n;
    e->raw_seen += at.n;
    if (from_held) e->dropping = at.n;
    else e->pending = str_skip(e->pending, at.n);
    return give(e, out, LINE_RAW, at);
}

/* The line is whole within pending, or its beginning moves to held. */
static int next_pending(struct line *e, struct event *out) {
    size_t bare, whole;
    struct str at = e->pending;
    int rc = find_end(e, at, 0, &bare, &whole);
    if (rc == 1) {
        e->pending = str_skip(at, whole);
        return give(e, out, LINE_LINE, str_of(at.p, bare));
    }
    if (rc == 0) rc = hold(e, at.n);
    e->scanned = buf_len(&e->held);
    return rc;
}

/* The line begins in held and may end there, in pending, or not yet. */
static int next_held(struct line *e, struct event *out) {
    if (e->pending.n) {
        /* A byte more than any line is enough to see that it is too long. */
        size_t n = rest_of_line(e), room = longest(e) + sizeof e->delimiter;
        room = room > buf_len(&e->held) ? room - buf_len(&e->held) : 1;
        int rc = hold(e, n < room ? n : room);
        if (rc < 0) return rc;
    }
    size_t bare, whole;
    struct str at = buf_str(&e->held);
    int rc = find_end(e, at, e->scanned, &bare, &whole);
    e->scanned = at.n;
    if (rc != 1) return rc;
    e->dropping = whole;
    return give(e, out, LINE_LINE, str_of(at.p, bare));
}

/* What the last event borrowed goes, and a change of mode takes hold. */
static int settle(struct line *e) {
    if (e->dropping || e->unsettled) e->scanned = 0;
    buf_drop(&e->held, e->dropping);
    e->dropping = 0;
    if (!e->unsettled) return 0;
    e->unsettled = false;
    return buf_len(&e->held) && e->pending.n ? hold(e, e->pending.n) : 0;
}

static int line_next(void *self, struct event *out) {
    struct line *e = self;
    if (e->error) return e->error;
    int rc = settle(e);
    if (rc < 0) return e->error = rc;
    if (e->raw) rc = next_raw(e, out);
    else if (buf_len(&e->held)) rc = next_held(e, out);
    else if (e->pending.n) rc = next_pending(e, out);
    if (rc < 0) e->error = rc;
    if (rc == RW_ELIMIT) e->env.limit = "max_line";
    if (rc == 0 && buf_len(&e->held) == 0) buf_release(&e->held);
    return rc;
}

static int line_eof(void *self) {
    struct line *e = self;
    if (e->error) return e->error;
    bool between = e->raw ? e->raw_left == 0 || e->raw_left == LINE_RAW_FOREVER
                          : buf_len(&e->held) == e->dropping;
    return between ? 0 : (e->error = RW_EOF);
}

/* ---- send ---- */

/* Would `bytes`, sent with the delimiter, be read as exactly one line? */
static bool is_one_line(const struct line *e, struct str bytes) {
    size_t n = e->delimiter_len;
    if (e->ending != LINE_CUSTOM)
        return str_find(bytes, '\r') == bytes.n && str_find(bytes, '\n') == bytes.n;
    if (bytes.n && memmem(bytes.p, bytes.n, e->delimiter, n)) return false;
    char seam[2 * sizeof e->delimiter];
    size_t left = bytes.n < n - 1 ? bytes.n : n - 1;
    if (left) memcpy(seam, bytes.p + bytes.n - left, left);
    memcpy(seam + left, e->delimiter, n);
    return memmem(seam, left + n, e->delimiter, n) == seam + left;
}

static void line_moved(void *self, const char *from, const char *to) {
    struct line *e = self;
    e->pending = slice_moved(e->pending, from, to);
}

static int line_send(void *self, const struct event *ev) {
    struct line *e = self;
    struct buf *out = e->env.out;
    struct str bytes = ev->args[0].str;
    if (ev->type == LINE_RAW) return buf_add_str(out, bytes);
    if (ev->type != LINE_LINE || !is_one_line(e, bytes)) return RW_EINVAL;
    size_t before = buf_len(out);
    int rc = buf_add_str(out, bytes);
    if (rc == 0) rc = buf_add(out, e->delimiter, e->delimiter_len);
    if (rc < 0) buf_cut(out, before);
    return rc;
}

/* ---- time ---- */

static enum patience_for waiting_for(const struct line *e) {
    if (e->raw) return e->raw_left == LINE_RAW_FOREVER ? PATIENCE_IDLE : PATIENCE_BODY;
    return buf_len(&e->held) > e->dropping ? PATIENCE_HEAD : PATIENCE_IDLE;
}

static uint64_t line_tick(void *self, uint64_t now) {
    struct line *e = self;
    return patience_tick(&e->patience, &e->env, &e->error, waiting_for(e), e->raw_seen, now);
}

/* ---- modes ---- */

static void change(struct line *e, bool raw, uint64_t bytes) {
    e->raw = raw;
    e->raw_left = bytes;
    e->raw_seen = 0;
    e->unsettled = e->patience.restart = true;
}

void line_set_raw(struct line *e, uint64_t bytes) { change(e, true, bytes); }

void line_set_lines(struct line *e) { change(e, false, 0); }

int line_set_delimiter(struct line *e, enum line_ending ending, struct str custom) {
    if (ending != LINE_CUSTOM) custom = STR("\r\n");
    if (custom.n == 0 || custom.n > sizeof e->delimiter) return RW_EINVAL;
    memcpy(e->delimiter, custom.p, custom.n);
    e->delimiter_len = (uint8_t)custom.n;
    e->ending = ending;
    e->unsettled = true;
    return 0;
}

void line_clear(struct line *e) {
    e->pending = STR_NONE;
    buf_cut(&e->held, e->dropping);
    e->unsettled = true;
}

static struct str line_left(const void *self) {
    const struct line *e = self;
    if (buf_len(&e->held) == e->dropping) return e->pending;
    return str_skip(buf_str(&e->held), e->dropping);
}

const struct engine line_engine = {
    .name = "line", .size = sizeof(struct line), .events = line_events,
    .init = line_init, .feed = line_feed, .next = line_next, .moved = line_moved, .left = line_left,
    .send = line_send, .eof = line_eof, .tick = line_tick, .fini = line_fini,
};
