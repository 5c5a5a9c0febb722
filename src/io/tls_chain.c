/* SPDX-License-Identifier: MIT */
/* The certificates that a peer has shown, as they are, without the library's
 * structures: what a resumed session says of its peer comes from here. In a
 * ticket that is
 *
 *      checked (8) | good_until (8) | verified (1) | certificates
 */
#include "io/tls_resume.h"

enum { LENGTH_SIZE = 3, HEAD_SIZE = 17 };

static struct tls_chain *chain_new(struct mem *mem, size_t size) {
    struct tls_chain *c = mem_zalloc(mem, sizeof *c + size);
    if (!c) return NULL;
    c->refs = 1;
    c->mem = mem;
    c->size = size;
    return c;
}

struct tls_chain *tls_chain_of(struct mem *mem, const mbedtls_x509_crt *shown) {
    size_t size = 0;
    for (const mbedtls_x509_crt *crt = shown; crt; crt = crt->next) size += LENGTH_SIZE + crt->raw.len;
    struct tls_chain *c = chain_new(mem, size);
    uint8_t *at = c ? c->bytes : NULL;
    for (const mbedtls_x509_crt *crt = shown; at && crt; crt = crt->next) {
        for (int i = 0; i < LENGTH_SIZE; i++) *at++ = (uint8_t)(crt->raw.len >> (16 - 8 * i));
        memcpy(at, crt->raw.p, crt->raw.len);
        at += crt->raw.len;
    }
    return c;
}

struct tls_chain *tls_chain_ref(struct tls_chain *c) {
    c->refs++;
    return c;
}

void tls_chain_unref(struct tls_chain **handle) {
    struct tls_chain *c = *handle;
    *handle = NULL;
    if (c && --c->refs == 0) mem_free(c->mem, c, sizeof *c + c->size);
}

struct str tls_chain_nth(const struct tls_chain *c, size_t n) {
    struct str rest = str_of((const char *)c->bytes, c->size);
    while (rest.n >= LENGTH_SIZE) {
        const uint8_t *p = (const uint8_t *)rest.p;
        size_t length = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        rest = str_skip(rest, LENGTH_SIZE);
        if (length > rest.n) break;
        if (n-- == 0) return str_of(rest.p, length);
        rest = str_skip(rest, length);
    }
    return STR_NONE;
}

/* ── in a ticket ──────────────────────────────────────────────────────────*/

static uint8_t *put_time(uint8_t *out, int64_t t) {
    for (int i = 0; i < 8; i++) *out++ = (uint8_t)((uint64_t)t >> (56 - 8 * i));
    return out;
}

static int64_t get_time(const uint8_t *p) {
    uint64_t t = 0;
    for (int i = 0; i < 8; i++) t = t << 8 | p[i];
    return (int64_t)t;
}

size_t tls_chain_packed(const struct tls_chain *c) { return HEAD_SIZE + c->size; }

void tls_chain_pack(const struct tls_chain *c, uint8_t *out) {
    out = put_time(put_time(out, c->checked), c->good_until);
    *out++ = c->verified;
    memcpy(out, c->bytes, c->size);
}

int tls_chain_unpack(struct mem *mem, struct str packed, struct tls_chain **out) {
    const uint8_t *p = (const uint8_t *)packed.p;
    *out = NULL;
    if (packed.n < HEAD_SIZE) return RW_ESYNTAX;
    struct tls_chain *c = chain_new(mem, packed.n - HEAD_SIZE);
    if (!c) return RW_ENOMEM;
    c->checked = get_time(p);
    c->good_until = get_time(p + 8);
    c->verified = p[16];
    memcpy(c->bytes, p + HEAD_SIZE, c->size);
    *out = c;
    return 0;
}
