/* SPDX-License-Identifier: MIT */
/* Certificates of our own are read, and what one says, in plain terms. */
#include <stdio.h>
#include <time.h>

#include "io/tls_internal.h" /* first: it opens fields of the library */

#include <mbedtls/oid.h>
#include <mbedtls/pem.h>

/* ── reading ──────────────────────────────────────────────────────────────*/

/* What answers a TLS-ALPN-01 challenge has a critical extension that the library
 * does not know (RFC 8737 §3): in one of ours it may be. A peer's are read by
 * the library alone, which refuses it. */
static int allow_acme(void *ctx, const mbedtls_x509_crt *crt, const mbedtls_x509_buf *oid,
                      int critical, const unsigned char *p, const unsigned char *end) {
    (void)ctx, (void)crt, (void)critical, (void)p, (void)end;
    bool known = oid->len == sizeof TLS_OID_ACME - 1 &&
                 memcmp(oid->p, TLS_OID_ACME, oid->len) == 0;
    return known ? 0 : MBEDTLS_ERR_X509_INVALID_EXTENSIONS;
}

int tls_read_own(mbedtls_x509_crt *chain, const unsigned char *text, size_t n) {
    static const char begin[] = "-----BEGIN CERTIFICATE-----";
    const unsigned char *at = (const unsigned char *)strstr((const char *)text, begin);
    if (!at) return mbedtls_x509_crt_parse_der_with_ext_cb(chain, text, n, 1, allow_acme, NULL);
    int rc = 0;
    for (; at && rc == 0; at = (const unsigned char *)strstr((const char *)at, begin)) {
        mbedtls_pem_context pem;
        size_t used;
        mbedtls_pem_init(&pem);
        rc = mbedtls_pem_read_buffer(&pem, begin, "-----END CERTIFICATE-----", at, NULL, 0, &used);
        if (rc == 0) {
            size_t size;
            const unsigned char *der = mbedtls_pem_get_buffer(&pem, &size);
            rc = mbedtls_x509_crt_parse_der_with_ext_cb(chain, der, size, 1, allow_acme, NULL);
            at += used;
        }
        mbedtls_pem_free(&pem);
    }
    return rc;
}

static int allow_all(void *ctx, const mbedtls_x509_crt *crt, const mbedtls_x509_buf *oid,
                     int critical, const unsigned char *p, const unsigned char *end) {
    (void)ctx, (void)crt, (void)oid, (void)critical, (void)p, (void)end;
    return 0;
}

int tls_read_any(mbedtls_x509_crt *crt, struct str der) {
    return mbedtls_x509_crt_parse_der_with_ext_cb(crt, (const unsigned char *)der.p, der.n, 0,
                                                  allow_all, NULL);
}

/* ── saying ───────────────────────────────────────────────────────────────*/

int64_t tls_seconds_of(const mbedtls_x509_time *t) {
    struct tm tm = {.tm_year = t->year - 1900, .tm_mon = t->mon - 1, .tm_mday = t->day,
                    .tm_hour = t->hour, .tm_min = t->min, .tm_sec = t->sec};
    return (int64_t)timegm(&tm);
}

static void describe_key(const mbedtls_x509_crt *crt, struct tls_certificate *out) {
    unsigned bits = (unsigned)mbedtls_pk_get_bitlen(&crt->pk);
    bool rsa = mbedtls_pk_get_type(&crt->pk) == MBEDTLS_PK_RSA;
    snprintf(out->key, sizeof out->key, rsa ? "RSA %u" : "EC P-%u", bits);
    const char *name = "unknown";
    if (mbedtls_oid_get_sig_alg_desc(&crt->sig_oid, &name) != 0) name = "unknown";
    snprintf(out->signature, sizeof out->signature, "%s", name);
}

