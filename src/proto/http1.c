/* SPDX-License-Identifier: MIT */
/* HTTP/1 (RFC 9110, RFC 9112), server role: the two state machines.
 *
 *   in:   IDLE → HEAD → BODY → ENDED ┬→ IDLE …
 *                                    └→ CLOSED      (UPGRADED: hand-over)
 *   out:  IDLE → WAITING → BODY → DONE ┬→ IDLE …
 *                                      └→ CLOSED
 *
 * A message is over when in is ENDED and out is DONE, whichever came last
 * (settle); only then the next one is looked at.
 *
 * feed() takes the bytes of exactly one event and no more: a head, a run of
 * body, the end with its trailers. So what it did not take belongs to what
 * follows, and stays with the caller, who feeds it again: a pipelined request
 * after the answer, the other protocol's bytes after an upgrade. And so the
 * slices handed out point straight into the fed bytes. Only a head or trailers
 * that are not whole are copied, to `held`.
 *
 * Memory: `held` and the field table live as long as their slices may, and
 * are gone when the connection is idle. `borrowed` says that an event was given
 * and next() was not called since.
 */
#include "proto/http1_inner.h"
#include "proto/patience.h"

/* Of an incomplete head, so much is copied at a time, because what follows the
 * head within the same bytes must not be. */
enum { HOLD_STEP = 2048 };

/* --- states -------------------------------------------------------------- */

/* Also begins a phase for tick(). */
static void enter_in(struct http1 *e, enum http1_in in) {
    e->in = in;
    e->phase_since = 0;
}

/* Begins a head; http1_head_drop() has emptied the slices. */
static void reset_head(struct http1 *e) {
    memset(&e->mark, 0, sizeof e->mark);
    e->stage = STAGE_START;
    e->seen = 0;
    e->request.verb = HTTP1_OTHER;
    e->request.length = 0;
    e->request.expects_continue = false;
}

void http1_shut(struct http1 *e) {
    e->in = HTTP1_IN_CLOSED;
    e->out = HTTP1_OUT_CLOSED;
    e->ready = 0;
}

void http1_settle(struct http1 *e) {
    if (e->borrowed || e->ready) return;
    if (e->in == HTTP1_IN_CLOSED || e->in == HTTP1_IN_UPGRADED) {
        http1_head_drop(e);
        return;
    }
    if (e->in != HTTP1_IN_ENDED || e->out != HTTP1_OUT_DONE) return;
    http1_head_drop(e);
    if (!e->request.keep_alive || e->close_after) {
        http1_shut(e);
        return;
    }
    reset_head(e);
    enter_in(e, HTTP1_IN_IDLE);
    e->out = HTTP1_OUT_IDLE;
    e->chunk = CHUNK_NONE;
    e->in_trailers = e->blank = e->sent_continue = false;
}

static int fail(struct http1 *e, int error) {
    http1_shut(e);
    return e->error = error;
}

/* A limit fired. */
static int over(struct http1 *e, int error, const char *limit) {
    e->env.limit = limit;
    return fail(e, error);
}

/* Refuses what the peer sent: the response, if one is due and not begun. */
static int refuse(struct http1 *e, int status) {
    bool in_head = e->in == HTTP1_IN_HEAD;
    if (e->out == HTTP1_OUT_IDLE || e->out == HTTP1_OUT_WAITING)
        if (http1_send_refusal(e, status) == RW_ENOMEM) status = 503;
    switch (status) {
    case 408:
        return over(e, RW_ETIMEDOUT, in_head ? "head_timeout" : "body_timeout");
    case 413: return over(e, RW_ELIMIT, "max_body");
    case 414: return over(e, RW_ELIMIT, "max_target");
    case 431: return over(e, RW_ELIMIT, e->env.limit ? e->env.limit : "max_head");
    case 503: return fail(e, RW_ENOMEM);
    default: return fail(e, RW_EPROTO);
    }
}

bool http1_body_due(const struct http1 *e) {
    if (e->in != HTTP1_IN_BODY || e->request.length == 0) return false;
    return e->chunk == CHUNK_NONE ? e->body_left > 0
                                  : e->ready != HTTP1_END + 1;
}

/* The data was pulled, or thrown away. */
static void body_given(struct http1 *e) {
    bool end = e->chunk == CHUNK_NONE && e->body_left == 0;
    e->ready = end ? HTTP1_END + 1 : 0;
    e->data = STR_NONE;
}

