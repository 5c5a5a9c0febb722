/* SPDX-License-Identifier: MIT */
/* Finding the end of a run of bytes, which is most of what parsing HTTP is.
 *
 * Each scan_* returns the first byte of [p, end) that does not belong to the
 * set, or `end`. Nothing at or behind `end` is ever read, so that the bytes
 * may end at an unmapped page. The first blocks are looked at inline with SSE2,
 * which every x86-64 has, because a call costs more than the look. What is
 * longer goes to the widest code that this processor runs, chosen at the first
 * call. Other processors take the table, a byte at a time.
 */
#ifndef PROTO_SCAN_H
#define PROTO_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The sets, as bits of scan_class[byte]. */
enum {
    SCAN_TOKEN = 1,  /* tchar, RFC 9110 §5.6.2 */
    SCAN_TARGET = 2, /* what a request target may hold: VCHAR without '#' */
    SCAN_VALUE = 4,  /* field-vchar, SP, HTAB, RFC 9110 §5.5 */
    SCAN_HOST = 8,   /* reg-name without '%', RFC 3986 §3.2.2 */
    SCAN_QUOTED = 16, /* qdtext and what a quoted-pair may hold, but for \ " */
};
extern const uint8_t scan_class[256];

static inline bool scan_is(char c, unsigned set) {
    return scan_class[(unsigned char)c] & set;
}

typedef const char *scan_fn(const char *p, const char *end);

struct scan_kind {
    const char *name; /* "scalar", "sse2", "avx2" */
    scan_fn *token, *target, *value;
};

extern struct scan_kind scan_wide; /* what goes on behind the first blocks */

/* Uses one kind instead of the best (tests, benchmarks); false when there is
 * none of that name or the processor cannot run it. */
bool scan_use(const char *name);

enum { SCAN_INLINE = 4 }; /* blocks looked at before scan_wide is called */

#ifdef __SSE2__

/* One bit for each of 16 bytes: set where the byte is outside the set. */

static inline unsigned scan16_value(__m128i c) {
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(c, _mm_set1_epi8(0x1f)), c);
    __m128i tab = _mm_cmpeq_epi8(c, _mm_set1_epi8('\t'));
    __m128i del = _mm_cmpeq_epi8(c, _mm_set1_epi8(0x7f));
    __m128i bad = _mm_or_si128(_mm_andnot_si128(tab, low), del);
    return (unsigned)_mm_movemask_epi8(bad);
}

static inline unsigned scan16_target(__m128i c) {
    __m128i from = _mm_sub_epi8(c, _mm_set1_epi8(0x21));
    __m128i in = _mm_cmpeq_epi8(_mm_min_epu8(from, _mm_set1_epi8(0x5d)), from);
    __m128i hash = _mm_cmpeq_epi8(c, _mm_set1_epi8('#'));
    return (unsigned)_mm_movemask_epi8(_mm_andnot_si128(hash, in)) ^ 0xffff;
}

/* Letters, digits and '-' only: a set bit may still be a rarer tchar. */
static inline unsigned scan16_plain(__m128i c) {
    __m128i letter = _mm_sub_epi8(_mm_or_si128(c, _mm_set1_epi8(0x20)),
                                  _mm_set1_epi8('a'));
    __m128i digit = _mm_sub_epi8(c, _mm_set1_epi8('0'));
    __m128i in = _mm_or_si128(
        _mm_cmpeq_epi8(_mm_min_epu8(letter, _mm_set1_epi8(25)), letter),
        _mm_cmpeq_epi8(_mm_min_epu8(digit, _mm_set1_epi8(9)), digit));
    in = _mm_or_si128(in, _mm_cmpeq_epi8(c, _mm_set1_epi8('-')));
    return (unsigned)_mm_movemask_epi8(in) ^ 0xffff;
}

static inline __m128i scan16_load(const char *p) {
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* What is left has less than a block, mostly: a call would not pay. */
static inline const char *scan_short(const char *p, const char *end,
                                     unsigned set) {
    while (p < end && scan_is(*p, set)) p++;
    return p;
}

static inline const char *scan_value(const char *p, const char *end) {
    for (int i = 0; i < SCAN_INLINE; i++, p += 16) {
        if (end - p < 16) return scan_short(p, end, SCAN_VALUE);
        unsigned out = scan16_value(scan16_load(p));
        if (out) return p + (unsigned)__builtin_ctz(out);
    }
    return scan_wide.value(p, end);
}

static inline const char *scan_target(const char *p, const char *end) {
    for (int i = 0; i < SCAN_INLINE; i++, p += 16) {
        if (end - p < 16) return scan_short(p, end, SCAN_TARGET);
        unsigned out = scan16_target(scan16_load(p));
        if (out) return p + (unsigned)__builtin_ctz(out);
    }
    return scan_wide.target(p, end);
}

/* Names end within 16 bytes, nearly all. */
static inline const char *scan_token(const char *p, const char *end) {
    if (end - p < 16) return scan_short(p, end, SCAN_TOKEN);
    unsigned out = scan16_plain(scan16_load(p));
    p += out ? __builtin_ctz(out) : 16;
    if (out && !scan_is(*p, SCAN_TOKEN)) return p;
    return scan_wide.token(p, end);
}

/* The end of a short and plain name: up to 31 letters, digits and '-'. Else,
 * or without 32 bytes to read, any place that is not a name's end. */
static inline const char *scan_name(const char *p, const char *end) {
    if (end - p < 32) return p;
    unsigned out = scan16_plain(scan16_load(p));
    if (!out) {
        p += 16;
        out = scan16_plain(scan16_load(p)) | 0x8000;
    }
    return p + (unsigned)__builtin_ctz(out);
}

/* Are all n bytes of the set? The last block overlaps the one before. */
static inline bool scan_all_value(const char *p, size_t n) {
    if (n < 16) return scan_short(p, p + n, SCAN_VALUE) == p + n;
    unsigned out = scan16_value(scan16_load(p + n - 16));
    for (size_t i = 0; i + 16 < n; i += 16)
        out |= scan16_value(scan16_load(p + i));
    return out == 0;
}

#else /* the table only */

static inline const char *scan_name(const char *p, const char *end) {
    return (void)end, p;
}
static inline bool scan_all_value(const char *p, size_t n) {
    return scan_wide.value(p, p + n) == p + n;
}
static inline const char *scan_value(const char *p, const char *end) {
    return scan_wide.value(p, end);
}
static inline const char *scan_target(const char *p, const char *end) {
    return scan_wide.target(p, end);
}
static inline const char *scan_token(const char *p, const char *end) {
    return scan_wide.token(p, end);
}

#endif
#endif
