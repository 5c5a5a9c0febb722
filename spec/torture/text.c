/* SPDX-License-Identifier: MIT */
/* Bytes, arguments and events as transcripts write them. What is printed here
 * can be read here: a failure's `actual` can be pasted into a transcript. */
#include <ctype.h>
#include <inttypes.h>

#include "base/codec.h"
#include "torture.h"

enum { MAX_FIELDS = 4096, RUN_MIN = 12, MAX_REPEAT = 16 << 20 };

/* ---- reading ---- */

/* One character or escape off the front; false on a bad escape. */
static bool take_byte(struct str *in, char *out) {
    char c = in->p[0];
    *in = str_skip(*in, 1);
    if (c != '\\') {
        *out = c;
        return true;
    }
    if (in->n == 0) return false;
    c = in->p[0];
    *in = str_skip(*in, 1);
    switch (c) {
    case 'r': *out = '\r'; return true;
    case 'n': *out = '\n'; return true;
    case 't': *out = '\t'; return true;
    case '0': *out = '\0'; return true;
    case '\\': case '"': case '{': case '}': *out = c; return true;
    case 'x':
        if (in->n < 2 || hex_decode(str_of(in->p, 2), out) < 0) return false;
        *in = str_skip(*in, 2);
        return true;
    default: return false;
    }
}

/* "{text*N}" at the front of `in`? Then the text and N, and it is taken. */
static bool take_repeat(struct str *in, struct str *text, uint64_t *times) {
    size_t at = 1, star = 0;
    for (; at < in->n && in->p[at] != '}'; at++) {
        if (in->p[at] == '{') return false;
        if (in->p[at] == '\\') at++;
        else if (in->p[at] == '*') star = at;
    }
    if (at >= in->n || star == 0) return false;
    if (str_to_u64(str_of(in->p + star + 1, at - star - 1), times) < 0) return false;
    *text = str_of(in->p + 1, star - 1);
    *in = str_skip(*in, at + 1);
    return true;
}

static bool add_byte(struct buf *b, struct str *in, const char **why) {
    char c;
    if (in->p[0] == '\n') {
        *in = str_skip(*in, 1);
        return true;
    }
    if (!take_byte(in, &c)) return *why = "unknown escape", false;
    return buf_add_char(b, c) == 0;
}

static bool add_bytes(struct buf *b, struct str in, const char **why) {
    while (in.n) {
        struct str unit;
        uint64_t times;
        if (in.p[0] != '{' || !take_repeat(&in, &unit, &times)) {
            if (!add_byte(b, &in, why)) return false;
            continue;
        }
        size_t start = buf_len(b);
        while (unit.n)
            if (!add_byte(b, &unit, why)) return false;
        size_t size = buf_len(b) - start;
        if (times == 0 || times > MAX_REPEAT || size * times > MAX_REPEAT)
            return *why = "repeat out of range", false;
        while (--times) {
            if (!buf_reserve(b, size)) return *why = "too long", false;
            memcpy(b->data + b->tail, b->data + b->head + start, size);
            buf_commit(b, size);
        }
    }
    return true;
}

bool text_bytes(struct keep *a, struct str in, struct str *out, const char **why) {
    struct mem mem;
    struct buf b;
    mem_init(&mem, 0);
    buf_init(&b, &mem, 64 << 20);
    bool ok = add_bytes(&b, in, why);
    if (ok) *out = keep_copy(a, b.data ? buf_str(&b) : STR(""));
    buf_release(&b);
    return ok;
}

static void skip_blanks(struct str *in) {
    while (in->n && (in->p[0] == ' ' || in->p[0] == '\t')) *in = str_skip(*in, 1);
}

static bool take_char(struct str *in, char c) {
    skip_blanks(in);
    if (in->n == 0 || in->p[0] != c) return false;
    *in = str_skip(*in, 1);
    return true;
}

static bool take_quoted(struct keep *a, struct str *in, struct str *out,
                        const char **why) {
    if (!take_char(in, '"')) return *why = "expected a string in quotes", false;
    size_t at = 0;
    while (at < in->n && in->p[at] != '"') at += in->p[at] == '\\' ? 2 : 1;
    if (at >= in->n) return *why = "a quote is not closed", false;
    struct str inside = str_of(in->p, at);
    *in = str_skip(*in, at + 1);
    return text_bytes(a, inside, out, why);
}

static bool take_number(struct str *in, int64_t *out, const char **why) {
    bool minus = take_char(in, '-');
    size_t n = 0;
    uint64_t value;
    while (n < in->n && isdigit((unsigned char)in->p[n])) n++;
    if (str_to_u64(str_of(in->p, n), &value) < 0 || value > INT64_MAX)
        return *why = "expected a number", false;
    *in = str_skip(*in, n);
    *out = minus ? -(int64_t)value : (int64_t)value;
    return true;
}

