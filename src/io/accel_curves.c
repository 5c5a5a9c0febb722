/* SPDX-License-Identifier: MIT */
/* Elliptic curves by libcrypto: ECDSA and ECDH with P-256 and P-384, X25519.
 *
 * PSA gives the bytes of a key with each call and keeps no other form of it.
 * For the NIST curves that costs little, since their group is made once. An
 * X25519 key of libcrypto's is made from the private bytes at the price of a
 * key exchange's cheaper half, and a server's handshake by TLS 1.3 needs it
 * twice, within one step: the thread keeps it to the end of that. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <string.h>

#define MBEDTLS_ALLOW_PRIVATE_ACCESS
#include <mbedtls/platform_util.h>
#include <mbedtls/psa_util.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <psa/crypto.h>

#include "io/accel.h"

enum { BYTES_MAX = 48, X25519_SIZE = 32 };

struct curve {
    struct accel *accel;
    int nid;
    size_t bits, bytes;
    EC_GROUP *group;
};
static struct curve p256 = {&accel_p256, NID_X9_62_prime256v1, 256, 32, NULL};
static struct curve p384 = {&accel_p384, NID_secp384r1, 384, 48, NULL};

#define KEY const psa_key_attributes_t *attributes, const uint8_t *key, size_t key_n
#define IMPORT                                                                             \
    const psa_key_attributes_t *attributes, const uint8_t *data, size_t n, uint8_t *key,   \
        size_t size, size_t *key_n, size_t *bits
#define GENERATE const psa_key_attributes_t *attributes, uint8_t *key, size_t size, size_t *key_n
#define EXPORT KEY, uint8_t *data, size_t size, size_t *n
#define SIGN                                                                               \
    KEY, psa_algorithm_t alg, const uint8_t *hash, size_t hash_n, uint8_t *signature,      \
        size_t size, size_t *n
#define VERIFY                                                                             \
    KEY, psa_algorithm_t alg, const uint8_t *hash, size_t hash_n, const uint8_t *signature, \
        size_t n
#define AGREE                                                                              \
    KEY, psa_algorithm_t alg, const uint8_t *peer, size_t peer_n, uint8_t *secret,         \
        size_t size, size_t *n

#define STANDS_IN(function, arguments)                                                     \
    psa_status_t __real_mbedtls_psa_##function(arguments);                                 \
    psa_status_t __wrap_mbedtls_psa_##function(arguments);                                 \
    psa_status_t __wrap_mbedtls_psa_##function(arguments)

/* ── which key is it? ─────────────────────────────────────────────────────*/

static struct curve *curve_of(psa_key_type_t type, size_t bits) {
    if (!PSA_KEY_TYPE_IS_ECC(type) ||
        PSA_KEY_TYPE_ECC_GET_FAMILY(type) != PSA_ECC_FAMILY_SECP_R1)
        return NULL;
    struct curve *c = bits == 256 ? &p256 : bits == 384 ? &p384 : NULL;
    return c && c->accel->on ? c : NULL;
}

static bool is_x25519(psa_key_type_t type, size_t bits, size_t n) {
    return accel_x25519.on && PSA_KEY_TYPE_IS_ECC(type) &&
           PSA_KEY_TYPE_ECC_GET_FAMILY(type) == PSA_ECC_FAMILY_MONTGOMERY && bits == 255 &&
           n == X25519_SIZE;
}

/* ── the NIST curves ──────────────────────────────────────────────────────*/

/* 0 < d < n, or NULL */
static BIGNUM *scalar(const struct curve *c, const uint8_t *key, size_t n) {
    if (n != c->bytes) return NULL;
    BIGNUM *d = BN_secure_new();
    if (d) BN_set_flags(d, BN_FLG_CONSTTIME);
    if (!d || !BN_bin2bn(key, (int)n, d) || BN_is_zero(d) ||
        BN_cmp(d, EC_GROUP_get0_order(c->group)) >= 0) {
        BN_clear_free(d);
        return NULL;
    }
    return d;
}

