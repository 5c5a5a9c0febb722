/* SPDX-License-Identifier: MIT */
/* A client that goes on with an earlier session: which one, and what becomes of the
 * tickets that it gets.
 *
 * Its key is a digest of all that the certificates were checked by, and of whom we
 * were to the server: verification, oldest version, authorities and lists of who
 * is revoked, our own certificate, ALPN; and the server's name and address. Who
 * asks for anything else finds nothing. Only a full check counts: resumptions
 * hand on when it was, and what it saw.
 *
 * A session without verification is neither kept nor looked for. A ticket of TLS 1.3
 * is used once (RFC 8446, appendix C.4). That of TLS 1.2, whose servers give no other
 * one in a resumption, is back in the store when the handshake is over. A handshake
 * with a ticket that comes to nothing costs the others of its key.
 */
#include "io/tls_resume.h"

#include <time.h>

#include <mbedtls/platform.h>

/* ── keys ─────────────────────────────────────────────────────────────────*/

int tls_mix(uint8_t d[DIGEST_SIZE], struct str bytes) {
    uint8_t both[2 * DIGEST_SIZE];
    memcpy(both, d, DIGEST_SIZE);
    int rc = digest_sha256(bytes, both + DIGEST_SIZE);
    return rc < 0 ? rc : digest_sha256(str_of((const char *)both, sizeof both), d);
}

static int mix_identity(uint8_t d[DIGEST_SIZE], const struct tls_identity *id) {
    int rc = tls_mix(d, id ? STR("identity") : STR("nobody"));
    for (const mbedtls_x509_crt *crt = id ? &id->chain : NULL; crt && rc == 0; crt = crt->next)
        rc = tls_mix(d, str_of((const char *)crt->raw.p, crt->raw.len));
    return rc;
}

/* Each part has its own place, so that no two keys have the same parts. */
static int make_key(const struct tls *t, struct str where, uint8_t key[DIGEST_SIZE]) {
    const struct tls_context *c = t->context;
    const struct tls_settings *s = &c->settings;
    const char kind[] = {(char)s->verify, s->min_version == TLS_13};
    char name[sizeof t->name];
    size_t n = 0;
    while (t->name[n]) name[n] = ascii_lower(t->name[n]), n++;
    memset(key, 0, DIGEST_SIZE);
    int rc = tls_mix(key, str_of(kind, sizeof kind));
    if (rc == 0) rc = tls_mix(key, str_of((const char *)c->trust->digest, DIGEST_SIZE));
    if (rc == 0) rc = tls_mix(key, str_of(c->alpn_text ? c->alpn_text : "", c->alpn_size));
    if (rc == 0) rc = tls_mix(key, str_of(name, n));
    if (rc == 0) rc = tls_mix(key, where);
    return rc == 0 ? mix_identity(key, c->identity) : rc;
}

/* ── offering ─────────────────────────────────────────────────────────────*/

static int64_t seconds_now(const struct tls *t) {
    const struct tls_settings *s = &t->context->settings;
    return s->now ? s->now() : (int64_t)time(NULL);
}

/* 0 or < 0: then the handshake is a full one, with nothing of the session left in it. */
static int load(mbedtls_ssl_context *ssl, const struct tls_saved *saved, int64_t now) {
    mbedtls_ssl_session session;
    mbedtls_ssl_session_init(&session);
    int rc = mbedtls_ssl_session_load(&session, saved->session, saved->size);
    if (rc == 0 && session.tls_version == MBEDTLS_SSL_VERSION_TLS1_2)
        session.ticket_lifetime = (uint32_t)(saved->until - now); /* if it is kept again */
    if (rc == 0 && (rc = mbedtls_ssl_set_session(ssl, &session)) < 0) {
        mbedtls_ssl_session_free(ssl->session_negotiate);
        mbedtls_ssl_session_init(ssl->session_negotiate);
    }
    mbedtls_ssl_session_free(&session);
    return rc;
}

