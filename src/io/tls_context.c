/* SPDX-License-Identifier: MIT */
/* How to shake hands: what mbedTLS calls a configuration, made once and shared
 * by the sessions of a listener or a kind of client. */
#include <stdlib.h>

#include "io/accel.h"
#include "io/tls_resume.h"

/* AEAD with forward secrecy only. With AES in the processor GCM comes first:
 * it is several times faster there, and elsewhere ChaCha20 is. */
static const int suites_aes[] = {
    MBEDTLS_TLS1_3_AES_128_GCM_SHA256, MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
    MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, 0,
};
static const int suites_plain[] = {
    MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256, MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
    MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, 0,
};

/* The faster of the first two comes first, if the peer has both. */
#define OTHER_GROUPS MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, MBEDTLS_SSL_IANA_TLS_GROUP_SECP521R1, 0
static const uint16_t groups_p256[] = {MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
                                       MBEDTLS_SSL_IANA_TLS_GROUP_X25519, OTHER_GROUPS};
static const uint16_t groups_x25519[] = {MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
                                         MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, OTHER_GROUPS};

static bool has_fast_aes(void) {
#if defined(__x86_64__) || defined(__i386__)
    return accel_has_gcm() ||
           (__builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul"));
#else
    return true; /* the ARMv8 of this decade */
#endif
}

static int copy_alpn(struct tls_context *c, const struct tls_settings *s) {
    size_t n = 0, size = 0;
    while (n < TLS_ALPN_MAX && s->alpn[n]) size += strlen(s->alpn[n++]) + 1;
    if (n == 0) return 0;
    c->alpn_text = malloc(size);
    if (!c->alpn_text) return RW_ENOMEM;
    c->alpn_size = size;
    char *at = c->alpn_text;
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(s->alpn[i]) + 1;
        memcpy(at, s->alpn[i], length);
        c->alpn[i] = at;
        at += length;
    }
    return mbedtls_ssl_conf_alpn_protocols(&c->config, c->alpn);
}

/* In the handshake, when the certificate is needed: tls_use chose it. */
static int give_identity(mbedtls_ssl_context *ssl) {
    struct tls *t = mbedtls_ssl_get_user_data_p(ssl);
    if (!t->identity) return MBEDTLS_ERR_SSL_NO_APPLICATION_PROTOCOL;
    return mbedtls_ssl_set_hs_own_cert(ssl, &t->identity->chain, &t->identity->key);
}

static void good_until(struct tls *t, const mbedtls_x509_time *end) {
    int64_t seconds = tls_seconds_of(end);
    if (seconds < t->good_until) t->good_until = seconds;
}

/* The library checks the chain; a server's name is checked here, since a name that
 * is an address must not go into the server name extension. */
int tls_check_peer(void *p, mbedtls_x509_crt *crt, int depth, uint32_t *flags) {
    struct tls *t = p;
    const struct tls_context *c = t->context;
    good_until(t, &crt->valid_to);
    if (depth) return 0;
    for (const mbedtls_x509_crl *crl = c->trust ? &c->trust->revoked : NULL; crl; crl = crl->next)
        if (crl->version) good_until(t, &crl->next_update);
    if (c->settings.client && *t->name && !tls_certificate_is_for(crt, str_c(t->name)))
        *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    return 0;
}

static void configure_peer(struct tls_context *c) {
    static const int modes[] = {
        [TLS_VERIFY_NONE] = MBEDTLS_SSL_VERIFY_NONE,
        [TLS_VERIFY_OPTIONAL] = MBEDTLS_SSL_VERIFY_OPTIONAL,
        [TLS_VERIFY_REQUIRED] = MBEDTLS_SSL_VERIFY_REQUIRED,
    };
    mbedtls_ssl_conf_authmode(&c->config, modes[c->settings.verify]);
    if (c->trust)
        mbedtls_ssl_conf_ca_chain(&c->config, &c->trust->authorities,
                                  c->trust->revoked.version ? &c->trust->revoked : NULL);
}

