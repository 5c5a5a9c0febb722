/* SPDX-License-Identifier: MIT */
/* SHA-256 by libcrypto. Whole blocks are its business; the context stays
 * mbedTLS's, so either of the two may go on with what the other began. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <string.h>

#define MBEDTLS_ALLOW_PRIVATE_ACCESS
#include <mbedtls/platform_util.h>
#include <mbedtls/sha256.h>
#include <openssl/sha.h>

#include "io/accel.h"

enum { BLOCK = 64, LENGTH_AT = 56, SIZE = 32 };

int __real_mbedtls_sha256_update(mbedtls_sha256_context *c, const unsigned char *p, size_t n);
int __wrap_mbedtls_sha256_update(mbedtls_sha256_context *c, const unsigned char *p, size_t n);
int __real_mbedtls_sha256_finish(mbedtls_sha256_context *c, unsigned char *out);
int __wrap_mbedtls_sha256_finish(mbedtls_sha256_context *c, unsigned char *out);
int __real_mbedtls_sha256(const unsigned char *p, size_t n, unsigned char *out, int is224);
int __wrap_mbedtls_sha256(const unsigned char *p, size_t n, unsigned char *out, int is224);

/* n: a multiple of BLOCK */
static void blocks(mbedtls_sha256_context *c, const unsigned char *p, size_t n) {
    SHA256_CTX theirs = {.md_len = SIZE};
    memcpy(theirs.h, c->state, sizeof c->state);
    SHA256_Update(&theirs, p, n);
    memcpy(c->state, theirs.h, sizeof c->state);
}

static void update(mbedtls_sha256_context *c, const unsigned char *p, size_t n) {
    size_t held = c->total[0] % BLOCK;
    uint64_t total = ((uint64_t)c->total[1] << 32 | c->total[0]) + n;
    c->total[0] = (uint32_t)total;
    c->total[1] = (uint32_t)(total >> 32);
    if (held && held + n >= BLOCK) {
        size_t room = BLOCK - held;
        memcpy(c->buffer + held, p, room);
        blocks(c, c->buffer, BLOCK);
        p += room, n -= room, held = 0;
    }
    size_t whole = n - n % BLOCK;
    if (!held && whole) {
        blocks(c, p, whole);
        p += whole, n -= whole;
    }
    if (n) memcpy(c->buffer + held, p, n);
}

static void finish(mbedtls_sha256_context *c, unsigned char out[SIZE]) {
    uint64_t bits = ((uint64_t)c->total[1] << 32 | c->total[0]) * 8;
    unsigned char end[2 * BLOCK] = {0x80};
    size_t held = c->total[0] % BLOCK;
    size_t padding = held < LENGTH_AT ? LENGTH_AT - held : BLOCK + LENGTH_AT - held;
    for (int i = 0; i < 8; i++) end[padding + (size_t)i] = (unsigned char)(bits >> (56 - 8 * i));
    update(c, end, padding + 8);
    for (int i = 0; i < SIZE; i++) out[i] = (unsigned char)(c->state[i / 4] >> (24 - 8 * (i % 4)));
}

int __wrap_mbedtls_sha256_update(mbedtls_sha256_context *c, const unsigned char *p, size_t n) {
    if (!accel_sha256.on) return __real_mbedtls_sha256_update(c, p, n);
    if (n) update(c, p, n);
    return 0;
}

int __wrap_mbedtls_sha256_finish(mbedtls_sha256_context *c, unsigned char *out) {
    if (!accel_sha256.on) return __real_mbedtls_sha256_finish(c, out);
    finish(c, out);
    mbedtls_sha256_free(c);
    return 0;
}

int __wrap_mbedtls_sha256(const unsigned char *p, size_t n, unsigned char *out, int is224) {
    if (!accel_sha256.on || is224) return __real_mbedtls_sha256(p, n, out, is224);
    mbedtls_sha256_context c;
    mbedtls_sha256_init(&c);
    int rc = mbedtls_sha256_starts(&c, is224);
    if (rc == 0) {
        if (n) update(&c, p, n);
        finish(&c, out);
    }
    mbedtls_sha256_free(&c);
    return rc;
}

/* Lengths around the padding's corners, in pieces; half by each of the two. */
static bool check(void) {
    unsigned char text[300], ours[SIZE], theirs[SIZE];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (unsigned char)(i * 7 + 1);
    for (size_t n = 0; n < sizeof text; n += n < 140 ? 1 : 37) {
        mbedtls_sha256_context c;
        mbedtls_sha256_init(&c);
        mbedtls_sha256_starts(&c, 0);
        size_t a = n / 3, b = n / 2;
        if (a) update(&c, text, a);
        __real_mbedtls_sha256_update(&c, text + a, b - a);
        if (n - b) update(&c, text + b, n - b);
        finish(&c, ours);
        mbedtls_sha256_free(&c);
        if (__real_mbedtls_sha256(text, n, theirs, 0) != 0 || memcmp(ours, theirs, SIZE) != 0)
            return false;
    }
    return true;
}

struct accel accel_sha256 = {.name = "sha256", .check = check};
