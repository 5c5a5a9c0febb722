/* SPDX-License-Identifier: MIT */
/* A client's reader of responses, strict and slow, which shares no code with
 * the engine: whatever the engine sent must be whole responses, one for each
 * request, in order, and nothing behind a close or an upgrade. */
#include "http1_fuzz.h"

struct sent { /* one response */
    int status;
    bool close, chunked;
    int64_t length;
};

static struct str sent_line(struct str *s) {
    for (size_t i = 0; i + 1 < s->n; i++)
        if (s->p[i] == '\r' && s->p[i + 1] == '\n') {
            struct str line = str_of(s->p, i);
            MUST(!memchr(line.p, '\n', i) && !memchr(line.p, '\r', i) &&
                 !memchr(line.p, 0, i));
            *s = str_skip(*s, i + 2);
            return line;
        }
    MUST(false); /* a line without an end */
    return STR_NONE;
}

static struct sent sent_head(struct str *s) {
    struct sent a = {.length = -1};
    struct str line = sent_line(s);
    MUST(line.n >= 13 && memcmp(line.p, "HTTP/1.1 ", 9) == 0 && line.p[12] == ' ');
    a.status = (line.p[9] - '0') * 100 + (line.p[10] - '0') * 10 + line.p[11] - '0';
    while ((line = sent_line(s)).n) {
        struct str name = str_cut(&line, ':'), value = str_trim(line);
        uint64_t n;
        MUST(name.n && !memchr(name.p, ' ', name.n));
        if (str_eq_nocase(name, STR("content-length"))) {
            MUST(a.length < 0 && str_to_u64(value, &n) == 0);
            a.length = (int64_t)n;
        } else if (str_eq_nocase(name, STR("transfer-encoding"))) {
            MUST(!a.chunked && str_eq(value, STR("chunked")));
            a.chunked = true;
        } else if (str_eq_nocase(name, STR("connection"))) {
            a.close = str_eq(value, STR("close"));
        }
    }
    MUST(!(a.chunked && a.length >= 0));
    return a;
}

static size_t chunk_size(struct str digits) {
    size_t n = 0;
    MUST(digits.n > 0 && digits.n < 8);
    for (size_t i = 0; i < digits.n; i++) {
        MUST(hex_digit(digits.p[i]) >= 0);
        n = n << 4 | (unsigned)hex_digit(digits.p[i]);
    }
    return n;
}

static void sent_chunks(struct str *s, struct buf *to) {
    size_t n;
    do {
        n = chunk_size(sent_line(s));
        MUST(n + 2 <= s->n);
        MUST(buf_add(to, s->p, n) == 0);
        *s = str_skip(*s, n);
        MUST(sent_line(s).n == 0);
    } while (n);
}

void http1_read_back(struct str sent, const struct asked *asked,
                     struct buf *to) {
    struct str s = sent;
    size_t at = 0;
    bool over = false;
    while (s.n) {
        MUST(!over); /* nothing after a close or an upgrade */
        struct sent a = sent_head(&s);
        MUST(buf_addf(to, "%d %d ", a.status, a.close) == 0);
        if (a.status == 100 || a.status == 103) continue;
        bool refusal = at == asked->count;
        MUST(!refusal || a.close);
        enum http1_method verb = refusal ? HTTP1_OTHER : asked->verbs[at];
        at++;
        over = a.close || a.status == 101 ||
               (verb == HTTP1_CONNECT && a.status == 200);
        if (a.status == 101 || a.status == 204 || (over && !a.close)) {
            MUST(a.length < 0 && !a.chunked);
        } else if (verb == HTTP1_HEAD || a.status == 304 ||
                   (refusal && !s.n)) {
            continue;
        } else if (a.chunked) {
            /* cut short when the request was */
            if (asked->unfinished && at == asked->count) return;
            sent_chunks(&s, to);
        } else if (a.length >= 0) {
            size_t n = (size_t)a.length < s.n ? (size_t)a.length : s.n;
            MUST(n == (size_t)a.length || asked->short_body);
            MUST(buf_add(to, s.p, n) == 0);
            s = str_skip(s, n);
        } else {
            MUST(a.close); /* until close */
            MUST(buf_add_str(to, s) == 0);
            s.n = 0;
        }
    }
    /* a request that was answered whole is answered once */
    MUST(at <= asked->count + 1);
}
