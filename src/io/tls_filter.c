/* SPDX-License-Identifier: MIT */
/* The life of TLS on a stream:
 *
 *      HELLO ─→ CHOOSING ─→ HANDSHAKE ─→ OPEN ─→ (the peer's end, ours)
 *        └── a client begins here ──↑       any: FAILED
 *
 * HELLO and CHOOSING are a server's: the client's first flight is kept until
 * somebody says which certificate it gets; there is no session until then, so
 * that who connects and says nothing costs next to nothing. One step of a
 * handshake is a private key operation, 0.1 to 3 ms: a turn of the loop has
 * some time for them, and the rest takes its turn in the next ones. With RSA a
 * step is in the thread pool: while it is `working` the session is that thread's,
 * whatever becomes of the stream meanwhile, and nothing here may touch it.
 *
 * A write goes out as a record at once, further ones of the same turn of the
 * loop together when it ends. Records begin small, so that the first bytes of a
 * response can be read before the last ones have come, and grow when much is
 * sent without a pause.
 */
#include "io/tls_filter.h"

#include <stdio.h>

#include "io/internal.h"
#include "io/stream_private.h"

enum {
    TURN_TIME = 2000000,         /* nanoseconds for handshakes in a turn */
    PENDING_MAX = 1 << 26,       /* the stream's max_buffered comes first */
    RECORD_SMALL = 1300,         /* fits a packet */
    RECORD_LARGE = 16384,
    RECORD_WARM = 96 * 1024,     /* bytes sent before records are large */
    RECORD_COOL_MS = 1000,       /* … again small after such a pause */
    PLAIN = 16384,               /* decrypted at a time */
    HOST_NAME_MAX_LENGTH = 255,
    ALERT_UNRECOGNIZED_NAME = 112,
};

struct tls_filter {
    struct filter f;
    struct tls *tls;         /* NULL: in HELLO and CHOOSING */
    struct tls_context *context;
    const struct tls_filter_hooks *hooks;
    void *owner;
    struct loop *loop;
    struct buf early;        /* HELLO, CHOOSING, working: from the peer */
    struct buf pending;      /* from the owner, not encrypted yet; held */
    struct timer deadline;   /* of the handshake */
    struct deferral later;   /* a step, or the flush of `pending` */
    uv_work_t work;
    int work_result;
    uint64_t written_turn;   /* turn of the last record */
    uint64_t warm_bytes, warm_at;
    enum { HELLO, CHOOSING, HANDSHAKE, OPEN, FAILED } state;
    bool server, rsa, working, peer_ended, ended, end_due, eof, detached, holding, counted;
};

static int advance(struct tls_filter *t);
static void run_later(struct deferral *d);

/* ── failing ──────────────────────────────────────────────────────────────*/

static int send_output(struct tls_filter *t) {
    if (!t->tls || t->working) return 0;
    struct buf *out = tls_output(t->tls);
    if (buf_len(out) == 0) return 0;
    int rc = filter_down(&t->f, buf_str(out));
    buf_clear(out);
    return rc < 0 ? rc : 0;
}

/* Counted are those that have a session but no end of the handshake yet. */
static void count_handshake(struct tls_filter *t, bool on) {
    if (t->counted == on) return;
    t->counted = on;
    if (on) t->loop->handshakes++;
    else t->loop->handshakes--;
}

static void forget_pending(struct tls_filter *t) {
    size_t n = buf_len(&t->pending);
    buf_release(&t->pending);
    if (n) filter_hold(&t->f, -(int64_t)n);
}

/* The handshake counts as a byte to send: its answers are read also while the
 * owner pauses, or has asked for the end behind what a producer still makes. */
static void hold_for_handshake(struct tls_filter *t, bool on) {
    if (t->holding == on) return;
    t->holding = on;
    filter_hold(&t->f, on ? 1 : -1);
}

/* The alert goes out, then the stream is closed for this reason. */
static int fail(struct tls_filter *t, int code, const char *why) {
    if (t->state == FAILED) return 0;
    t->state = FAILED;
    timer_stop(t->loop, &t->deadline);
    forget_pending(t);
    hold_for_handshake(t, false);
    count_handshake(t, false);
    if (t->hooks && t->hooks->on_failed) t->hooks->on_failed(t->owner, code, why);
    struct stream *s = t->f.stream;
    if (!s) return 0;
    if (send_output(t) < 0) stream_abort(s, code);
    else stream_close_for(s, code);
    return 0;
}

static int fail_tls(struct tls_filter *t, int code) {
    return fail(t, code, tls_why_failed(t->tls));
}

static void too_slow(struct timer *timer) {
    struct tls_filter *t = CONTAINER(timer, struct tls_filter, deadline);
    fail(t, RW_ETIMEDOUT, "the handshake took too long (limit handshake_timeout)");
}

