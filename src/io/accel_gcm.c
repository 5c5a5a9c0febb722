/* SPDX-License-Identifier: MIT */
/* AES-GCM (NIST SP 800-38D) with the AES and carry-less multiply instructions
 * of x86-64: eight blocks of the counter are encrypted together, and between
 * their rounds eight blocks of ciphertext are multiplied into the hash, so that
 * both units are busy. No table and no branch depends on a secret.
 *
 * GHASH is computed as POLYVAL (RFC 8452, appendix A): with the bytes of all
 * blocks reversed and H·x in place of H, no product has to be shifted. A
 * product of 8 blocks is (X1 + S)·H^8 + X2·H^7 + … + X8·H, reduced once. */
#include "io/accel.h"
#include "io/accel_aead.h"

#include <string.h>

#include <mbedtls/gcm.h>
#include <mbedtls/platform_util.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define FAST __attribute__((target("avx,aes,pclmul")))
#define INLINE FAST static inline __attribute__((always_inline))

enum { WIDE = 8, BLOCK = 16, WIDE_BYTES = WIDE * BLOCK };

typedef __m128i block;

struct gcm {
    block round[15];
    block power[WIDE];  /* power[i]: H^(i+1), of the hash key */
    block folded[WIDE]; /* its halves added, for Karatsuba's product */
    int rounds;         /* 10 or 14 */
    int powers;         /* how many of the above are there */
    block hash;         /* bytes reversed */
    block counter;      /* of the next block, bytes reversed */
};

static bool usable(void) {
    return __builtin_cpu_supports("avx") && __builtin_cpu_supports("aes") &&
           __builtin_cpu_supports("pclmul");
}

/* ── AES ──────────────────────────────────────────────────────────────────*/

/* Each word of a round key is the sum of all words before it in the last one. */
INLINE block spread(block k) {
    k = _mm_xor_si128(k, _mm_slli_si128(k, 4));
    return _mm_xor_si128(k, _mm_slli_si128(k, 8));
}

#define NEXT_128(i, rcon)                                                                  \
    r[i] = _mm_xor_si128(spread(r[(i) - 1]),                                               \
                         _mm_shuffle_epi32(_mm_aeskeygenassist_si128(r[(i) - 1], rcon), 0xff))

FAST static void expand_128(block r[15], const uint8_t *key) {
    r[0] = _mm_loadu_si128((const block *)key);
    NEXT_128(1, 0x01), NEXT_128(2, 0x02), NEXT_128(3, 0x04), NEXT_128(4, 0x08);
    NEXT_128(5, 0x10), NEXT_128(6, 0x20), NEXT_128(7, 0x40), NEXT_128(8, 0x80);
    NEXT_128(9, 0x1b), NEXT_128(10, 0x36);
}

#define EVEN_256(i, rcon)                                                                  \
    r[i] = _mm_xor_si128(spread(r[(i) - 2]),                                               \
                         _mm_shuffle_epi32(_mm_aeskeygenassist_si128(r[(i) - 1], rcon), 0xff))
#define ODD_256(i)                                                                         \
    r[i] = _mm_xor_si128(spread(r[(i) - 2]),                                               \
                         _mm_shuffle_epi32(_mm_aeskeygenassist_si128(r[(i) - 1], 0), 0xaa))

FAST static void expand_256(block r[15], const uint8_t *key) {
    r[0] = _mm_loadu_si128((const block *)key);
    r[1] = _mm_loadu_si128((const block *)(key + BLOCK));
    EVEN_256(2, 0x01), ODD_256(3), EVEN_256(4, 0x02), ODD_256(5), EVEN_256(6, 0x04), ODD_256(7);
    EVEN_256(8, 0x08), ODD_256(9), EVEN_256(10, 0x10), ODD_256(11), EVEN_256(12, 0x20);
    ODD_256(13), EVEN_256(14, 0x40);
}

INLINE block encrypt(const struct gcm *g, block b) {
    b = _mm_xor_si128(b, g->round[0]);
    for (int i = 1; i < g->rounds; i++) b = _mm_aesenc_si128(b, g->round[i]);
    return _mm_aesenclast_si128(b, g->round[g->rounds]);
}