void tls_resume(struct tls *t, struct str where) {
    const struct tls_context *c = t->context;
    struct tls_store *store = c->settings.sessions;
    if (!store || !*t->name || !c->trust) return;
    if (make_key(t, where, t->key) < 0) return;
    t->keeps = true;
    int64_t now = seconds_now(t);
    struct tls_saved *saved = tls_store_take(store, t->key, now);
    if (saved && load(&t->ssl, saved, now) == 0) {
        t->chain = tls_chain_ref(saved->chain);
        t->offered = t->resumed = true;
    }
    tls_saved_free(&saved);
}

static void forget_ticket(mbedtls_ssl_session *s) {
    if (s->ticket) mbedtls_platform_zeroize(s->ticket, s->ticket_len);
    mbedtls_free(s->ticket);
    s->ticket = NULL;
    s->ticket_len = 0;
}

/* A resumption does not come to the server's certificate. */
void tls_resume_stepped(struct tls *t) {
    if (t->ssl.state != MBEDTLS_SSL_SERVER_CERTIFICATE) return;
    t->resumed = false;
    tls_chain_unref(&t->chain);
    if (t->offered) forget_ticket(t->ssl.session_negotiate);
}

/* ── keeping ──────────────────────────────────────────────────────────────*/

void tls_resume_established(struct tls *t) {
    t->checked = t->chain ? t->chain->checked : seconds_now(t);
    if (!t->context->settings.client) return;
    if (t->ssl.session->tls_version == MBEDTLS_SSL_VERSION_TLS1_2) tls_resume_keep(t);
    else forget_ticket(t->ssl.session);
}

struct tls_chain *tls_resume_chain(struct tls *t, const mbedtls_ssl_session *session) {
    if (t->resumed || t->chain || !session->peer_cert) return t->chain;
    const struct tls_context *c = t->context;
    struct mem *mem = c->settings.client ? tls_store_mem(c->settings.sessions) : &t->account;
    t->chain = tls_chain_of(mem, session->peer_cert);
    if (!t->chain) return NULL;
    t->chain->checked = t->established ? t->checked : seconds_now(t);
    t->chain->good_until = t->good_until;
    t->chain->verified = c->settings.verify != TLS_VERIFY_NONE && session->verify_result == 0;
    return t->chain;
}

int tls_resume_save(const mbedtls_ssl_session *session, unsigned char *out, size_t room, size_t *n) {
    mbedtls_ssl_session bare = *session;
    bare.peer_cert = NULL;
    int rc = mbedtls_ssl_session_save(&bare, out, room, n);
    mbedtls_platform_zeroize(&bare, sizeof bare);
    return rc;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* When the ticket is worth nothing any more. Without a word of TLS 1.2's server it is
 * good for as long as we like. */
static int64_t end_of(const struct tls *t, int64_t now) {
    uint32_t lifetime = t->ssl.session->ticket_lifetime;
    int64_t end = least(t->chain->checked + tls_store_lifetime(t->context->settings.sessions),
                        t->chain->good_until);
    return lifetime ? least(end, now + lifetime) : end;
}

static int keep(struct tls *t) {
    struct tls_store *store = t->context->settings.sessions;
    const mbedtls_ssl_session *session = t->ssl.session;
    const struct tls_chain *chain = tls_resume_chain(t, session);
    int64_t now = seconds_now(t);
    size_t n = 0;
    if (!chain || !chain->verified || end_of(t, now) <= now) return 0;
    tls_resume_save(session, NULL, 0, &n);
    struct tls_saved *saved = n ? tls_saved_new(store, t->key, n, t->chain) : NULL;
    if (!saved) return RW_ENOMEM;
    saved->since = now;
    saved->until = end_of(t, now);
    int rc = tls_resume_save(session, saved->session, n, &n) < 0 ? RW_ETLS : tls_store_put(store, saved);
    if (rc < 0) tls_saved_free(&saved);
    return rc;
}

/* Without memory the next handshake is a full one. */
void tls_resume_keep(struct tls *t) {
    mbedtls_ssl_session *session = t->ssl.session;
    if (t->keeps && session->ticket) keep(t);
    forget_ticket(session);
}

void tls_resume_end(struct tls *t) {
    if (t->offered && !t->established) tls_store_forget(t->context->settings.sessions, t->key);
    tls_chain_unref(&t->chain);
}
