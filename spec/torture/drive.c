/* SPDX-License-Identifier: MIT */
/* One run of a behaviour: the steps against a fresh engine, driven as a
 * connection would drive it, the input cut as the plan says. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "torture.h"

/* What a step comes to: on, or why the run ends. */
enum outcome {
    GO_ON,
    DONE,  /* the plan's cut was reached, or memory was refused and it was said */
    WRONG, /* reported */
};

struct driver {
    const struct script *script;
    const struct behaviour *behaviour;
    const struct plan *plan;
    struct guard *guard;
    struct verdict *verdict;
    void *engine;          /* the engine's struct */
    struct mem mem;
    struct buf out;
    struct str input;      /* all `in` blocks */
    size_t queued;         /* of it: came by now */
    size_t taken;          /* of these: the engine took */
    size_t block_end;      /* where the `in` that `taken` lies in ends */
    bool dead;             /* an error was returned: only fini is legal */
    bool at_cut, saw_out;
    int line;              /* of the step that runs */
};

__attribute__((format(printf, 2, 3)))
static enum outcome wrong(struct driver *d, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->verdict->ok = false;
    d->verdict->line = d->line;
    (void)buf_add_str(&d->verdict->report, str_c(text));
    return WRONG;
}

static void report_bytes(struct driver *d, const char *before, struct str s) {
    struct buf *b = &d->verdict->report;
    (void)buf_addf(b, "%s\"", before);
    text_print_bytes(b, s);
    (void)buf_add_str(b, STR("\""));
}

static enum outcome wrong_bytes(struct driver *d, struct str want, struct str got) {
    wrong(d, "expected ");
    report_bytes(d, "", want);
    report_bytes(d, "\nactual   ", got);
    return WRONG;
}

/* A refused allocation may surface anywhere as RW_ENOMEM. */
static bool starved(const struct driver *d, int64_t rc) {
    return rc == RW_ENOMEM && d->mem.failures > 0;
}

/* ---- feeding ---- */

static size_t block_end(const struct driver *d) {
    size_t end = 0;
    for (size_t i = 0; i < d->behaviour->count; i++) {
        const struct step *step = &d->behaviour->steps[i];
        if (step->kind == STEP_IN) end += step->bytes.n;
        if (end > d->taken) break;
    }
    return end;
}

/* Where the piece that begins at `taken` ends. */
static size_t piece_end(struct driver *d) {
    const struct plan *plan = d->plan;
    if (d->taken >= d->block_end) d->block_end = block_end(d);
    size_t end = d->block_end < d->queued ? d->block_end : d->queued;
    if (plan->pieces == PIECES_BYTES && d->taken + plan->at < end)
        end = d->taken + plan->at;
    if ((plan->pieces == PIECES_SPLIT || plan->cut) && d->taken < plan->at && plan->at < end)
        end = plan->at;
    return end;
}

/* Bytes taken, 0 when the engine wants none or there are none, or < 0. */
static int64_t feed(struct driver *d) {
    if (d->plan->cut && d->taken >= d->plan->at) d->at_cut = true;
    if (d->taken == d->queued || d->at_cut) return 0;
    struct str piece = str_of(d->input.p + d->taken, piece_end(d) - d->taken);
    int64_t taken = d->script->engine->feed(d->engine, guard_place(d->guard, piece));
    if (taken > (int64_t)piece.n) return RW_EUNKNOWN;
    if (taken > 0) d->taken += (size_t)taken;
    return taken;
}

/* The next event, feeding as much as it needs: 1, 0 or < 0 as next(). */
static int pull(struct driver *d, struct event *ev) {
    if (d->dead) return 0;
    for (;;) {
        int rc = d->script->engine->next(d->engine, ev);
        if (rc == 0) {
            int64_t taken = feed(d);
            if (taken > 0) continue;
            rc = (int)taken;
        }
        if (rc < 0) d->dead = true;
        return rc;
    }
}

static bool known_event(const struct driver *d, const struct event *ev) {
    for (unsigned i = 0; d->script->engine->events[i].name; i++)
        if (i == ev->type) return (d->script->engine->events[i].way & EVENT_IN) != 0;
    return false;
}

/* The name of the limit that ended the engine, "" for none. */
static const char *limit_of(const struct driver *d) {
    const struct engine_env *env = d->engine; /* its first member */
    return env->limit ? env->limit : "";
}

static bool same_limit(const struct driver *d, const struct item *want) {
    return want->limit.n == 0 || str_eq(want->limit, str_c(limit_of(d)));
}