static void configure_tickets(struct tls_context *c) {
    mbedtls_ssl_config *config = &c->config;
    if (c->settings.client) {
        bool wanted = c->settings.sessions;
        mbedtls_ssl_conf_session_tickets(config, wanted);
        mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(config, wanted);
    } else if (c->settings.tickets) {
        if (!c->settings.ticket_lifetime) c->settings.ticket_lifetime = 86400;
        mbedtls_ssl_conf_session_tickets_cb(config, tls_ticket_write, tls_ticket_parse, c);
    }
}

static int configure(struct tls_context *c, struct tls_why *why) {
    mbedtls_ssl_config *config = &c->config;
    int rc = mbedtls_ssl_config_defaults(
        config, c->settings.client ? MBEDTLS_SSL_IS_CLIENT : MBEDTLS_SSL_IS_SERVER,
        MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc < 0) return tls_explain(why, rc, "TLS cannot be set up");
    mbedtls_ssl_conf_rng(config, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
    mbedtls_ssl_conf_ciphersuites(config, has_fast_aes() ? suites_aes : suites_plain);
    mbedtls_ssl_conf_groups(config, accel_has_p256() ? groups_p256 : groups_x25519);
    mbedtls_ssl_conf_min_tls_version(config, c->settings.min_version == TLS_13
                                                 ? MBEDTLS_SSL_VERSION_TLS1_3
                                                 : MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_max_tls_version(config, MBEDTLS_SSL_VERSION_TLS1_3);
    mbedtls_ssl_conf_tls13_key_exchange_modes(
        config, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL |
                    MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL);
    if (!c->settings.client) mbedtls_ssl_conf_cert_cb(config, give_identity);
    configure_peer(c);
    configure_tickets(c);
    if (!c->identity) return 0;
    rc = mbedtls_ssl_conf_own_cert(config, &c->identity->chain, &c->identity->key);
    return rc < 0 ? tls_explain(why, rc, "the certificate cannot be used") : 0;
}

int tls_context_new(const struct tls_settings *s, struct tls_context **out,
                    struct tls_why *why) {
    *out = NULL;
    if (tls_library_init() < 0) return RW_ETLS;
    struct tls_context *c = calloc(1, sizeof *c);
    if (!c) return RW_ENOMEM;
    c->refs = 1;
    c->settings = *s;
    c->keylog = -1;
    if (s->trust) c->trust = tls_trust_ref(s->trust);
    if (s->identity) c->identity = tls_identity_ref(s->identity);
    if (s->verify != TLS_VERIFY_REQUIRED) c->settings.sessions = NULL; /* nothing was checked */
    if (c->settings.sessions) tls_store_ref(s->sessions);
    mbedtls_ssl_config_init(&c->config);
    int rc = configure(c, why);
    if (rc == 0 && (rc = copy_alpn(c, s)) < 0) rc = tls_explain(why, rc, "ALPN");
    if (rc == 0 && s->keylog) rc = tls_keylog_open(c, why);
    if (rc < 0) tls_context_unref(&c);
    *out = c;
    return rc;
}

struct tls_context *tls_context_ref(struct tls_context *c) {
    c->refs++;
    return c;
}

void tls_context_unref(struct tls_context **handle) {
    struct tls_context *c = *handle;
    *handle = NULL;
    if (!c || --c->refs) return;
    tls_keylog_close(c);
    mbedtls_ssl_config_free(&c->config);
    tls_buffers_free(&c->spare);
    tls_trust_unref(&c->trust);
    tls_identity_unref(&c->identity);
    tls_store_unref(&c->settings.sessions);
    mbedtls_platform_zeroize(c->settings.ticket_secret, sizeof c->settings.ticket_secret);
    free(c->alpn_text);
    free(c);
}

bool tls_context_is_server(const struct tls_context *c) { return !c->settings.client; }
