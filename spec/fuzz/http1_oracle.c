/* SPDX-License-Identifier: MIT */
/* llhttp as the oracle of the http1 engine: what the engine takes for a whole
 * message llhttp must take too, strictly, and read the same: method, number of
 * fields, framing, body, end. What the engine refuses is its own affair. */
#include "http1_fuzz.h"

/* Here, since every target is linked with this file. */
const struct limits http1_fuzz_limits = {
    .idle_timeout = 1000, .head_timeout = 1000, .body_timeout = 1000,
    .min_rate = 100, .max_target = 300, .max_head = 2000, .max_headers = 12,
    .max_body = 100000,
};

#ifdef HAVE_LLHTTP
#include <llhttp.h>

struct oracle {
    struct buf body;
    size_t fields;
    bool head, complete, keep_alive;
};

static int oracle_field(llhttp_t *p) {
    ((struct oracle *)p->data)->fields++;
    return 0;
}
static int oracle_body(llhttp_t *p, const char *at, size_t n) {
    MUST(buf_add(&((struct oracle *)p->data)->body, at, n) == 0);
    return 0;
}
/* Asked here, as a Connection field among the trailers says nothing to the
 * engine (RFC 9110, 6.5.1), but something to llhttp. */
static int oracle_head(llhttp_t *p) {
    struct oracle *o = p->data;
    o->head = true;
    o->keep_alive = llhttp_should_keep_alive(p) != 0;
    return 0;
}
static int oracle_complete(llhttp_t *p) {
    ((struct oracle *)p->data)->complete = true;
    return HPE_PAUSED;
}

/* What the engine read as one message, from `from` to `end`. */
struct reading {
    size_t from;
    enum http1_method verb;
    struct str method;
    size_t fields;     /* with trailers, but for those left out */
    int64_t length;
    bool keep_alive;
    struct buf body;
};

/* The same bytes, but for what llhttp does not know: a method of its list for
 * any other, 1.1 for a later minor. */
static void oracle_bytes(struct buf *b, struct str in, const struct reading *m) {
    size_t skip = in.p[0] == '\r' ? 2 : 0;
    struct str rest = str_skip(in, skip);
    if (m->verb == HTTP1_OTHER) {
        MUST(buf_add_str(b, STR("POST")) == 0);
        rest = str_skip(rest, m->method.n);
    }
    size_t at = buf_len(b);
    MUST(buf_add_str(b, rest) == 0);
    char *version = memchr(b->data + at, '\r', rest.n);
    MUST(version);
    if (version[-1] > '1') version[-1] = '1';
}

static void ask_oracle(struct str in, const struct reading *m) {
    struct mem mem;
    struct oracle o = {.fields = 0};
    struct buf b;
    mem_init(&mem, 0);
    buf_init(&o.body, &mem, 1 << 24);
    buf_init(&b, &mem, 1 << 24);
    oracle_bytes(&b, in, m);
    llhttp_settings_t s;
    llhttp_t p;
    llhttp_settings_init(&s);
    s.on_header_value_complete = oracle_field;
    s.on_body = oracle_body;
    s.on_headers_complete = oracle_head;
    s.on_message_complete = oracle_complete;
    llhttp_init(&p, HTTP_REQUEST, &s);
    p.data = &o;
    llhttp_errno_t rc = llhttp_execute(&p, text(&b).p, buf_len(&b));
    if (rc != HPE_PAUSED && rc != HPE_PAUSED_UPGRADE)
        fprintf(stderr, "llhttp: %s %s\n%.*s\n", llhttp_errno_name(rc), p.reason,
                STR_FMT(text(&b)));
    MUST(rc == HPE_PAUSED || rc == HPE_PAUSED_UPGRADE);
    MUST(o.head && o.complete);
    size_t read = (size_t)(llhttp_get_error_pos(&p) - text(&b).p);
    MUST(read == buf_len(&b));
    MUST(o.fields == m->fields || (o.fields > m->fields && m->length < 0));
    MUST(!m->keep_alive || o.keep_alive);
    if (m->verb != HTTP1_OTHER)
        MUST(str_eq(str_c(llhttp_method_name((llhttp_method_t)p.method)),
                    m->method));
    MUST(!(p.flags & F_CHUNKED) == (m->length >= 0));
    MUST(str_eq(text(&o.body), text(&m->body)));
    MUST(m->length < 0 || (size_t)m->length == buf_len(&m->body));
    buf_release(&o.body);
    buf_release(&b);
}

void http1_ask_oracle(struct str in) {
    struct mem mem;
    struct buf out;
    struct http1 e;
    struct reading m = {.from = 0};
    mem_init(&mem, 0);
    buf_init(&out, &mem, 1 << 22);
    buf_init(&m.body, &mem, 1 << 24);
    struct engine_env env = {.role = ROLE_SERVER, .mem = &mem,
                             .limits = &http1_fuzz_limits, .out = &out};
    MUST(http1_init(&e, &env) == 0);
    size_t at = 0;
    int rc = 0;
    while (at < in.n && rc == 0) {
        int64_t taken = http1_feed(&e, str_skip(in, at));
        if (taken <= 0) break;
        at += (size_t)taken;
        struct str data;
        while ((rc = http1_next(&e, &data)) > 0) {
            if (rc == HTTP1_REQUEST + 1) {
                m.verb = e.request.verb;
                m.method = e.request.method;
                m.fields = e.request.headers.count;
                m.length = e.request.length;
                m.keep_alive = e.request.keep_alive;
            } else if (rc == HTTP1_BODY + 1) {
                MUST(buf_add_str(&m.body, data) == 0);
            } else {
                m.fields += http1_trailers(&e).count;
                ask_oracle(str_of(in.p + m.from, at - m.from), &m);
                m.from = at;
                buf_clear(&m.body);
                MUST(http1_respond(&e, 404, STR_NONE, STR_NONE, STR_NONE) == 0);
            }
        }
    }
    http1_fini(&e);
    buf_release(&m.body);
    buf_release(&out);
}
#else
void http1_ask_oracle(struct str in) { (void)in; }
#endif