/* ── upwards ──────────────────────────────────────────────────────────────*/

static int deliver(struct tls_filter *t) {
    char plain[PLAIN];
    while (t->state == OPEN && !t->peer_ended) {
        int n = tls_read(t->tls, plain, sizeof plain);
        if (n == 0) break;
        if (n == RW_EOF) {
            t->peer_ended = true;
            return filter_up_end(&t->f);
        }
        if (n < 0) return fail_tls(t, n);
        int rc = filter_up(&t->f, str_of(plain, (size_t)n));
        if (rc < 0) return rc;
        if (!t->f.stream) return 0;
    }
    if (t->state != OPEN) return 0;
    int rc = send_output(t); /* a key update's answer, say */
    if (rc == 0) tls_idle(t->tls);
    return rc;
}

/* ── the handshake ────────────────────────────────────────────────────────*/

static int flush_pending(struct tls_filter *t);

static int established(struct tls_filter *t) {
    t->state = OPEN;
    timer_stop(t->loop, &t->deadline);
    hold_for_handshake(t, false);
    count_handshake(t, false);
    if (!t->f.stream) return 0;
    if (t->hooks && t->hooks->on_established) t->hooks->on_established(t->owner, t);
    if (!t->f.stream || t->state != OPEN) return 0;
    int rc = flush_pending(t);
    if (rc == 0 && t->end_due && t->state == OPEN && t->f.stream) {
        tls_end(t->tls);
        t->ended = true;
        rc = send_output(t);
        if (rc == 0) rc = filter_down_end(&t->f);
    }
    if (rc < 0 || !t->f.stream) return rc;
    return deliver(t);
}

static int stepped(struct tls_filter *t, int rc) {
    if (rc < 0) return fail_tls(t, rc);
    int sent = send_output(t);
    if (sent < 0) return sent;
    if (rc == 1) return established(t);
    if (t->eof) return fail(t, RW_ETRUNCATED, "the peer went away in the handshake");
    return 0;
}

static void work(uv_work_t *w) {
    struct tls_filter *t = CONTAINER(w, struct tls_filter, work);
    t->work_result = tls_handshake(t->tls);
}

static void tls_filter_free(struct tls_filter *t) {
    struct mem *mem = t->loop->mem;
    count_handshake(t, false);
    timer_stop(t->loop, &t->deadline);
    loop_defer_cancel(&t->later);
    buf_release(&t->early);
    buf_release(&t->pending);
    tls_free(&t->tls);
    tls_context_unref(&t->context);
    mem_free(mem, t, sizeof *t);
}

static void worked(uv_work_t *w, int status) {
    struct tls_filter *t = CONTAINER(w, struct tls_filter, work);
    t->working = false;
    if (t->detached) {
        tls_filter_free(t);
        return;
    }
    if (t->state != HANDSHAKE) return; /* it took too long */
    int rc = status < 0 ? status : stepped(t, t->work_result);
    if (rc == 0 && t->f.stream && t->state != FAILED) rc = advance(t);
    if (rc < 0 && t->f.stream) stream_abort(t->f.stream, rc);
}

static int step(struct tls_filter *t) {
    struct loop *l = t->loop;
    if (t->rsa) {
        int rc = uv_queue_work(&l->uv, &t->work, work, worked);
        t->working = rc == 0;
        return rc;
    }
    if (l->handshake_turn != l->turn) l->handshake_turn = l->turn, l->handshake_time = 0;
    if (l->handshake_time >= TURN_TIME) {
        t->later.run = run_later;
        loop_defer(l, &t->later);
        return 0;
    }
    uint64_t began = loop_hrtime();
    int rc = tls_handshake(t->tls);
    l->handshake_time += loop_hrtime() - began;
    return stepped(t, rc);
}

/* What came meanwhile goes to the session, and the session goes on. */
static int advance(struct tls_filter *t) {
    if (t->working || (t->state != HANDSHAKE && t->state != OPEN)) return 0;
    if (buf_len(&t->early)) {
        int rc = tls_feed(t->tls, buf_str(&t->early));
        buf_release(&t->early);
        if (rc < 0) return rc;
        if (t->state == HANDSHAKE) return step(t);
    }
    return t->state == OPEN ? deliver(t) : 0;
}

/* Not of a pair, and the like: they have no address of their own. */
static void resume(struct tls_filter *t) {
    struct address a;
    char text[sizeof a.host + 16];
    if (stream_peer(t->f.stream, &a) < 0 || (a.kind != ADDRESS_TCP && a.kind != ADDRESS_UNIX)) return;
    tls_resume(t->tls, address_format(&a, text, sizeof text));
}