/* ── the hash ─────────────────────────────────────────────────────────────*/

INLINE block reversed(block b) {
    return _mm_shuffle_epi8(b, _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f));
}

INLINE block load(const uint8_t *p) { return _mm_loadu_si128((const block *)p); }

/* A sum of products, not reduced yet. */
struct product {
    block low, middle, high;
};

INLINE block fold(block b) { return _mm_xor_si128(b, _mm_shuffle_epi32(b, 0x4e)); }

INLINE void multiply_add(struct product *p, block x, block h, block h_folded) {
    p->low = _mm_xor_si128(p->low, _mm_clmulepi64_si128(x, h, 0x00));
    p->high = _mm_xor_si128(p->high, _mm_clmulepi64_si128(x, h, 0x11));
    p->middle = _mm_xor_si128(p->middle, _mm_clmulepi64_si128(fold(x), h_folded, 0x00));
}

/* Modulo x^128 + x^127 + x^126 + x^121 + 1, in Montgomery's way: 64 bits at a
 * time are added in such multiples that they vanish from below. */
INLINE block reduce(struct product p) {
    const block polynomial = _mm_set_epi64x((int64_t)0xc200000000000000, 1);
    block middle = _mm_xor_si128(p.middle, _mm_xor_si128(p.low, p.high));
    block low = _mm_xor_si128(p.low, _mm_slli_si128(middle, 8));
    block high = _mm_xor_si128(p.high, _mm_srli_si128(middle, 8));
    low = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e), _mm_clmulepi64_si128(low, polynomial, 0x10));
    low = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e), _mm_clmulepi64_si128(low, polynomial, 0x10));
    return _mm_xor_si128(high, low);
}

INLINE block times(block x, block h, block h_folded) {
    struct product p = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
    multiply_add(&p, x, h, h_folded);
    return reduce(p);
}

INLINE void absorb(struct gcm *g, block b) {
    g->hash = times(_mm_xor_si128(g->hash, reversed(b)), g->power[0], g->folded[0]);
}

/* The last block of something, filled up with zeros. */
INLINE block load_part(const uint8_t *p, size_t n) {
    _Alignas(BLOCK) uint8_t b[BLOCK] = {0};
    memcpy(b, p, n);
    return _mm_load_si128((const block *)b);
}

FAST static void absorb_all(struct gcm *g, const uint8_t *p, size_t n) {
    for (; n >= BLOCK; p += BLOCK, n -= BLOCK) absorb(g, load(p));
    if (n) absorb(g, load_part(p, n));
}

/* H·x */
INLINE block doubled(block h) {
    block carries = _mm_srli_epi64(h, 63);
    block carry = _mm_shuffle_epi32(_mm_sub_epi64(_mm_setzero_si128(), carries), 0xee);
    h = _mm_or_si128(_mm_slli_epi64(h, 1), _mm_slli_si128(carries, 8));
    return _mm_xor_si128(h, _mm_and_si128(carry, _mm_set_epi64x((int64_t)0xc200000000000000, 1)));
}

FAST static void make_powers(struct gcm *g) {
    for (; g->powers < WIDE; g->powers++) {
        int i = g->powers;
        g->power[i] = times(g->power[i - 1], g->power[0], g->folded[0]);
        g->folded[i] = fold(g->power[i]);
    }
}

/* ── both ─────────────────────────────────────────────────────────────────*/

INLINE block next_counter(struct gcm *g) {
    block c = reversed(g->counter);
    g->counter = _mm_add_epi32(g->counter, _mm_set_epi32(0, 0, 0, 1));
    return c;
}

#define EIGHT(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7)

/* Eight blocks from in to out. Eight blocks at `text`, which may be `in`, go
 * into the hash meanwhile; NULL: none do. */
