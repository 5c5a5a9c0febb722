/* SPDX-License-Identifier: MIT */
/* Markdown to behaviours. Only two things of Markdown matter: `##` headings
 * and fenced blocks whose word is one of ours; the rest is prose. */
#include <stdarg.h>
#include <stdlib.h>

#include "torture.h"

/* ---- memory ---- */

struct keep_block {
    struct keep_block *next;
    size_t pad; /* keeps data aligned for any of our types */
    char data[];
};

void *keep_grow(struct keep *a, const void *old, size_t had, size_t size) {
    struct keep_block *b = calloc(1, sizeof *b + size + 1);
    if (!b) abort();
    b->next = a->blocks;
    a->blocks = b;
    if (had) memcpy(b->data, old, had);
    return b->data;
}

struct str keep_copy(struct keep *a, struct str s) {
    return str_of(keep_grow(a, s.p, s.n, s.n), s.n);
}

void keep_free(struct keep *a) {
    while (a->blocks) {
        struct keep_block *b = a->blocks;
        a->blocks = b->next;
        free(b);
    }
}

/* ---- reader ---- */

struct reader {
    struct script *script;
    struct str rest;
    int line;                /* of what was read last */
    struct behaviour prelude, *current;
};

__attribute__((format(printf, 3, 4)))
static bool bad(struct script *s, int line, const char *format, ...) {
    va_list args;
    if (s->bad_line) return false;
    s->bad_line = line;
    va_start(args, format);
    vsnprintf(s->bad_text, sizeof s->bad_text, format, args);
    va_end(args);
    return false;
}

static bool read_line(struct reader *r, struct str *line) {
    if (r->rest.n == 0) return false;
    *line = str_cut(&r->rest, '\n');
    r->line++;
    return true;
}

static struct str cut_word(struct str *s) {
    *s = str_trim(*s);
    size_t n = 0;
    while (n < s->n && s->p[n] != ' ') n++;
    struct str word = str_of(s->p, n);
    *s = str_trim(str_skip(*s, n));
    return word;
}

static struct step *add_step(struct reader *r, enum step_kind kind, int line) {
    struct behaviour *b = r->current;
    if ((b->count & (b->count - 1)) == 0)
        b->steps = keep_grow(&r->script->arena, b->steps, b->count * sizeof *b->steps,
                              (b->count ? 2 * b->count : 1) * sizeof *b->steps);
    b->steps[b->count] = (struct step){.kind = kind, .line = line};
    return &b->steps[b->count++];
}

static struct item *add_item(struct reader *r, struct step *step) {
    if ((step->count & (step->count - 1)) == 0)
        step->items = keep_grow(&r->script->arena, step->items,
                                 step->count * sizeof *step->items,
                                 (step->count ? 2 * step->count : 1) * sizeof *step->items);
    step->items[step->count] = (struct item){0};
    return &step->items[step->count++];
}

static bool add_behaviour(struct reader *r, struct str title) {
    struct script *s = r->script;
    if ((s->count & (s->count - 1)) == 0)
        s->behaviours = keep_grow(&s->arena, s->behaviours,
                                   s->count * sizeof *s->behaviours,
                                   (s->count ? 2 * s->count : 1) * sizeof *s->behaviours);
    struct behaviour *b = &s->behaviours[s->count++];
    *b = r->prelude;
    b->title = title;
    b->line = r->line;
    b->steps = NULL;
    b->count = 0;
    r->current = b;
    for (size_t i = 0; i < r->prelude.count; i++)
        *add_step(r, STEP_IN, 0) = r->prelude.steps[i];
    return true;
}

/* ---- blocks ---- */

static bool read_option(struct reader *r, struct str line) {
    struct behaviour *b = r->current;
    struct str value = line, name = str_trim(str_cut(&value, '='));
    uint64_t number;
    value = str_trim(value);
    if (str_eq(name, STR("skip"))) {
        b->skip = value;
        return true;
    }
    if (str_eq(name, STR("role"))) {
        bool both = str_eq(value, STR("both"));
        b->as_server = both || str_eq(value, STR("server"));
        b->as_client = both || str_eq(value, STR("client"));
        return b->as_server || b->as_client ||
               bad(r->script, r->line, "role is server, client or both");
    }
    if (str_to_u64(value, &number) < 0 || limits_set(&b->limits, name, number) < 0)
        return bad(r->script, r->line, "no such option or value: %.*s", STR_FMT(line));
    return true;
}

/* `error NAME`, alone or after an event: `fails NAME`. */
static bool read_error(struct reader *r, struct str name, int *code) {
    return text_error(str_trim(name), code) ||
           bad(r->script, r->line, "no such error: %.*s", STR_FMT(name));
}

static bool read_args(struct reader *r, struct str line, const char *kinds,
                      struct item *item, bool may_fail) {
    const char *why = NULL;
    if (!text_args(&r->script->arena, &line, kinds, item->event.args, &why))
        return bad(r->script, r->line, "%s (wanted: %s)", why, kinds);
    if (line.n == 0) return true;
    if (may_fail && str_eq(cut_word(&line), STR("fails")))
        return read_error(r, line, &item->error);
    return bad(r->script, r->line, "too much: %.*s", STR_FMT(line));
}

