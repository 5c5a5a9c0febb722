/* SPDX-License-Identifier: MIT */
/* Lines and raw bytes under libFuzzer. Input: ending, delimiter, max_line, how
 * to cut, bytes; lines that begin with R, F, C or E switch the engine, as a
 * script would. Besides what splits.h checks: a rest is the rest, and a line
 * that may be sent is read back as this one line. Then once more, with modes
 * that change at any moment. */
#include <stdlib.h>

#include "proto/line.h"
#include "splits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct splits *now;

static void check_leftover(struct line *e, struct str fed) {
    struct str rest = line_engine.left(e);
    splits_assert(rest.n <= fed.n, "a rest longer than the input");
    splits_assert(str_eq(rest, str_skip(fed, fed.n - rest.n)), "a rest that is not the end");
}

/* One line in, one event out? */
static bool reads_back(const struct line *e, struct str wire, struct str want) {
    struct mem mem;
    struct buf none;
    struct limits limits = limits_default;
    mem_init(&mem, 0);
    buf_init(&none, &mem, 0);
    limits.max_line = 1 << 24;
    struct engine_env env = {.role = ROLE_SERVER, .limits = &limits, .mem = &mem, .out = &none};
    struct line other;
    struct event ev;
    bool ok = line_engine.init(&other, &env) == 0 &&
              line_set_delimiter(&other, e->ending, str_of(e->delimiter, e->delimiter_len)) == 0 &&
              line_engine.feed(&other, wire) == (int64_t)wire.n &&
              line_engine.next(&other, &ev) == 1 && ev.type == LINE_LINE &&
              str_eq(ev.args[0].str, want) && line_engine.next(&other, &ev) == 0 &&
              line_engine.eof(&other) == 0;
    line_engine.fini(&other);
    return ok && mem.live == 0;
}

static void check_send(struct line *e, struct str text) {
    struct event ev = {.type = LINE_LINE};
    ev.args[0].str = text;
    size_t before = buf_len(now->out);
    int rc = line_engine.send(e, &ev);
    if (rc < 0) {
        splits_assert(buf_len(now->out) == before, "a refused line was sent in part");
        return;
    }
    struct str wire = str_skip(buf_str(now->out), before);
    splits_assert(reads_back(e, wire, text), "a line sent is not one line");
}

static void hook(void *self, const struct event *ev, struct str fed) {
    struct line *e = self;
    check_leftover(e, fed);
    if (ev->type != LINE_LINE) return;
    struct str text = ev->args[0].str;
    check_send(e, text);
    if (text.n == 0) return;
    struct str rest = str_skip(text, 1);
    uint64_t count;
    switch (text.p[0]) {
    case 'R':
        if (str_to_u64(rest, &count) == 0) line_set_raw(e, count);
        break;
    case 'F': line_set_raw(e, LINE_RAW_FOREVER); break;
    case 'C': (void)line_set_delimiter(e, LINE_CUSTOM, rest); break;
    case 'E': (void)line_set_delimiter(e, LINE_CRLF, STR_NONE); break;
    default: break;
    }
}

/* init cannot know of our ending: an engine that begins with another one. */
static enum line_ending first_ending;
static struct str first_delimiter;

static int init(void *e, const struct engine_env *env) {
    int rc = line_engine.init(e, env);
    return rc < 0 ? rc : line_set_delimiter(e, first_ending, first_delimiter);
}

/* ---- any move at any time ---- */

struct game {
    struct line e;
    char *fed;      /* owned: all that was fed */
    size_t n;
    bool quiet;     /* next() has said 0: feeding is allowed */
};

/* Whatever was asked when, what is left is the end of what was fed. */
static bool pull(struct game *g) {
    struct event ev;
    int rc = line_engine.next(&g->e, &ev);
    g->quiet = rc == 0;
    if (rc >= 0) check_leftover(&g->e, str_of(g->fed, g->n));
    return rc >= 0;
}

static bool feed(struct game *g, struct str *in, size_t n) {
    if (!g->quiet) return true;
    if (n > in->n) n = in->n;
    if (n) memcpy(g->fed + g->n, in->p, n);
    *in = str_skip(*in, n);
    g->n += n;
    g->quiet = false;
    return line_engine.feed(&g->e, str_of(g->fed + g->n - n, n)) == (int64_t)n;
}

/* The input is moves, and the bytes they feed. */
static bool move(struct game *g, struct str *in) {
    unsigned code = splits_byte(in), size = code / 8;
    switch (code % 8) {
    case 0: line_set_raw(&g->e, size); return true;
    case 1: line_set_raw(&g->e, LINE_RAW_FOREVER); return true;
    case 2: line_set_lines(&g->e); return true;
    case 3: return line_set_delimiter(&g->e, (enum line_ending)(size % 3), STR("ab")) == 0;
    case 4: case 5: return feed(g, in, size);
    case 6: return line_engine.tick(&g->e, size) > 0 && pull(g);
    default:
        while (pull(g))
            if (g->quiet) return true;
        return false;
    }
}

static void play(const struct limits *limits, struct str in) {
    struct mem mem;
    struct buf out;
    struct game g = {.fed = malloc(in.n + 1), .quiet = true};
    mem_init(&mem, 0);
    buf_init(&out, &mem, 0);
    struct engine_env env = {.role = ROLE_SERVER, .limits = limits, .mem = &mem, .out = &out};
    splits_assert(g.fed && init(&g.e, &env) == 0, "init");
    while (in.n && move(&g, &in)) continue;
    line_engine.fini(&g.e);
    splits_assert(mem.live == 0, "memory leaked");
    free(g.fed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct str in = str_of((const char *)data, n);
    struct engine engine = line_engine;
    struct splits s = {.engine = &engine, .limits = limits_default, .hook = hook};
    engine.init = init;
    unsigned kind = splits_byte(&in);
    first_ending = (enum line_ending)(kind % 3);
    size_t length = 1 + kind / 3 % 8;
    if (length > in.n) return 0;
    first_delimiter = str_of(in.p, length);
    if (first_ending == LINE_CUSTOM) in = str_skip(in, length);
    s.limits.max_line = 1 + splits_byte(&in);
    now = &s;
    splits_check(&s, in);
    play(&s.limits, in);
    return 0;
}
