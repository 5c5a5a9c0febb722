/* SPDX-License-Identifier: MIT */
/* Rates by token buckets: one for each direction of a stream, one for each
 * direction of its group. A bucket fills at the rate and holds rate_burst bytes,
 * which is what may go at once after a rest; what there is no token for is kept
 * here until its time has come:
 *
 *      down  counts as queued, so the writer is told to pause, close waits
 *      up    at most one read; meanwhile the transport is not read (muted), and
 *            the peer's own system slows it down
 *
 * Those whom the group's bucket keeps waiting stand in line: each time it is
 * served, everybody in it gets an equal share, or, when that would be crumbs, as
 * many as there are SHARE_MIN for; whoever has more to say goes to its end. So a
 * total is shared fairly whatever the others ask for.
 */
#include "io/throttle.h"

#include "base/buf.h"
#include "io/stream_private.h"

enum {
    GRAIN_MS = 20,       /* a wait is at least worth this much of the rate … */
    GRAIN_MAX = 16384,   /* … or so many bytes */
    SHARE_MIN = 512,     /* bytes: the head of a packet is 40 */
};

struct bucket {
    double tokens; /* bytes */
    uint64_t at;   /* loop_now() of `tokens`; 0: full */
};

struct way { /* one direction of one stream */
    struct throttle *throttle;
    struct bank *bank;        /* of the group; NULL: no total */
    struct way *next, **prev; /* list: bank->line; NULL: not in it */
    struct bucket bucket;
    struct timer timer;
    struct buf kept;
    bool ended; /* the end is behind what is kept */
};

struct bank { /* one direction of a group */
    struct bucket bucket;
    struct way *line, **last;
    size_t length;      /* of the line */
    struct way *served; /* whose turn it is … */
    size_t share;       /* … and what it may still take */
    struct timer timer;
    struct loop *loop;
};

enum { UP, DOWN };

struct throttle_group {
    struct bank bank[2];
    unsigned held; /* by so many */
};

struct throttle {
    struct filter f;
    struct loop *loop;
    struct way way[2];
    struct throttle_group *group; /* NULL: none */
};

/* ── rates ────────────────────────────────────────────────────────────────*/

/* The default of all four: no rate at all. */
#define NO_RATE limits_default.read_rate

static uint64_t own_rate(const struct way *w) {
    const struct limits *l = w->throttle->f.stream->limits;
    return w == &w->throttle->way[UP] ? l->read_rate : l->write_rate;
}

static uint64_t total_rate(const struct way *w) {
    const struct limits *l = w->throttle->f.stream->limits;
    return w == &w->throttle->way[UP] ? l->total_read_rate : l->total_write_rate;
}

bool throttle_wanted(const struct limits *l) {
    return l->read_rate < NO_RATE || l->write_rate < NO_RATE ||
           l->total_read_rate < NO_RATE || l->total_write_rate < NO_RATE;
}

/* ── buckets ──────────────────────────────────────────────────────────────*/

static size_t grain(uint64_t rate) {
    uint64_t n = rate * GRAIN_MS / 1000;
    return n < 1 ? 1 : n > GRAIN_MAX ? GRAIN_MAX : (size_t)n;
}

static double larger(double a, double b) { return a > b ? a : b; }

/* Whole bytes that are in it now. The clock ticks in ms and timers are late, so
 * it holds what flows in GRAIN_MS at the least. */
static size_t fill(struct bucket *b, uint64_t rate, uint64_t burst, uint64_t now) {
    double most = larger((double)burst, larger((double)rate * GRAIN_MS / 1000, 1));
    if (b->at) b->tokens += (double)(now - b->at) * (double)rate / 1000;
    if (!b->at || b->tokens > most) b->tokens = most;
    b->at = now;
    return b->tokens >= 1 ? (size_t)b->tokens : 0;
}

