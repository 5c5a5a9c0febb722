/* SPDX-License-Identifier: MIT */
/* RSA signatures by libcrypto, which blinds them and checks each before it gives
 * it out. PSA gives the key as PKCS #1's DER each time, but what libcrypto makes
 * of a key for its first signature costs nearly as much as the signature: the
 * last few keys are kept, until one of PSA's is destroyed. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MBEDTLS_ALLOW_PRIVATE_ACCESS
#include <mbedtls/platform_util.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/rsa.h>
#include <psa/crypto.h>

#include "io/accel.h"

enum { BITS_MIN = 1024, BYTES_MAX = 1024, KEPT = 4 };

#define SIGN                                                                               \
    const psa_key_attributes_t *attributes, const uint8_t *key, size_t key_n,              \
        psa_algorithm_t alg, const uint8_t *hash, size_t hash_n, uint8_t *signature,       \
        size_t size, size_t *n
#define VERIFY                                                                             \
    const psa_key_attributes_t *attributes, const uint8_t *key, size_t key_n,              \
        psa_algorithm_t alg, const uint8_t *hash, size_t hash_n, const uint8_t *signature, \
        size_t n

psa_status_t __real_mbedtls_psa_rsa_sign_hash(SIGN);
psa_status_t __wrap_mbedtls_psa_rsa_sign_hash(SIGN);
psa_status_t __real_mbedtls_psa_rsa_verify_hash(VERIFY);
psa_status_t __wrap_mbedtls_psa_rsa_verify_hash(VERIFY);

/* The algorithms of certificates and of TLS: PKCS #1 v1.5 and PSS over SHA-2. */
static const EVP_MD *hash_of(psa_algorithm_t alg, size_t hash_n) {
    if (!PSA_ALG_IS_RSA_PKCS1V15_SIGN(alg) && !PSA_ALG_IS_RSA_PSS(alg)) return NULL;
    const EVP_MD *md = NULL;
    switch (PSA_ALG_SIGN_GET_HASH(alg)) {
    case PSA_ALG_SHA_256: md = EVP_sha256(); break;
    case PSA_ALG_SHA_384: md = EVP_sha384(); break;
    case PSA_ALG_SHA_512: md = EVP_sha512(); break;
    default: return NULL;
    }
    return (size_t)EVP_MD_get_size(md) == hash_n ? md : NULL;
}

/* The salt is as long as the hash where the key has room for it. */
static bool fits(const RSA *rsa, psa_algorithm_t alg, size_t hash_n) {
    size_t n = (size_t)RSA_size(rsa);
    return n <= BYTES_MAX && RSA_bits(rsa) % 8 == 0 && (PSA_ALG_IS_RSA_PKCS1V15_SIGN(alg)
               ? n >= hash_n + 30 : n >= 2 * hash_n + 2);
}

static bool sign(RSA *rsa, psa_algorithm_t alg, const EVP_MD *md, const uint8_t *hash,
                 size_t hash_n, uint8_t *signature) {
    if (PSA_ALG_IS_RSA_PKCS1V15_SIGN(alg)) {
        unsigned n;
        return RSA_sign(EVP_MD_get_type(md), hash, (unsigned)hash_n, signature, &n, rsa) == 1;
    }
    uint8_t padded[BYTES_MAX];
    int size = RSA_size(rsa);
    return RSA_padding_add_PKCS1_PSS_mgf1(rsa, padded, hash, md, md, RSA_PSS_SALTLEN_DIGEST) == 1 &&
           RSA_private_encrypt(size, padded, signature, rsa, RSA_NO_PADDING) == size;
}

static bool verify(RSA *rsa, psa_algorithm_t alg, const EVP_MD *md, const uint8_t *hash,
                   size_t hash_n, const uint8_t *signature, size_t n) {
    if (PSA_ALG_IS_RSA_PKCS1V15_SIGN(alg))
        return RSA_verify(EVP_MD_get_type(md), hash, (unsigned)hash_n, signature, (unsigned)n,
                          rsa) == 1;
    uint8_t padded[BYTES_MAX];
    int salt = PSA_ALG_IS_RSA_PSS_ANY_SALT(alg) ? RSA_PSS_SALTLEN_AUTO : RSA_PSS_SALTLEN_DIGEST;
    return RSA_public_decrypt((int)n, signature, padded, rsa, RSA_NO_PADDING) == (int)n &&
           RSA_verify_PKCS1_PSS_mgf1(rsa, hash, md, md, padded, salt) == 1;
}

/* ── private keys ─────────────────────────────────────────────────────────*/

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint8_t *der; /* owned */
    size_t n;
    RSA *rsa;     /* a reference; threads may sign with it at once */
} kept[KEPT];
static unsigned next_kept;

static void drop(unsigned i) {
    if (kept[i].der) mbedtls_platform_zeroize(kept[i].der, kept[i].n);
    free(kept[i].der);
    RSA_free(kept[i].rsa);
    kept[i].der = NULL;
    kept[i].rsa = NULL;
    kept[i].n = 0;
}

