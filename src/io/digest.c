/* SPDX-License-Identifier: MIT */
/* PSA does the work. A key is imported for one operation: who signs rarely
 * (ACME, some ten times in two months) need not keep it in memory. */
#include "io/digest.h"

#include <stdio.h>

#include "io/tls_internal.h"

#define ES256 PSA_ALG_ECDSA(PSA_ALG_SHA_256)

int digest_sha256(struct str bytes, uint8_t out[DIGEST_SIZE]) {
    size_t n;
    if (tls_library_init() < 0) return RW_ETLS;
    return psa_hash_compute(PSA_ALG_SHA_256, (const uint8_t *)bytes.p, bytes.n, out, DIGEST_SIZE,
                            &n) == PSA_SUCCESS ? 0 : RW_ETLS;
}

int digest_hmac(struct str key, struct str bytes, uint8_t out[DIGEST_SIZE]) {
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    psa_key_id_t id;
    size_t n;
    if (key.n == 0) return RW_EINVAL;
    if (tls_library_init() < 0) return RW_ETLS;
    psa_set_key_type(&attributes, PSA_KEY_TYPE_HMAC);
    psa_set_key_usage_flags(&attributes, PSA_KEY_USAGE_SIGN_MESSAGE);
    psa_set_key_algorithm(&attributes, PSA_ALG_HMAC(PSA_ALG_SHA_256));
    if (psa_import_key(&attributes, (const uint8_t *)key.p, key.n, &id) != PSA_SUCCESS)
        return RW_ETLS;
    psa_status_t status =
        psa_mac_compute(id, PSA_ALG_HMAC(PSA_ALG_SHA_256), (const uint8_t *)bytes.p, bytes.n, out,
                        DIGEST_SIZE, &n);
    psa_destroy_key(id);
    return status == PSA_SUCCESS ? 0 : RW_ETLS;
}

/* For psa_destroy_key. */
static int import(struct str pem, psa_key_id_t *id, struct tls_why *why) {
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    mbedtls_pk_context key;
    if (tls_library_init() < 0) return RW_ETLS;
    mbedtls_pk_init(&key);
    int rc = tls_read_key(pem, &key, why);
    if (rc == 0 && mbedtls_pk_get_psa_attributes(&key, PSA_KEY_USAGE_SIGN_HASH, &attributes) < 0)
        rc = RW_EINVAL;
    bool fits = rc == 0 && psa_get_key_bits(&attributes) == 256 &&
                psa_get_key_type(&attributes) == PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1);
    if (rc == 0 && !fits) rc = RW_EINVAL;
    if (rc == RW_EINVAL) snprintf(why->text, sizeof why->text, "this is no P-256 key");
    psa_set_key_usage_flags(&attributes, PSA_KEY_USAGE_SIGN_MESSAGE);
    psa_set_key_algorithm(&attributes, ES256);
    if (rc == 0 && mbedtls_pk_import_into_psa(&key, &attributes, id) < 0) rc = RW_ETLS;
    mbedtls_pk_free(&key);
    return rc;
}

int p256_point(struct str key_pem, uint8_t out[P256_POINT_SIZE], struct tls_why *why) {
    uint8_t point[1 + P256_POINT_SIZE]; /* 4, x, y */
    psa_key_id_t id;
    size_t n;
    int rc = import(key_pem, &id, why);
    if (rc < 0) return rc;
    psa_status_t status = psa_export_public_key(id, point, sizeof point, &n);
    psa_destroy_key(id);
    if (status != PSA_SUCCESS || n != sizeof point) return RW_ETLS;
    memcpy(out, point + 1, P256_POINT_SIZE);
    return 0;
}

int p256_sign(struct str key_pem, struct str bytes, uint8_t out[P256_SIGNATURE_SIZE],
              struct tls_why *why) {
    psa_key_id_t id;
    size_t n;
    int rc = import(key_pem, &id, why);
    if (rc < 0) return rc;
    psa_status_t status = psa_sign_message(id, ES256, (const uint8_t *)bytes.p, bytes.n, out,
                                           P256_SIGNATURE_SIZE, &n);
    psa_destroy_key(id);
    return status == PSA_SUCCESS && n == P256_SIGNATURE_SIZE ? 0 : RW_ETLS;
}
