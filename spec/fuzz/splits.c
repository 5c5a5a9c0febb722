/* SPDX-License-Identifier: MIT */
#include "splits.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_CUTS = 15, MAX_TRACE = 64 << 20 };

/* What came out, written so that it can be compared; neighbouring pieces of a
 * stream are joined. */
struct trace {
    struct buf bytes;
    int stream;        /* the last event's type if it was a stream's, or -1 */
    size_t length_at;  /* where its length stands */
};

struct run {
    struct splits *s;
    struct str input;
    struct str cuts;   /* length of each piece, again and again; empty: whole */
    uint64_t fail_in;
    struct trace trace;
    struct mem mem;
    char *piece;       /* owned: what the engine may still borrow */
};

void splits_assert(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

unsigned splits_byte(struct str *data) {
    if (data->n == 0) return 0;
    unsigned byte = (unsigned char)data->p[0];
    *data = str_skip(*data, 1);
    return byte;
}

/* ---- traces ---- */

static void trace_num(struct trace *t, int64_t n) {
    splits_assert(buf_add(&t->bytes, &n, sizeof n) == 0, "trace too long");
}

static void trace_str(struct trace *t, struct str s) {
    trace_num(t, (int64_t)s.n);
    splits_assert(buf_add_str(&t->bytes, s) == 0, "trace too long");
}

static bool is_stream(const struct event_def *def) {
    return strcmp(def->name, "data") == 0 || strcmp(def->name, "raw") == 0 ||
           strcmp(def->name, "body") == 0;
}

static void trace_stream(struct trace *t, int type, struct str s) {
    int64_t length;
    if (t->stream != type) {
        t->stream = type;
        t->length_at = buf_len(&t->bytes) + sizeof length;
        trace_num(t, type);
        trace_num(t, 0);
    }
    char *at = t->bytes.data + t->bytes.head + t->length_at;
    memcpy(&length, at, sizeof length);
    length += (int64_t)s.n;
    memcpy(at, &length, sizeof length);
    splits_assert(buf_add_str(&t->bytes, s) == 0, "trace too long");
}

static void trace_event(struct trace *t, const struct engine *engine,
                        const struct event *ev) {
    const struct event_def *def = &engine->events[ev->type];
    if (is_stream(def)) {
        trace_stream(t, (int)ev->type, ev->args[0].str);
        return;
    }
    t->stream = -1;
    trace_num(t, ev->type);
    const char *args = def->args;
    char kind;
    struct str name;
    for (size_t i = 0; event_arg_next(&args, &kind, &name); i++) {
        const union event_arg *arg = &ev->args[i];
        if (kind == 's') trace_str(t, arg->str);
        if (kind == 'i') trace_num(t, arg->num);
        for (size_t j = 0; kind == 'f' && j < arg->fields.count; j++) {
            trace_str(t, arg->fields.at[j].name);
            trace_str(t, arg->fields.at[j].value);
        }
    }
}

/* ---- runs ---- */

/* The piece gets a block of its own, and the one before is gone. */
static int64_t feed(struct run *r, void *e, size_t at, size_t n) {
    free(r->piece);
    r->piece = malloc(n ? n : 1);
    splits_assert(r->piece != NULL, "no memory");
    memcpy(r->piece, r->input.p + at, n);
    int64_t taken = r->s->engine->feed(e, str_of(r->piece, n));
    splits_assert(taken <= (int64_t)n, "took more than it was fed");
    return taken;
}

static int pull(struct run *r, void *e, size_t fed) {
    struct event ev;
    int rc;
    while ((rc = r->s->engine->next(e, &ev)) == 1) {
        trace_event(&r->trace, r->s->engine, &ev);
        if (r->s->hook) r->s->hook(e, &ev, str_of(r->input.p, fed));
    }
    return rc;
}

static int64_t drive(struct run *r, void *e) {
    const struct engine *engine = r->s->engine;
    size_t fed = 0;
    for (size_t i = 0; fed < r->input.n; i++) {
        size_t n = r->input.n - fed;
        if (r->cuts.n) {
            size_t cut = (size_t)(unsigned char)r->cuts.p[i % r->cuts.n] + 1;
            if (cut < n) n = cut;
        }
        int64_t taken = feed(r, e, fed, n);
        if (taken < 0) return taken;
        fed += (size_t)taken;
        int rc = pull(r, e, fed);
        if (rc < 0) return rc;
        if (taken == 0) break;
        (void)engine->tick(e, 1);
    }
    trace_num(&r->trace, (int64_t)fed);
    int rc = engine->eof(e);
    return rc < 0 ? rc : pull(r, e, fed);
}

static void run(struct run *r, struct mem *traces) {
    const struct engine *engine = r->s->engine;
    struct buf out;
    mem_init(&r->mem, 0);
    r->mem.fail_in = r->fail_in;
    buf_init(&out, &r->mem, MAX_TRACE);
    buf_init(&r->trace.bytes, traces, MAX_TRACE);
    r->trace.stream = -1;
    r->s->out = &out;
    void *e = malloc(engine->size);
    splits_assert(e != NULL, "no memory");
    memset(e, 0xa5, engine->size);
    struct engine_env env = {.role = r->s->role, .limits = &r->s->limits,
                             .mem = &r->mem, .out = &out};
    int64_t rc = engine->init(e, &env);
    if (rc == 0) {
        rc = drive(r, e);
        engine->fini(e);
    }
    trace_num(&r->trace, rc);
    trace_str(&r->trace, out.data ? buf_str(&out) : STR(""));
    buf_release(&out);
    free(e);
    free(r->piece);
    splits_assert(r->mem.live == 0, "memory leaked");
}

void splits_check(struct splits *s, struct str data) {
    size_t n = splits_byte(&data) % (MAX_CUTS + 1);
    if (n > data.n) n = data.n;
    struct str cuts = str_of(data.p, n);
    uint64_t fail_in = n ? 1 + (unsigned char)data.p[0] % 16 : 1;
    data = str_of(data.p + n, data.n - n);

    struct mem traces;
    mem_init(&traces, 0);
    struct run whole = {.s = s, .input = data};
    struct run cut = {.s = s, .input = data, .cuts = n ? cuts : STR("\0")};
    struct run starved = {.s = s, .input = data, .cuts = cut.cuts, .fail_in = fail_in};
    run(&whole, &traces);
    run(&cut, &traces);
    run(&starved, &traces);
    splits_assert(str_eq(buf_str(&whole.trace.bytes), buf_str(&cut.trace.bytes)),
                  "the events depend on how the input was cut");
    buf_release(&whole.trace.bytes);
    buf_release(&cut.trace.bytes);
    buf_release(&starved.trace.bytes);
}