/* From here on it has a session, which has buffers. */
static int begin(struct tls_filter *t, const char *name) {
    struct loop *l = t->loop;
    if (t->server && l->handshakes >= t->f.stream->limits->max_handshakes) return RW_ELIMIT;
    int rc = tls_new(t->context, l->mem, name, &t->tls);
    if (rc < 0) return rc;
    if (!t->server) resume(t);
    count_handshake(t, true);
    t->state = HANDSHAKE;
    return 0;
}

/* ── choosing a certificate ───────────────────────────────────────────────*/

static int look_at_hello(struct tls_filter *t) {
    char scratch[CLIENT_HELLO_MAX];
    struct client_hello hello;
    int rc = client_hello_parse(buf_str(&t->early), scratch, &hello);
    if (rc == 0) return 0;
    if (rc == RW_ELIMIT) return fail(t, RW_ETLS, "the client's first message is too long");
    if (rc < 0) return fail(t, RW_ETLS, "the client does not speak TLS");
    t->state = CHOOSING;
    t->hooks->on_hello(t->owner, t, &hello);
    return 0;
}

/* The name in the client's first message, once more: between then and now, maybe
 * long, nothing was kept but the message. */
static const char *asked_for(struct tls_filter *t, char name[HOST_NAME_MAX_LENGTH + 1]) {
    char scratch[CLIENT_HELLO_MAX];
    struct client_hello hello;
    *name = '\0';
    if (client_hello_parse(buf_str(&t->early), scratch, &hello) == 1 &&
        hello.server_name.n <= HOST_NAME_MAX_LENGTH && hello.server_name.n) {
        memcpy(name, hello.server_name.p, hello.server_name.n);
        name[hello.server_name.n] = '\0';
    }
    return name;
}

void tls_filter_use(struct tls_filter *t, struct tls_identity *id) {
    if (t->state != CHOOSING || !t->f.stream) return;
    struct stream *s = t->f.stream;
    char name[HOST_NAME_MAX_LENGTH + 1];
    int rc = begin(t, asked_for(t, name));
    if (rc == 0) {
        t->rsa = tls_identity_is_slow(id);
        tls_use(t->tls, id);
        rc = advance(t);
    } else if (rc == RW_ELIMIT) {
        rc = fail(t, rc, "there are too many handshakes (limit max_handshakes)");
    }
    if (rc < 0) stream_abort(s, rc);
}

int tls_filter_change(struct tls_filter *t, struct tls_context *c) {
    if (t->state != CHOOSING) return RW_ESTATE;
    struct tls_context *old = t->context;
    t->context = tls_context_ref(c);
    tls_context_unref(&old);
    return 0;
}

void tls_filter_refuse(struct tls_filter *t, const char *why) {
    static const char alert[] = {21, 3, 3, 0, 2, 2, ALERT_UNRECOGNIZED_NAME};
    if (t->state != CHOOSING || !t->f.stream) return;
    int rc = filter_down(&t->f, str_of(alert, sizeof alert));
    if (rc < 0) stream_abort(t->f.stream, rc);
    else fail(t, RW_ECERTIFICATE, why);
}

/* ── the filter's calls ───────────────────────────────────────────────────*/

static struct tls_filter *of(struct filter *f) { return CONTAINER(f, struct tls_filter, f); }

static int input(struct filter *f, struct str bytes) {
    struct tls_filter *t = of(f);
    int rc;
    switch (t->state) {
    case HELLO:
        rc = buf_add_str(&t->early, bytes);
        return rc < 0 ? rc : look_at_hello(t);
    case CHOOSING:
        return buf_add_str(&t->early, bytes);
    case HANDSHAKE:
        if (t->working) return buf_add_str(&t->early, bytes);
        rc = tls_feed(t->tls, bytes);
        return rc < 0 ? rc : step(t);
    case OPEN:
        rc = tls_feed(t->tls, bytes);
        return rc < 0 ? rc : deliver(t);
    default:
        return 0;
    }
}

static int input_end(struct filter *f) {
    struct tls_filter *t = of(f);
    t->eof = true;
    if (t->state == FAILED || t->peer_ended) return 0;
    if (t->state == OPEN && t->ended) return filter_up_end(f);
    if (t->state == OPEN)
        return fail(t, RW_ETRUNCATED, "the peer went away without ending the session");
    if (t->working) return 0;
    return fail(t, RW_ETRUNCATED, "the peer went away in the handshake");
}

/* How many of n bytes still go in small records. */
static size_t small_part(struct tls_filter *t, size_t n) {
    uint64_t now = loop_now(t->loop);
    if (now - t->warm_at >= RECORD_COOL_MS) t->warm_bytes = 0;
    size_t left = t->warm_bytes < RECORD_WARM ? RECORD_WARM - (size_t)t->warm_bytes : 0;
    t->warm_at = now;
    t->warm_bytes += n;
    return n < left ? n : left;
}

