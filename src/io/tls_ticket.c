/* SPDX-License-Identifier: MIT */
/* Session tickets (RFC 5077, RFC 8446 §4.6.1): the session itself, encrypted,
 * kept by the client. The key of a period follows from the context's secret and
 * the period's number, so workers that share the secret share the keys, nobody
 * has to hand them round, and old ones are forgotten by themselves. It follows
 * from the name that the client asked for, too: what one server name has sealed
 * means nothing under another (RFC 6066 §3, RFC 8446 §4.6.1).
 *
 *      ticket = when (8) | nonce (12) | AES-256-GCM(content) with its tag (16)
 *      content = size (4) | session | what the client has shown (tls_chain.c), if anything
 */
#include <stdlib.h>
#include <time.h>

#include "io/tls_resume.h"

enum { WHEN_SIZE = 8, NONCE_SIZE = 12, TAG_SIZE = 16, KEY_BITS = 256,
       OVERHEAD = WHEN_SIZE + NONCE_SIZE + TAG_SIZE, SIZE_SIZE = 4,
       CHAIN_MAX = 8192, /* a ClientHello has to hold the ticket */
       SKEW = 60 }; /* seconds by which clocks of machines with one secret may differ */
enum { LABEL_MAX = 15 + WHEN_SIZE + sizeof((struct tls *)0)->name };

static uint64_t seconds_now(const struct tls_context *c) {
    return (uint64_t)(c->settings.now ? c->settings.now() : (int64_t)time(NULL));
}

static void put_u64(uint8_t *out, uint64_t n) {
    for (int i = 0; i < WHEN_SIZE; i++) out[i] = (uint8_t)(n >> (56 - 8 * i));
}
static uint64_t get_u64(const uint8_t *p) {
    uint64_t n = 0;
    for (int i = 0; i < WHEN_SIZE; i++) n = n << 8 | p[i];
    return n;
}

/* What a key is for: "ropewalk ticket", the period, the name in lower case. */
static size_t label_of(const struct tls_context *c, uint64_t when, uint8_t label[LABEL_MAX]) {
    static const char what[] = "ropewalk ticket";
    const char *name = tls_current->name;
    uint8_t *at = label;
    memcpy(at, what, sizeof what - 1);
    at += sizeof what - 1;
    put_u64(at, when / c->settings.ticket_lifetime);
    at += WHEN_SIZE;
    while (*name) *at++ = (uint8_t)ascii_lower(*name++);
    return (size_t)(at - label);
}

/* A key may be destroyed after one use: making it costs one HMAC. */
static psa_key_id_t period_key(const struct tls_context *c, uint64_t when) {
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    psa_key_id_t secret = 0, key = 0;
    uint8_t bytes[32], label[LABEL_MAX];
    size_t n, size = label_of(c, when, label);
    psa_set_key_type(&attributes, PSA_KEY_TYPE_HMAC);
    psa_set_key_algorithm(&attributes, PSA_ALG_HMAC(PSA_ALG_SHA_256));
    psa_set_key_usage_flags(&attributes, PSA_KEY_USAGE_SIGN_MESSAGE);
    if (psa_import_key(&attributes, c->settings.ticket_secret,
                       sizeof c->settings.ticket_secret, &secret) != PSA_SUCCESS)
        return 0;
    psa_status_t status = psa_mac_compute(secret, PSA_ALG_HMAC(PSA_ALG_SHA_256), label,
                                          size, bytes, sizeof bytes, &n);
    psa_destroy_key(secret);
    if (status == PSA_SUCCESS) {
        attributes = psa_key_attributes_init();
        psa_set_key_type(&attributes, PSA_KEY_TYPE_AES);
        psa_set_key_bits(&attributes, KEY_BITS);
        psa_set_key_algorithm(&attributes, PSA_ALG_GCM);
        psa_set_key_usage_flags(&attributes, PSA_KEY_USAGE_ENCRYPT | PSA_KEY_USAGE_DECRYPT);
        if (psa_import_key(&attributes, bytes, sizeof bytes, &key) != PSA_SUCCESS) key = 0;
    }
    mbedtls_platform_zeroize(bytes, sizeof bytes);
    return key;
}

/* ── the content ──────────────────────────────────────────────────────────*/

/* 0, or a code of mbedTLS. */
static int pack(struct tls *t, const mbedtls_ssl_session *session, unsigned char *out, size_t room,
                size_t *n) {
    size_t size;
    const struct tls_chain *chain = tls_resume_chain(t, session);
    if (!chain && session->peer_cert && !t->resumed) return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    size_t packed = chain ? tls_chain_packed(chain) : 0;
    if (packed > CHAIN_MAX || room < SIZE_SIZE + packed) return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
    int rc = tls_resume_save(session, out + SIZE_SIZE, room - SIZE_SIZE - packed, &size);
    if (rc < 0) return rc;
    for (int i = 0; i < SIZE_SIZE; i++) out[i] = (unsigned char)(size >> (24 - 8 * i));
    if (chain) tls_chain_pack(chain, out + SIZE_SIZE + size);
    *n = SIZE_SIZE + size + packed;
    return 0;
}

