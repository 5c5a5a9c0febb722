/* SPDX-License-Identifier: MIT */
/* Fuzzes the http1 engine. An input is
 *
 *      byte 0   cut: how the wire bytes are cut into slices
 *      byte 1   answers: seed of what is answered to each request, and how
 *      byte 2   starve: which allocation fails, 0: none
 *      rest     the wire bytes
 *
 * Each input is run several times: whole, cut, byte by byte, starved. What must
 * hold:
 *
 *  - the events, the answers and the number of bytes taken are the same however
 *    the bytes were cut; so is the error;
 *  - no event out of order, no slice that points into dead bytes (each slice
 *    fed is its own block of memory, freed at the next feed);
 *  - no more memory than the limits allow, none at all when idle;
 *  - what is sent is one well-formed response per request, in order, read back
 *    by the parser below, which shares nothing with the engine;
 *  - with -DHAVE_LLHTTP: what the engine accepts llhttp accepts too, strictly,
 *    and reads the same: method, fields, body, end of the message.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "proto/http1.h"

#ifdef HAVE_LLHTTP
#include <llhttp.h>
#endif

#define MUST(condition)                                                      \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__,    \
                    #condition);                                             \
            abort();                                                         \
        }                                                                    \
    } while (0)

enum { MAX_REQUESTS = 64 };

enum answer { /* how a request is answered */
    RESPOND_AT_REQUEST, RESPOND_AT_END, RESPOND_LATE, ECHO_CHUNKED, KNOWN_LENGTH,
    ELSEWHERE, NO_CONTENT, NOT_MODIFIED, CONTINUE_FIRST, EARLY_HINTS, UPGRADE,
    CLOSE_AFTER, HOSTILE_FIELDS, SHORT_BODY, ANSWERS,
};

struct run {
    struct http1 e;
    struct mem mem, out_mem, log_mem;
    struct buf out, log;
    unsigned seed;
    size_t count;                     /* requests seen */
    enum http1_method verbs[MAX_REQUESTS];
    enum answer how;                  /* the current one is answered */
    bool in_request, in_body, late;   /* order of events */
    bool offered;                     /* an upgrade */
    int error;
    size_t taken;
    size_t end[MAX_REQUESTS];         /* where each message ended */
    bool upgraded;
};

static const struct limits limits = {
    .idle_timeout = 1000, .head_timeout = 1000, .body_timeout = 1000,
    .min_rate = 100, .max_target = 300, .max_head = 2000, .max_headers = 12,
    .max_body = 100000,
};

static struct str text(const struct buf *b) {
    return buf_len(b) ? buf_str(b) : STR_NONE;
}

/* --- what came, as text -------------------------------------------------- */

static void note(struct run *r, const char *what, struct str s) {
    MUST(buf_addf(&r->log, "%s %zu:", what, s.n) == 0);
    MUST(buf_add_str(&r->log, s) == 0);
    MUST(buf_add_char(&r->log, '\n') == 0);
}

static void note_number(struct run *r, const char *what, int64_t n) {
    MUST(buf_addf(&r->log, "%s %lld\n", what, (long long)n) == 0);
}

static void note_fields(struct run *r, struct fields f) {
    for (size_t i = 0; i < f.count; i++) {
        note(r, "name", f.at[i].name);
        note(r, "value", f.at[i].value);
    }
}

