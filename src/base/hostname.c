/* SPDX-License-Identifier: MIT */
/* IDNA without the tables of Unicode. What is taken is a strict subset of what
 * is valid: letters and digits of the scripts in allowed[], upper case mapped
 * where that is a matter of arithmetic (cases[]). What would have to be
 * composed or decomposed first (combining marks after Latin letters, conjoining
 * Hangul, compatibility forms, fullwidth letters excepted) is refused, and not
 * looked up under a name that would be another one.
 * docs/decisions/012-c-ares.md says why there is no library. */
#include "base/hostname.h"

#include "base/codec.h"
#include "base/err.h"

/* ── characters ───────────────────────────────────────────────────────────*/

struct range {
    uint32_t first, last;
};

/* Sorted. Within a range there may be unassigned characters: no such name is
 * registered, so the answer is that of the server. */
static const struct range allowed[] = {
    {0x00DF, 0x00F6}, {0x00F8, 0x00FF}, {0x0101, 0x0131}, {0x0133, 0x017E},
    {0x01A1, 0x01A1}, {0x01B0, 0x01B0}, {0x01CE, 0x01DC}, {0x01DF, 0x01EF},
    {0x01F9, 0x021F}, {0x0223, 0x0233}, {0x0250, 0x02AF},
    {0x03AC, 0x03CE}, {0x0430, 0x045F}, {0x0461, 0x0481}, {0x048B, 0x052F},
    {0x0561, 0x0586}, {0x05D0, 0x05EA}, {0x0620, 0x063F}, {0x0641, 0x0655},
    {0x0660, 0x0669}, {0x066E, 0x0674}, {0x0679, 0x06D3}, {0x06D5, 0x06DC},
    {0x06EE, 0x06FC}, {0x0710, 0x074A}, {0x074D, 0x07B1}, {0x07C0, 0x07F5},
    {0x0900, 0x0957}, {0x0960, 0x0963}, {0x0966, 0x096F}, {0x0971, 0x0DF3},
    {0x0E01, 0x0E32}, {0x0E34, 0x0E3A}, {0x0E40, 0x0E4E}, {0x0E50, 0x0E59},
    {0x0E81, 0x0EB2}, {0x0EB4, 0x0ED9}, {0x0F20, 0x0F29}, {0x1000, 0x1049},
    {0x1050, 0x109D}, {0x10D0, 0x10FA}, {0x1200, 0x135F}, {0x1780, 0x17B3},
    {0x17B6, 0x17D3}, {0x17E0, 0x17E9}, {0x1810, 0x1819}, {0x1820, 0x18AA},
    {0x1E01, 0x1E99}, {0x1E9F, 0x1EFF}, {0x3005, 0x3007}, {0x3041, 0x3096},
    {0x309D, 0x309E}, {0x30A1, 0x30FA}, {0x30FC, 0x30FE}, {0x3105, 0x312F},
    {0x31A0, 0x31BF}, {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xA000, 0xA48C},
    {0xAC00, 0xD7A3}, {0x20000, 0x2A6DF}, {0x2A700, 0x2EBE0},
    {0x30000, 0x323AF},
};

/* Upper case: `step` 2 means every second one, beginning with the first. */
static const struct {
    uint32_t first, last;
    uint8_t step;
    int32_t to_lower;
} cases[] = {
    {'A', 'Z', 1, 32},         {0x00C0, 0x00D6, 1, 32},
    {0x00D8, 0x00DE, 1, 32},   {0x0100, 0x012E, 2, 1},
    {0x0132, 0x0136, 2, 1},    {0x0139, 0x0147, 2, 1},
    {0x014A, 0x0176, 2, 1},    {0x0178, 0x0178, 1, -121},
    {0x0179, 0x017D, 2, 1},    {0x01A0, 0x01A0, 1, 1},
    {0x01AF, 0x01AF, 1, 1},    {0x01CD, 0x01DB, 2, 1},
    {0x01DE, 0x01EE, 2, 1},    {0x01F8, 0x021E, 2, 1},
    {0x0222, 0x0232, 2, 1},    {0x0386, 0x0386, 1, 38},
    {0x0388, 0x038A, 1, 37},   {0x038C, 0x038C, 1, 64},
    {0x038E, 0x038F, 1, 63},   {0x0391, 0x03A1, 1, 32},
    {0x03A3, 0x03AB, 1, 32},   {0x0400, 0x040F, 1, 80},
    {0x0410, 0x042F, 1, 32},   {0x0460, 0x0480, 2, 1},
    {0x048A, 0x04BE, 2, 1},    {0x04C0, 0x04C0, 1, 15},
    {0x04C1, 0x04CD, 2, 1},    {0x04D0, 0x052E, 2, 1},
    {0x0531, 0x0556, 1, 48},   {0x1E00, 0x1E94, 2, 1},
    {0x1E9E, 0x1E9E, 1, -7615}, {0x1EA0, 0x1EFE, 2, 1},
};