static bool take_name(struct keep *a, struct str *in, struct str *out,
                      const char **why) {
    skip_blanks(in);
    if (in->n && in->p[0] == '"') return take_quoted(a, in, out, why);
    size_t n = 0;
    while (n < in->n && is_token(str_of(in->p + n, 1))) n++;
    if (n == 0) return *why = "expected a field name", false;
    *out = str_of(in->p, n);
    *in = str_skip(*in, n);
    return true;
}

static bool take_fields(struct keep *a, struct str *in, struct fields *out,
                        const char **why) {
    struct field *at = NULL;
    size_t n = 0;
    if (!take_char(in, '{')) return *why = "expected fields in braces", false;
    while (!take_char(in, '}')) {
        if (n && !take_char(in, ',')) return *why = "expected , or }", false;
        if (n == MAX_FIELDS) return *why = "too many fields", false;
        if ((n & (n - 1)) == 0)
            at = keep_grow(a, at, n * sizeof *at, (n ? 2 * n : 1) * sizeof *at);
        if (!take_name(a, in, &at[n].name, why)) return false;
        if (!take_char(in, ':')) return *why = "expected : after the name", false;
        if (!take_quoted(a, in, &at[n].value, why)) return false;
        n++;
    }
    *out = (struct fields){at, n};
    return true;
}

bool text_args(struct keep *a, struct str *in, const char *kinds,
               union event_arg *out, const char **why) {
    char kind;
    struct str name;
    for (; event_arg_next(&kinds, &kind, &name); out++) {
        bool ok = kind == 's'   ? take_quoted(a, in, &out->str, why)
                  : kind == 'i' ? take_number(in, &out->num, why)
                                : take_fields(a, in, &out->fields, why);
        if (!ok) return false;
    }
    skip_blanks(in);
    return true;
}

static const struct { const char *name; int code; } errors[] = {
#define X(name, code, text) {#name, code},
#include "base/errors.def"
#undef X
    {"RW_ENOMEM", RW_ENOMEM}, {"RW_EINVAL", RW_EINVAL}, {"RW_ETIMEDOUT", RW_ETIMEDOUT},
    {"RW_EAGAIN", RW_EAGAIN}, {"RW_ECANCELED", RW_ECANCELED},
};

bool text_error(struct str name, int *code) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (str_eq(name, str_c(errors[i].name))) return *code = errors[i].code, true;
    return false;
}

const char *text_error_name(int code) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (code == errors[i].code) return errors[i].name;
    return err_name(code);
}

/* ---- printing; a report that grows too long is simply cut ---- */

void text_print_bytes(struct buf *out, struct str s) {
    size_t run;
    for (size_t i = 0; i < s.n; i += run) {
        unsigned char c = (unsigned char)s.p[i];
        run = 1;
        while (i + run < s.n && s.p[i + run] == s.p[i]) run++;
        if (run < RUN_MIN) run = 1;
        if (run > 1) (void)buf_add_char(out, '{');
        if (c == '\r') (void)buf_add_str(out, STR("\\r"));
        else if (c == '\n') (void)buf_add_str(out, STR("\\n"));
        else if (c == '\\' || c == '"') (void)buf_addf(out, "\\%c", c);
        else if (c >= 0x20 && c < 0x7f) (void)buf_add_char(out, (char)c);
        else (void)buf_addf(out, "\\x%02x", c);
        if (run > 1) (void)buf_addf(out, "*%zu}", run);
    }
}

static void print_fields(struct buf *out, struct fields f) {
    (void)buf_add_char(out, '{');
    for (size_t i = 0; i < f.count; i++) {
        bool plain = is_token(f.at[i].name);
        if (i) (void)buf_add_str(out, STR(", "));
        if (!plain) (void)buf_add_char(out, '"');
        text_print_bytes(out, f.at[i].name);
        (void)buf_addf(out, "%s: \"", plain ? "" : "\"");
        text_print_bytes(out, f.at[i].value);
        (void)buf_add_char(out, '"');
    }
    (void)buf_add_char(out, '}');
}

void text_print_args(struct buf *out, const char *kinds,
                     const union event_arg *args) {
    char kind;
    struct str name;
    for (; event_arg_next(&kinds, &kind, &name); args++) {
        (void)buf_add_char(out, ' ');
        if (kind == 'i') {
            (void)buf_addf(out, "%" PRId64, args->num);
        } else if (kind == 'f') {
            print_fields(out, args->fields);
        } else {
            (void)buf_add_char(out, '"');
            text_print_bytes(out, args->str);
            (void)buf_add_char(out, '"');
        }
    }
}

void text_print_event(struct buf *out, const struct engine *engine,
                      const struct event *ev) {
    const struct event_def *def = &engine->events[ev->type];
    (void)buf_add_str(out, str_c(def->name));
    text_print_args(out, def->args, ev->args);
}

bool text_is_stream(const struct engine *engine, unsigned type) {
    static const char *const streams[] = {"data", "raw", "body"};
    const struct event_def *def = &engine->events[type];
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        if (strcmp(def->name, streams[i]) == 0)
            return strncmp(def->args, "str:", 4) == 0;
    return false;
}
