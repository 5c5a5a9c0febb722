/* SPDX-License-Identifier: MIT */
/* A borrowed run of bytes: pointer and length, no terminator, no ownership. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p; /* borrowed */
    size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_NONE ((struct str){NULL, 0})
#define STR_FMT(s) (int)(s).n, (s).p /* for "%.*s" */

static inline struct str str_of(const char *p, size_t n) {
    return (struct str){p, n};
}
static inline struct str str_c(const char *z) {
    return (struct str){z, z ? strlen(z) : 0};
}
static inline bool str_eq(struct str a, struct str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline struct str str_skip(struct str s, size_t n) {
    return (struct str){s.p + n, s.n - n};
}
static inline char ascii_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}
/* 0 … 15, or -1. */
static inline int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool str_eq_nocase(struct str a, struct str b); /* ASCII */
bool str_starts(struct str s, struct str prefix);

/* Index of the first `c`, or s.n. */
size_t str_find(struct str s, char c);

/* Without the blanks (SP, HTAB) at both ends. */
struct str str_trim(struct str s);

/* Cuts up to the first `c` off the front of *rest (the separator goes too). */
struct str str_cut(struct str *rest, char c);

/* Next member of a comma-separated list (RFC 9110 §5.6.1: blanks trimmed, empty
 * members skipped); false when there is none left. */
bool str_list_next(struct str *rest, struct str *item);

/* Digits only, no sign, no blank, no overflow: 0, or RW_ESYNTAX. */
int str_to_u64(struct str s, uint64_t *out);

#endif