INLINE void crypt_eight(struct gcm *g, const uint8_t *in, uint8_t *out, const uint8_t *text) {
    struct product p = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
    block b0, b1, b2, b3, b4, b5, b6, b7;
    block c = g->counter, k = g->round[0];
#define COUNT(i)                                                                           \
    b##i = _mm_xor_si128(reversed(_mm_add_epi32(c, _mm_set_epi32(0, 0, 0, i))), k);
    EIGHT(COUNT)
    g->counter = _mm_add_epi32(c, _mm_set_epi32(0, 0, 0, WIDE));
#define ROUND(i) b##i = _mm_aesenc_si128(b##i, k);
#define HASH(i)                                                                            \
    if (text) {                                                                            \
        block x = reversed(load(text + (size_t)(i) * BLOCK));                              \
        if ((i) == 0) x = _mm_xor_si128(x, g->hash);                                       \
        multiply_add(&p, x, g->power[WIDE - 1 - (i)], g->folded[WIDE - 1 - (i)]);          \
    }
#define STEP(i)                                                                            \
    k = g->round[(i) + 1];                                                                 \
    EIGHT(ROUND)                                                                           \
    HASH(i)
    STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7)
    for (int r = WIDE + 1; r < g->rounds; r++) {
        k = g->round[r];
        EIGHT(ROUND)
    }
    if (text) g->hash = reduce(p);
    k = g->round[g->rounds];
#define STORE(i)                                                                           \
    b##i = _mm_aesenclast_si128(b##i, _mm_xor_si128(k, load(in + (size_t)(i) * BLOCK)));   \
    _mm_storeu_si128((block *)(out + (size_t)(i) * BLOCK), b##i);
    EIGHT(STORE)
}

FAST static void hash_eight(struct gcm *g, const uint8_t *text) {
    struct product p = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
    EIGHT(HASH)
    g->hash = reduce(p);
}

INLINE void crypt_one(struct gcm *g, const uint8_t *in, uint8_t *out, size_t n, bool seals) {
    block stream = encrypt(g, next_counter(g));
    block before = n == BLOCK ? load(in) : load_part(in, n);
    _Alignas(BLOCK) uint8_t after[BLOCK];
    _mm_store_si128((block *)after, _mm_xor_si128(stream, before));
    memcpy(out, after, n);
    if (seals) absorb(g, n == BLOCK ? load(out) : load_part(out, n));
    else absorb(g, before);
}

/* A sealed group is hashed while the next one is encrypted. */
FAST static void seal_all(struct gcm *g, const uint8_t *in, uint8_t *out, size_t n) {
    if (n >= WIDE_BYTES) {
        make_powers(g);
        crypt_eight(g, in, out, NULL);
        in += WIDE_BYTES, out += WIDE_BYTES, n -= WIDE_BYTES;
        for (; n >= WIDE_BYTES; in += WIDE_BYTES, out += WIDE_BYTES, n -= WIDE_BYTES)
            crypt_eight(g, in, out, out - WIDE_BYTES);
        hash_eight(g, out - WIDE_BYTES);
    }
    for (; n >= BLOCK; in += BLOCK, out += BLOCK, n -= BLOCK) crypt_one(g, in, out, BLOCK, true);
    if (n) crypt_one(g, in, out, n, true);
}

FAST static void open_all(struct gcm *g, const uint8_t *in, uint8_t *out, size_t n) {
    if (n >= WIDE_BYTES) make_powers(g);
    for (; n >= WIDE_BYTES; in += WIDE_BYTES, out += WIDE_BYTES, n -= WIDE_BYTES)
        crypt_eight(g, in, out, in);
    for (; n >= BLOCK; in += BLOCK, out += BLOCK, n -= BLOCK) crypt_one(g, in, out, BLOCK, false);
    if (n) crypt_one(g, in, out, n, false);
}