static enum outcome wrong_event(struct driver *d, const struct item *want,
                                int rc, const struct event *ev) {
    const struct engine *engine = d->script->engine;
    struct buf *b = &d->verdict->report;
    d->line = want ? want->line : d->line;
    wrong(d, "expected ");
    if (!want || want->kind == ITEM_WAIT) (void)buf_addf(b, "wait");
    else if (want->kind == ITEM_ERROR)
        (void)buf_addf(b, "error %s %.*s", text_error_name(want->error), STR_FMT(want->limit));
    else text_print_event(b, engine, &want->event);
    (void)buf_addf(b, "\nactual   ");
    if (rc < 0) (void)buf_addf(b, "error %s %s", text_error_name(rc), limit_of(d));
    else if (rc == 0) (void)buf_addf(b, "wait");
    else if (!known_event(d, ev)) (void)buf_addf(b, "event number %u", ev->type);
    else text_print_event(b, engine, ev);
    if (d->taken < d->queued)
        report_bytes(d, "\nnot yet taken: ",
                     str_of(d->input.p + d->taken, d->queued - d->taken));
    return WRONG;
}

/* ---- steps ---- */

static bool same_args(const char *kinds, const union event_arg *a,
                      const union event_arg *b) {
    char kind;
    struct str name;
    for (; event_arg_next(&kinds, &kind, &name); a++, b++) {
        if (kind == 's' && !str_eq(a->str, b->str)) return false;
        if (kind == 'i' && a->num != b->num) return false;
        if (kind != 'f') continue;
        if (a->fields.count != b->fields.count) return false;
        for (size_t i = 0; i < a->fields.count; i++)
            if (!str_eq(a->fields.at[i].name, b->fields.at[i].name) ||
                !str_eq(a->fields.at[i].value, b->fields.at[i].value)) return false;
    }
    return true;
}

/* A piece of a stream came and `want` holds all of it: pulls the rest. */
static enum outcome match_stream(struct driver *d, const struct item *want,
                                 struct event *ev) {
    const char *kinds = d->script->engine->events[ev->type].args;
    struct event whole = want->event;
    struct str left = want->event.args[0].str;
    for (;;) {
        struct str got = ev->args[0].str;
        whole.args[0].str = str_of(left.p, got.n);
        if (got.n == 0 || got.n > left.n || !same_args(kinds, whole.args, ev->args))
            return wrong_event(d, want, 1, ev);
        left = str_skip(left, got.n);
        if (left.n == 0) return GO_ON;
        int rc = pull(d, ev);
        if (starved(d, rc) || d->at_cut) return DONE;
        if (rc != 1 || ev->type != want->event.type) return wrong_event(d, want, rc, ev);
    }
}

static enum outcome match(struct driver *d, const struct item *want) {
    struct event ev;
    memset(&ev, 0xa5, sizeof ev);
    int rc = pull(d, &ev);
    if (starved(d, rc) || (rc == 0 && d->at_cut)) return DONE;
    bool same = want->kind == ITEM_WAIT    ? rc == 0
                : want->kind == ITEM_ERROR ? rc == want->error && same_limit(d, want)
                                           : rc == 1 && ev.type == want->event.type;
    if (!same || (rc == 1 && !known_event(d, &ev))) return wrong_event(d, want, rc, &ev);
    if (rc != 1) return GO_ON;
    if (text_is_stream(d->script->engine, ev.type)) return match_stream(d, want, &ev);
    if (same_args(d->script->engine->events[ev.type].args, want->event.args, ev.args))
        return GO_ON;
    return wrong_event(d, want, rc, &ev);
}

static enum outcome expect_quiet(struct driver *d) {
    struct item quiet = {.kind = ITEM_WAIT, .line = d->line};
    return d->dead ? GO_ON : match(d, &quiet);
}

/* An event that is refused must leave nothing of it behind. */
static int64_t act_out(struct driver *d, const struct item *item) {
    if (item->call) return item->call->fn ? item->call->fn(d->engine, item->event.args) : feed(d);
    size_t before = buf_len(&d->out);
    int rc = d->script->engine->send(d->engine, &item->event);
    if (rc < 0 && buf_len(&d->out) != before) {
        wrong(d, "a refused event was sent in part");
        return RW_EUNKNOWN;
    }
    return rc;
}

/* An event to send, or a call. */
static enum outcome act(struct driver *d, const struct item *item) {
    d->line = item->line;
    if (d->dead) return wrong(d, "the engine is dead: only fini is legal");
    int64_t rc = act_out(d, item);
    if (!d->verdict->ok) return WRONG;
    if (starved(d, rc)) return DONE;
    if (rc == item->error || (rc > 0 && !item->error)) return GO_ON;
    return wrong(d, "expected %s\nactual   %s", text_error_name(item->error), text_error_name((int)rc));
}

static enum outcome check_out(struct driver *d, struct str want) {
    struct str got = d->out.data ? buf_str(&d->out) : STR("");
    d->saw_out = true;
    if (!str_eq(want, got)) return wrong_bytes(d, want, got);
    buf_clear(&d->out);
    return GO_ON;
}

