/* SPDX-License-Identifier: MIT */
/* PSA's one-shot AEAD, which seals and opens the records of TLS. */
#include <string.h>

#define MBEDTLS_ALLOW_PRIVATE_ACCESS
#include <psa/crypto.h>

#include "io/accel.h"
#include "io/accel_aead.h"

enum { ALG_GCM = PSA_ALG_GCM, ALG_CHACHA = PSA_ALG_CHACHA20_POLY1305 };

#define AEAD_ARGUMENTS                                                                    \
    const psa_key_attributes_t *attributes, const uint8_t *key, size_t key_n,             \
        psa_algorithm_t alg, const uint8_t *nonce, size_t nonce_n, const uint8_t *ad,     \
        size_t ad_n, const uint8_t *in, size_t n, uint8_t *out, size_t size, size_t *done

psa_status_t __real_mbedtls_psa_aead_encrypt(AEAD_ARGUMENTS);
psa_status_t __wrap_mbedtls_psa_aead_encrypt(AEAD_ARGUMENTS);
psa_status_t __real_mbedtls_psa_aead_decrypt(AEAD_ARGUMENTS);
psa_status_t __wrap_mbedtls_psa_aead_decrypt(AEAD_ARGUMENTS);

static bool is_gcm(const psa_key_attributes_t *attributes, size_t key_n, psa_algorithm_t alg) {
    return accel_gcm.on && alg == ALG_GCM && attributes->type == PSA_KEY_TYPE_AES &&
           (key_n == 16 || key_n == 32);
}

static bool is_chacha(size_t key_n, psa_algorithm_t alg) {
#ifdef ACCEL_BY_crypto
    return accel_chacha.on && alg == ALG_CHACHA && key_n == 32;
#else
    (void)key_n, (void)alg;
    return false;
#endif
}

/* The same bytes, or none of the same: what PSA allows, and the ciphers take. */
static bool apart(const uint8_t *in, const uint8_t *out, size_t n) {
    uintptr_t a = (uintptr_t)in, b = (uintptr_t)out;
    return a == b || a + n <= b || b + n <= a;
}

psa_status_t __wrap_mbedtls_psa_aead_encrypt(AEAD_ARGUMENTS) {
    bool gcm = is_gcm(attributes, key_n, alg);
    if (nonce_n != AEAD_NONCE || !apart(in, out, n) || (!gcm && !is_chacha(key_n, alg)))
        return __real_mbedtls_psa_aead_encrypt(attributes, key, key_n, alg, nonce, nonce_n, ad,
                                               ad_n, in, n, out, size, done);
    if (size < AEAD_TAG || size - AEAD_TAG < n) return PSA_ERROR_BUFFER_TOO_SMALL;
    struct aead m = {key, key_n, nonce, ad, ad_n, in, n, out};
    if (gcm) accel_gcm_seal(&m, out + n);
#ifdef ACCEL_BY_crypto
    else if (!accel_chacha_seal(&m, out + n)) return PSA_ERROR_GENERIC_ERROR;
#endif
    *done = n + AEAD_TAG;
    return PSA_SUCCESS;
}

psa_status_t __wrap_mbedtls_psa_aead_decrypt(AEAD_ARGUMENTS) {
    bool gcm = is_gcm(attributes, key_n, alg);
    if (nonce_n != AEAD_NONCE || n < AEAD_TAG || !apart(in, out, n) ||
        (!gcm && !is_chacha(key_n, alg)))
        return __real_mbedtls_psa_aead_decrypt(attributes, key, key_n, alg, nonce, nonce_n, ad,
                                               ad_n, in, n, out, size, done);
    n -= AEAD_TAG;
    if (size < n) return PSA_ERROR_BUFFER_TOO_SMALL;
    struct aead m = {key, key_n, nonce, ad, ad_n, in, n, out};
    int authentic = 0;
    if (gcm) authentic = accel_gcm_open(&m, in + n);
#ifdef ACCEL_BY_crypto
    else authentic = accel_chacha_open(&m, in + n);
#endif
    if (authentic < 0) return PSA_ERROR_GENERIC_ERROR;
    if (!authentic) return PSA_ERROR_INVALID_SIGNATURE;
    *done = n;
    return PSA_SUCCESS;
}
