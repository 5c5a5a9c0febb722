/* SPDX-License-Identifier: MIT */
/* A filter that eats the PROXY header at the beginning of a stream and goes:
 *
 *     proxy_expect → collects ──→ whole: introduction, done(0), the rest goes up
 *                       │
 *                       └──→ malformed, too long, eof, too late: done(< 0)
 *
 * While it collects, the stream has no hooks. Bytes are kept only if the header
 * comes in pieces, and never more than it may have. */
#include "io/stream_private.h"

#include <string.h>

struct expecting {
    struct filter f;
    struct stream *s; /* f.stream is gone when it detaches */
    struct timer timer;
    struct buf head; /* its first bytes, when it comes in pieces */
    void (*done)(void *owner, struct stream *s, int status); /* NULL: was called */
    void *owner;
};

static void tell(struct expecting *p, int status) {
    void (*done)(void *, struct stream *, int) = p->done;
    p->done = NULL;
    timer_stop(p->s->loop, &p->timer);
    if (done) done(p->owner, p->s, status);
}

/* ── what was said ────────────────────────────────────────────────────────*/

static void address_from(enum proxy_family family, const struct proxy_end *end,
                         struct address *out) {
    *out = (struct address){0};
    out->kind = family == PROXY_UNIX ? ADDRESS_UNIX : ADDRESS_TCP;
    out->port = end->port;
    memcpy(out->host, end->host, strnlen(end->host, sizeof out->host - 1));
}

static int introduce(struct stream *s, const struct proxy_header *h) {
    if (h->local || h->family == PROXY_UNKNOWN) return 0;
    struct introduction *i = mem_zalloc(s->loop->mem, sizeof *i + h->tlvs.n);
    if (!i) return RW_ENOMEM;
    address_from(h->family, &h->source, &i->source);
    address_from(h->family, &h->destination, &i->destination);
    i->version = h->version;
    i->size = h->tlvs.n;
    if (i->size) memcpy(i->tlvs, h->tlvs.p, i->size);
    s->introduction = i;
    return 0;
}

void introduction_free(struct stream *s) {
    struct introduction *i = s->introduction;
    s->introduction = NULL;
    if (i) mem_free(s->loop->mem, i, sizeof *i + i->size);
}

int stream_carrier(struct stream *s, struct address *out) {
    *out = (struct address){0};
    return s->state == STREAM_CLOSED ? RW_ECLOSED : s->ops->peer(s, out);
}

static enum proxy_family family_of(const struct address *a) {
    if (a->kind == ADDRESS_UNIX) return PROXY_UNIX;
    if (a->kind != ADDRESS_TCP) return PROXY_UNKNOWN;
    return strchr(a->host, ':') ? PROXY_IPV6 : PROXY_IPV4;
}

static void end_of(const struct address *a, struct proxy_end *out) {
    size_t n = a->kind == ADDRESS_TCP ? strcspn(a->host, "%") : strlen(a->host);
    memcpy(out->host, a->host, n);
    out->port = a->port;
}

void proxy_header_of(const struct address *source,
                     const struct address *destination,
                     struct proxy_header *out) {
    *out = (struct proxy_header){.version = 2, .local = !source};
    if (!source || family_of(source) != family_of(destination)) return;
    out->family = family_of(source);
    end_of(source, &out->source);
    end_of(destination, &out->destination);
}

/* ── the filter ───────────────────────────────────────────────────────────*/

static int refuse(struct expecting *p, int status) {
    tell(p, status);
    return status;
}

/* `rest`: what came behind it. */
static int accept_header(struct expecting *p, const struct proxy_header *h,
                         struct str rest) {
    int rc = introduce(p->s, h);
    if (rc < 0) return refuse(p, rc);
    buf_release(&p->head);
    tell(p, 0);
    rc = filter_up(&p->f, rest);
    stream_pop_filter(&p->f);
    return rc == RW_ESTATE ? 0 : rc;
}

static int expecting_input(struct filter *f, struct str bytes) {
    struct expecting *p = CONTAINER(f, struct expecting, f);
    struct proxy_header h;
    size_t had = buf_len(&p->head), max = p->head.max;
    struct str head = bytes;
    if (had) {
        size_t room = max - had;
        int rc = buf_add(&p->head, bytes.p, bytes.n < room ? bytes.n : room);
        if (rc < 0) return refuse(p, rc);
        head = buf_str(&p->head);
    }
    int64_t size = proxy_decode(head, max, &h);
    if (size < 0) return refuse(p, (int)size);
    if (size > 0) return accept_header(p, &h, str_skip(bytes, (size_t)size - had));
    int rc = had ? 0 : buf_add_str(&p->head, bytes);
    return rc < 0 ? refuse(p, rc) : 0;
}

static int expecting_input_end(struct filter *f) {
    struct expecting *p = CONTAINER(f, struct expecting, f);
    return refuse(p, buf_len(&p->head) ? RW_EPROTO : RW_EOF);
}

static void expecting_detach(struct filter *f) {
    struct expecting *p = CONTAINER(f, struct expecting, f);
    struct mem *mem = p->head.mem;
    int reason = flow_of(p->s)->reason;
    tell(p, reason ? reason : RW_ECLOSED);
    buf_release(&p->head);
    mem_free(mem, p, sizeof *p);
}

static const struct filter_ops expecting_ops = {
    .name = "proxy",
    .input = expecting_input,
    .input_end = expecting_input_end,
    .detach = expecting_detach,
};

static void too_late(struct timer *t) {
    struct expecting *p = CONTAINER(t, struct expecting, timer);
    stream_abort(p->s, refuse(p, RW_ETIMEDOUT));
}

int proxy_expect(struct stream *s, uint64_t timeout_ms, size_t max,
                 void (*done)(void *owner, struct stream *s, int status),
                 void *owner) {
    struct expecting *p = mem_zalloc(s->loop->mem, sizeof *p);
    if (!p) return RW_ENOMEM;
    p->f.ops = &expecting_ops;
    p->s = s;
    p->done = done;
    p->owner = owner;
    buf_init(&p->head, s->loop->mem, max);
    stream_push_filter(s, &p->f);
    timer_start(s->loop, &p->timer, timeout_ms, too_late);
    stream_read(s, true);
    return 0;
}
