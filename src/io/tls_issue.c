/* SPDX-License-Identifier: MIT */
/* Certificates are ECDSA or RSA with SHA-256, version 3, with a random serial
 * number of 128 bits; names go into the alternative names (RFC 5280). */
#include "io/tls_issue.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <mbedtls/oid.h>
#include <mbedtls/x509_csr.h>

#include "io/tls_internal.h"

enum { NAMES_MAX = 100, PEM_MAX = 32 * 1024, SERIAL_SIZE = 16 };

#define RANDOM mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE

/* ── keys ─────────────────────────────────────────────────────────────────*/

int tls_make_key(enum tls_key_kind kind, struct buf *pem) {
    static const struct { psa_key_type_t type; size_t bits; } kinds[] = {
        [TLS_KEY_P256] = {PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1), 256},
        [TLS_KEY_P384] = {PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1), 384},
        [TLS_KEY_RSA2048] = {PSA_KEY_TYPE_RSA_KEY_PAIR, 2048},
        [TLS_KEY_RSA4096] = {PSA_KEY_TYPE_RSA_KEY_PAIR, 4096},
    };
    if (tls_library_init() < 0) return RW_ETLS;
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    psa_set_key_type(&attributes, kinds[kind].type);
    psa_set_key_bits(&attributes, kinds[kind].bits);
    psa_set_key_usage_flags(&attributes, PSA_KEY_USAGE_EXPORT);
    psa_key_id_t id;
    if (psa_generate_key(&attributes, &id) != PSA_SUCCESS) return RW_ETLS;
    mbedtls_pk_context pk;
    mbedtls_pk_init(&pk);
    int rc = mbedtls_pk_copy_from_psa(id, &pk);
    char *room = rc == 0 ? buf_reserve(pem, PEM_MAX) : NULL;
    if (room) rc = mbedtls_pk_write_key_pem(&pk, (unsigned char *)room, PEM_MAX);
    if (room && rc == 0) buf_commit(pem, strlen(room));
    mbedtls_pk_free(&pk);
    psa_destroy_key(id);
    return rc < 0 ? RW_ETLS : room ? 0 : RW_ENOMEM;
}

int tls_read_key(struct str pem, mbedtls_pk_context *key, struct tls_why *why) {
    char *text = malloc(pem.n + 1);
    if (!text) return RW_ENOMEM;
    memcpy(text, pem.p, pem.n);
    text[pem.n] = 0;
    int rc = mbedtls_pk_parse_key(key, (unsigned char *)text, pem.n + 1, NULL, 0, RANDOM);
    mbedtls_platform_zeroize(text, pem.n);
    free(text);
    return rc < 0 ? tls_explain(why, rc, "the key cannot be read") : 0;
}

/* ── names ────────────────────────────────────────────────────────────────*/

struct names {
    mbedtls_x509_san_list list[NAMES_MAX];
    unsigned char address[NAMES_MAX][16];
    size_t count;
};

static int read_names(const char *const *names, struct names *out) {
    *out = (struct names){.count = 0};
    for (; names && *names; names++) {
        if (out->count == NAMES_MAX) return RW_ELIMIT;
        mbedtls_x509_san_list *item = &out->list[out->count];
        unsigned char *address = out->address[out->count];
        size_t n = inet_pton(AF_INET, *names, address) == 1    ? 4
                   : inet_pton(AF_INET6, *names, address) == 1 ? 16
                                                               : 0;
        item->node.type = n                        ? MBEDTLS_X509_SAN_IP_ADDRESS
                          : strstr(*names, "://")  ? MBEDTLS_X509_SAN_UNIFORM_RESOURCE_IDENTIFIER
                          : strchr(*names, '@')    ? MBEDTLS_X509_SAN_RFC822_NAME
                                                   : MBEDTLS_X509_SAN_DNS_NAME;
        item->node.san.unstructured_name.p = n ? address : (unsigned char *)*names;
        item->node.san.unstructured_name.len = n ? n : strlen(*names);
        /* the last one first: the library writes them backwards */
        if (out->count) item->next = &out->list[out->count - 1];
        out->count++;
    }
    return 0;
}

enum { COMMON_NAME_MAX = 64 }; /* ub-common-name, RFC 5280 */