/* On the curve (whose cofactor is 1) and not at infinity, or NULL. */
static EC_POINT *point(const struct curve *c, const uint8_t *bytes, size_t n) {
    if (n != 2 * c->bytes + 1 || bytes[0] != POINT_CONVERSION_UNCOMPRESSED) return NULL;
    EC_POINT *p = EC_POINT_new(c->group);
    if (p && EC_POINT_oct2point(c->group, p, bytes, n, NULL) == 1) return p;
    EC_POINT_free(p);
    return NULL;
}

static psa_status_t nist_import(struct curve *c, psa_key_type_t type, const uint8_t *data,
                                size_t n) {
    if (PSA_KEY_TYPE_IS_PUBLIC_KEY(type)) {
        EC_POINT *p = point(c, data, n);
        EC_POINT_free(p);
        return p ? PSA_SUCCESS : PSA_ERROR_INVALID_ARGUMENT;
    }
    BIGNUM *d = scalar(c, data, n);
    BN_clear_free(d);
    return d ? PSA_SUCCESS : PSA_ERROR_INVALID_ARGUMENT;
}

static psa_status_t nist_generate(struct curve *c, uint8_t *key) {
    for (;;) { /* nearly always once */
        psa_status_t status = psa_generate_random(key, c->bytes);
        if (status != PSA_SUCCESS) return status;
        BIGNUM *d = scalar(c, key, c->bytes);
        BN_clear_free(d);
        if (d) return PSA_SUCCESS;
    }
}

static bool nist_public(struct curve *c, const uint8_t *key, size_t key_n, uint8_t *data,
                        size_t n) {
    BIGNUM *d = scalar(c, key, key_n);
    EC_POINT *q = EC_POINT_new(c->group);
    bool ok = d && q && EC_POINT_mul(c->group, q, d, NULL, NULL, NULL) == 1 &&
              EC_POINT_point2oct(c->group, q, POINT_CONVERSION_UNCOMPRESSED, data, n, NULL) == n;
    EC_POINT_free(q);
    BN_clear_free(d);
    return ok;
}

static psa_status_t nist_agree(struct curve *c, const uint8_t *key, size_t key_n,
                               const uint8_t *peer, size_t peer_n, uint8_t *secret) {
    EC_POINT *theirs = point(c, peer, peer_n), *product = EC_POINT_new(c->group);
    if (!theirs) {
        EC_POINT_free(product);
        return PSA_ERROR_INVALID_ARGUMENT;
    }
    BIGNUM *d = scalar(c, key, key_n), *x = BN_secure_new();
    bool ok = d && x && product &&
              EC_POINT_mul(c->group, product, NULL, theirs, d, NULL) == 1 &&
              EC_POINT_get_affine_coordinates(c->group, product, x, NULL, NULL) == 1 &&
              BN_bn2binpad(x, secret, (int)c->bytes) == (int)c->bytes;
    EC_POINT_free(theirs);
    EC_POINT_clear_free(product);
    BN_clear_free(d);
    BN_clear_free(x);
    return ok ? PSA_SUCCESS : PSA_ERROR_GENERIC_ERROR;
}

static bool nist_sign(struct curve *c, const uint8_t *key, size_t key_n, const uint8_t *hash,
                      size_t hash_n, uint8_t *signature) {
    EC_KEY *k = EC_KEY_new();
    BIGNUM *d = scalar(c, key, key_n);
    ECDSA_SIG *s = NULL;
    if (k && d && EC_KEY_set_group(k, c->group) == 1 && EC_KEY_set_private_key(k, d) == 1)
        s = ECDSA_do_sign(hash, (int)hash_n, k);
    int n = (int)c->bytes;
    bool ok = s && BN_bn2binpad(ECDSA_SIG_get0_r(s), signature, n) == n &&
              BN_bn2binpad(ECDSA_SIG_get0_s(s), signature + n, n) == n;
    ECDSA_SIG_free(s);
    BN_clear_free(d);
    EC_KEY_free(k);
    return ok;
}