/* A run of body is in e->data: an event, or nothing if we have answered. */
static void give_body(struct http1 *e) {
    e->ready = HTTP1_BODY + 1;
    if (e->out == HTTP1_OUT_WAITING || e->out == HTTP1_OUT_BODY) return;
    if (e->data.n > e->discard_left) {
        http1_shut(e);
        return;
    }
    e->discard_left -= (uint32_t)e->data.n;
    body_given(e);
}

void http1_answered(struct http1 *e) {
    e->out = HTTP1_OUT_DONE;
    e->discard_left = HTTP1_MAX_DISCARD;
    if (http1_body_due(e)) {
        bool much = e->chunk == CHUNK_NONE && e->body_left > HTTP1_MAX_DISCARD;
        if (e->close_after || !e->request.keep_alive || much) http1_shut(e);
    }
    if (e->ready == HTTP1_BODY + 1) give_body(e);
    http1_settle(e);
}

/* --- heads and trailers -------------------------------------------------- */

static void begin_body(struct http1 *e) {
    enter_in(e, HTTP1_IN_BODY);
    e->out = HTTP1_OUT_WAITING;
    e->body_seen = 0;
    e->body_left = e->request.length > 0 ? (uint64_t)e->request.length : 0;
    e->chunk = e->request.length < 0 ? CHUNK_SIZE : CHUNK_NONE;
    e->chunk_excess = 0;
    e->ready = HTTP1_REQUEST + 1;
}

static void lines_done(struct http1 *e) {
    if (e->in_trailers) e->ready = HTTP1_END + 1;
    else begin_body(e);
}

/* Appends to `held` and parses on there: bytes taken, or a refusal. */
static int64_t feed_held(struct http1 *e, struct str bytes) {
    size_t taken = 0, max = http1_head_max(e);
    while (taken < bytes.n) {
        size_t before = buf_len(&e->held);
        if (before >= max) return -431; /* it has become less */
        struct str step = str_skip(bytes, taken);
        if (step.n > HOLD_STEP) step.n = HOLD_STEP;
        if (step.n > max - before) step.n = max - before;

        const char *base = buf_str(&e->held).p;
        if (buf_add_str(&e->held, step) < 0) return -503;
        struct str held = buf_str(&e->held);
        http1_head_moved(e, base, held.p);

        int64_t n = http1_head_parse(e, held.p, held.n);
        if (n < 0) return n;
        taken += step.n;
        if (n > 0) {
            lines_done(e);
            return (int64_t)(taken - (held.n - (size_t)n));
        }
    }
    return (int64_t)taken;
}

/* Parses where the bytes are, and holds them if that is not the whole. */
static int64_t feed_lines(struct http1 *e, struct str bytes) {
    if (buf_len(&e->held)) return feed_held(e, bytes);
    int64_t n = http1_head_parse(e, bytes.p, bytes.n);
    if (n != 0) {
        if (n > 0) lines_done(e);
        return n;
    }
    if (buf_add_str(&e->held, bytes) < 0) return -503;
    http1_head_moved(e, bytes.p, buf_str(&e->held).p);
    return (int64_t)bytes.n;
}

static int64_t feed_head(struct http1 *e, struct str bytes) {
    int64_t n = feed_lines(e, bytes);
    if (n <= 0 || e->in == HTTP1_IN_BODY) return n;
    bool idle = e->stage == STAGE_METHOD && e->mark.start == e->mark.at;
    if (idle) { /* only the empty line so far */
        buf_release(&e->held);
        reset_head(e);
    }
    if (idle) enter_in(e, HTTP1_IN_IDLE);
    else if (e->in == HTTP1_IN_IDLE) enter_in(e, HTTP1_IN_HEAD);
    return n;
}

/* --- bodies -------------------------------------------------------------- */

static int64_t feed_chunked(struct http1 *e, struct str bytes) {
    int64_t n = 0;
    if (!e->in_trailers) {
        n = http1_chunk_parse(e, bytes);
        if (n < 0) return n;
        if (e->data.n) give_body(e);
        if (e->chunk != CHUNK_TRAILERS) return n;
        e->in_trailers = true;
        memset(&e->mark, 0, sizeof e->mark);
        e->stage = STAGE_FIELD;
        bytes = str_skip(bytes, (size_t)n);
    }
    if (bytes.n == 0) return n;
    int64_t more = feed_lines(e, bytes);
    return more < 0 ? more : n + more;
}

