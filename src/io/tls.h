/* SPDX-License-Identifier: MIT */
/* TLS behind few calls, so that the library under it can be changed: only
 * tls_*.c know it. A session is sans-IO, bytes in and bytes out, and does not
 * know what carries them; tls_filter.h puts it on a stream.
 *
 *      identity   a certificate chain and its private key ┐
 *      trust      authorities, to check peers against     ├ shared, counted
 *      context    how to shake hands: role, versions, …   ┘
 *      session    one connection
 *
 * Versions 1.3 and 1.2; AEAD suites with forward secrecy; no renegotiation, no
 * compression, no early data. A client checks the peer's certificate and name
 * unless its context says otherwise. */
#ifndef IO_TLS_H
#define IO_TLS_H

#include "base/buf.h"
#include "base/str.h"
#include "io/tls_store.h"

#define TLS_ALPN_ACME "acme-tls/1" /* RFC 8737 */

enum { TLS_ALPN_MAX = 8, TLS_12 = 0x0303, TLS_13 = 0x0304 };

/* Why something failed, for people. */
struct tls_why {
    char text[400];
};

/* ── identities ───────────────────────────────────────────────────────────*/

struct tls_identity;
/* From PEM (or DER for a single certificate). The key must belong to the first
 * certificate, the chain must be in order. */
int tls_identity_new(struct str chain, struct str key, struct str password,
                     struct tls_identity **out, struct tls_why *why);
struct tls_identity *tls_identity_ref(struct tls_identity *id);
void tls_identity_unref(struct tls_identity **id);
/* Is the first certificate for this host name? */
bool tls_identity_serves(const struct tls_identity *id, struct str name);
/* Signing with its key takes milliseconds (RSA). */
bool tls_identity_is_slow(const struct tls_identity *id);

enum { TLS_NAMES_MAX = 128, TLS_USAGES_MAX = 16 };

/* Who a certificate is for; the value is borrowed from its bytes, an address as text. */
struct tls_name {
    enum tls_name_kind { TLS_NAME_HOST, TLS_NAME_EMAIL, TLS_NAME_URI } kind;
    struct str value;
    char address[46];
};

/* What a certificate says. Texts borrow from the identity or session. */
struct tls_certificate {
    struct str der;
    char subject[256], issuer[256], serial[64];
    char fingerprint[65];         /* SHA-256, lower-case hex */
    char key[24], signature[48];  /* "EC P-256", "ECDSA with SHA256" */
    const char *usage[TLS_USAGES_MAX + 1]; /* "digitalSignature", … ends with NULL */
    int64_t not_before, not_after; /* seconds since 1970 */
    bool self_signed, authority;
};
int tls_identity_describe(const struct tls_identity *id, struct tls_certificate *out);
int tls_certificate_describe(struct str der, struct tls_certificate *out);
bool tls_certificate_serves(struct str der, struct str name);
/* The names that it has, at most `max` of them; how many. */
size_t tls_certificate_names(struct str der, struct tls_name *out, size_t max);

/* ── trust ────────────────────────────────────────────────────────────────*/

struct tls_trust;
int tls_trust_new(struct tls_trust **out);
/* All certificates in `pem`; how many, or < 0. */
int tls_trust_add(struct tls_trust *t, struct str pem, struct tls_why *why);
/* The system's, from where Debian and others keep them; SSL_CERT_FILE and
 * SSL_CERT_DIR come first. */
int tls_trust_add_system(struct tls_trust *t, struct tls_why *why);
int tls_trust_add_revoked(struct tls_trust *t, struct str crl, struct tls_why *why);
struct tls_trust *tls_trust_ref(struct tls_trust *t);
void tls_trust_unref(struct tls_trust **t);

/* ── contexts ─────────────────────────────────────────────────────────────*/

enum tls_verify { TLS_VERIFY_NONE, TLS_VERIFY_OPTIONAL, TLS_VERIFY_REQUIRED };

struct tls_settings {
    bool client;
    enum tls_verify verify;        /* of the peer's certificate */
    struct tls_trust *trust;       /* for that */
    struct tls_identity *identity; /* client: its own, or NULL */
    const char *alpn[TLS_ALPN_MAX + 1]; /* NULL-ended, the best first */
    unsigned min_version;          /* TLS_12 (the default) or TLS_13 */
    bool tickets;                  /* server: lets clients resume */
    uint8_t ticket_secret[32];     /* the keys are made from it and the time */
    uint32_t ticket_lifetime;      /* seconds; 0: a day */
    int64_t (*now)(void);          /* for them, seconds since 1970; NULL: the system's clock */
    struct tls_store *sessions;    /* client that verifies: to go on with, and to keep;
                                      NULL: neither */
    const char *keylog;            /* file for the sessions' secrets (debugging), or NULL;
                                      read when the context is made */
};
struct tls_context;
int tls_context_new(const struct tls_settings *s, struct tls_context **out,
                    struct tls_why *why);
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context **c);
bool tls_context_is_server(const struct tls_context *c);

/* ── sessions ─────────────────────────────────────────────────────────────*/

struct tls;
/* `name`: client: whom to ask for and to expect; server: whom the client asked
 * for, which its tickets are bound to; NULL: nobody. */
int tls_new(struct tls_context *c, struct mem *mem, const char *name, struct tls **out);
void tls_free(struct tls **t);
/* A client's, before the handshake: if its context keeps sessions it goes on with one
 * of this server, whose address (or whatever tells it from others) is `where`, and
 * keeps those that it gets. */
void tls_resume(struct tls *t, struct str where);
/* A server's, before the handshake. */
void tls_use(struct tls *t, struct tls_identity *id);

/* Ciphertext from the peer; keeps a copy until it is read. */
int tls_feed(struct tls *t, struct str bytes);
/* Goes on with the handshake: 1 done, 0 waits for more bytes, or < 0 (an alert
 * may be in the output then). One call is at most one private-key operation;
 * it may run in another thread while nobody else touches the session. */
int tls_handshake(struct tls *t);
/* Decrypts: bytes > 0, 0 none yet, RW_EOF after the peer's close_notify. */
int tls_read(struct tls *t, char *out, size_t size);
/* Encrypts all of it into records of at most `record` bytes each (0: the
 * largest), to the output. */
int tls_write(struct tls *t, struct str bytes, size_t record);
int tls_end(struct tls *t); /* close_notify */
/* What is to be sent: the caller drops what it took. */
struct buf *tls_output(struct tls *t);
/* Gives memory back that only a busy connection needs. */
void tls_idle(struct tls *t);

struct tls_info {
    bool client;
    unsigned version;        /* TLS_12, TLS_13 */
    const char *cipher;      /* "TLS1-3-AES-128-GCM-SHA256" */
    const char *alpn;        /* "" when none was agreed on */
    bool resumed;
    struct str peer;         /* the peer's certificate, DER; none: empty */
    bool peer_verified;
};
void tls_describe(const struct tls *t, struct tls_info *out);
/* The nth certificate that the peer has sent, its own is the 0th; empty: no more. */
struct str tls_peer_certificate(const struct tls *t, size_t n);
/* Why the last call failed. */
const char *tls_why_failed(const struct tls *t);

/* Bytes for applications that bind to the session (RFC 5705, 8446 §7.5). */
int tls_export(struct tls *t, const char *label, struct str context, void *out, size_t size);

#endif