/* 1 good, 0 bad, < 0 libcrypto could not */
static int nist_verify(struct curve *c, const EC_POINT *q, const uint8_t *hash, size_t hash_n,
                       const uint8_t *signature) {
    EC_KEY *k = EC_KEY_new();
    ECDSA_SIG *s = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, (int)c->bytes, NULL);
    BIGNUM *t = BN_bin2bn(signature + c->bytes, (int)c->bytes, NULL);
    int rc = -1;
    if (s && r && t && ECDSA_SIG_set0(s, r, t) == 1) r = t = NULL; /* they are its own now */
    if (!r && k && EC_KEY_set_group(k, c->group) == 1 && EC_KEY_set_public_key(k, q) == 1)
        rc = ECDSA_do_verify(hash, (int)hash_n, s, k);
    BN_free(r);
    BN_free(t);
    ECDSA_SIG_free(s);
    EC_KEY_free(k);
    return rc;
}

/* ── X25519 ───────────────────────────────────────────────────────────────*/

static _Thread_local EVP_PKEY *kept;
static _Thread_local uint8_t kept_bytes[X25519_SIZE];

static EVP_PKEY *x25519_key(const uint8_t *key) {
    EVP_PKEY *k = kept;
    kept = NULL;
    bool same = k && CRYPTO_memcmp(kept_bytes, key, X25519_SIZE) == 0;
    mbedtls_platform_zeroize(kept_bytes, X25519_SIZE);
    if (same) return k;
    EVP_PKEY_free(k);
    return EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, key, X25519_SIZE);
}

static void x25519_forget(void) {
    if (!kept) return;
    EVP_PKEY_free(kept);
    kept = NULL;
    mbedtls_platform_zeroize(kept_bytes, X25519_SIZE);
}

static bool x25519_public(const uint8_t *key, uint8_t *data) {
    size_t n = X25519_SIZE;
    EVP_PKEY *k = x25519_key(key);
    if (!k || EVP_PKEY_get_raw_public_key(k, data, &n) != 1) {
        EVP_PKEY_free(k);
        return false;
    }
    kept = k;
    memcpy(kept_bytes, key, X25519_SIZE);
    return true;
}

/* A peer's point of small order gives zero: libcrypto refuses that. */
static bool x25519_agree(const uint8_t *key, const uint8_t *peer, uint8_t *secret) {
    size_t n = X25519_SIZE;
    EVP_PKEY *k = x25519_key(key);
    EVP_PKEY *theirs = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, peer, X25519_SIZE);
    EVP_PKEY_CTX *c = k ? EVP_PKEY_CTX_new(k, NULL) : NULL;
    bool ok = c && theirs && EVP_PKEY_derive_init(c) == 1 &&
              EVP_PKEY_derive_set_peer_ex(c, theirs, 0) == 1 &&
              EVP_PKEY_derive(c, secret, &n) == 1 && n == X25519_SIZE;
    EVP_PKEY_CTX_free(c);
    EVP_PKEY_free(theirs);
    EVP_PKEY_free(k);
    return ok;
}

/* ── what PSA calls ───────────────────────────────────────────────────────*/

STANDS_IN(ecp_import_key, IMPORT) {
    size_t key_bits = attributes->bits;
    if (!key_bits) /* the length tells */
        key_bits = 8 * (PSA_KEY_TYPE_IS_PUBLIC_KEY(attributes->type) ? n / 2 : n);
    struct curve *c = curve_of(attributes->type, key_bits);
    if (!c) return __real_mbedtls_psa_ecp_import_key(attributes, data, n, key, size, key_n, bits);
    psa_status_t status = nist_import(c, attributes->type, data, n);
    if (status != PSA_SUCCESS) return status;
    if (size < n) return PSA_ERROR_BUFFER_TOO_SMALL;
    memcpy(key, data, n);
    *key_n = n;
    *bits = c->bits;
    return PSA_SUCCESS;
}

STANDS_IN(ecp_generate_key, GENERATE) {
    struct curve *c = curve_of(attributes->type, attributes->bits);
    if (!c || size < c->bytes)
        return __real_mbedtls_psa_ecp_generate_key(attributes, key, size, key_n);
    *key_n = c->bytes;
    return nist_generate(c, key);
}

