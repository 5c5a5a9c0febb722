/* SPDX-License-Identifier: MIT */
/* Certificate chains and their keys, and authorities. Keys are given to PSA once
 * and are opaque from then on: otherwise each signature would import and check
 * the key anew, with curves at twice the price of the signature. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mbedtls/error.h>

#include "io/accel.h"
#include "io/tls_resume.h"

/* ── the library ──────────────────────────────────────────────────────────*/

static pthread_once_t once = PTHREAD_ONCE_INIT;
static psa_status_t started;

static void start(void) {
    started = psa_crypto_init();
    if (started == PSA_SUCCESS) accel_start();
}

int tls_library_init(void) {
    pthread_once(&once, start);
    return started == PSA_SUCCESS ? 0 : RW_ETLS;
}

int tls_explain(struct tls_why *why, int code, const char *what) {
    char text[160] = "";
    mbedtls_strerror(code, text, sizeof text);
    if (why) snprintf(why->text, sizeof why->text, "%s: %s", what, text);
    switch (code) {
    case MBEDTLS_ERR_SSL_ALLOC_FAILED:
    case MBEDTLS_ERR_X509_ALLOC_FAILED:
    case MBEDTLS_ERR_PK_ALLOC_FAILED: return RW_ENOMEM;
    case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED:
    case MBEDTLS_ERR_SSL_BAD_CERTIFICATE:
    case MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE: return RW_ECERTIFICATE;
    case MBEDTLS_ERR_SSL_CONN_EOF: return RW_ETRUNCATED;
    case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY: return RW_EOF;
    default: return RW_ETLS;
    }
}

static int refuse(struct tls_why *why, const char *text) {
    if (why) snprintf(why->text, sizeof why->text, "%s", text);
    return RW_ECERTIFICATE;
}

/* mbedTLS knows PEM by its NUL: a copy that has one. The caller frees it. */
static unsigned char *with_nul(struct str text) {
    unsigned char *copy = malloc(text.n + 1);
    if (!copy) return NULL;
    if (text.n) memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    return copy;
}

static void wipe_free(unsigned char *p, size_t n) {
    mbedtls_platform_zeroize(p, n);
    free(p);
}

static bool is_pem(struct str text) {
    return memmem(text.p, text.n, "-----BEGIN ", 11) != NULL;
}

/* ── identities ───────────────────────────────────────────────────────────*/

static int parse_chain(struct tls_identity *id, struct str chain, struct tls_why *why) {
    if (chain.n == 0) return refuse(why, "the certificate is empty");
    unsigned char *text = with_nul(chain);
    if (!text) return RW_ENOMEM;
    int rc = tls_read_own(&id->chain, text, chain.n);
    free(text);
    if (rc < 0)
        return tls_explain(why, rc, id->chain.version ? "a certificate of the chain cannot be read"
                                                      : "the certificate cannot be read");
    return 0;
}

static int parse_key(struct tls_identity *id, struct str key, struct str password,
                     struct tls_why *why) {
    if (key.n == 0) return refuse(why, "the key is empty");
    unsigned char *text = with_nul(key);
    if (!text) return RW_ENOMEM;
    size_t n = key.n + (is_pem(key) ? 1 : 0);
    int rc = mbedtls_pk_parse_key(&id->key, text, n,
                                  password.n ? (const unsigned char *)password.p : NULL,
                                  password.n, mbedtls_psa_get_random,
                                  MBEDTLS_PSA_RANDOM_STATE);
    wipe_free(text, key.n + 1);
    if (rc == MBEDTLS_ERR_PK_PASSWORD_REQUIRED)
        return refuse(why, "the key is encrypted, and no password is given");
    if (rc == MBEDTLS_ERR_PK_PASSWORD_MISMATCH)
        return refuse(why, "the password does not open the key");
    if (rc < 0) return tls_explain(why, rc, "the key cannot be read");
    rc = mbedtls_pk_check_pair(&id->chain.pk, &id->key, mbedtls_psa_get_random,
                               MBEDTLS_PSA_RANDOM_STATE);
    if (rc < 0) return refuse(why, "the key does not belong to the certificate");
    return 0;
}

