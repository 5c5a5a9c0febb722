/* SPDX-License-Identifier: MIT */
/* A line is assembled by put(), which takes a piece whole or not at all: the
 * first piece that does not fit ends the line (`cut`), and nothing is added
 * behind it but what closes the line properly, for which room was kept. So a
 * long value is cut between two characters, a JSON line stays JSON, and no
 * line is ever longer than the buffer.
 */
#include "base/log.h"

#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/err.h"
#include "base/logfile.h"

static const char *const level_names[] = {"debug", "info", "warn", "error", "none"};
static const char *const format_names[] = {"text", "json"};

enum { LOG_CLOSING = 24 /* room kept for the longest closing */ };

struct line {
    size_t n;
    bool cut, json;
    char data[LOG_LINE_MAX]; /* begins with a '\n', for after a torn line */
};

/* ---- pieces ---- */

static void put(struct line *l, struct str piece) {
    if (l->cut || l->n + piece.n > sizeof l->data - LOG_CLOSING) {
        l->cut = true;
        return;
    }
    if (piece.n) memcpy(l->data + l->n, piece.p, piece.n);
    l->n += piece.n;
}

static void put_z(struct line *l, const char *z) { put(l, str_c(z)); }

/* The printable ASCII at the front, which nothing here escapes. */
static size_t easy_prefix(struct str s) {
    size_t n = 0;
    while (n < s.n && s.p[n] >= ' ' && s.p[n] <= '~' && s.p[n] != '"' && s.p[n] != '\\') n++;
    return n;
}

/* One character off the front of *s, escaped if it has to be. */
static void put_char(struct line *l, struct str *s, const char *escaped) {
    char text[12];
    uint32_t code;
    struct str from = *s;
    bool valid = utf8_next(s, &code);
    from.n -= s->n;
    if (l->json) {
        put(l, str_of(text, (size_t)json_escape(from, text)));
    } else if (valid && code < 0x80 && code && strchr(escaped, (int)code)) {
        text[0] = '\\';
        text[1] = code == '\n' ? 'n' : code == '\r' ? 'r' : code == '\t' ? 't' : (char)code;
        put(l, str_of(text, 2));
    } else if (!valid || (code != '\t' && utf8_hidden(code))) {
        snprintf(text, sizeof text, valid && code > 0xff ? "\\u%04x" : "\\x%02x", code & 0xffff);
        put_z(l, text);
    } else {
        put(l, from);
    }
}

/* Can it stand as it is, or does it need quotes? `also`: what else needs them. */
static bool is_plain(struct str s, const char *also) {
    if (s.n == 0) return false;
    while (s.n && s.p[0] > ' ' && s.p[0] <= '~' && !strchr(also, s.p[0])) s = str_skip(s, 1);
    while (s.n) {
        uint32_t code;
        if (!utf8_next(&s, &code) || utf8_hidden(code) ||
            (code < 0x80 && strchr(also, (int)code))) return false;
    }
    return true;
}

/* All of s, or as much as fits. */
static void put_text(struct line *l, struct str s, const char *escaped) {
    while (s.n && !l->cut) {
        size_t easy = easy_prefix(s), room = sizeof l->data - LOG_CLOSING - l->n;
        if (easy > room) easy = room;
        put(l, str_of(s.p, easy));
        s = str_skip(s, easy);
        if (s.n) put_char(l, &s, escaped);
    }
}

/* No more than can possibly fit: what is behind need not be looked at. */
static struct str shorten(struct str s) {
    return str_of(s.p, s.n < LOG_LINE_MAX ? s.n : LOG_LINE_MAX);
}

/* Quotes that were opened are closed, out of the room that is kept. */
static void put_string(struct line *l, struct str s, const char *also) {
    s = shorten(s);
    bool quote = l->json || !is_plain(s, also);
    if (quote) put_z(l, "\"");
    bool inside = quote && !l->cut;
    put_text(l, s, "\"\\\n\r\t");
    if (inside) l->data[l->n++] = '"';
}

static void put_key(struct line *l, const char *key) {
    if (l->json) {
        put_string(l, str_c(key), "");
        put_z(l, ":");
        return;
    }
    for (; *key; key++) {
        bool plain = is_token(str_of(key, 1));
        put(l, plain ? str_of(key, 1) : STR("_"));
    }
    put_z(l, "=");
}

/* ---- fields ---- */

static void put_value(struct line *l, const struct log_field *f) {
    char text[40];
    switch (f->kind) {
    case LOG_STR: case LOG_BLOCK: put_string(l, f->str, " \"=\\"); return;
    case LOG_ERR: put_string(l, str_c(err_text((int)f->num)), " \"=\\"); return;
    case LOG_BOOL: put_z(l, f->yes ? "true" : "false"); return;
    case LOG_INT: snprintf(text, sizeof text, "%" PRId64, f->num); break;
    case LOG_UINT: snprintf(text, sizeof text, "%" PRIu64, f->count); break;
    case LOG_REAL:
        snprintf(text, sizeof text, "%.10g", f->real);
        if (l->json && !isfinite(f->real)) strcpy(text, "null");
        break;
    }
    put_z(l, text);
}