STANDS_IN(ecp_export_public_key, EXPORT) {
    struct curve *c = curve_of(attributes->type, attributes->bits);
    bool x25519 = is_x25519(attributes->type, attributes->bits, key_n);
    size_t length = x25519 ? X25519_SIZE : c ? 2 * c->bytes + 1 : 0;
    if (!length || size < length || !PSA_KEY_TYPE_IS_ECC_KEY_PAIR(attributes->type))
        return __real_mbedtls_psa_ecp_export_public_key(attributes, key, key_n, data, size, n);
    bool ok = x25519 ? x25519_public(key, data) : nist_public(c, key, key_n, data, length);
    *n = ok ? length : 0;
    return ok ? PSA_SUCCESS : PSA_ERROR_GENERIC_ERROR;
}

STANDS_IN(key_agreement_ecdh, AGREE) {
    struct curve *c = curve_of(attributes->type, attributes->bits);
    bool x25519 = is_x25519(attributes->type, attributes->bits, key_n) && peer_n == X25519_SIZE;
    size_t length = x25519 ? X25519_SIZE : c ? c->bytes : 0;
    if (!length || size < length || !PSA_KEY_TYPE_IS_ECC_KEY_PAIR(attributes->type) ||
        !PSA_ALG_IS_ECDH(alg))
        return __real_mbedtls_psa_key_agreement_ecdh(attributes, key, key_n, alg, peer, peer_n,
                                                     secret, size, n);
    psa_status_t status;
    if (x25519)
        status = x25519_agree(key, peer, secret) ? PSA_SUCCESS : PSA_ERROR_INVALID_ARGUMENT;
    else status = nist_agree(c, key, key_n, peer, peer_n, secret);
    *n = status == PSA_SUCCESS ? length : 0;
    if (status != PSA_SUCCESS) mbedtls_platform_zeroize(secret, size);
    return status;
}

/* A signature that shall be the same each time is mbedTLS's affair. */
STANDS_IN(ecdsa_sign_hash, SIGN) {
    struct curve *c = curve_of(attributes->type, attributes->bits);
    if (!c || size < 2 * c->bytes || PSA_ALG_ECDSA_IS_DETERMINISTIC(alg))
        return __real_mbedtls_psa_ecdsa_sign_hash(attributes, key, key_n, alg, hash, hash_n,
                                                  signature, size, n);
    if (!nist_sign(c, key, key_n, hash, hash_n, signature)) return PSA_ERROR_GENERIC_ERROR;
    *n = 2 * c->bytes;
    return PSA_SUCCESS;
}

STANDS_IN(ecdsa_verify_hash, VERIFY) {
    struct curve *c = curve_of(attributes->type, attributes->bits);
    if (!c || !PSA_KEY_TYPE_IS_PUBLIC_KEY(attributes->type))
        return __real_mbedtls_psa_ecdsa_verify_hash(attributes, key, key_n, alg, hash, hash_n,
                                                    signature, n);
    if (n != 2 * c->bytes) return PSA_ERROR_INVALID_SIGNATURE;
    EC_POINT *q = point(c, key, key_n);
    if (!q) return PSA_ERROR_INVALID_ARGUMENT;
    int rc = nist_verify(c, q, hash, hash_n, signature);
    EC_POINT_free(q);
    return rc == 1 ? PSA_SUCCESS : PSA_ERROR_INVALID_SIGNATURE;
}

/* ── the checks ───────────────────────────────────────────────────────────*/

static bool make_group(struct curve *c) {
    return c->group || (c->group = EC_GROUP_new_by_curve_name(c->nid));
}
static bool p256_usable(void) { return make_group(&p256); }
static bool p384_usable(void) { return make_group(&p384); }

/* An exchange with ourselves, a signature, a changed one, a point beside the
 * curve; `d` with its published public key (its x) ties it all to the curve. */
