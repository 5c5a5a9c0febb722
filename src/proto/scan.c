/* SPDX-License-Identifier: MIT */
/* The wide half of scan.h: one set of functions per instruction set, and
 * the choice among them at run time. `scan_wide` begins as functions that
 * choose, put the choice in their own place and go on with it; so there is no
 * initialiser to forget, no constructor order and no ifunc. Two threads that
 * meet there both write the same pointers.
 *
 * A block is loaded only when it lies whole before `end`; the rest goes to the
 * narrower code, in the end to the table. */
#include "proto/scan.h"

#include <string.h>

/* Which sets a byte is in. */
#define T SCAN_TOKEN
#define U SCAN_TARGET
#define V SCAN_VALUE
#define H SCAN_HOST
#define Q SCAN_QUOTED
#define ALNUM (T | U | V | H | Q)
const uint8_t scan_class[256] = {
    ['\t'] = V | Q,
    [' '] = V | Q,
    ['!'] = ALNUM, ['"'] = U | V, ['#'] = T | V | Q, ['$'] = ALNUM,
    ['%'] = T | U | V | Q, ['&'] = ALNUM, ['\''] = ALNUM,
    ['('] = U | V | H | Q, [')'] = U | V | H | Q, ['*'] = ALNUM,
    ['+'] = ALNUM, [','] = U | V | H | Q, ['-'] = ALNUM, ['.'] = ALNUM,
    ['/'] = U | V | Q,
    ['0' ... '9'] = ALNUM,
    [':'] = U | V | Q, [';'] = U | V | H | Q, ['<'] = U | V | Q,
    ['='] = U | V | H | Q, ['>'] = U | V | Q, ['?'] = U | V | Q,
    ['@'] = U | V | Q,
    ['A' ... 'Z'] = ALNUM,
    ['['] = U | V | Q, ['\\'] = U | V, [']'] = U | V | Q,
    ['^'] = T | U | V | Q, ['_'] = ALNUM, ['`'] = T | U | V | Q,
    ['a' ... 'z'] = ALNUM,
    ['{'] = U | V | Q, ['|'] = T | U | V | Q, ['}'] = U | V | Q,
    ['~'] = ALNUM,
    [0x80 ... 0xff] = V | Q,
};

/* --- the table, a byte at a time ---------------------------------------- */

static const char *scalar(const char *p, const char *end, unsigned set) {
    while (p < end && scan_is(*p, set)) p++;
    return p;
}
static const char *scalar_token(const char *p, const char *end) {
    return scalar(p, end, SCAN_TOKEN);
}
static const char *scalar_target(const char *p, const char *end) {
    return scalar(p, end, SCAN_TARGET);
}
static const char *scalar_value(const char *p, const char *end) {
    return scalar(p, end, SCAN_VALUE);
}

/* --- SSE2: 16 bytes ------------------------------------------------------ */

#ifdef __SSE2__
static const char *sse2_token(const char *p, const char *end) {
    while (end - p >= 16) {
        unsigned out = scan16_plain(scan16_load(p));
        if (!out) {
            p += 16;
            continue;
        }
        p += __builtin_ctz(out);
        if (!scan_is(*p, SCAN_TOKEN)) return p;
        p++;
    }
    return scalar_token(p, end);
}
static const char *sse2_target(const char *p, const char *end) {
    for (; end - p >= 16; p += 16) {
        unsigned out = scan16_target(scan16_load(p));
        if (out) return p + __builtin_ctz(out);
    }
    return scalar_target(p, end);
}
static const char *sse2_value(const char *p, const char *end) {
    for (; end - p >= 16; p += 16) {
        unsigned out = scan16_value(scan16_load(p));
        if (out) return p + __builtin_ctz(out);
    }
    return scalar_value(p, end);
}
#endif

/* --- AVX2: 32 bytes ------------------------------------------------------ */

#if defined __x86_64__ && defined __SSE2__
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2,bmi")))