static int64_t feed_body(struct http1 *e, struct str bytes) {
    if (!e->in_trailers && e->request.bytes.p) http1_head_drop(e);
    if (e->chunk != CHUNK_NONE) return feed_chunked(e, bytes);
    if (bytes.n > e->body_left) bytes.n = (size_t)e->body_left;
    e->body_left -= bytes.n;
    e->body_seen += bytes.n;
    e->data = bytes;
    give_body(e);
    return (int64_t)bytes.n;
}

/* --- public -------------------------------------------------------------- */

int http1_init(struct http1 *e, const struct engine_env *env) {
    if (env->role != ROLE_SERVER) return RW_EINVAL;
    memset(e, 0, sizeof *e);
    e->env = *env;
    buf_init(&e->held, env->mem, HTTP1_MAX_HELD); /* the parser says 431 */
    http1_head_drop(e);
    return 0;
}

void http1_fini(struct http1 *e) { http1_head_drop(e); }

int64_t http1_feed(struct http1 *e, struct str bytes) {
    if (e->error) return e->error;
    if (bytes.n == 0 || e->ready) return 0;
    e->borrowed = false;
    http1_settle(e);

    int64_t n = 0;
    if (e->in == HTTP1_IN_IDLE || e->in == HTTP1_IN_HEAD)
        n = feed_head(e, bytes);
    else if (e->in == HTTP1_IN_BODY)
        n = feed_body(e, bytes);
    return n < 0 ? refuse(e, (int)-n) : n;
}

int http1_next(struct http1 *e, struct str *data) {
    if (e->error) return e->error;
    int event = e->ready;
    e->ready = 0;
    e->borrowed = event != 0;
    switch (event) {
    case HTTP1_REQUEST + 1:
        if (e->request.length == 0) e->ready = HTTP1_END + 1;
        break;
    case HTTP1_BODY + 1:
        *data = e->data;
        body_given(e);
        break;
    case HTTP1_END + 1:
        enter_in(e, HTTP1_IN_ENDED);
        break;
    default:
        http1_settle(e);
    }
    return event;
}

int http1_eof(struct http1 *e) {
    if (e->error) return e->error;
    switch (e->in) {
    case HTTP1_IN_IDLE:
        http1_shut(e);
        break;
    case HTTP1_IN_HEAD:
        return fail(e, RW_EOF);
    case HTTP1_IN_BODY:
        if (http1_body_due(e) && e->out != HTTP1_OUT_DONE)
            return fail(e, RW_EOF);
        if (http1_body_due(e)) http1_shut(e);
        break;
    default:
        break;
    }
    e->eof = true;
    return 0;
}

/* How long the peer has for what it is at; 0: it is our turn. */
static uint64_t allowance(const struct http1 *e) {
    const struct limits *l = e->env.limits;
    switch (e->in) {
    case HTTP1_IN_IDLE:
        return l->idle_timeout;
    case HTTP1_IN_HEAD:
        return l->head_timeout;
    case HTTP1_IN_BODY:
        if (!http1_body_due(e)) return 0;
        if (e->request.expects_continue && !e->sent_continue &&
            e->body_seen == 0 && e->out == HTTP1_OUT_WAITING)
            return 0; /* it waits for us */
        return patience_with_body(l, e->body_seen);
    default:
        return 0;
    }
}

void http1_moved(struct http1 *e, const char *from, const char *to) {
    e->data = slice_moved(e->data, from, to);
    if (!buf_len(&e->held)) http1_head_moved(e, from, to);
}

uint64_t http1_tick(struct http1 *e, uint64_t now) {
    uint64_t span = e->error ? 0 : allowance(e);
    if (span == 0) {
        e->phase_since = 0;
        return 0;
    }
    if (e->phase_since == 0) e->phase_since = now;
    uint64_t deadline = e->phase_since + span;
    if (now < deadline) return deadline;
    if (e->in == HTTP1_IN_IDLE) over(e, RW_ETIMEDOUT, "idle_timeout");
    else refuse(e, 408);
    return deadline;
}

struct fields http1_trailers(const struct http1 *e) {
    if (!e->in_trailers) return (struct fields){NULL, 0};
    return (struct fields){e->fields, e->field_count};
}

void http1_close_after(struct http1 *e) {
    e->close_after = true;
    if (http1_idle(e)) http1_shut(e);
    else if (e->out == HTTP1_OUT_DONE && http1_body_due(e)) http1_shut(e);
}

bool http1_finished(const struct http1 *e) {
    if (e->error) return true;
    if (e->in == HTTP1_IN_CLOSED)
        return e->out != HTTP1_OUT_WAITING && e->out != HTTP1_OUT_BODY;
    return e->eof && http1_idle(e);
}