/* All of the field, or its value cut, or (when not even its name fits) none. */
static void put_field(struct line *l, const struct log_field *f) {
    size_t start = l->n;
    put_z(l, l->json ? "," : " ");
    put_key(l, f->key);
    bool named = !l->cut;
    size_t value = l->n;
    if (named) put_value(l, f);
    if (!named || l->n == value) l->n = start;
}

static void put_block(struct line *l, struct str text) {
    text = shorten(text);
    while (text.n && text.p[text.n - 1] == '\n') text.n--;
    while (text.n && !l->cut) {
        struct str row = str_cut(&text, '\n');
        put_z(l, "\n    ");
        put_text(l, row, "");
    }
}

static void put_head(struct line *l, enum log_level level, struct str message) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct civil c = civil_from_seconds(now.tv_sec);
    char head[96];
    snprintf(head, sizeof head,
             l->json ? "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\",\"level\":\"%s\",\"message\":"
                     : "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %-5s ",
             (int)c.year, c.month, c.day, c.hour, c.minute, c.second,
             (int)(now.tv_nsec / 1000000), level_names[level]);
    put_z(l, head);
    put_string(l, message, "\"=\\");
}

static void assemble(struct line *l, enum log_level level, struct str message,
                     const struct log_field *fields, size_t n) {
    put_head(l, level, message);
    for (size_t i = 0; i < n; i++)
        if (l->json || fields[i].kind != LOG_BLOCK) put_field(l, &fields[i]);
    for (size_t i = 0; i < n; i++)
        if (!l->json && fields[i].kind == LOG_BLOCK) put_block(l, fields[i].str);
    const char *closing = !l->json ? (l->cut ? " \u2026\n" : "\n")
                                   : (l->cut ? ",\"truncated\":true}\n" : "}\n");
    memcpy(l->data + l->n, closing, strlen(closing));
    l->n += strlen(closing);
}

/* ---- out ---- */

static int64_t monotonic_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* All of it, within the patience we have; false: not, or not all. The clock is
 * asked only when once was not enough. */
static bool write_out(struct log *log, const char *p, size_t n) {
    int left = log->stalled ? 0 : LOG_PATIENCE;
    for (int64_t until = 0;;) {
        struct pollfd ready = {.fd = log->fd, .events = POLLOUT};
        int rc = poll(&ready, 1, left);
        if (rc == 0 || (rc < 0 && errno != EINTR)) return false;
        ssize_t wrote = rc < 0 ? 0 : write(log->fd, p, n);
        if (wrote < 0 && errno != EINTR && errno != EAGAIN) return false;
        if (wrote > 0) {
            p += wrote;
            n -= (size_t)wrote;
            log->torn = n != 0;
        }
        if (n == 0) return true;
        int64_t now = monotonic_ms();
        if (until == 0) until = now + left;
        else if (now >= until) return false;
        left = now < until ? (int)(until - now) : 0;
    }
}

static bool emit(struct log *log, enum log_level level, struct str message,
                 const struct log_field *fields, size_t n) {
    struct line l;
    l.data[0] = '\n';
    l.n = 1;
    l.cut = false;
    l.json = log->format == LOG_JSON;
    assemble(&l, level, message, fields, n);
    if (log->sink) {
        log->sink(log->context, level, str_of(l.data + 1, l.n - 1));
        return true;
    }
    size_t from = log->torn ? 0 : 1;
    bool ok = write_out(log, l.data + from, l.n - from);
    log->stalled = !ok;
    return ok;
}

/* ---- public ---- */

void log_init(struct log *l, int fd) {
    *l = (struct log){.fd = fd, .level = LOG_INFO, .format = LOG_TEXT};
}

void log_write(struct log *l, enum log_level level, struct str message,
               const struct log_field *fields, size_t n) {
    int saved = errno;
    if (!log_wants(l, level) || level >= LOG_NONE) return;
    int turned = l->file ? log_file_turn(l->file) : 0;
    struct log_field why = LF_ERR("error", turned);
    if (turned < 0) emit(l, LOG_WARN, STR("no new log file can be begun"), &why, 1);
    struct log_field lost = LF_UINT("lines", l->unreported);
    if (l->unreported && emit(l, LOG_WARN, STR("log lines were lost"), &lost, 1))
        l->unreported = 0;
    if (l->unreported || !emit(l, level, message, fields, n)) {
        l->dropped++;
        l->unreported++;
    }
    errno = saved;
}

static int find_name(struct str name, const char *const *names, int n) {
    for (int i = 0; i < n; i++)
        if (str_eq(name, str_c(names[i]))) return i;
    return RW_EINVAL;
}

int log_level_parse(struct str name, enum log_level *out) {
    int i = find_name(name, level_names, LOG_NONE + 1);
    if (i < 0) return i;
    *out = (enum log_level)i;
    return 0;
}

int log_format_parse(struct str name, enum log_format *out) {
    int i = find_name(name, format_names, LOG_JSON + 1);
    if (i < 0) return i;
    *out = (enum log_format)i;
    return 0;
}