static void default_subject(const char *const *names, char *out, size_t size) {
    bool fits = names && *names && strlen(*names) <= COMMON_NAME_MAX;
    snprintf(out, size, "CN=%s", fits ? *names : "Ropewalk");
    for (char *p = out + 3; *p; p++)
        if (*p == ',' || *p == '+' || *p == '\\') *p = '_';
}

/* ── certificates ─────────────────────────────────────────────────────────*/

static void validity(int64_t seconds, char out[16]) {
    struct tm tm;
    time_t t = (time_t)seconds;
    gmtime_r(&t, &tm);
    strftime(out, 16, "%Y%m%d%H%M%S", &tm);
}

static int set_usage(mbedtls_x509write_cert *crt, const struct tls_wish *w, bool rsa) {
    if (w->authority)
        return mbedtls_x509write_crt_set_key_usage(
            crt, MBEDTLS_X509_KU_KEY_CERT_SIGN | MBEDTLS_X509_KU_CRL_SIGN);
    mbedtls_asn1_sequence purpose = {0};
    const char *oid = w->client ? MBEDTLS_OID_CLIENT_AUTH : MBEDTLS_OID_SERVER_AUTH;
    purpose.buf.tag = MBEDTLS_ASN1_OID;
    purpose.buf.p = (unsigned char *)oid;
    purpose.buf.len = 8;
    unsigned usage = MBEDTLS_X509_KU_DIGITAL_SIGNATURE;
    if (rsa) usage |= MBEDTLS_X509_KU_KEY_ENCIPHERMENT;
    int rc = mbedtls_x509write_crt_set_key_usage(crt, usage);
    return rc < 0 ? rc : mbedtls_x509write_crt_set_ext_key_usage(crt, &purpose);
}

static int set_acme(mbedtls_x509write_cert *crt, struct str digest) {
    static const char oid[] = TLS_OID_ACME;
    unsigned char value[34] = {MBEDTLS_ASN1_OCTET_STRING, 32};
    if (digest.n == 0) return 0;
    if (digest.n != 32) return MBEDTLS_ERR_X509_BAD_INPUT_DATA;
    memcpy(value + 2, digest.p, 32);
    return mbedtls_x509write_crt_set_extension(crt, oid, sizeof oid - 1, 1, value, sizeof value);
}

static int set_issuer(mbedtls_x509write_cert *crt, const struct tls_wish *w,
                      mbedtls_x509_crt *issuer, char *name, size_t size) {
    if (w->issuer.n == 0) return 0;
    char *text = malloc(w->issuer.n + 1);
    if (!text) return MBEDTLS_ERR_X509_ALLOC_FAILED;
    memcpy(text, w->issuer.p, w->issuer.n);
    text[w->issuer.n] = 0;
    int rc = mbedtls_x509_crt_parse(issuer, (unsigned char *)text, w->issuer.n + 1);
    free(text);
    if (rc != 0) return rc < 0 ? rc : MBEDTLS_ERR_X509_INVALID_FORMAT;
    rc = mbedtls_x509_dn_gets(name, size, &issuer->subject);
    return rc < 0 ? rc : mbedtls_x509write_crt_set_issuer_name(crt, name);
}