/* When there will be `n` tokens, in ms. */
static uint64_t wait_for(const struct bucket *b, uint64_t rate, size_t n) {
    double lacks = (double)n - b->tokens;
    return lacks <= 0 ? 1 : 1 + (uint64_t)(lacks * 1000 / (double)rate);
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* ── the line before a group's bucket ─────────────────────────────────────*/

static void leave_line(struct way *w) {
    if (!w->prev) return;
    *w->prev = w->next;
    if (w->next) w->next->prev = w->prev;
    else w->bank->last = w->prev;
    w->prev = NULL;
    w->bank->length--;
}

static void serve(struct timer *t);

static void call_line(struct bank *b) {
    if (!b->line || timer_active(&b->timer)) return;
    uint64_t rate = total_rate(b->line);
    timer_start(b->loop, &b->timer, wait_for(&b->bucket, rate, grain(rate)), serve);
}

static void join_line(struct way *w) {
    struct bank *b = w->bank;
    if (w->prev) return;
    w->next = NULL;
    w->prev = b->last;
    *b->last = w;
    b->last = &w->next;
    b->length++;
    if (!b->served) call_line(b);
}

/* How many of n bytes the group lets pass now: those in line when they are
 * served, others only when nobody is. */
static size_t bank_lets(struct way *w, size_t n) {
    struct bank *b = w->bank;
    if (b->served == w) return least(n, b->share);
    if (b->line) return 0;
    const struct limits *l = w->throttle->f.stream->limits;
    return least(n, fill(&b->bucket, total_rate(w), l->rate_burst, loop_now(b->loop)));
}

/* ── one direction ────────────────────────────────────────────────────────*/

static void late(struct timer *t);

/* How many of n bytes may pass now; if none, the time for more is arranged. */
static size_t lets(struct way *w, size_t n) {
    struct stream *s = w->throttle->f.stream;
    uint64_t rate = own_rate(w);
    if (rate < NO_RATE) {
        size_t own = fill(&w->bucket, rate, s->limits->rate_burst, loop_now(s->loop));
        size_t worth = least(n, grain(rate));
        if (own < worth) {
            timer_start(s->loop, &w->timer, wait_for(&w->bucket, rate, worth), late);
            return 0;
        }
        n = least(n, own);
    }
    if (!w->bank || total_rate(w) >= NO_RATE) return n;
    n = bank_lets(w, n);
    if (n == 0) join_line(w);
    return n;
}

static void pay(struct way *w, size_t n) {
    if (own_rate(w) < NO_RATE) w->bucket.tokens -= (double)n;
    if (!w->bank || total_rate(w) >= NO_RATE) return;
    w->bank->bucket.tokens -= (double)n;
    if (w->bank->served == w) w->bank->share -= n;
}

/* The bytes may be in `kept`: no hook of the owner's may add to it then. */
static int pass(struct way *w, struct str bytes) {
    struct filter *f = &w->throttle->f;
    if (w == &w->throttle->way[UP]) return filter_up(f, bytes);
    struct flow *flow = flow_of(f->stream);
    flow->calls++;
    int rc = filter_down(f, bytes);
    flow->calls--;
    return rc;
}

static int pass_end(struct way *w) {
    struct filter *f = &w->throttle->f;
    w->ended = false;
    return w == &w->throttle->way[UP] ? filter_up_end(f) : filter_down_end(f);
}

/* The rest waits; what it means for the stream. */
static int keep(struct way *w, struct str rest) {
    struct filter *f = &w->throttle->f;
    bool up = w == &w->throttle->way[UP];
    if (!up && f->stream->queued + rest.n > f->stream->limits->max_buffered)
        return RW_ELIMIT;
    int rc = buf_add_str(&w->kept, rest);
    if (rc < 0) return rc;
    if (up) filter_mute(f, true);
    else filter_delay(f, (int64_t)rest.n);
    return 0;
}

static void kept_less(struct way *w, size_t n) {
    struct filter *f = &w->throttle->f;
    buf_drop(&w->kept, n);
    bool up = w == &w->throttle->way[UP], empty = buf_len(&w->kept) == 0;
    if (empty) buf_release(&w->kept);
    if (!up) filter_delay(f, -(int64_t)n);
    else if (empty) filter_mute(f, false);
}

/* Bytes that come in at one side. */
static int take(struct way *w, struct str bytes) {
    while (bytes.n && buf_len(&w->kept) == 0) {
        size_t n = lets(w, bytes.n);
        if (n == 0) break;
        pay(w, n);
        int rc = pass(w, str_of(bytes.p, n));
        if (rc < 0) return rc;
        bytes = str_skip(bytes, n);
    }
    return bytes.n ? keep(w, bytes) : 0;
}

/* What was kept, as far as it may. */
static void go_on(struct way *w) {
    struct stream *s = w->throttle->f.stream;
    int rc = 0;
    if (flow_of(s)->dying) return;
    while (rc == 0 && buf_len(&w->kept)) {
        size_t n = lets(w, buf_len(&w->kept));
        if (n == 0) return;
        pay(w, n);
        rc = pass(w, str_of(buf_str(&w->kept).p, n));
        if (flow_of(s)->dying) return;
        kept_less(w, n);
    }
    if (rc == 0 && w->ended) rc = pass_end(w);
    if (rc < 0) stream_abort(s, rc);
}

static void late(struct timer *t) { go_on(CONTAINER(t, struct way, timer)); }

static void serve(struct timer *t) {
    struct bank *b = CONTAINER(t, struct bank, timer);
    for (size_t count = b->length; count && b->line; count--) {
        struct way *w = b->line;
        uint64_t burst = w->throttle->f.stream->limits->rate_burst;
        size_t there = fill(&b->bucket, total_rate(w), burst, loop_now(b->loop));
        if (there == 0) break; /* those behind keep their place */
        leave_line(w);
        b->share = least(there, there / count < SHARE_MIN ? SHARE_MIN : there / count);
        b->served = w;
        go_on(w);
        b->served = NULL;
    }
    call_line(b);
}

/* ── the filter ───────────────────────────────────────────────────────────*/

static struct throttle *throttle_of(struct filter *f) {
    return CONTAINER(f, struct throttle, f);
}

static int on_input(struct filter *f, struct str bytes) {
    return take(&throttle_of(f)->way[UP], bytes);
}

static int on_output(struct filter *f, struct str bytes) {
    return take(&throttle_of(f)->way[DOWN], bytes);
}

static int end(struct way *w) {
    w->ended = true;
    return buf_len(&w->kept) ? 0 : pass_end(w);
}

static int on_input_end(struct filter *f) { return end(&throttle_of(f)->way[UP]); }
static int on_output_end(struct filter *f) { return end(&throttle_of(f)->way[DOWN]); }

static void on_detach(struct filter *f) {
    struct throttle *t = throttle_of(f);
    for (int i = 0; i < 2; i++) {
        leave_line(&t->way[i]);
        timer_stop(t->loop, &t->way[i].timer);
        buf_release(&t->way[i].kept);
    }
    if (t->group) throttle_group_leave(t->group);
    mem_free(t->loop->mem, t, sizeof *t);
}

static const struct filter_ops throttle_ops = {
    .name = "throttle", .input = on_input, .output = on_output,
    .input_end = on_input_end, .output_end = on_output_end, .detach = on_detach,
};

int throttle_push(struct stream *s, struct throttle_group *g) {
    struct throttle *t = mem_zalloc(s->loop->mem, sizeof *t);
    if (!t) return RW_ENOMEM;
    t->f.ops = &throttle_ops;
    t->loop = s->loop;
    t->group = g;
    if (g) g->held++;
    for (int i = 0; i < 2; i++) {
        t->way[i].throttle = t;
        t->way[i].bank = g ? &g->bank[i] : NULL;
        buf_init(&t->way[i].kept, s->loop->mem, SIZE_MAX / 4);
    }
    stream_push_filter(s, &t->f);
    return 0;
}

bool throttle_has(const struct stream *s) {
    for (const struct filter *f = s->top; f; f = f->below)
        if (f->ops == &throttle_ops) return true;
    return false;
}

/* ── groups ───────────────────────────────────────────────────────────────*/

struct throttle_group *throttle_group_new(struct loop *l) {
    struct throttle_group *g = mem_zalloc(l->mem, sizeof *g);
    if (!g) return NULL;
    g->held = 1;
    for (int i = 0; i < 2; i++) {
        g->bank[i].loop = l;
        g->bank[i].last = &g->bank[i].line;
    }
    return g;
}

void throttle_group_leave(struct throttle_group *g) {
    struct loop *l = g->bank[UP].loop;
    if (--g->held) return;
    for (int i = 0; i < 2; i++) timer_stop(l, &g->bank[i].timer);
    mem_free(l->mem, g, sizeof *g);
}
