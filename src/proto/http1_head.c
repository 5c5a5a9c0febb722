/* SPDX-License-Identifier: MIT */
/* The head of a request, and trailers, which are its second half again
 * (RFC 9112 §2 to §5).
 *
 *      START → METHOD → TARGET → VERSION → FIELD ⇄ NAME → GAP → VALUE
 *                                            └→ done
 *
 * One parser serves both ways a head can arrive. Nearly always it is whole in
 * the bytes fed: then the stages run through once, with everything in
 * registers, and nothing is copied. Otherwise the parser writes down the stage
 * and how far it looked (`mark`, offsets only), and goes on from exactly there
 * when more has come: no byte is scanned twice, however thin the slices.
 *
 * The verdict depends on the bytes alone, never on where they were cut: each
 * error is that of the shortest prefix which has one, and it is found as soon
 * as that prefix is here. So all limits are tested on what is certain (`stop`
 * is known, or the limit is passed already), and a byte is judged before the
 * byte behind it.
 *
 * Strictness: CRLF only, single spaces, names are tokens, nothing between name
 * and colon, no folding, no control characters. What two parsers could read
 * differently is refused, because between them lies request smuggling.
 */
#include "proto/http1_inner.h"
#include "proto/scan.h"

enum { NEXT = 0, MORE = 1, DONE = 2 }; /* or a refusal, negative */

struct cursor {
    const char *base, *end; /* borrowed: the bytes */
    const char *p;          /* looked at up to here */
    const char *start, *target, *target_end, *name, *colon, *value;
    unsigned stage;
};

/* --- helpers ------------------------------------------------------------- */

static inline bool same(const char *p, const char *z, size_t n) {
    return memcmp(p, z, n) == 0;
}

