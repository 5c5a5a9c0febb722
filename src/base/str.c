/* SPDX-License-Identifier: MIT */
#include "base/str.h"

#include "base/err.h"

bool str_eq_nocase(struct str a, struct str b) {
    if (a.n != b.n) return false;
    for (size_t i = 0; i < a.n; i++)
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i])) return false;
    return true;
}

bool str_starts(struct str s, struct str prefix) {
    return s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0;
}

size_t str_find(struct str s, char c) {
    const char *hit = s.n ? memchr(s.p, c, s.n) : NULL;
    return hit ? (size_t)(hit - s.p) : s.n;
}

struct str str_trim(struct str s) {
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
    return s;
}

struct str str_cut(struct str *rest, char c) {
    size_t at = str_find(*rest, c);
    struct str front = str_of(rest->p, at);
    *rest = str_skip(*rest, at < rest->n ? at + 1 : at);
    return front;
}

bool str_list_next(struct str *rest, struct str *item) {
    while (rest->n) {
        *item = str_trim(str_cut(rest, ','));
        if (item->n) return true;
    }
    return false;
}

int str_to_u64(struct str s, uint64_t *out) {
    uint64_t n = 0;
    if (s.n == 0) return RW_ESYNTAX;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
        if (digit > 9 || n > (UINT64_MAX - digit) / 10) return RW_ESYNTAX;
        n = n * 10 + digit;
    }
    *out = n;
    return 0;
}