AVX2 static inline __m256i avx2_load(const char *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

AVX2 static inline unsigned avx2_target32(__m256i c) {
    __m256i from = _mm256_sub_epi8(c, _mm256_set1_epi8(0x21));
    __m256i in = _mm256_cmpeq_epi8(
        _mm256_min_epu8(from, _mm256_set1_epi8(0x5d)), from);
    __m256i hash = _mm256_cmpeq_epi8(c, _mm256_set1_epi8('#'));
    return ~(unsigned)_mm256_movemask_epi8(_mm256_andnot_si256(hash, in));
}

AVX2 static inline unsigned avx2_value32(__m256i c) {
    __m256i low = _mm256_cmpeq_epi8(
        _mm256_min_epu8(c, _mm256_set1_epi8(0x1f)), c);
    __m256i tab = _mm256_cmpeq_epi8(c, _mm256_set1_epi8('\t'));
    __m256i del = _mm256_cmpeq_epi8(c, _mm256_set1_epi8(0x7f));
    __m256i bad = _mm256_or_si256(_mm256_andnot_si256(tab, low), del);
    return (unsigned)_mm256_movemask_epi8(bad);
}

AVX2 static const char *avx2_target(const char *p, const char *end) {
    for (; end - p >= 32; p += 32) {
        unsigned out = avx2_target32(avx2_load(p));
        if (out) return p + __builtin_ctz(out);
    }
    return sse2_target(p, end);
}

AVX2 static const char *avx2_value(const char *p, const char *end) {
    for (; end - p >= 32; p += 32) {
        unsigned out = avx2_value32(avx2_load(p));
        if (out) return p + __builtin_ctz(out);
    }
    return sse2_value(p, end);
}

/* Exact, by a table of 16 for each half of the byte: the low half says for
 * which high halves the byte is a tchar, a bit each; no bit for those ≥ 8. */
AVX2 static inline unsigned avx2_token32(__m256i c) {
    const __m256i low = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        (char)0xe8, (char)0xfc, (char)0xf8, (char)0xfc, (char)0xfc,
        (char)0xfc, (char)0xfc, (char)0xfc, (char)0xf8, (char)0xf8,
        (char)0xf4, 0x54, (char)0xd0, 0x54, (char)0xf4, 0x70));
    const __m256i high = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0));
    __m256i half = _mm256_set1_epi8(0x0f);
    __m256i l = _mm256_shuffle_epi8(low, _mm256_and_si256(c, half));
    __m256i h = _mm256_shuffle_epi8(
        high, _mm256_and_si256(_mm256_srli_epi16(c, 4), half));
    __m256i in = _mm256_and_si256(l, h);
    return (unsigned)_mm256_movemask_epi8(
        _mm256_cmpeq_epi8(in, _mm256_setzero_si256()));
}

AVX2 static const char *avx2_token(const char *p, const char *end) {
    for (; end - p >= 32; p += 32) {
        unsigned out = avx2_token32(avx2_load(p));
        if (out) return p + __builtin_ctz(out);
    }
    return sse2_token(p, end);
}
#endif

/* --- the choice ---------------------------------------------------------- */

static const struct scan_kind kinds[] = { /* best first */
#if defined __x86_64__ && defined __SSE2__
    {"avx2", avx2_token, avx2_target, avx2_value},
#endif
#ifdef __SSE2__
    {"sse2", sse2_token, sse2_target, sse2_value},
#endif
    {"scalar", scalar_token, scalar_target, scalar_value},
};

static bool runs(const struct scan_kind *kind) {
#if defined __x86_64__ && defined __SSE2__
    if (strcmp(kind->name, "avx2") == 0)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi");
#endif
    (void)kind;
    return true;
}

static void install(const struct scan_kind *kind) {
    __atomic_store_n(&scan_wide.name, kind->name, __ATOMIC_RELAXED);
    __atomic_store_n(&scan_wide.token, kind->token, __ATOMIC_RELAXED);
    __atomic_store_n(&scan_wide.target, kind->target, __ATOMIC_RELAXED);
    __atomic_store_n(&scan_wide.value, kind->value, __ATOMIC_RELAXED);
}

static void choose(void) {
    const struct scan_kind *kind = kinds;
    while (!runs(kind)) kind++;
    install(kind);
}

static const char *first_token(const char *p, const char *end) {
    choose();
    return scan_wide.token(p, end);
}
static const char *first_target(const char *p, const char *end) {
    choose();
    return scan_wide.target(p, end);
}
static const char *first_value(const char *p, const char *end) {
    choose();
    return scan_wide.value(p, end);
}
struct scan_kind scan_wide = {"", first_token, first_target, first_value};

bool scan_use(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0 && runs(&kinds[i])) {
            install(&kinds[i]);
            return true;
        }
    return false;
}