static bool within(struct str part, struct str whole) {
    return part.n == 0 ||
           (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void note_request(struct run *r) {
    const struct http1_request *q = &r->e.request;
    note(r, "request", q->method);
    note(r, "target", q->target);
    note(r, "host", q->host);
    note(r, "upgrade", q->upgrade);
    note_number(r, "version", q->version);
    note_number(r, "length", q->length);
    note_number(r, "keep", q->keep_alive);
    note_number(r, "expects", q->expects_continue);
    note_fields(r, q->headers);
    MUST(within(q->method, q->bytes) && within(q->target, q->bytes));
    MUST(within(q->host, q->bytes) && within(q->upgrade, q->bytes));
    MUST(q->method.n && q->target.n && q->bytes.n <= limits.max_head);
    MUST(q->target.n <= limits.max_target);
    MUST(q->headers.count <= limits.max_headers);
    MUST(q->version == 10 || (q->version == 11 && q->host.n));
    MUST(q->length <= (int64_t)limits.max_body);
    MUST(memchr(q->bytes.p, 0, q->bytes.n) == NULL);
    for (size_t i = 0; i < q->headers.count; i++)
        MUST(within(q->headers.at[i].name, q->bytes) &&
             within(q->headers.at[i].value, q->bytes));
}

/* --- answers ------------------------------------------------------------- */

static const struct field extra[] = {{{"X-A", 3}, {"b", 1}},
                                     {{"Set-Cookie", 10}, {"", 0}}};
static const struct fields extras = {extra, 2};
static const struct str body = {"0123456789", 10};

static void refuse_hostile(struct run *r) {
    static const struct field bad[] = {
        {{"X\r\nY", 4}, {"b", 1}}, {{"X", 1}, {"a\r\nb", 4}},
        {{"X", 1}, {"a\nb", 3}}, {{"X", 1}, {"a\0b", 3}}, {{"", 0}, {"b", 1}},
        {{"X Y", 3}, {"b", 1}}, {{"content-length", 14}, {"3", 1}},
        {{"Transfer-Encoding", 17}, {"chunked", 7}},
        {{"Connection", 10}, {"close", 5}}};
    size_t before = buf_len(&r->out);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        MUST(http1_send_head(&r->e, 200, STR_NONE, (struct fields){&bad[i], 1},
                             3, STR_NONE) == RW_EINVAL);
    MUST(http1_send_head(&r->e, 200, STR("O\nK"), extras, 3, STR_NONE) ==
         RW_EINVAL);
    MUST(http1_respond(&r->e, 200, STR("a\r\nb"), body, STR_NONE) == RW_EINVAL);
    MUST(buf_len(&r->out) == before);
}

static void respond(struct run *r, int status) {
    if (status < 300 && r->e.request.verb == HTTP1_CONNECT) status = 405;
    int rc = http1_respond(&r->e, status, STR("text/plain"), body,
                           STR("Thu, 01 Jan 1970 00:00:00 GMT"));
    MUST(rc == 0 || rc == RW_ENOMEM || r->e.out == HTTP1_OUT_CLOSED);
    MUST(http1_send_data(&r->e, body) < 0);
}

static int ok_status(const struct run *r) {
    return r->e.request.verb == HTTP1_CONNECT ? 405 : 200;
}

/* Fine, or memory was refused, or the engine is dead already. */
static void fine(const struct run *r, int rc) {
    MUST(rc == 0 || rc == RW_ENOMEM || r->e.out == HTTP1_OUT_CLOSED);
}

static void upgrade(struct run *r) {
    bool connect = r->e.request.verb == HTTP1_CONNECT;
    struct str to = connect ? STR_NONE : STR("raw");
    if (!connect && !r->offered) {
        MUST(http1_upgrade(&r->e, to, extras) < 0);
        respond(r, 400);
        return;
    }
    int rc = http1_upgrade(&r->e, to, extras);
    r->upgraded = rc == 0;
    if (rc < 0) respond(r, 500);
}

static void at_request(struct run *r) {
    fine(r, http1_send_end(&r->e) == RW_ESTATE ? 0 : RW_EUNKNOWN);
    switch (r->how) {
    case RESPOND_AT_REQUEST: respond(r, 200); break;
    case NO_CONTENT: respond(r, 204); break;
    case NOT_MODIFIED: respond(r, 304); break;
    case HOSTILE_FIELDS:
        refuse_hostile(r);
        respond(r, 404);
        break;
    case CONTINUE_FIRST: fine(r, http1_send_continue(&r->e)); break;
    case EARLY_HINTS:
        fine(r, http1_send_head(&r->e, 103, STR_NONE, extras, -1, STR_NONE));
        break;
    case ECHO_CHUNKED:
        fine(r, http1_send_head(&r->e, ok_status(r), STR("Fine"), extras, -1,
                                STR("today")));
        break;
    case CLOSE_AFTER: http1_close_after(&r->e); break;
    default: break;
    }
}

static void known_length(struct run *r) {
    fine(r, http1_send_head(&r->e, ok_status(r), STR_NONE, extras, 25, STR_NONE));
    fine(r, http1_send_data(&r->e, body));
    if (r->how == ELSEWHERE && http1_send_elsewhere(&r->e, 10) == 0)
        MUST(buf_add_str(&r->out, body) == 0);
    else
        fine(r, http1_send_data(&r->e, body));
    if (r->how == SHORT_BODY) {
        if (http1_send_end(&r->e) == RW_EINVAL) r->error = RW_EINVAL;
        return;
    }
    if (r->e.out == HTTP1_OUT_BODY && !r->e.out_no_body)
        MUST(http1_send_data(&r->e, body) == RW_EINVAL);
    fine(r, http1_send_data(&r->e, STR("abcde")));
    fine(r, http1_send_end(&r->e));
}

static void at_end(struct run *r) {
    switch (r->how) {
    case RESPOND_AT_END: case CONTINUE_FIRST: case EARLY_HINTS: case CLOSE_AFTER:
        respond(r, 200);
        break;
    case KNOWN_LENGTH: case ELSEWHERE: case SHORT_BODY: known_length(r); break;
    case ECHO_CHUNKED: fine(r, http1_send_end(&r->e)); break;
    case UPGRADE: upgrade(r); break;
    case RESPOND_LATE: r->late = true; break;
    default: break;
    }
}

/* --- the drive ----------------------------------------------------------- */

static void on_request(struct run *r) {
    MUST(!r->in_request && r->count < MAX_REQUESTS);
    r->in_request = true;
    r->in_body = false;
    r->how = (enum answer)((r->seed + r->count * 7) % ANSWERS);
    r->verbs[r->count++] = r->e.request.verb;
    r->offered = r->e.request.upgrade.n > 0;
    note_request(r);
    at_request(r);
}

static void on_body(struct run *r, struct str data) {
    MUST(r->in_request && data.n && r->e.request.length != 0);
    if (!r->in_body) note_number(r, "body", 0);
    r->in_body = true;
    MUST(buf_add_str(&r->log, data) == 0); /* joined however it is cut */
    if (r->how == ECHO_CHUNKED) fine(r, http1_send_data(&r->e, data));
}

static void on_end(struct run *r) {
    MUST(r->in_request);
    r->in_request = false;
    note_number(r, "end", (int64_t)r->taken);
    r->end[r->count - 1] = r->taken;
    note_fields(r, http1_trailers(&r->e));
    at_end(r);
}

static void check_memory(const struct run *r) {
    MUST(r->mem.live <= 2 * 2048 + 2 * limits.max_headers * sizeof(struct field) +
                            24 * sizeof(struct field));
    if (http1_idle(&r->e)) MUST(r->mem.live == 0);
}

/* Pulls until 0; false when the connection is over. */
static bool pull(struct run *r) {
    struct str data = STR_NONE;
    int rc;
    while ((rc = http1_next(&r->e, &data)) > 0) {
        switch (rc - 1) {
        case HTTP1_REQUEST: on_request(r); break;
        case HTTP1_BODY: on_body(r, data); break;
        default: on_end(r);
        }
        if (r->count == MAX_REQUESTS) http1_close_after(&r->e);
    }
    if (r->late) {
        r->late = false;
        respond(r, 200);
    }
    if (rc < 0) r->error = rc;
    if (rc == 0) check_memory(r);
    return rc == 0;
}

/* Slices by the cut: 0 whole, 1 bytes, else something between. */
static size_t slice(unsigned cut, size_t at, size_t left) {
    size_t n = cut == 0 ? left : cut == 1 ? 1 : 1 + (at * 31 + cut * 17) % cut;
    return n < left ? n : left;
}

static void run(struct run *r, struct str in, unsigned cut, unsigned seed,
                unsigned starve) {
    *r = (struct run){.seed = seed};
    mem_init(&r->mem, 0);
    mem_init(&r->out_mem, 0);
    mem_init(&r->log_mem, 0);
    r->mem.fail_in = starve;
    buf_init(&r->out, &r->out_mem, 1 << 22);
    buf_init(&r->log, &r->log_mem, 1 << 24);
    MUST(http1_init(&r->e, &(struct engine_env){ROLE_SERVER, &limits, &r->mem,
                                                &r->out}) == 0);
    char *block = NULL;
    while (r->taken < in.n) {
        size_t n = slice(cut, r->taken, in.n - r->taken);
        char *fresh = malloc(n);
        memcpy(fresh, in.p + r->taken, n);
        int64_t taken = http1_feed(&r->e, str_of(fresh, n));
        free(block);
        block = fresh;
        if (taken < 0) {
            r->error = (int)taken;
            break;
        }
        MUST((size_t)taken <= n);
        r->taken += (size_t)taken;
        if (!pull(r)) break;
        if (taken == 0) break;
    }
    if (!r->error && r->taken == in.n) note_number(r, "eof", http1_eof(&r->e));
    note_number(r, "error", r->error);
    if (!r->error) note_number(r, "taken", (int64_t)r->taken);
    if (r->error == 0 && r->taken < in.n)
        MUST(http1_finished(&r->e) || r->e.in == HTTP1_IN_UPGRADED);
    http1_fini(&r->e);
    MUST(r->mem.live == 0);
    free(block);
}

static void done(struct run *r) {
    buf_release(&r->out);
    buf_release(&r->log);
}

/* --- reading what was sent ----------------------------------------------- */

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
    MUST(s->n == 0 && s->n > 0); /* a line without an end */
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

static void sent_chunks(struct str *s, struct buf *to) {
    uint64_t n;
    do {
        MUST(str_hex_to_u64(sent_line(s), &n) == 0 && n + 2 <= s->n);
        MUST(buf_add(to, s->p, n) == 0);
        *s = str_skip(*s, n);
        MUST(sent_line(s).n == 0);
    } while (n);
}

/* Reads the responses in r->out back; appends status and body of each. */
static void read_back(struct run *r, struct buf *to) {
    struct str s = text(&r->out);
    size_t at = 0;
    bool over = false;
    while (s.n) {
        MUST(!over); /* nothing after a close or an upgrade */
        struct sent a = sent_head(&s);
        MUST(buf_addf(to, "%d %d ", a.status, a.close) == 0);
        if (a.status == 100 || a.status == 103) continue;
        bool refusal = at == r->count;
        MUST(!refusal || a.close);
        enum http1_method verb = refusal ? HTTP1_OTHER : r->verbs[at];
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
            if (r->in_request && at == r->count) return;
            sent_chunks(&s, to);
        } else if (a.length >= 0) {
            size_t n = (size_t)a.length < s.n ? (size_t)a.length : s.n;
            MUST(n == (size_t)a.length || r->error == RW_EINVAL);
            MUST(buf_add(to, s.p, n) == 0);
            s = str_skip(s, n);
        } else {
            MUST(a.close); /* until close */
            MUST(buf_add_str(to, s) == 0);
            s.n = 0;
        }
    }
    /* a request that was answered whole is answered once */
    MUST(at <= r->count + 1);
}

static void same(struct run *a, struct run *b) {
    struct buf x, y;
    buf_init(&x, &a->log_mem, 1 << 24);
    buf_init(&y, &b->log_mem, 1 << 24);
    if (!str_eq(text(&a->log), text(&b->log))) {
        fprintf(stderr, "--- one\n%.*s--- other\n%.*s", STR_FMT(text(&a->log)),
                STR_FMT(text(&b->log)));
        MUST(a == b); /* the same events however the bytes are cut */
    }
    bool stopped = a->in_request && a->how == ECHO_CHUNKED;
    read_back(a, &x);
    read_back(b, &y);
    if (!stopped) MUST(str_eq(text(&x), text(&y)));
    buf_release(&x);
    buf_release(&y);
}

/* --- llhttp --------------------------------------------------------------- */

#ifdef HAVE_LLHTTP
struct oracle {
    struct buf body;
    size_t fields;
    bool head, complete;
};

static int oracle_field(llhttp_t *p) {
    ((struct oracle *)p->data)->fields++;
    return 0;
}
static int oracle_body(llhttp_t *p, const char *at, size_t n) {
    MUST(buf_add(&((struct oracle *)p->data)->body, at, n) == 0);
    return 0;
}
static int oracle_head(llhttp_t *p) {
    ((struct oracle *)p->data)->head = true;
    return 0;
}
static int oracle_complete(llhttp_t *p) {
    ((struct oracle *)p->data)->complete = true;
    return HPE_PAUSED;
}

/* What the engine read as one message, from `from` to `end`. */
struct reading {
    size_t from, end;
    enum http1_method verb;
    struct str method;
    size_t fields;     /* with trailers */
    size_t ignored;    /* trailers that the engine leaves out */
    int64_t length;
    bool keep_alive, trailers;
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
    MUST(o.fields == m->fields + m->ignored || m->trailers);
    MUST(o.fields >= m->fields);
    if (m->verb != HTTP1_OTHER)
        MUST(str_eq(str_c(llhttp_method_name((llhttp_method_t)p.method)),
                    m->method));
    MUST(!(p.flags & F_CHUNKED) == (m->length >= 0));
    MUST(str_eq(text(&o.body), text(&m->body)));
    MUST(m->length < 0 || (size_t)m->length == buf_len(&m->body));
    buf_release(&o.body);
    buf_release(&b);
}

/* All messages that the engine accepts whole, each shown to llhttp. */
static void differential(struct str in) {
    struct mem mem;
    struct buf out;
    struct http1 e;
    struct reading m = {.from = 0};
    mem_init(&mem, 0);
    buf_init(&out, &mem, 1 << 22);
    buf_init(&m.body, &mem, 1 << 24);
    MUST(http1_init(&e, &(struct engine_env){ROLE_SERVER, &limits, &mem, &out}) ==
         0);
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
                m.trailers = m.length < 0;
                m.end = at;
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
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3) return 0;
    struct str in = str_of((const char *)data + 3, size - 3);
    struct run whole, other;
    run(&whole, in, 0, data[1], 0);
    run(&other, in, data[0], data[1], 0);
    same(&whole, &other);
    done(&other);
    run(&other, in, 1, data[1], 0);
    same(&whole, &other);
    done(&other);
    if (data[2]) {
        run(&other, in, data[0], data[1], data[2]);
        if (other.error != RW_ENOMEM || !other.mem.failures)
            same(&whole, &other);
        done(&other);
    }
    done(&whole);
#ifdef HAVE_LLHTTP
    differential(in);
#endif
    return 0;
}