static int make_opaque(struct tls_identity *id, struct tls_why *why) {
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    int rc = mbedtls_pk_get_psa_attributes(&id->key, PSA_KEY_USAGE_SIGN_HASH, &attributes);
    /* TLS 1.2 asks for this kind of ECDSA by name, TLS 1.3 for this one of RSA. */
    if (PSA_ALG_IS_ECDSA(psa_get_key_algorithm(&attributes)))
        psa_set_key_algorithm(&attributes, PSA_ALG_ECDSA(PSA_ALG_ANY_HASH));
    else if (PSA_ALG_IS_RSA_PKCS1V15_SIGN(psa_get_key_algorithm(&attributes)))
        psa_set_key_enrollment_algorithm(&attributes, PSA_ALG_RSA_PSS(PSA_ALG_ANY_HASH));
    if (rc == 0) rc = mbedtls_pk_import_into_psa(&id->key, &attributes, &id->opaque);
    if (rc < 0) return tls_explain(why, rc, "the key cannot be used");
    mbedtls_pk_free(&id->key);
    mbedtls_pk_init(&id->key);
    rc = mbedtls_pk_setup_opaque(&id->key, id->opaque);
    return rc < 0 ? tls_explain(why, rc, "the key cannot be used") : 0;
}

static int check_order(const struct tls_identity *id, struct tls_why *why) {
    for (const mbedtls_x509_crt *c = &id->chain; c->next; c = c->next)
        if (c->issuer_raw.len != c->next->subject_raw.len ||
            memcmp(c->issuer_raw.p, c->next->subject_raw.p, c->issuer_raw.len) != 0)
            return refuse(why, "the chain is out of order: each certificate must be "
                               "followed by the one that signed it");
    return 0;
}

int tls_identity_new(struct str chain, struct str key, struct str password,
                     struct tls_identity **out, struct tls_why *why) {
    *out = NULL;
    if (tls_library_init() < 0) return RW_ETLS;
    struct tls_identity *id = calloc(1, sizeof *id);
    if (!id) return RW_ENOMEM;
    id->refs = 1;
    mbedtls_x509_crt_init(&id->chain);
    mbedtls_pk_init(&id->key);
    int rc = parse_chain(id, chain, why);
    if (rc == 0) rc = check_order(id, why);
    if (rc == 0) rc = parse_key(id, key, password, why);
    id->is_rsa = rc == 0 && mbedtls_pk_get_type(&id->key) == MBEDTLS_PK_RSA;
    if (rc == 0) rc = make_opaque(id, why);
    if (rc < 0) tls_identity_unref(&id);
    *out = id;
    return rc;
}

struct tls_identity *tls_identity_ref(struct tls_identity *id) {
    id->refs++;
    return id;
}

void tls_identity_unref(struct tls_identity **handle) {
    struct tls_identity *id = *handle;
    *handle = NULL;
    if (!id || --id->refs) return;
    mbedtls_pk_free(&id->key);
    if (id->opaque) psa_destroy_key(id->opaque);
    if (id->opaque && id->is_rsa) accel_forget();
    mbedtls_x509_crt_free(&id->chain);
    free(id);
}

bool tls_identity_serves(const struct tls_identity *id, struct str name) {
    return tls_certificate_is_for(&id->chain, name);
}

bool tls_identity_is_slow(const struct tls_identity *id) { return id->is_rsa; }

/* ── trust ────────────────────────────────────────────────────────────────*/

int tls_trust_new(struct tls_trust **out) {
    *out = NULL;
    if (tls_library_init() < 0) return RW_ETLS;
    struct tls_trust *t = calloc(1, sizeof *t);
    if (!t) return RW_ENOMEM;
    t->refs = 1;
    mbedtls_x509_crt_init(&t->authorities);
    mbedtls_x509_crl_init(&t->revoked);
    *out = t;
    return 0;
}