static int fill(mbedtls_x509write_cert *crt, const struct tls_wish *w, const char *subject,
                struct names *names, bool rsa) {
    unsigned char serial[SERIAL_SIZE];
    char from[16], to[16];
    if (psa_generate_random(serial, sizeof serial) != PSA_SUCCESS)
        return MBEDTLS_ERR_X509_FATAL_ERROR;
    serial[0] &= 0x7f;
    serial[0] |= 0x40;
    validity(w->not_before, from);
    validity(w->not_after, to);
    mbedtls_x509write_crt_set_version(crt, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(crt, MBEDTLS_MD_SHA256);
    int rc = mbedtls_x509write_crt_set_subject_name(crt, subject);
    if (rc == 0) rc = mbedtls_x509write_crt_set_serial_raw(crt, serial, sizeof serial);
    if (rc == 0) rc = mbedtls_x509write_crt_set_validity(crt, from, to);
    if (rc == 0) rc = mbedtls_x509write_crt_set_basic_constraints(crt, w->authority, -1);
    if (rc == 0) rc = mbedtls_x509write_crt_set_subject_key_identifier(crt);
    if (rc == 0) rc = mbedtls_x509write_crt_set_authority_key_identifier(crt);
    if (rc == 0) rc = set_usage(crt, w, rsa);
    if (rc == 0 && names->count)
        rc = mbedtls_x509write_crt_set_subject_alternative_name(
            crt, &names->list[names->count - 1]);
    return rc == 0 ? set_acme(crt, w->acme) : rc;
}

int tls_make_certificate(const struct tls_wish *w, struct str key_pem, struct buf *pem,
                         struct tls_why *why) {
    if (tls_library_init() < 0) return RW_ETLS;
    char subject[300], issuer_name[512];
    struct names names;
    mbedtls_pk_context key, issuer_key;
    mbedtls_x509_crt issuer;
    mbedtls_x509write_cert crt;
    mbedtls_pk_init(&key);
    mbedtls_pk_init(&issuer_key);
    mbedtls_x509_crt_init(&issuer);
    mbedtls_x509write_crt_init(&crt);

    if (w->subject) snprintf(subject, sizeof subject, "%s", w->subject);
    else default_subject(w->names, subject, sizeof subject);
    int rc = tls_read_key(key_pem, &key, why);
    if (rc == 0 && w->issuer.n) rc = tls_read_key(w->issuer_key, &issuer_key, why);
    if (rc == 0) rc = read_names(w->names, &names);
    if (rc == 0) {
        mbedtls_x509write_crt_set_subject_key(&crt, &key);
        mbedtls_x509write_crt_set_issuer_key(&crt, w->issuer.n ? &issuer_key : &key);
        int code = w->issuer.n ? set_issuer(&crt, w, &issuer, issuer_name, sizeof issuer_name)
                               : mbedtls_x509write_crt_set_issuer_name(&crt, subject);
        bool rsa = mbedtls_pk_get_type(&key) == MBEDTLS_PK_RSA;
        if (code == 0) code = fill(&crt, w, subject, &names, rsa);
        char *room = code == 0 ? buf_reserve(pem, PEM_MAX) : NULL;
        if (room) code = mbedtls_x509write_crt_pem(&crt, (unsigned char *)room, PEM_MAX, RANDOM);
        if (room && code == 0) buf_commit(pem, strlen(room));
        if (code < 0) rc = tls_explain(why, code, "the certificate cannot be made");
        else if (!room) rc = RW_ENOMEM;
    }
    mbedtls_x509write_crt_free(&crt);
    mbedtls_x509_crt_free(&issuer);
    mbedtls_pk_free(&issuer_key);
    mbedtls_pk_free(&key);
    return rc;
}

/* ── requests ─────────────────────────────────────────────────────────────*/

int tls_make_request(const char *const *names, struct str key_pem, struct buf *der,
                     struct tls_why *why) {
    if (tls_library_init() < 0) return RW_ETLS;
    char subject[300];
    struct names list;
    mbedtls_pk_context key;
    mbedtls_x509write_csr csr;
    mbedtls_pk_init(&key);
    mbedtls_x509write_csr_init(&csr);
    default_subject(names, subject, sizeof subject);
    int rc = tls_read_key(key_pem, &key, why);
    if (rc == 0) rc = read_names(names, &list);
    if (rc == 0) {
        /* an authority would take anything else in there amiss */
        if (!list.count || list.list[0].node.type != MBEDTLS_X509_SAN_DNS_NAME ||
            strlen(names[0]) > COMMON_NAME_MAX)
            *subject = 0;
        mbedtls_x509write_csr_set_key(&csr, &key);
        mbedtls_x509write_csr_set_md_alg(&csr, MBEDTLS_MD_SHA256);
        int code = *subject ? mbedtls_x509write_csr_set_subject_name(&csr, subject) : 0;
        if (code == 0 && list.count)
            code = mbedtls_x509write_csr_set_subject_alternative_name(
                &csr, &list.list[list.count - 1]);
        char *room = code == 0 ? buf_reserve(der, PEM_MAX) : NULL;
        if (room) { /* it is written at the end of the room */
            code = mbedtls_x509write_csr_der(&csr, (unsigned char *)room, PEM_MAX, RANDOM);
            if (code > 0) {
                memmove(room, room + PEM_MAX - code, (size_t)code);
                buf_commit(der, (size_t)code);
            }
        }
        if (code < 0) rc = tls_explain(why, code, "the request cannot be made");
        else if (!room) rc = RW_ENOMEM;
    }
    mbedtls_x509write_csr_free(&csr);
    mbedtls_pk_free(&key);
    return rc;
}