/* By their names in RFC 5280. */
static void describe_usage(const mbedtls_x509_crt *crt, struct tls_certificate *out) {
    static const struct { unsigned bit; const char *name; } usages[] = {
        {MBEDTLS_X509_KU_DIGITAL_SIGNATURE, "digitalSignature"},
        {MBEDTLS_X509_KU_NON_REPUDIATION, "contentCommitment"},
        {MBEDTLS_X509_KU_KEY_ENCIPHERMENT, "keyEncipherment"},
        {MBEDTLS_X509_KU_DATA_ENCIPHERMENT, "dataEncipherment"},
        {MBEDTLS_X509_KU_KEY_AGREEMENT, "keyAgreement"},
        {MBEDTLS_X509_KU_KEY_CERT_SIGN, "keyCertSign"},
        {MBEDTLS_X509_KU_CRL_SIGN, "cRLSign"},
    };
    static const struct { const char *oid, *name; } purposes[] = {
        {MBEDTLS_OID_SERVER_AUTH, "serverAuth"}, {MBEDTLS_OID_CLIENT_AUTH, "clientAuth"},
        {MBEDTLS_OID_CODE_SIGNING, "codeSigning"},
        {MBEDTLS_OID_EMAIL_PROTECTION, "emailProtection"},
        {MBEDTLS_OID_TIME_STAMPING, "timeStamping"}, {MBEDTLS_OID_OCSP_SIGNING, "OCSPSigning"},
    };
    size_t n = 0;
    unsigned has = mbedtls_x509_crt_has_ext_type(crt, MBEDTLS_X509_EXT_KEY_USAGE) ? crt->key_usage : 0;
    for (size_t i = 0; i < sizeof usages / sizeof *usages; i++)
        if (has & usages[i].bit) out->usage[n++] = usages[i].name;
    for (const mbedtls_x509_sequence *s = &crt->ext_key_usage; s && s->buf.p; s = s->next) {
        const char *name = "another purpose";
        for (size_t i = 0; i < sizeof purposes / sizeof *purposes; i++)
            if (s->buf.len == strlen(purposes[i].oid) &&
                memcmp(s->buf.p, purposes[i].oid, s->buf.len) == 0)
                name = purposes[i].name;
        if (n < TLS_USAGES_MAX) out->usage[n++] = name;
    }
}

static void describe(const mbedtls_x509_crt *crt, struct tls_certificate *out) {
    *out = (struct tls_certificate){.der = str_of((const char *)crt->raw.p, crt->raw.len)};
    mbedtls_x509_dn_gets(out->subject, sizeof out->subject, &crt->subject);
    mbedtls_x509_dn_gets(out->issuer, sizeof out->issuer, &crt->issuer);
    mbedtls_x509_serial_gets(out->serial, sizeof out->serial, &crt->serial);
    out->not_before = tls_seconds_of(&crt->valid_from);
    out->not_after = tls_seconds_of(&crt->valid_to);
    out->self_signed = crt->subject_raw.len == crt->issuer_raw.len &&
                       memcmp(crt->subject_raw.p, crt->issuer_raw.p, crt->subject_raw.len) == 0;
    out->authority = crt->ca_istrue;
    describe_key(crt, out);
    describe_usage(crt, out);
    uint8_t digest[32];
    size_t n;
    if (psa_hash_compute(PSA_ALG_SHA_256, crt->raw.p, crt->raw.len, digest, sizeof digest,
                         &n) != PSA_SUCCESS)
        return;
    for (size_t i = 0; i < n; i++)
        snprintf(out->fingerprint + 2 * i, 3, "%02x", digest[i]);
}

int tls_certificate_describe(struct str der, struct tls_certificate *out) {
    if (tls_library_init() < 0) return RW_ETLS;
    mbedtls_x509_crt crt;
    mbedtls_x509_crt_init(&crt);
    int rc = tls_read_any(&crt, der);
    if (rc == 0) describe(&crt, out);
    out->der = der;
    mbedtls_x509_crt_free(&crt);
    return rc == 0 ? 0 : RW_ECERTIFICATE;
}

int tls_identity_describe(const struct tls_identity *id, struct tls_certificate *out) {
    describe(&id->chain, out);
    return 0;
}