struct tls_trust *tls_trust_ref(struct tls_trust *t) {
    t->refs++;
    return t;
}

void tls_trust_unref(struct tls_trust **handle) {
    struct tls_trust *t = *handle;
    *handle = NULL;
    if (!t || --t->refs) return;
    mbedtls_x509_crt_free(&t->authorities);
    mbedtls_x509_crl_free(&t->revoked);
    free(t);
}

static int count(const mbedtls_x509_crt *list) {
    int n = 0;
    for (; list && list->version; list = list->next) n++;
    return n;
}

/* Who was checked by these texts was checked by no others: for tls_resume.c. */
static int note(struct tls_trust *t, struct str kind, struct str text) {
    int rc = tls_mix(t->digest, kind);
    return rc == 0 ? tls_mix(t->digest, text) : rc;
}

int tls_trust_add(struct tls_trust *t, struct str pem, struct tls_why *why) {
    if (note(t, STR("authorities"), pem) < 0) return RW_ETLS;
    int before = count(&t->authorities);
    unsigned char *text = with_nul(pem);
    if (!text) return RW_ENOMEM;
    int rc = mbedtls_x509_crt_parse(&t->authorities, text, pem.n + (is_pem(pem) ? 1 : 0));
    free(text);
    int added = count(&t->authorities) - before;
    if (added > 0) return added; /* some of a system's bundle may be exotic */
    if (rc == 0) return refuse(why, "there is no certificate in it");
    return tls_explain(why, rc, "the authorities cannot be read");
}

int tls_trust_add_revoked(struct tls_trust *t, struct str crl, struct tls_why *why) {
    if (note(t, STR("revoked"), crl) < 0) return RW_ETLS;
    unsigned char *text = with_nul(crl);
    if (!text) return RW_ENOMEM;
    int rc = mbedtls_x509_crl_parse(&t->revoked, text, crl.n + (is_pem(crl) ? 1 : 0));
    free(text);
    return rc < 0 ? tls_explain(why, rc, "the revocation list cannot be read") : 0;
}

enum { BUNDLE_MAX = 16 << 20 };

static int add_file(struct tls_trust *t, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0) return -1;
    int added = -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < BUNDLE_MAX) {
        char *text = malloc((size_t)st.st_size + 1);
        ssize_t n = text ? read(fd, text, (size_t)st.st_size) : -1;
        if (n > 0) added = tls_trust_add(t, str_of(text, (size_t)n), NULL);
        free(text);
    }
    close(fd);
    return added;
}

static int add_directory(struct tls_trust *t, const char *path) {
    DIR *dir = opendir(path);
    if (!dir) return -1;
    int added = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char file[1024];
        if (*e->d_name == '.') continue;
        if ((size_t)snprintf(file, sizeof file, "%s/%s", path, e->d_name) >= sizeof file) continue;
        int n = add_file(t, file);
        if (n > 0) added += n;
    }
    closedir(dir);
    return added;
}

int tls_trust_add_system(struct tls_trust *t, struct tls_why *why) {
    static const char *const bundles[] = {
        "/etc/ssl/certs/ca-certificates.crt", /* Debian, Alpine, Arch */
        "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora */
        "/etc/ssl/ca-bundle.pem",             /* SUSE */
        "/etc/ssl/cert.pem",                  /* BSD */
    };
    const char *file = getenv("SSL_CERT_FILE"), *dir = getenv("SSL_CERT_DIR");
    int added = -1;
    if (file && *file) added = add_file(t, file);
    if (dir && *dir && added <= 0) added = add_directory(t, dir);
    if ((file && *file) || (dir && *dir)) {
        if (added > 0) return added;
        return refuse(why, "no authority can be read from SSL_CERT_FILE or SSL_CERT_DIR");
    }
    for (size_t i = 0; i < sizeof bundles / sizeof *bundles; i++)
        if ((added = add_file(t, bundles[i])) > 0) return added;
    return refuse(why, "the system has no list of authorities (Debian: ca-certificates)");
}