static enum http1_method verb_of(struct str m) {
#define VERB(word)                                                           \
    if (same(m.p, #word, sizeof #word - 1)) return HTTP1_##word
    switch (m.n) {
    case 3: VERB(GET); VERB(PUT); break;
    case 4: VERB(HEAD); VERB(POST); break;
    case 5: VERB(PATCH); VERB(TRACE); break;
    case 6: VERB(DELETE); break;
    case 7: VERB(OPTIONS); VERB(CONNECT); break;
    }
#undef VERB
    return HTTP1_OTHER;
}

static inline int more(struct cursor *c, unsigned stage, const char *p) {
    c->stage = stage;
    c->p = p;
    return MORE;
}

/* How many fields may come before room_for_field() must be asked. */
static void set_room(struct http1 *e) {
    uint64_t max = e->env.limits->max_headers;
    e->field_room = e->field_cap < max ? e->field_cap : (uint32_t)max;
}

/* Out of room: for want of memory yet, or for good. */
static int room_for_field(struct http1 *e) {
    if (e->field_count >= e->env.limits->max_headers) {
        e->env.limit = "max_headers"; /* 431 is for max_head, too */
        return -431;
    }
    uint32_t cap = e->field_cap < 16 ? 24 : e->field_cap * 2;
    struct field *at = mem_alloc(e->env.mem, cap * sizeof *at);
    if (!at) return -503;
    memcpy(at, e->fields, e->field_count * sizeof *at);
    if (e->fields != e->few)
        mem_free(e->env.mem, e->fields, e->field_cap * sizeof *at);
    e->fields = at;
    e->field_cap = cap;
    set_room(e);
    return 0;
}

/* --- the request line ---------------------------------------------------- */

/* RFC 9112 §2.2: an empty line before the request line is let pass, because
 * old clients sent one behind a POST's body. One. */
static int start_line(struct http1 *e, struct cursor *c) {
    if (c->p == c->end) return more(c, STAGE_START, c->p);
    if (*c->p == '\r') {
        if (e->blank) return -400;
        if (c->end - c->p < 2) return more(c, STAGE_START, c->p);
        if (c->p[1] != '\n') return -400;
        e->blank = true;
        c->p += 2;
    }
    c->start = c->p;
    return NEXT;
}

static inline int method(struct cursor *c) {
    const char *p = c->p;
    if (p == c->start && c->end - p >= 4 && same(p, "GET ", 4))
        p += 3;
    else
        p = scan_token(p, c->end);
    if (p == c->end) return more(c, STAGE_METHOD, p);
    if (*p != ' ' || p == c->start) return -400;
    c->p = c->target = p + 1;
    return NEXT;
}

static inline int target(const struct http1 *e, struct cursor *c) {
    const char *p = scan_target(c->p, c->end);
    if ((uint64_t)(p - c->target) > e->env.limits->max_target) return -414;
    if (p == c->end) return more(c, STAGE_TARGET, p);
    if (*p != ' ' || p == c->target) return -400;
    c->target_end = p;
    c->p = p + 1;
    return NEXT;
}

/* "HTTP/" DIGIT "." DIGIT CRLF, a byte at a time. */
static int version_slow(struct cursor *c, int *version) {
    static const char pattern[] = "HTTP/0.0\r\n";
    const char *p = c->p;
    for (size_t i = 0; i < sizeof pattern - 1; i++, p++) {
        if (p == c->end) return more(c, STAGE_VERSION, c->p);
        bool ok = pattern[i] == '0' ? *p >= '0' && *p <= '9'
                                    : *p == pattern[i];
        if (!ok) return -400;
    }
    if (c->p[5] != '1') return -505;
    *version = c->p[7] == '0' ? 10 : 11;
    c->p = p;
    return NEXT;
}

static inline int version(struct http1 *e, struct cursor *c) {
    if (c->end - c->p >= 10 && same(c->p, "HTTP/1.1\r\n", 10)) {
        e->request.version = 11;
        c->p += 10;
    } else {
        int rc = version_slow(c, &e->request.version);
        if (rc != NEXT) return rc;
    }
    size_t n = (size_t)(c->target - 1 - c->start);
    e->request.verb = verb_of(str_of(c->start, n));
    c->stage = STAGE_FIELD;
    if (*c->target == '/' && e->request.verb != HTTP1_CONNECT) return NEXT;
    return http1_target_check(
        e->request.verb,
        str_of(c->target, (size_t)(c->target_end - c->target)));
}

static inline int request_line(struct http1 *e, struct cursor *c) {
    int rc;
    switch (c->stage) {
    case STAGE_START:
        if ((rc = start_line(e, c)) != NEXT) return rc; /* fall through */
    case STAGE_METHOD:
        if ((rc = method(c)) != NEXT) return rc; /* fall through */
    case STAGE_TARGET:
        if ((rc = target(e, c)) != NEXT) return rc; /* fall through */
    default:
        return version(e, c);
    }
}

/* --- field lines --------------------------------------------------------- */

static int take_field(struct http1 *e, struct str name, struct str value) {
    int rc;
    if (e->in_trailers) {
        rc = http1_trailer_seen(name);
        if (rc != 0) return rc < 0 ? rc : NEXT;
    } else if (http1_field_special(name)) {
        rc = http1_field_seen(e, name, value);
        if (rc < 0) return rc;
    }
    e->fields[e->field_count++] = (struct field){name, value};
    return NEXT;
}

static inline int name(struct cursor *c) {
    const char *p = scan_token(c->p, c->end);
    if (p == c->end) return more(c, STAGE_NAME, p);
    if (*p != ':' || p == c->name) return -400;
    c->colon = p;
    c->p = p + 1;
    return NEXT;
}

static inline int gap(struct cursor *c) {
    const char *p = c->p;
    if (p < c->end && *p == ' ') p++; /* the one that everybody sends */
    while (p < c->end && (*p == ' ' || *p == '\t')) p++;
    if (p == c->end) return more(c, STAGE_GAP, p);
    c->p = c->value = p;
    return NEXT;
}

static inline int value(struct http1 *e, struct cursor *c) {
    const char *p = scan_value(c->p, c->end);
    if (p == c->end) return more(c, STAGE_VALUE, p);
    if (*p != '\r') return -400;
    if (c->end - p < 2) return more(c, STAGE_VALUE, p);
    if (p[1] != '\n') return -400;
    c->p = p + 2;
    while (p > c->value && (p[-1] == ' ' || p[-1] == '\t')) p--;
    return take_field(e, str_of(c->name, (size_t)(c->colon - c->name)),
                      str_of(c->value, (size_t)(p - c->value)));
}

static inline int field_line(struct http1 *e, struct cursor *c) {
    int rc;
    switch (c->stage) {
    case STAGE_FIELD:
        if (c->p == c->end) return MORE;
        if (*c->p == '\r') {
            if (c->end - c->p < 2) return MORE;
            if (c->p[1] != '\n') return -400;
            c->p += 2;
            return DONE;
        }
        c->name = c->p;
        if (e->field_count >= e->field_room && (rc = room_for_field(e)) < 0)
            return rc; /* fall through */
    case STAGE_NAME:
        if ((rc = name(c)) != NEXT) return rc; /* fall through */
    case STAGE_GAP:
        if ((rc = gap(c)) != NEXT) return rc; /* fall through */
    default:
        c->stage = STAGE_FIELD;
        return value(e, c);
    }
}

static inline bool two(const char *p, const char *literal) {
    return memcmp(p, literal, 2) == 0;
}

/* Whole field lines, as fast as they go. It takes lines that are complete and
 * plain; before any other it stops, and field_line() judges. Name bytes are
 * value bytes too, so the end of a line is the first stop behind its begin: the
 * processor need not wait for the name to go on with the next line, which
 * saves some 20 cycles each. A byte of a value not above ' ' is a blank. */
__attribute__((noinline)) /* its registers would burden the short heads */
static void plain_lines(struct http1 *e, struct cursor *c) {
    const char *p = c->p, *end = c->end;
    for (;;) {
        const char *stop = scan_value(p, end);
        const char *colon = scan_name(p, end), *from = colon + 2;
        if (end - stop < 2 || !two(stop, "\r\n")) break;
        if (colon == p || from >= stop || !two(colon, ": ")) break;
        if ((unsigned char)*from <= ' ' || (unsigned char)stop[-1] <= ' ')
            break;
        if (e->field_count >= e->field_room && room_for_field(e) < 0) break;
        struct str name = str_of(p, (size_t)(colon - p));
        struct str value = str_of(from, (size_t)(stop - from));
        if (http1_field_special(name) && http1_field_seen(e, name, value) < 0)
            break;
        e->fields[e->field_count++] = (struct field){name, value};
        p = stop + 2;
    }
    c->p = p;
}

/* --- the whole ----------------------------------------------------------- */

static void load(const struct http1 *e, struct cursor *c, const char *base) {
    c->p = base + e->mark.at;
    c->start = base + e->mark.start;
    c->target = base + e->mark.target;
    c->target_end = base + e->mark.target_end;
    c->name = base + e->mark.name;
    c->colon = base + e->mark.colon;
    c->value = base + e->mark.value;
}

static uint32_t offset(const struct cursor *c, const char *p) {
    return p ? (uint32_t)(p - c->base) : 0;
}

static void save(struct http1 *e, const struct cursor *c) {
    e->stage = (uint8_t)c->stage;
    e->mark.at = offset(c, c->p);
    e->mark.start = offset(c, c->start);
    e->mark.target = offset(c, c->target);
    e->mark.target_end = offset(c, c->target_end);
    e->mark.name = offset(c, c->name);
    e->mark.colon = offset(c, c->colon);
    e->mark.value = offset(c, c->value);
}

/* What can be judged only when all fields are known. */
static int finish(struct http1 *e, const struct cursor *c) {
    struct http1_request *r = &e->request;
    r->bytes = str_of(c->start, (size_t)(c->p - c->start));
    r->method = str_of(c->start, (size_t)(c->target - 1 - c->start));
    r->target = str_of(c->target, (size_t)(c->target_end - c->target));
    r->headers = (struct fields){e->fields, e->field_count};

    if (e->seen & SEEN_HOST) r->host = e->fields[e->host_at].value;
    else if (r->version != 10) return -400;
    if (*r->target.p != '/' && r->verb == HTTP1_CONNECT) r->host = r->target;
    else if (*r->target.p != '/' && *r->target.p != '*')
        r->host = http1_target_authority(&r->target);

    r->keep_alive = !(e->seen & SEEN_CLOSE) &&
                    (r->version != 10 || e->seen & SEEN_KEEP_ALIVE);
    if (e->seen & SEEN_UPGRADE && e->seen & SEEN_UPGRADE_OPTION &&
        r->version != 10)
        r->upgrade = e->fields[e->upgrade_at].value;
    if (r->verb == HTTP1_CONNECT && r->length != 0) return -400;
    if (r->length == 0 || r->version == 10) r->expects_continue = false;
    if (r->length > 0 && (uint64_t)r->length > e->env.limits->max_body)
        return -413;
    return 0;
}

size_t http1_head_max(const struct http1 *e) {
    uint64_t max = e->env.limits->max_head;
    return max < HTTP1_MAX_HELD ? (size_t)max : HTTP1_MAX_HELD;
}

int64_t http1_head_parse(struct http1 *e, const char *base, size_t n) {
    size_t max = http1_head_max(e);
    bool full = n >= max;
    struct cursor c = {.base = base, .p = base, .stage = e->stage,
                       .end = base + (full ? max : n)};
    if (e->mark.at) load(e, &c, base);
    set_room(e); /* the limits may be new */

    int rc = c.stage < STAGE_FIELD ? request_line(e, &c) : NEXT;
    while (rc == NEXT) {
        if (c.stage == STAGE_FIELD && c.end - c.p >= 64 && !e->in_trailers)
            plain_lines(e, &c);
        rc = field_line(e, &c);
    }
    if (rc == MORE) {
        if (full) return -431;
        save(e, &c);
        return 0;
    }
    if (rc == DONE && !e->in_trailers) {
        rc = finish(e, &c);
        if (rc == 0) rc = DONE;
    }
    return rc == DONE ? c.p - base : rc;
}

static void move(struct str *s, const char *from, const char *to) {
    s->p = to + ((uintptr_t)s->p - (uintptr_t)from);
}

void http1_head_moved(struct http1 *e, const char *from, const char *to) {
    struct http1_request *r = &e->request;
    if (from == to) return;
    if (r->bytes.p) {
        struct str *const slices[] = {&r->bytes, &r->method, &r->target,
                                      &r->host, &r->upgrade};
        for (size_t i = 0; i < sizeof slices / sizeof *slices; i++)
            if (slices[i]->p) move(slices[i], from, to);
    }
    for (uint32_t i = 0; i < e->field_count; i++) {
        move(&e->fields[i].name, from, to);
        move(&e->fields[i].value, from, to);
    }
}

void http1_head_drop(struct http1 *e) {
    struct http1_request *r = &e->request;
    if (e->fields != e->few) {
        mem_free(e->env.mem, e->fields, e->field_cap * sizeof *e->fields);
        e->fields = e->few;
        e->field_cap = HTTP1_FEW;
    }
    e->field_count = 0;
    if (e->held.cap) buf_release(&e->held);
    r->bytes = r->method = r->target = r->host = r->upgrade = STR_NONE;
    r->headers = (struct fields){NULL, 0};
}