static bool check_curve(struct curve *c, const uint8_t *d, const uint8_t *x) {
    size_t n = c->bytes, m = 2 * c->bytes + 1;
    uint8_t other[BYTES_MAX], ours[2 * BYTES_MAX + 1], theirs[2 * BYTES_MAX + 1];
    uint8_t a[BYTES_MAX], b[BYTES_MAX], hash[32] = {1}, signature[2 * BYTES_MAX];
    memset(other, 0x35, sizeof other);
    if (!nist_public(c, d, n, ours, m) || memcmp(ours + 1, x, n) != 0 ||
        !nist_public(c, other, n, theirs, m) ||
        nist_agree(c, d, n, theirs, m, a) != PSA_SUCCESS ||
        nist_agree(c, other, n, ours, m, b) != PSA_SUCCESS || memcmp(a, b, n) != 0 ||
        !nist_sign(c, d, n, hash, sizeof hash, signature))
        return false;
    EC_POINT *q = point(c, ours, m);
    bool ok = q && nist_verify(c, q, hash, sizeof hash, signature) == 1;
    signature[n + 5] ^= 1;
    ok = ok && nist_verify(c, q, hash, sizeof hash, signature) != 1;
    EC_POINT_free(q);
    ours[m - 1] ^= 1;
    return ok && nist_agree(c, other, n, ours, m, b) == PSA_ERROR_INVALID_ARGUMENT;
}

static bool p256_check(void) { /* RFC 6979, A.2.5 */
    static const char d[] =
        "\xc9\xaf\xa9\xd8\x45\xba\x75\x16\x6b\x5c\x21\x57\x67\xb1\xd6\x93"
        "\x4e\x50\xc3\xdb\x36\xe8\x9b\x12\x7b\x8a\x62\x2b\x12\x0f\x67\x21";
    static const char x[] =
        "\x60\xfe\xd4\xba\x25\x5a\x9d\x31\xc9\x61\xeb\x74\xc6\x35\x6d\x68"
        "\xc0\x49\xb8\x92\x3b\x61\xfa\x6c\xe6\x69\x62\x2e\x60\xf2\x9f\xb6";
    return check_curve(&p256, (const uint8_t *)d, (const uint8_t *)x);
}

static bool p384_check(void) { /* RFC 6979, A.2.6 */
    static const char d[] =
        "\x6b\x9d\x3d\xad\x2e\x1b\x8c\x1c\x05\xb1\x98\x75\xb6\x65\x9f\x4d"
        "\xe2\x3c\x3b\x66\x7b\xf2\x97\xba\x9a\xa4\x77\x40\x78\x71\x37\xd8"
        "\x96\xd5\x72\x4e\x4c\x70\xa8\x25\xf8\x72\xc9\xea\x60\xd2\xed\xf5";
    static const char x[] =
        "\xec\x3a\x4e\x41\x5b\x4e\x19\xa4\x56\x86\x18\x02\x9f\x42\x7f\xa5"
        "\xda\x9a\x8b\xc4\xae\x92\xe0\x2e\x06\xaa\xe5\x28\x6b\x30\x0c\x64"
        "\xde\xf8\xf0\xea\x90\x55\x86\x60\x64\xa2\x54\x51\x54\x80\xbc\x13";
    return check_curve(&p384, (const uint8_t *)d, (const uint8_t *)x);
}

static bool x25519_check(void) { /* RFC 7748, 5.2: the first of the iterated values */
    static const char once[] =
        "\x42\x2c\x8e\x7a\x62\x27\xd7\xbc\xa1\x35\x0b\x3e\x2b\xb7\x27\x9f"
        "\x78\x97\xb8\x7b\xb6\x85\x4b\x78\x3c\x60\xe8\x03\x11\xae\x30\x79";
    uint8_t base[X25519_SIZE] = {9}, zero[X25519_SIZE] = {0}, out[X25519_SIZE];
    uint8_t other[X25519_SIZE] = {77}, ours[X25519_SIZE], theirs[X25519_SIZE], again[X25519_SIZE];
    return x25519_agree(base, base, out) && memcmp(out, once, sizeof out) == 0 &&
           x25519_public(base, ours) && memcmp(ours, once, sizeof out) == 0 &&
           x25519_agree(base, ours, out) && /* by the key that was kept */
           x25519_public(other, theirs) && x25519_agree(other, ours, out) &&
           x25519_agree(base, theirs, again) && memcmp(out, again, sizeof out) == 0 &&
           !x25519_agree(base, zero, out);
}

struct accel accel_p256 = {.name = "p256", .usable = p256_usable, .check = p256_check};
struct accel accel_p384 = {.name = "p384", .usable = p384_usable, .check = p384_check};
struct accel accel_x25519 = {
    .name = "x25519", .check = x25519_check, .step_ended = x25519_forget};
