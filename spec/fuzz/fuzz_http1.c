/* SPDX-License-Identifier: MIT */
/* Fuzzes the http1 engine. An input is
 *
 *      byte 0   cut: how the wire bytes are cut into slices; from 128 on they
 *               also move between feed() and next()
 *      byte 1   answers: seed of what is answered to each request, and how;
 *               from 128 on the peer falls silent at the end, else it closes
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
#include "http1_fuzz.h"

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
    struct asked asked;               /* requests seen */
    enum answer how;                  /* the current one is answered */
    bool in_request, in_body, late;   /* order of events */
    bool offered;                     /* an upgrade */
    int error;
    size_t taken;
    bool upgraded;
};

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
    MUST(q->method.n && q->target.n);
    MUST(q->bytes.n <= http1_fuzz_limits.max_head);
    MUST(q->target.n <= http1_fuzz_limits.max_target);
    MUST(q->headers.count <= http1_fuzz_limits.max_headers);
    MUST(q->version == 10 || (q->version == 11 && q->host.n));
    MUST(q->length <= (int64_t)http1_fuzz_limits.max_body);
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
    MUST(!r->in_request && r->asked.count < MAX_REQUESTS);
    r->in_request = true;
    r->in_body = false;
    r->how = (enum answer)((r->seed + r->asked.count * 7) % ANSWERS);
    r->asked.verbs[r->asked.count++] = r->e.request.verb;
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
    note_fields(r, http1_trailers(&r->e));
    at_end(r);
}

static void check_memory(const struct run *r) {
    const size_t held = 2 * 2048, table = 24 * sizeof(struct field);
    MUST(r->mem.live <= held + table);
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
        if (r->asked.count == MAX_REQUESTS) http1_close_after(&r->e);
    }
    if (r->late) {
        r->late = false;
        respond(r, 200);
    }
    if (rc < 0) r->error = rc;
    if (rc == 0) {
        check_memory(r);
        http1_tick(&r->e, 1);
    }
    return rc == 0;
}

/* Slices by the cut: 0 whole, 1 bytes, else something between. */
static size_t slice(unsigned cut, size_t at, size_t left) {
    size_t n = cut == 0 ? left : cut == 1 ? 1 : 1 + (at * 31 + cut * 17) % cut;
    return n < left ? n : left;
}

/* All was taken: the peer closes, or does nothing more. */
static void stop(struct run *r) {
    if (r->seed < 128) {
        note_number(r, "eof", http1_eof(&r->e));
        return;
    }
    struct str data;
    uint64_t deadline = http1_tick(&r->e, 1);
    note_number(r, "time", deadline != 0);
    MUST(deadline == 0 || deadline > 1);
    MUST(http1_tick(&r->e, deadline) == deadline);
    r->error = http1_next(&r->e, &data);
    MUST(r->error == (deadline ? RW_ETIMEDOUT : 0));
    MUST(!deadline || http1_finished(&r->e));
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
    struct engine_env env = {.role = ROLE_SERVER, .mem = &r->mem,
                             .limits = &http1_fuzz_limits, .out = &r->out};
    MUST(http1_init(&r->e, &env) == 0);
    char *block = NULL;
    while (r->taken < in.n) {
        size_t n = slice(cut, r->taken, in.n - r->taken);
        char *fresh = malloc(n);
        memcpy(fresh, in.p + r->taken, n);
        int64_t taken = http1_feed(&r->e, str_of(fresh, n));
        free(block);
        block = fresh;
        if (cut >= 128 && taken >= 0) { /* the caller moves the bytes */
            block = malloc(n);
            memcpy(block, fresh, n);
            http1_moved(&r->e, fresh, block);
            free(fresh);
        }
        if (taken < 0) {
            r->error = (int)taken;
            break;
        }
        MUST((size_t)taken <= n);
        r->taken += (size_t)taken;
        if (!pull(r)) break;
        if (taken == 0) break;
    }
    if (!r->error && r->taken == in.n) stop(r);
    note_number(r, "error", r->error);
    if (!r->error) note_number(r, "taken", (int64_t)r->taken);
    if (r->error == 0 && r->taken < in.n)
        MUST(http1_finished(&r->e) || r->e.in == HTTP1_IN_UPGRADED);
    http1_fini(&r->e);
    MUST(r->mem.live == 0);
    r->asked.unfinished = r->in_request;
    r->asked.short_body = r->error == RW_EINVAL;
    free(block);
}

static void done(struct run *r) {
    buf_release(&r->out);
    buf_release(&r->log);
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
    http1_read_back(text(&a->out), &a->asked, &x);
    http1_read_back(text(&b->out), &b->asked, &y);
    if (!stopped) MUST(str_eq(text(&x), text(&y)));
    buf_release(&x);
    buf_release(&y);
}

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
    http1_ask_oracle(in);
    return 0;
}