static bool read_event(struct reader *r, struct step *step, struct str line) {
    const struct engine *engine = r->script->engine;
    struct str rest = line, name = cut_word(&rest);
    struct item *item = add_item(r, step);
    item->line = r->line;
    if (step->kind == STEP_EVENTS && str_eq(name, STR("wait")) && rest.n == 0) {
        item->kind = ITEM_WAIT;
        return true;
    }
    if (step->kind == STEP_EVENTS && str_eq(name, STR("error"))) {
        item->kind = ITEM_ERROR;
        struct str error = cut_word(&rest);
        item->limit = rest;
        return read_error(r, error, &item->error);
    }
    int type = engine_event(engine, name);
    enum event_way way = step->kind == STEP_SEND ? EVENT_OUT : EVENT_IN;
    if (type < 0 || !(engine->events[type].way & way))
        return bad(r->script, r->line, "%s has no such event: %.*s", engine->name, STR_FMT(name));
    item->event.type = (unsigned)type;
    return read_args(r, rest, engine->events[type].args, item, step->kind == STEP_SEND);
}

static bool read_call(struct reader *r, struct step *step, struct str line) {
    struct str rest = line, name = cut_word(&rest);
    struct item *item = add_item(r, step);
    item->kind = ITEM_CALL;
    item->line = r->line;
    item->call = call_find(r->script->engine, name);
    if (!item->call)
        return bad(r->script, r->line, "no such call: %.*s", STR_FMT(name));
    return read_args(r, rest, item->call->args, item, true);
}

/* Neighbouring pieces of a stream become one event. */
static void join_streams(struct reader *r, struct step *step) {
    size_t kept = 0;
    for (size_t i = 0; i < step->count; i++) {
        struct item *last = kept ? &step->items[kept - 1] : NULL, *item = &step->items[i];
        if (!last || last->kind != ITEM_EVENT || item->kind != ITEM_EVENT ||
            last->event.type != item->event.type ||
            !text_is_stream(r->script->engine, item->event.type)) {
            step->items[kept++] = *item;
            continue;
        }
        struct str a = last->event.args[0].str, b = item->event.args[0].str;
        char *both = keep_grow(&r->script->arena, a.p, a.n, a.n + b.n);
        memcpy(both + a.n, b.p, b.n);
        last->event.args[0].str = str_of(both, a.n + b.n);
    }
    step->count = kept;
}

static bool read_expectation(struct reader *r, struct step *step, struct str text) {
    text = str_trim(str_cut(&text, '\n'));
    if (step->kind == STEP_EOF) {
        if (text.n == 0) return true;
        if (str_eq(cut_word(&text), STR("error"))) return read_error(r, text, &step->error);
        return bad(r->script, r->line, "eof is empty or error NAME");
    }
    step->over = str_eq(text, STR("over"));
    return step->over || str_to_u64(text, &step->deadline) == 0 ||
           bad(r->script, r->line, "tick expects a deadline");
}

static bool read_one(struct reader *r, struct step *step, struct str line) {
    line = str_trim(line);
    if (line.n == 0) return true;
    return step->kind == STEP_CALL ? read_call(r, step, line) : read_event(r, step, line);
}

/* -1: options; -2: not one of ours. */
static int block_kind(struct str word) {
    static const char *const words[] = {
        [STEP_IN] = "in", [STEP_EVENTS] = "events", [STEP_SEND] = "send",
        [STEP_OUT] = "out", [STEP_CALL] = "call", [STEP_LEFT] = "left",
        [STEP_EOF] = "eof", [STEP_TICK] = "tick",
    };
    for (int i = 0; i <= STEP_TICK; i++)
        if (str_eq(word, str_c(words[i]))) return i;
    return str_eq(word, STR("options")) ? -1 : -2;
}

static bool read_block(struct reader *r, struct str info) {
    struct script *s = r->script;
    int opened = r->line, kind = block_kind(cut_word(&info));
    struct step none = {0}, *step = kind >= 0 ? add_step(r, (enum step_kind)kind, opened) : &none;
    if (kind == STEP_TICK && str_to_u64(info, &step->now) < 0)
        return bad(s, opened, "tick wants the time");
    struct str body = r->rest, line = STR_NONE;
    while (read_line(r, &line) && !str_eq(str_trim(line), STR("```"))) {
        bool ok = kind == -1 ? str_trim(line).n == 0 || read_option(r, str_trim(line))
                  : kind == STEP_EVENTS || kind == STEP_SEND || kind == STEP_CALL
                      ? read_one(r, step, line) : true;
        if (!ok) return false;
    }
    if (!str_eq(str_trim(line), STR("```"))) return bad(s, opened, "block is not closed");
    body.n = (size_t)(line.p - body.p);
    const char *why = "";
    switch (kind) {
    case STEP_IN: case STEP_OUT: case STEP_LEFT:
        return text_bytes(&s->arena, body, &step->bytes, &why) || bad(s, opened, "%s", why);
    case STEP_EOF: case STEP_TICK: return read_expectation(r, step, body);
    case STEP_EVENTS: join_streams(r, step); return true;
    default: return true;
    }
}

bool script_parse(struct script *s, const struct engine *engine,
                  const char *path, struct str text) {
    *s = (struct script){.engine = engine, .path = path};
    struct reader r = {.script = s, .rest = text};
    r.prelude = (struct behaviour){.limits = limits_default, .as_server = true};
    r.current = &r.prelude;
    struct str line;
    while (read_line(&r, &line)) {
        bool ok = true;
        if (str_starts(line, STR("## "))) ok = add_behaviour(&r, str_trim(str_skip(line, 3)));
        else if (str_starts(line, STR("```"))) ok = read_block(&r, str_skip(line, 3));
        if (!ok) break;
    }
    size_t kept = 0; /* headings without a block of their own are prose */
    for (size_t i = 0; i < s->count; i++)
        if (s->behaviours[i].count > r.prelude.count || s->behaviours[i].skip.n)
            s->behaviours[kept++] = s->behaviours[i];
    s->count = kept;
    return s->bad_line == 0;
}

void script_free(struct script *s) { keep_free(&s->arena); }
