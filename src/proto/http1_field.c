/* SPDX-License-Identifier: MIT */
/* What single fields and targets mean to the engine, and which it refuses.
 *
 * Framing (RFC 9112 §6) is where smuggling lives, so there is one way only:
 * at most one Content-Length of digits, or one Transfer-Encoding that is the
 * word "chunked", never both. A list, a sign, a second length (even the same),
 * a coding that we do not know: refused, not guessed at.
 *
 * The names are told apart by their length first and then by whole words with
 * the case bit set, so that the fields which mean nothing here, nearly all,
 * cost one switch. Setting bit 5 is a sound fold: the only other byte that it
 * turns into '-' is CR, which no token has. */
#include "proto/http1_inner.h"
#include "proto/scan.h"

/* --- names --------------------------------------------------------------- */

static inline uint64_t fold8(const char *p) {
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w | 0x2020202020202020u;
}
static inline uint32_t fold4(const char *p) {
    uint32_t w;
    memcpy(&w, p, sizeof w);
    return w | 0x20202020u;
}

/* Both are n bytes long, `lower` is a literal. */
static inline bool is4to7(const char *p, const char *lower, size_t n) {
    return fold4(p) == fold4(lower) &&
           fold4(p + n - 4) == fold4(lower + n - 4);
}
static inline bool is8to17(const char *p, const char *lower, size_t n) {
    return fold8(p) == fold8(lower) &&
           fold8(p + n - 8) == fold8(lower + n - 8) &&
           (n < 17 || fold8(p + 8) == fold8(lower + 8));
}

/* --- authorities and targets --------------------------------------------- */

/* "[" IPv6 or IPvFuture "]": its length with the brackets, 0 if it is none.
 * Whether the address is one is left to whoever connects to it. */
static size_t ip_literal(struct str s) {
    size_t i = 1;
    while (i < s.n && (s.p[i] == ':' || scan_is(s.p[i], SCAN_HOST))) i++;
    return i > 2 && i < s.n && s.p[i] == ']' ? i + 1 : 0;
}

static size_t reg_name(struct str s) {
    size_t i = 0;
    for (;;) {
        while (i < s.n && scan_is(s.p[i], SCAN_HOST)) i++;
        if (s.n - i < 3 || s.p[i] != '%') return i;
        if (hex_digit(s.p[i + 1]) < 0 || hex_digit(s.p[i + 2]) < 0) return i;
        i += 3;
    }
}

/* Nothing but a name, as most are. */
static bool plain_name(struct str s) {
    unsigned all = s.n ? SCAN_HOST : 0;
    for (size_t i = 0; i < s.n; i++) all &= scan_class[(unsigned char)s.p[i]];
    return all != 0;
}

/* Five digits at most, although a URI may have zeros in front. Empty, or 0, is
 * a port that nobody can connect to (RFC 9110 §9.3.6). */
static bool port_ok(struct str digits, bool needed) {
    uint64_t n = 0;
    if (digits.n == 0) return !needed;
    return digits.n <= 5 && str_to_u64(digits, &n) == 0 && n <= UINT16_MAX && (n > 0 || !needed);
}

bool http1_authority_ok(struct str s, bool port) {
    if (plain_name(s)) return !port;
    size_t host = s.n && s.p[0] == '[' ? ip_literal(s) : reg_name(s);
    if (host == 0) return false;
    if (host == s.n) return !port;
    return s.p[host] == ':' && port_ok(str_skip(s, host + 1), port);
}

struct str http1_target_authority(struct str *target) {
    size_t host = str_find(*target, ':') + 3;
    struct str rest = str_skip(*target, host);
    size_t n = str_find(rest, '/');
    struct str authority = str_of(rest.p, n);
    /* "http://host" means "/": the one before the host will do */
    *target = n < rest.n ? str_skip(rest, n) : str_of(rest.p - 1, 1);
    return authority;
}

/* absolute-form; of schemes only those of letters, http and https foremost.
 * RFC 9110 §4.2.4 wants userinfo treated as an error; it fails
 * for its '@'. So does "http://host?query": legal, never seen, and without a
 * "/" that the slice could begin with. */
static bool absolute_ok(struct str target) {
    size_t i = str_find(target, ':');
    if (i == 0 || target.n - i < 4 || memcmp(target.p + i, "://", 3) != 0)
        return false;
    for (size_t k = 0; k < i; k++) {
        char c = ascii_lower(target.p[k]);
        if (c < 'a' || c > 'z') return false;
    }
    return http1_authority_ok(http1_target_authority(&target), false);
}