static int encrypt(struct tls_filter *t, struct str bytes) {
    size_t small = small_part(t, bytes.n);
    int rc = tls_write(t->tls, str_of(bytes.p, small), RECORD_SMALL);
    if (rc == 0) rc = tls_write(t->tls, str_skip(bytes, small), RECORD_LARGE);
    if (rc < 0) return fail_tls(t, rc);
    t->written_turn = t->loop->turn;
    rc = send_output(t);
    if (rc == 0) tls_idle(t->tls);
    return rc;
}

static int flush_pending(struct tls_filter *t) {
    size_t n = buf_len(&t->pending);
    if (n == 0) return 0;
    int rc = encrypt(t, buf_str(&t->pending));
    forget_pending(t);
    return rc;
}

static int keep(struct tls_filter *t, struct str bytes) {
    int rc = buf_add_str(&t->pending, bytes);
    if (rc == 0) filter_hold(&t->f, (int64_t)bytes.n);
    return rc;
}

static int output(struct filter *f, struct str bytes) {
    struct tls_filter *t = of(f);
    if (t->state == FAILED) return RW_ECLOSED;
    if (t->state != OPEN) return keep(t, bytes);
    if (t->written_turn != t->loop->turn && buf_len(&t->pending) == 0) return encrypt(t, bytes);
    if (bytes.n + buf_len(&t->pending) < RECORD_LARGE) {
        t->later.run = run_later;
        loop_defer(t->loop, &t->later);
        return keep(t, bytes);
    }
    int rc = flush_pending(t);
    return rc < 0 ? rc : t->state == OPEN ? encrypt(t, bytes) : 0;
}

static int output_end(struct filter *f) {
    struct tls_filter *t = of(f);
    if (t->state == FAILED) return filter_down_end(f);
    t->end_due = true;
    if (t->state != OPEN) return 0;
    int rc = flush_pending(t);
    if (rc < 0 || t->state != OPEN) return rc;
    tls_end(t->tls);
    t->ended = true;
    rc = send_output(t);
    return rc < 0 ? rc : filter_down_end(f);
}

static void run_later(struct deferral *d) {
    struct tls_filter *t = CONTAINER(d, struct tls_filter, later);
    struct stream *s = t->f.stream;
    if (!s) return;
    int rc = t->state == HANDSHAKE ? (t->working ? 0 : step(t)) : t->state == OPEN ? flush_pending(t) : 0;
    if (rc < 0) stream_abort(s, rc);
}

static void detach(struct filter *f) {
    struct tls_filter *t = of(f);
    if (t->working) {
        t->detached = true;
        timer_stop(t->loop, &t->deadline);
        loop_defer_cancel(&t->later);
        count_handshake(t, false);
        uv_cancel((uv_req_t *)&t->work); /* nobody waits for it, if it has not begun */
    } else {
        tls_filter_free(t);
    }
}

static const struct filter_ops ops = {
    .name = "tls", .input = input, .output = output, .input_end = input_end,
    .output_end = output_end, .detach = detach,
};

/* ── life ─────────────────────────────────────────────────────────────────*/

int tls_filter_push(struct stream *s, struct tls_context *c, const char *name,
                    const struct tls_filter_hooks *hooks, void *owner,
                    struct tls_filter **out) {
    struct loop *l = s->loop;
    if (flow_of(s)->backlog) return RW_EPROTO; /* plain text that nobody has read */
    struct tls_filter *t = mem_zalloc(l->mem, sizeof *t);
    *out = NULL;
    if (!t) return RW_ENOMEM;
    t->f.ops = &ops;
    t->loop = l;
    t->server = tls_context_is_server(c);
    buf_init(&t->early, l->mem, 2 * CLIENT_HELLO_MAX + LOOP_BUFFER);
    buf_init(&t->pending, l->mem, PENDING_MAX);
    t->context = tls_context_ref(c);
    tls_filter_own(t, hooks, owner);
    stream_push_filter(s, &t->f);
    int rc = t->server ? 0 : begin(t, name);
    if (rc < 0) {
        stream_pop_filter(&t->f);
        return rc;
    }
    hold_for_handshake(t, true);
    timer_start(l, &t->deadline, s->limits->handshake_timeout, too_slow);
    if (!t->server) { /* the first flight */
        t->later.run = run_later;
        loop_defer(l, &t->later);
    }
    *out = t;
    return 0;
}

void tls_filter_own(struct tls_filter *t, const struct tls_filter_hooks *hooks, void *owner) {
    t->hooks = hooks;
    t->owner = owner;
}

struct tls *tls_filter_session(struct tls_filter *t) {
    return t->f.stream && !t->working ? t->tls : NULL;
}

bool tls_filter_established(const struct tls_filter *t) { return t->state == OPEN; }

struct tls_filter *tls_filter_of(const struct stream *s) {
    for (struct filter *f = s->top; f; f = f->below)
        if (f->ops == &ops) return of(f);
    return NULL;
}
