/* SPDX-License-Identifier: MIT */
/* Two streams in memory, each the other's peer: for tests, and for protocols
 * that run inside of others. A window bounds what is under way, as a socket's
 * buffer would; what is delivered is delivered from the deferral phase.
 */
#include "io/stream_private.h"

#include <string.h>

#include "base/buf.h"

enum { PAIR_WINDOW = 64 * 1024 };

struct pair {
    struct flow f;
    struct pair *peer;    /* NULL: closed */
    struct deferral wake; /* something came, or there is room again */
    struct deferral gone;
    struct buf inbox;
    struct chunk *waiting; /* borrowed from the queue until stream_taken */
    bool ended;            /* the peer's shutdown is behind the inbox */
    int broken;            /* the peer's abort */
};

static struct pair *pair_of(struct stream *s) {
    return (struct pair *)(void *)s;
}

/* ── to the peer ──────────────────────────────────────────────────────────*/

static int pair_write(struct stream *s, struct str bytes) {
    struct pair *peer = pair_of(s)->peer;
    if (!peer) return -EPIPE;
    size_t room = PAIR_WINDOW - buf_len(&peer->inbox);
    size_t n = bytes.n < room ? bytes.n : room;
    if (n == 0) return RW_EAGAIN;
    int rc = buf_add(&peer->inbox, bytes.p, n);
    if (rc < 0) return rc;
    loop_defer(s->loop, &peer->wake);
    return (int)n;
}

static int pair_queue(struct stream *s, struct chunk *c) {
    pair_of(s)->waiting = c;
    loop_defer(s->loop, &pair_of(s)->wake);
    return 0;
}

static size_t pair_unsent(struct stream *s) {
    return chunk_left(pair_of(s)->waiting);
}

/* The waiting chunk, as far as there is room. */
static void push(struct pair *p) {
    struct stream *s = &p->f.s;
    int rc; /* RW_EAGAIN: the peer wakes us when it has read */
    if (!p->waiting || p->f.dying || !outgoing_push(s, p->waiting, &rc)) return;
    p->waiting = NULL;
    stream_taken(s, rc);
}

/* ── to the owner ─────────────────────────────────────────────────────────*/

static void receive(struct pair *p) {
    struct stream *s = &p->f.s;
    if (p->f.dying) return;
    if (p->broken) {
        stream_abort(s, p->broken);
        return;
    }
    if (buf_len(&p->inbox) && (stream_wants_input(s) || p->f.lingering)) {
        struct buf got = p->inbox; /* hooks may fill the inbox meanwhile */
        buf_init(&p->inbox, s->loop->mem, PAIR_WINDOW);
        if (p->peer && p->peer->waiting) loop_defer(s->loop, &p->peer->wake);
        if (!p->f.lingering) stream_input(s, buf_str(&got));
        buf_release(&got);
    }
    if (p->ended && buf_len(&p->inbox) == 0 && stream_wants_input(s))
        stream_input_end(s);
}

static void on_wake(struct deferral *d) {
    struct pair *p = CONTAINER(d, struct pair, wake);
    push(p);
    receive(p);
}

static int pair_read(struct stream *s, bool on) {
    if (on) loop_defer(s->loop, &pair_of(s)->wake);
    return 0;
}

/* ── the end ──────────────────────────────────────────────────────────────*/

static int pair_shutdown(struct stream *s) {
    struct pair *peer = pair_of(s)->peer;
    if (!peer) return -ENOTCONN;
    peer->ended = true;
    loop_defer(s->loop, &peer->wake);
    return 0;
}

static void on_gone(struct deferral *d) {
    struct pair *p = CONTAINER(d, struct pair, gone);
    struct loop *l = p->f.s.loop;
    if (p->waiting) {
        p->waiting = NULL;
        stream_taken(&p->f.s, RW_ECANCELED);
    }
    stream_closed(&p->f.s);
    loop_defer_cancel(&p->wake);
    buf_release(&p->inbox);
    mem_free(l->mem, p, sizeof *p);
}

static void pair_close(struct stream *s) {
    struct pair *p = pair_of(s), *peer = p->peer;
    if (peer) {
        peer->peer = NULL;
        peer->ended = true;
        if (p->f.reset) peer->broken = -ECONNRESET;
        loop_defer(s->loop, &peer->wake);
    }
    p->peer = NULL;
    p->gone.run = on_gone;
    loop_defer(s->loop, &p->gone);
}

static int pair_address(struct stream *s, struct address *out) {
    (void)s;
    out->kind = ADDRESS_PAIR;
    return 0;
}

static const struct transport_ops pair_ops = {
    .name = "pair",
    .write = pair_write,
    .queue = pair_queue,
    .unsent = pair_unsent,
    .read = pair_read,
    .shutdown = pair_shutdown,
    .close = pair_close,
    .peer = pair_address,
    .host = pair_address,
};

int stream_pair(struct loop *l, const struct limits *limits,
                struct stream *out[2]) {
    struct pair *p[2];
    for (int i = 0; i < 2; i++) p[i] = mem_zalloc(l->mem, sizeof *p[i]);
    if (!p[0] || !p[1]) {
        for (int i = 0; i < 2; i++) mem_free(l->mem, p[i], sizeof *p[i]);
        return RW_ENOMEM;
    }
    for (int i = 0; i < 2; i++) {
        flow_init(&p[i]->f, l, limits, &pair_ops, LEDGER_PAIR);
        buf_init(&p[i]->inbox, l->mem, PAIR_WINDOW);
        p[i]->peer = p[!i];
        p[i]->wake.run = on_wake;
        out[i] = &p[i]->f.s;
    }
    return 0;
}