int http1_target_check(enum http1_method verb, struct str target) {
    bool ok;
    if (verb == HTTP1_CONNECT) ok = http1_authority_ok(target, true);
    else if (target.p[0] == '/') ok = true;
    else if (target.p[0] == '*') ok = verb == HTTP1_OPTIONS && target.n == 1;
    else ok = absolute_ok(target);
    return ok ? 0 : -400;
}

/* --- fields of the head -------------------------------------------------- */

static int host_field(struct http1 *e, struct str value) {
    if (e->seen & SEEN_HOST || !http1_authority_ok(value, false)) return -400;
    e->seen |= SEEN_HOST;
    e->host_at = e->field_count;
    return 0;
}

static int length_field(struct http1 *e, struct str value) {
    uint64_t n;
    if (e->seen & (SEEN_LENGTH | SEEN_CODING)) return -400;
    if (str_to_u64(value, &n) < 0 || n > INT64_MAX) return -400;
    e->seen |= SEEN_LENGTH;
    e->request.length = (int64_t)n;
    return 0;
}

static int coding_field(struct http1 *e, struct str value) {
    if (e->seen & (SEEN_LENGTH | SEEN_CODING)) return -400;
    if (e->request.version == 10) return -400; /* RFC 9112 §6.1 */
    if (!str_eq_nocase(value, STR("chunked"))) return -501;
    e->seen |= SEEN_CODING;
    e->request.length = -1;
    return 0;
}

static int connection_field(struct http1 *e, struct str value) {
    struct str option;
    if (value.n == 10 && is8to17(value.p, "keep-alive", 10)) {
        e->seen |= SEEN_KEEP_ALIVE; /* by far the most frequent */
        return 0;
    }
    while (str_list_next(&value, &option)) {
        if (str_eq_nocase(option, STR("close")))
            e->seen |= SEEN_CLOSE;
        else if (str_eq_nocase(option, STR("keep-alive")))
            e->seen |= SEEN_KEEP_ALIVE;
        else if (str_eq_nocase(option, STR("upgrade")))
            e->seen |= SEEN_UPGRADE_OPTION;
    }
    return 0;
}

static int expect_field(struct http1 *e, struct str value) {
    if (!str_eq_nocase(value, STR("100-continue"))) return -417;
    e->request.expects_continue = true;
    return 0;
}

/* The first one counts; an empty one offers nothing. */
static int upgrade_field(struct http1 *e, struct str value) {
    if (e->seen & SEEN_UPGRADE || value.n == 0) return 0;
    e->upgrade_at = e->field_count;
    e->seen |= SEEN_UPGRADE;
    return 0;
}

int http1_field_seen(struct http1 *e, struct str name, struct str value) {
    switch (name.n) {
    case 4:
        if (is4to7(name.p, "host", 4)) return host_field(e, value);
        return 0;
    case 6:
        if (is4to7(name.p, "expect", 6)) return expect_field(e, value);
        return 0;
    case 7:
        if (is4to7(name.p, "upgrade", 7)) return upgrade_field(e, value);
        return 0;
    case 10:
        if (is8to17(name.p, "connection", 10))
            return connection_field(e, value);
        return 0;
    case 14:
        if (is8to17(name.p, "content-length", 14))
            return length_field(e, value);
        return 0;
    case 17:
        if (is8to17(name.p, "transfer-encoding", 17))
            return coding_field(e, value);
        return 0;
    default:
        return 0;
    }
}

/* --- fields of the trailers ---------------------------------------------- */

/* RFC 9110 §6.5.1. A length or a host behind the body is an attempt; the
 * others would come too late to do what they are for, so nobody sees them. */
int http1_trailer_seen(struct str name) {
    static const char *const refused[] = {"content-length",
                                          "transfer-encoding", "host"};
    static const char *const ignored[] = {
        "authorization", "cache-control", "connection", "content-encoding",
        "content-range", "content-type", "cookie", "expect", "if-match",
        "if-modified-since", "if-none-match", "if-range",
        "if-unmodified-since", "keep-alive", "max-forwards",
        "proxy-authorization", "proxy-connection", "range", "te", "trailer",
        "upgrade"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (str_eq_nocase(name, str_c(refused[i]))) return -400;
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (str_eq_nocase(name, str_c(ignored[i]))) return 1;
    return 0;
}