static enum outcome check_left(struct driver *d, struct str want) {
    struct str got = str_of(d->input.p + d->taken, d->queued - d->taken);
    if (!str_eq(want, got)) return wrong_bytes(d, want, got);
    d->taken = d->queued;
    return GO_ON;
}

static enum outcome end_input(struct driver *d, const struct step *step) {
    int rc = d->script->engine->eof(d->engine);
    if (starved(d, rc)) return DONE;
    if (rc < 0) d->dead = true;
    if (rc == step->error) return GO_ON;
    return wrong(d, "expected %s\nactual   %s", text_error_name(step->error), text_error_name(rc));
}

static enum outcome tick(struct driver *d, const struct step *step) {
    uint64_t got = d->script->engine->tick(d->engine, step->now);
    if (step->over ? got && got <= step->now : got == step->deadline) return GO_ON;
    return step->over ? wrong(d, "expected over\nactual   %" PRIu64, got)
                      : wrong(d, "expected %" PRIu64 "\nactual   %" PRIu64, step->deadline, got);
}

static enum outcome run_step(struct driver *d, const struct step *step) {
    enum outcome rc = GO_ON;
    d->line = step->line;
    bool quiet = step->kind == STEP_LEFT || step->kind == STEP_EOF || step->kind == STEP_TICK;
    if (quiet && (rc = expect_quiet(d)) != GO_ON) return rc;
    if (d->dead && (step->kind == STEP_EOF || step->kind == STEP_TICK))
        return wrong(d, "the engine is dead: only fini is legal");
    switch (step->kind) {
    case STEP_IN: d->queued += step->bytes.n; break;
    case STEP_EVENTS:
        for (size_t i = 0; i < step->count && rc == GO_ON; i++) rc = match(d, &step->items[i]);
        break;
    case STEP_SEND: case STEP_CALL:
        for (size_t i = 0; i < step->count && rc == GO_ON; i++) rc = act(d, &step->items[i]);
        break;
    case STEP_OUT: return check_out(d, step->bytes);
    case STEP_LEFT: return check_left(d, step->bytes);
    case STEP_EOF: return end_input(d, step);
    case STEP_TICK: return tick(d, step);
    }
    return rc;
}

static enum outcome finish(struct driver *d) {
    enum outcome rc = expect_quiet(d);
    if (rc != GO_ON) return rc;
    if (!d->dead && d->taken < d->queued) return check_left(d, STR_NONE);
    if (d->saw_out && buf_len(&d->out)) return check_out(d, STR_NONE);
    return DONE;
}

static enum outcome run_steps(struct driver *d) {
    const struct engine *engine = d->script->engine;
    const struct behaviour *b = d->behaviour;
    struct engine_env env = {.role = d->plan->role, .limits = &b->limits,
                             .mem = &d->mem, .out = &d->out};
    int init = engine->init(d->engine, &env);
    if (init < 0) return starved(d, init) ? DONE : wrong(d, "init: %s", text_error_name(init));
    enum outcome rc = GO_ON;
    for (size_t i = 0; i < b->count && rc == GO_ON; i++) rc = run_step(d, &b->steps[i]);
    if (rc == GO_ON) {
        d->line = b->line;
        rc = finish(d);
    }
    engine->fini(d->engine);
    return rc;
}

size_t behaviour_input(const struct behaviour *b) {
    size_t n = 0;
    for (size_t i = 0; i < b->count; i++)
        if (b->steps[i].kind == STEP_IN) n += b->steps[i].bytes.n;
    return n;
}

static char *join_input(const struct behaviour *b) {
    char *all = malloc(behaviour_input(b) + 1), *at = all;
    if (!all) abort();
    for (size_t i = 0; i < b->count; i++) {
        const struct step *step = &b->steps[i];
        if (step->kind != STEP_IN) continue;
        memcpy(at, step->bytes.p, step->bytes.n);
        at += step->bytes.n;
    }
    return all;
}

void drive(const struct script *s, const struct behaviour *b,
           const struct plan *plan, struct guard *guard, struct verdict *v) {
    struct driver d = {.script = s, .behaviour = b, .plan = plan, .guard = guard,
                       .verdict = v, .line = b->line};
    char *input = join_input(b);
    d.input = str_of(input, behaviour_input(b));
    d.engine = malloc(s->engine->size);
    if (!d.engine) abort();
    memset(d.engine, 0xa5, s->engine->size); /* init sets all or it shows */
    mem_init(&d.mem, 0);
    d.mem.fail_in = plan->fail_in;
    buf_init(&d.out, &d.mem, (size_t)b->limits.max_buffered);
    v->ok = true;
    enum outcome rc = run_steps(&d);
    buf_release(&d.out);
    v->refused = d.mem.failures;
    d.line = b->line;
    if (rc != WRONG && d.mem.live) wrong(&d, "%zu bytes leaked", d.mem.live);
    free(d.engine);
    free(input);
}