static int unpack(struct tls *t, struct str content, mbedtls_ssl_session *session) {
    size_t size = 0;
    if (content.n < SIZE_SIZE) return MBEDTLS_ERR_SSL_INVALID_MAC;
    for (int i = 0; i < SIZE_SIZE; i++) size = size << 8 | (uint8_t)content.p[i];
    content = str_skip(content, SIZE_SIZE);
    if (size > content.n) return MBEDTLS_ERR_SSL_INVALID_MAC; /* of another version */
    tls_chain_unref(&t->chain);
    struct str shown = str_skip(content, size);
    if (shown.n && tls_chain_unpack(&t->account, shown, &t->chain) < 0)
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    if (t->chain && t->chain->verified && (int64_t)seconds_now(t->context) >= t->chain->good_until)
        return MBEDTLS_ERR_SSL_SESSION_TICKET_EXPIRED;
    return mbedtls_ssl_session_load(session, (const unsigned char *)content.p, size);
}

/* A client with so many certificates that no ticket holds them gets one that is worth
 * nothing: TLS 1.3 gives up without any. */
static int write_void(unsigned char *start, const unsigned char *end, size_t *length,
                      uint32_t *lifetime) {
    if (start == end) return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
    *start = 0;
    *length = 1;
    *lifetime = 0;
    return 0;
}

/* ── sealing ──────────────────────────────────────────────────────────────*/

int tls_ticket_write(void *p, const mbedtls_ssl_session *session, unsigned char *start,
                     const unsigned char *end, size_t *length, uint32_t *lifetime) {
    struct tls_context *c = p;
    size_t room = (size_t)(end - start), n;
    *length = 0;
    *lifetime = c->settings.ticket_lifetime;
    if (room < OVERHEAD) return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
    unsigned char *plain = malloc(room - OVERHEAD);
    if (!plain) return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    int rc = pack(tls_current, session, plain, room - OVERHEAD, &n);
    if (rc == MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL) {
        rc = write_void(start, end, length, lifetime);
    } else if (rc == 0) {
        uint8_t *nonce = start + WHEN_SIZE;
        uint64_t when = seconds_now(c);
        put_u64(start, when);
        psa_key_id_t key = period_key(c, when);
        size_t sealed = 0;
        bool ok = key && psa_generate_random(nonce, NONCE_SIZE) == PSA_SUCCESS &&
                  psa_aead_encrypt(key, PSA_ALG_GCM, nonce, NONCE_SIZE, start, WHEN_SIZE,
                                   plain, n, nonce + NONCE_SIZE,
                                   room - WHEN_SIZE - NONCE_SIZE, &sealed) == PSA_SUCCESS;
        if (key) psa_destroy_key(key);
        *length = WHEN_SIZE + NONCE_SIZE + sealed;
        if (!ok) rc = MBEDTLS_ERR_SSL_INTERNAL_ERROR;
        mbedtls_platform_zeroize(plain, n);
    }
    free(plain);
    return rc;
}

int tls_ticket_parse(void *p, mbedtls_ssl_session *session, unsigned char *bytes, size_t n) {
    struct tls_context *c = p;
    if (n <= OVERHEAD) return MBEDTLS_ERR_SSL_INVALID_MAC;
    uint64_t now = seconds_now(c), when = get_u64(bytes);
    if (when > now ? when - now > SKEW : now - when > c->settings.ticket_lifetime)
        return MBEDTLS_ERR_SSL_SESSION_TICKET_EXPIRED;
    unsigned char *plain = malloc(n);
    if (!plain) return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    psa_key_id_t key = period_key(c, when);
    size_t opened;
    int rc = MBEDTLS_ERR_SSL_INVALID_MAC;
    if (key && psa_aead_decrypt(key, PSA_ALG_GCM, bytes + WHEN_SIZE, NONCE_SIZE, bytes,
                                WHEN_SIZE, bytes + WHEN_SIZE + NONCE_SIZE,
                                n - WHEN_SIZE - NONCE_SIZE, plain, n,
                                &opened) == PSA_SUCCESS) {
        rc = unpack(tls_current, str_of((const char *)plain, opened), session);
        mbedtls_platform_zeroize(plain, opened);
        if (rc == 0) tls_current->resumed = true;
    }
    if (key) psa_destroy_key(key);
    free(plain);
    return rc;
}