/* Everything but the text; what encrypts the tag is the first counter's. */
FAST static block begin(struct gcm *g, const struct aead *m) {
    uint8_t first[BLOCK] = {[BLOCK - 1] = 1};
    g->rounds = m->key_n == 16 ? 10 : 14;
    if (g->rounds == 10) expand_128(g->round, m->key);
    else expand_256(g->round, m->key);
    g->power[0] = doubled(reversed(encrypt(g, _mm_setzero_si128())));
    g->folded[0] = fold(g->power[0]);
    g->powers = 1;
    g->hash = _mm_setzero_si128();
    memcpy(first, m->nonce, AEAD_NONCE);
    g->counter = reversed(load(first));
    block mask = encrypt(g, next_counter(g));
    absorb_all(g, m->ad, m->ad_n);
    return mask;
}

FAST static block tag_of(struct gcm *g, const struct aead *m, block mask) {
    block lengths = _mm_set_epi64x((int64_t)(m->ad_n * 8), (int64_t)(m->n * 8));
    g->hash = times(_mm_xor_si128(g->hash, lengths), g->power[0], g->folded[0]);
    return _mm_xor_si128(reversed(g->hash), mask);
}

FAST void accel_gcm_seal(const struct aead *m, uint8_t tag[AEAD_TAG]) {
    struct gcm g;
    block mask = begin(&g, m);
    seal_all(&g, m->in, m->out, m->n);
    _mm_storeu_si128((block *)tag, tag_of(&g, m, mask));
    mbedtls_platform_zeroize(&g, sizeof g);
}

FAST bool accel_gcm_open(const struct aead *m, const uint8_t tag[AEAD_TAG]) {
    struct gcm g;
    block given = load(tag); /* before `out` can lie over it */
    block mask = begin(&g, m);
    open_all(&g, m->in, m->out, m->n);
    block differs = _mm_xor_si128(tag_of(&g, m, mask), given);
    mbedtls_platform_zeroize(&g, sizeof g);
    if (_mm_testz_si128(differs, differs)) return true;
    mbedtls_platform_zeroize(m->out, m->n);
    return false;
}

/* ── the check ────────────────────────────────────────────────────────────*/

/* Lengths that pass every path once, both sizes of key. */
static bool check(void) {
    static const size_t lengths[] = {0, 1, 16, 31, 127, 128, 300, 512};
    uint8_t key[32], text[512], ours[512], theirs[512], tag[AEAD_TAG], their_tag[AEAD_TAG];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)(i * 7 + 1);
    for (size_t i = 0; i < sizeof key; i++) key[i] = (uint8_t)(i * 29 + 3);
    for (size_t i = 0; i < 2 * sizeof lengths / sizeof *lengths; i++) {
        size_t n = lengths[i / 2], key_n = i % 2 ? 32 : 16;
        struct aead m = {key, key_n, text, text + 5, i, text, n, ours};
        mbedtls_gcm_context stock;
        mbedtls_gcm_init(&stock);
        int rc = mbedtls_gcm_setkey(&stock, MBEDTLS_CIPHER_ID_AES, key, (unsigned)key_n * 8);
        if (rc == 0)
            rc = mbedtls_gcm_crypt_and_tag(&stock, MBEDTLS_GCM_ENCRYPT, n, text, AEAD_NONCE,
                                           text + 5, i, text, theirs, AEAD_TAG, their_tag);
        mbedtls_gcm_free(&stock);
        accel_gcm_seal(&m, tag);
        if (rc != 0 || memcmp(ours, theirs, n) != 0 || memcmp(tag, their_tag, AEAD_TAG) != 0)
            return false;
        m.in = ours;
        if (!accel_gcm_open(&m, tag) || memcmp(ours, text, n) != 0) return false;
        accel_gcm_seal(&(struct aead){key, key_n, text, text + 5, i, text, n, ours}, tag);
        tag[i] ^= 1;
        if (accel_gcm_open(&m, tag)) return false;
    }
    return true;
}

#else

static bool usable(void) { return false; }
static bool check(void) { return false; }
void accel_gcm_seal(const struct aead *m, uint8_t tag[AEAD_TAG]) { (void)m, (void)tag; }
bool accel_gcm_open(const struct aead *m, const uint8_t tag[AEAD_TAG]) {
    (void)m, (void)tag;
    return false;
}

#endif

struct accel accel_gcm = {.name = "aes-gcm", .usable = usable, .check = check};
