/* SPDX-License-Identifier: MIT */
/* Netstrings, strictly as Bernstein wrote them down: a length has no leading
 * zero, nothing stands before or between, the comma is checked.
 *
 * As in line.c, what is whole within one feed is given out uncopied; otherwise
 * it is collected in `held`, which then holds exactly one netstring and never
 * a byte of the next. A length is a promise, not a reason to allocate: held
 * grows with the bytes that came (by doubling), so a peer pays for the memory
 * it makes us use.
 */
#include "proto/netstring.h"

static const struct event_def netstring_events[] = {
    [NETSTRING_STRING] = {"string", "str:bytes", EVENT_BOTH},
    {NULL, NULL, 0},
};

enum { MAX_HEAD = 21 /* the digits of 2^64 and a colon */ };

static size_t longest(const struct netstring *e) {
    uint64_t max = e->env.limits->max_frame;
    return max < SIZE_MAX / 16 ? (size_t)max : SIZE_MAX / 16;
}

static int netstring_init(void *self, const struct engine_env *env) {
    struct netstring *e = self;
    *e = (struct netstring){.env = *env};
    buf_init(&e->held, env->mem, SIZE_MAX / 8); /* the limit may change: read_head() */
    return 0;
}

static void netstring_fini(void *self) {
    struct netstring *e = self;
    buf_release(&e->held);
}

static int64_t netstring_feed(void *self, struct str bytes) {
    struct netstring *e = self;
    if (e->error) return e->error;
    if (e->pending.n) return 0;
    e->pending = bytes;
    return (int64_t)bytes.n;
}

static int broken(struct netstring *e, const char *why) {
    e->why = why;
    return RW_EPROTO;
}

/* Reads "123:" at the front: 1, 0 when the colon has not come yet, or < 0 at
 * the first byte that cannot be right. `head`, `whole`: as in the struct. */
static int read_head(struct netstring *e, struct str s, size_t *head, size_t *whole) {
    size_t length = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == ':' && i > 0) {
            *head = i + 1;
            *whole = *head + length + 1;
            return 1;
        }
        unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
        if (digit > 9) return broken(e, "a length has digits only");
        if (i > 0 && length == 0) return broken(e, "a length begins with 0");
        length = length * 10 + digit; /* no overflow: longest() */
        if (length > longest(e)) return RW_ELIMIT;
    }
    return 0;
}

static int give(struct netstring *e, struct event *out, struct str whole, size_t head) {
    if (whole.p[whole.n - 1] != ',') return broken(e, "a string does not end in a comma");
    out->type = NETSTRING_STRING;
    out->args[0].str = str_of(whole.p + head, whole.n - head - 1);
    e->patience.restart = true;
    return 1;
}

/* Moves n bytes of pending, or what there is, to held. */
static int hold(struct netstring *e, size_t n) {
    if (n > e->pending.n) n = e->pending.n;
    int rc = buf_add(&e->held, e->pending.p, n);
    if (rc == 0) e->pending = str_skip(e->pending, n);
    return rc;
}

static int next_pending(struct netstring *e, struct event *out) {
    struct str at = e->pending;
    size_t head = 0, whole = 0;
    int rc = read_head(e, at, &head, &whole);
    if (rc < 0) return rc;
    if (rc == 1 && at.n >= whole) {
        e->pending = str_skip(at, whole);
        return give(e, out, str_of(at.p, whole), head);
    }
    e->head = head;
    e->whole = whole;
    return hold(e, at.n);
}

static int next_held(struct netstring *e, struct event *out) {
    int rc;
    if (e->whole == 0) {
        size_t colon = str_find(e->pending, ':');
        if ((rc = hold(e, colon < MAX_HEAD ? colon + 1 : MAX_HEAD)) < 0) return rc;
        if ((rc = read_head(e, buf_str(&e->held), &e->head, &e->whole)) != 1) return rc;
    }
    if (e->pending.n && (rc = hold(e, e->whole - buf_len(&e->held))) < 0) return rc;
    if (buf_len(&e->held) < e->whole) return 0;
    e->dropping = true;
    return give(e, out, buf_str(&e->held), e->head);
}

static int netstring_next(void *self, struct event *out) {
    struct netstring *e = self;
    int rc = 0;
    if (e->error) return e->error;
    if (e->dropping) {
        buf_clear(&e->held);
        e->dropping = false;
        e->head = e->whole = 0;
    }
    if (e->pending.n) rc = buf_len(&e->held) ? next_held(e, out) : next_pending(e, out);
    if (rc < 0) e->error = rc;
    if (rc == RW_ELIMIT) e->env.limit = "max_frame";
    if (rc == 0 && buf_len(&e->held) == 0) buf_release(&e->held);
    return rc;
}

static void netstring_moved(void *self, const char *from, const char *to) {
    struct netstring *e = self;
    e->pending = slice_moved(e->pending, from, to);
}

static struct str netstring_left(const void *self) {
    const struct netstring *e = self;
    return e->dropping || buf_len(&e->held) == 0 ? e->pending : buf_str(&e->held);
}

static int netstring_send(void *self, const struct event *ev) {
    struct netstring *e = self;
    struct buf *out = e->env.out;
    struct str bytes = ev->args[0].str;
    if (ev->type != NETSTRING_STRING) return RW_EINVAL;
    if (bytes.n > longest(e)) return RW_ELIMIT;
    size_t before = buf_len(out);
    int rc = buf_add_u64(out, bytes.n);
    if (rc == 0) rc = buf_add_char(out, ':');
    if (rc == 0) rc = buf_add_str(out, bytes);
    if (rc == 0) rc = buf_add_char(out, ',');
    if (rc < 0) buf_cut(out, before);
    return rc;
}

static int netstring_eof(void *self) {
    struct netstring *e = self;
    if (e->error) return e->error;
    return e->dropping || buf_len(&e->held) == 0 ? 0 : (e->error = RW_EOF);
}

static enum patience_for waiting_for(const struct netstring *e) {
    if (e->dropping || buf_len(&e->held) == 0) return PATIENCE_IDLE;
    return e->whole ? PATIENCE_BODY : PATIENCE_HEAD;
}

static uint64_t netstring_tick(void *self, uint64_t now) {
    struct netstring *e = self;
    return patience_tick(&e->patience, &e->env, &e->error, waiting_for(e), buf_len(&e->held), now);
}

const struct engine netstring_engine = {
    .name = "netstring", .size = sizeof(struct netstring), .events = netstring_events,
    .init = netstring_init, .feed = netstring_feed, .next = netstring_next, .moved = netstring_moved,
    .left = netstring_left, .send = netstring_send, .eof = netstring_eof, .tick = netstring_tick,
    .fini = netstring_fini,
};
