/* SPDX-License-Identifier: MIT */
/* ChaCha20-Poly1305 (RFC 8439) by libcrypto. */
#include <limits.h>
#include <string.h>

#include <mbedtls/chachapoly.h>
#include <mbedtls/platform_util.h>
#include <openssl/evp.h>

#include "io/accel.h"
#include "io/accel_aead.h"

static EVP_CIPHER *cipher; /* found once, by usable() */

static bool usable(void) {
    cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
    return cipher != NULL;
}

/* Up to where the tag is given or taken. The context's key is wiped by its end. */
static EVP_CIPHER_CTX *crypt(const struct aead *m, bool seals) {
    int n;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    if (m->n > INT_MAX || m->ad_n > INT_MAX || !c ||
        EVP_CipherInit_ex2(c, cipher, m->key, m->nonce, seals, NULL) != 1 ||
        (m->ad_n && EVP_CipherUpdate(c, NULL, &n, m->ad, (int)m->ad_n) != 1) ||
        (m->n && EVP_CipherUpdate(c, m->out, &n, m->in, (int)m->n) != 1)) {
        EVP_CIPHER_CTX_free(c);
        if (m->n) mbedtls_platform_zeroize(m->out, m->n);
        return NULL;
    }
    return c;
}

bool accel_chacha_seal(const struct aead *m, uint8_t tag[AEAD_TAG]) {
    int n;
    EVP_CIPHER_CTX *c = crypt(m, true);
    bool ok = c && EVP_CipherFinal_ex(c, tag, &n) == 1 &&
              EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG, tag) == 1;
    EVP_CIPHER_CTX_free(c);
    return ok;
}

int accel_chacha_open(const struct aead *m, const uint8_t tag[AEAD_TAG]) {
    int n;
    uint8_t given[AEAD_TAG], none[1];
    memcpy(given, tag, AEAD_TAG);
    EVP_CIPHER_CTX *c = crypt(m, false);
    if (!c) return -1;
    bool authentic = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG, given) == 1 &&
                     EVP_CipherFinal_ex(c, none, &n) == 1;
    EVP_CIPHER_CTX_free(c);
    if (!authentic && m->n) mbedtls_platform_zeroize(m->out, m->n);
    return authentic;
}

static bool check(void) {
    static const size_t lengths[] = {0, 1, 64, 300};
    uint8_t key[32], text[300], ours[300], theirs[300], tag[AEAD_TAG], their_tag[AEAD_TAG];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)(i * 7 + 1);
    for (size_t i = 0; i < sizeof key; i++) key[i] = (uint8_t)(i * 29 + 3);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t n = lengths[i];
        struct aead m = {key, sizeof key, text, text + 5, i, text, n, ours};
        mbedtls_chachapoly_context stock;
        mbedtls_chachapoly_init(&stock);
        int rc = mbedtls_chachapoly_setkey(&stock, key);
        if (rc == 0)
            rc = mbedtls_chachapoly_encrypt_and_tag(&stock, n, text, text + 5, i, text, theirs,
                                                    their_tag);
        mbedtls_chachapoly_free(&stock);
        if (rc != 0 || !accel_chacha_seal(&m, tag) || memcmp(ours, theirs, n) != 0 ||
            memcmp(tag, their_tag, AEAD_TAG) != 0)
            return false;
        struct aead back = {key, sizeof key, text, text + 5, i, ours, n, theirs};
        if (accel_chacha_open(&back, tag) != 1 || memcmp(theirs, text, n) != 0) return false;
        tag[i] ^= 1;
        if (accel_chacha_open(&back, tag) != 0) return false;
    }
    return true;
}

struct accel accel_chacha = {.name = "chacha20-poly1305", .usable = usable, .check = check};