static void forget(void) {
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < KEPT; i++) drop(i);
    pthread_mutex_unlock(&lock);
}

/* A reference, with the lock held. */
static RSA *find(const uint8_t *der, size_t n) {
    for (unsigned i = 0; i < KEPT; i++)
        if (kept[i].n == n && CRYPTO_memcmp(kept[i].der, der, n) == 0 && RSA_up_ref(kept[i].rsa))
            return kept[i].rsa;
    const uint8_t *at = der;
    RSA *rsa = d2i_RSAPrivateKey(NULL, &at, (long)n);
    uint8_t *copy = rsa ? malloc(n) : NULL;
    if (copy && RSA_up_ref(rsa)) {
        unsigned i = next_kept++ % KEPT;
        drop(i);
        kept[i].der = memcpy(copy, der, n);
        kept[i].n = n;
        kept[i].rsa = rsa;
    } else {
        free(copy);
    }
    return rsa;
}

static RSA *private_key(const uint8_t *der, size_t n) {
    pthread_mutex_lock(&lock);
    RSA *rsa = find(der, n);
    pthread_mutex_unlock(&lock);
    return rsa;
}

/* ── what PSA calls ───────────────────────────────────────────────────────*/

psa_status_t __wrap_mbedtls_psa_rsa_sign_hash(SIGN) {
    const EVP_MD *md = accel_rsa.on ? hash_of(alg, hash_n) : NULL;
    RSA *rsa = md ? private_key(key, key_n) : NULL;
    if (!rsa || !fits(rsa, alg, hash_n) || size < (size_t)RSA_size(rsa)) {
        RSA_free(rsa);
        return __real_mbedtls_psa_rsa_sign_hash(attributes, key, key_n, alg, hash, hash_n,
                                                signature, size, n);
    }
    bool ok = sign(rsa, alg, md, hash, hash_n, signature);
    *n = ok ? (size_t)RSA_size(rsa) : 0;
    RSA_free(rsa);
    return ok ? PSA_SUCCESS : PSA_ERROR_GENERIC_ERROR;
}

psa_status_t __wrap_mbedtls_psa_rsa_verify_hash(VERIFY) {
    bool is_public = PSA_KEY_TYPE_IS_PUBLIC_KEY(attributes->type);
    const EVP_MD *md = accel_rsa.on && is_public ? hash_of(alg, hash_n) : NULL;
    const uint8_t *at = key;
    RSA *rsa = md ? d2i_RSAPublicKey(NULL, &at, (long)key_n) : NULL;
    if (!rsa || !fits(rsa, alg, hash_n) || n != (size_t)RSA_size(rsa)) {
        RSA_free(rsa);
        return __real_mbedtls_psa_rsa_verify_hash(attributes, key, key_n, alg, hash, hash_n,
                                                  signature, n);
    }
    bool ok = verify(rsa, alg, md, hash, hash_n, signature, n);
    RSA_free(rsa);
    return ok ? PSA_SUCCESS : PSA_ERROR_INVALID_SIGNATURE;
}

/* ── the check ────────────────────────────────────────────────────────────*/

/* What we sign mbedTLS verifies; what is changed we refuse. The key is weak,
 * quickly made, and for this only. */
static bool check_alg(RSA *rsa, psa_algorithm_t alg) {
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    uint8_t hash[32] = {1}, signature[BITS_MIN / 8];
    unsigned char *key = NULL;
    int n = i2d_RSAPublicKey(rsa, &key);
    psa_set_key_type(&attributes, PSA_KEY_TYPE_RSA_PUBLIC_KEY);
    psa_set_key_bits(&attributes, BITS_MIN);
    bool ok = n > 0 && sign(rsa, alg, EVP_sha256(), hash, sizeof hash, signature) &&
              verify(rsa, alg, EVP_sha256(), hash, sizeof hash, signature, sizeof signature) &&
              __real_mbedtls_psa_rsa_verify_hash(&attributes, key, (size_t)n, alg, hash,
                                                 sizeof hash, signature,
                                                 sizeof signature) == PSA_SUCCESS;
    signature[40] ^= 1;
    ok = ok && !verify(rsa, alg, EVP_sha256(), hash, sizeof hash, signature, sizeof signature);
    OPENSSL_free(key);
    return ok;
}

static bool check(void) {
    RSA *rsa = RSA_new();
    BIGNUM *e = BN_new();
    bool ok = rsa && e && BN_set_word(e, RSA_F4) == 1 &&
              RSA_generate_key_ex(rsa, BITS_MIN, e, NULL) == 1 &&
              check_alg(rsa, PSA_ALG_RSA_PKCS1V15_SIGN(PSA_ALG_SHA_256)) &&
              check_alg(rsa, PSA_ALG_RSA_PSS(PSA_ALG_SHA_256));
    BN_free(e);
    RSA_free(rsa);
    return ok;
}

struct accel accel_rsa = {.name = "rsa", .check = check, .forget = forget};