/* Upper case that has no lower case of its own above, among allowed[]. */
static bool is_odd_one(uint32_t c) {
    return c == 0x0130 || c == 0x0149 || c == 0x0138 || c == 0x01F0 ||
           (c >= 0x01A2 && c <= 0x01AE) || c == 0x06DD ||
           (c >= 0x1E9A && c <= 0x1E9D);
}

static bool is_allowed(uint32_t c) {
    size_t low = 0, high = sizeof allowed / sizeof *allowed;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c < allowed[middle].first) high = middle;
        else if (c > allowed[middle].last) low = middle + 1;
        else return !is_odd_one(c);
    }
    return false;
}

static uint32_t to_lower(uint32_t c) {
    if (c >= 0xFF01 && c <= 0xFF5E) c -= 0xFEE0; /* fullwidth */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (c >= cases[i].first && c <= cases[i].last)
            return (c - cases[i].first) % cases[i].step
                       ? c
                       : (uint32_t)((int32_t)c + cases[i].to_lower);
    return c;
}

static bool is_dot(uint32_t c) {
    return c == '.' || c == 0x3002 || c == 0xFF0E || c == 0xFF61;
}

static bool is_ldh(uint32_t c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

/* ── punycode ─────────────────────────────────────────────────────────────*/

enum {
    PUNY_BASE = 36, PUNY_TMIN = 1, PUNY_TMAX = 26, PUNY_SKEW = 38,
    PUNY_DAMP = 700, PUNY_BIAS = 72, PUNY_N = 128,
};

static uint32_t puny_adapt(uint32_t delta, uint32_t points, bool first) {
    uint32_t k = 0;
    delta = first ? delta / PUNY_DAMP : delta / 2;
    delta += delta / points;
    for (; delta > (PUNY_BASE - PUNY_TMIN) * PUNY_TMAX / 2; k += PUNY_BASE)
        delta /= PUNY_BASE - PUNY_TMIN;
    return k + (PUNY_BASE - PUNY_TMIN + 1) * delta / (delta + PUNY_SKEW);
}

static char puny_digit(uint32_t d) {
    return (char)(d < 26 ? 'a' + d : '0' + (d - 26));
}

/* One delta as a number of variable length; false: no room. */
static bool puny_number(uint32_t delta, uint32_t bias, char *out, size_t *at,
                        size_t size) {
    for (uint32_t k = PUNY_BASE;; k += PUNY_BASE) {
        uint32_t t = k <= bias               ? PUNY_TMIN
                     : k >= bias + PUNY_TMAX ? PUNY_TMAX
                                             : k - bias;
        if (*at == size) return false;
        if (delta < t) {
            out[(*at)++] = puny_digit(delta);
            return true;
        }
        out[(*at)++] = puny_digit(t + (delta - t) % (PUNY_BASE - t));
        delta = (delta - t) / (PUNY_BASE - t);
    }
}

int64_t punycode_encode(const uint32_t *code, size_t n, char *out, size_t size) {
    uint32_t next = PUNY_N, delta = 0, bias = PUNY_BIAS;
    size_t at = 0, done = 0;
    if (n > HOSTNAME_LABEL) return RW_ESYNTAX; /* deltas stay below 2^32 */
    for (size_t i = 0; i < n; i++) {
        if (code[i] >= PUNY_N) continue;
        if (at == size) return RW_ESYNTAX;
        out[at++] = (char)code[i];
    }
    size_t basic = done = at;
    if (basic) {
        if (at == size) return RW_ESYNTAX;
        out[at++] = '-';
    }
    while (done < n) {
        uint32_t least = UINT32_MAX;
        for (size_t i = 0; i < n; i++)
            if (code[i] >= next && code[i] < least) least = code[i];
        delta += (least - next) * (uint32_t)(done + 1);
        next = least;
        for (size_t i = 0; i < n; i++) {
            if (code[i] < next) delta++;
            if (code[i] != next) continue;
            if (!puny_number(delta, bias, out, &at, size)) return RW_ESYNTAX;
            bias = puny_adapt(delta, (uint32_t)done + 1, done == basic);
            delta = 0;
            done++;
        }
        delta++;
        next++;
    }
    return (int64_t)at;
}

/* ── names ────────────────────────────────────────────────────────────────*/

/* Appends a label, with a dot before it if there is one already. */
static int add_label(struct hostname *h, const uint32_t *code, size_t n, bool ascii) {
    char text[HOSTNAME_LABEL + 1];
    int64_t size = 0;
    if (n == 0) return RW_ESYNTAX;
    if (ascii) {
        for (size_t i = 0; i < n; i++) text[size++] = (char)code[i];
    } else {
        if (code[0] == '-' || code[n - 1] == '-') return RW_ESYNTAX;
        if (n >= 4 && code[2] == '-' && code[3] == '-') return RW_ESYNTAX;
        memcpy(text, "xn--", 4);
        size = punycode_encode(code, n, text + 4, HOSTNAME_LABEL - 4);
        if (size < 0) return RW_ESYNTAX;
        size += 4;
    }
    size_t dot = h->n > 0;
    if (h->n + dot + (size_t)size > HOSTNAME_MAX) return RW_ESYNTAX;
    if (dot) {
        h->text[h->n++] = '.';
        h->dots++;
    }
    memcpy(h->text + h->n, text, (size_t)size);
    h->n = (uint8_t)(h->n + size);
    return 0;
}

int hostname_read(struct str text, struct hostname *out) {
    uint32_t code[HOSTNAME_LABEL];
    size_t n = 0;
    bool ascii = true;
    *out = (struct hostname){0};
    while (text.n) {
        uint32_t c;
        if (!utf8_next(&text, &c)) return RW_ESYNTAX;
        if (is_dot(c)) {
            int rc = add_label(out, code, n, ascii);
            if (rc < 0) return rc;
            n = 0;
            ascii = true;
            out->absolute = text.n == 0;
            continue;
        }
        c = to_lower(c);
        if (!is_ldh(c)) {
            if (!is_allowed(c)) return RW_ESYNTAX;
            ascii = false;
        }
        if (n == HOSTNAME_LABEL) return RW_ESYNTAX;
        code[n++] = c;
    }
    int rc = out->absolute ? 0 : add_label(out, code, n, ascii);
    out->text[out->n] = 0;
    return rc;
}

bool hostname_within(struct str name, struct str domain) {
    if (name.n < domain.n) return false;
    size_t before = name.n - domain.n;
    return str_eq(str_skip(name, before), domain) &&
           (before == 0 || name.p[before - 1] == '.');
}

/* ── the hosts file ───────────────────────────────────────────────────────*/

static struct str next_word(struct str *rest) {
    size_t from = 0;
    while (from < rest->n && (rest->p[from] == ' ' || rest->p[from] == '\t' ||
                              rest->p[from] == '\r'))
        from++;
    size_t to = from;
    while (to < rest->n && rest->p[to] != ' ' && rest->p[to] != '\t' &&
           rest->p[to] != '\r')
        to++;
    struct str word = str_of(rest->p + from, to - from);
    *rest = str_skip(*rest, to);
    return word;
}

bool hosts_next(struct str *rest, struct str *address, struct str *names) {
    while (rest->n) {
        struct str line = str_cut(rest, '\n');
        line.n = str_find(line, '#');
        *address = next_word(&line);
        *names = line;
        if (next_word(&line).n) return true;
    }
    return false;
}

bool hosts_name_next(struct str *names, struct str *name) {
    *name = next_word(names);
    return name->n != 0;
}
