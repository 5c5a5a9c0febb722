/* SPDX-License-Identifier: MIT */
/* Between the tls_*.c files: the only header that includes mbedTLS. */
#ifndef IO_TLS_INTERNAL_H
#define IO_TLS_INTERNAL_H

/* The fields of a session's buffers, see tls_idle. */
#define MBEDTLS_ALLOW_PRIVATE_ACCESS
#include <mbedtls/pk.h>
#include <mbedtls/psa_util.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crl.h>
#include <mbedtls/x509_crt.h>
#include <psa/crypto.h>

#include "base/err.h"
#include "base/mem.h"
#include "io/tls.h"

struct tls_identity {
    unsigned refs;
    mbedtls_x509_crt chain; /* the first is ours */
    mbedtls_pk_context key;
    psa_key_id_t opaque;    /* what `key` stands for, or 0 */
    bool is_rsa;            /* then signing takes milliseconds */
};

struct tls_trust {
    unsigned refs;
    mbedtls_x509_crt authorities;
    mbedtls_x509_crl revoked;
    uint8_t digest[32];     /* of all that was added */
};

/* A session's record buffers. Those of the session that was idle last wait for
 * the next one that is not: hardly any are made or wiped while traffic goes on. */
struct tls_buffers {
    unsigned char *in, *out; /* owned, or both NULL */
    size_t in_size, out_size;
};
void tls_buffers_free(struct tls_buffers *b);

struct tls_context {
    unsigned refs;
    struct tls_settings settings; /* alpn: the array below */
    mbedtls_ssl_config config;
    char *alpn_text;              /* owned: the names of `alpn` */
    size_t alpn_size;
    const char *alpn[TLS_ALPN_MAX + 1];
    struct tls_trust *trust;      /* a reference */
    struct tls_identity *identity; /* likewise, or NULL */
    int keylog;                   /* the open file, or -1 */
    struct tls_buffers spare;
};

enum { PREFIX_MAX = 64 }; /* of a record buffer: counter and header */

struct tls_chain;
struct tls {
    mbedtls_ssl_context ssl;
    struct tls_context *context; /* a reference */
    struct tls_identity *identity; /* likewise, or NULL */
    struct mem *mem;
    struct mem account;  /* of the buffers: a handshake may be in another thread */
    struct buf in, out;
    char name[256];      /* client: who is expected; server: who is asked for; or "" */
    bool established, ended, resumed, failed, parked;
    bool offered, keeps; /* client: a session; those that it gets */
    uint8_t key[32];     /* … in its context's store */
    struct tls_chain *chain; /* a reference, or NULL: see tls_resume.h */
    int64_t checked, good_until; /* of the peer's certificates, as in a chain */
    uint8_t prefix[2][PREFIX_MAX]; /* of the buffers that tls_idle freed */
    struct tls_why why;
};

/* Once per process; 0 or RW_ETLS. */
int tls_library_init(void);

/* A code of mbedTLS in ours; the text says what was being done, and why. */
int tls_explain(struct tls_why *why, int code, const char *what);

/* The certificates of an identity: PEM, or one in DER, with a NUL behind the n
 * bytes. 0 or a code of mbedTLS. */
int tls_read_own(mbedtls_x509_crt *chain, const unsigned char *text, size_t n);
/* Any, to look at it: extensions that the library does not know are passed over.
 * It borrows from the bytes. */
int tls_read_any(mbedtls_x509_crt *crt, struct str der);
/* id-pe-acmeIdentifier */
#define TLS_OID_ACME "\x2b\x06\x01\x05\x05\x07\x01\x1f"
/* A private key in PEM. 0 or < 0, and why. */
int tls_read_key(struct str pem, mbedtls_pk_context *key, struct tls_why *why);

/* Does a name of a certificate ("*.example.com") stand for this one? */
bool tls_name_matches(struct str pattern, struct str name);
/* Of this certificate, any of its names. */
bool tls_certificate_is_for(const mbedtls_x509_crt *crt, struct str name);

/* For mbedtls_ssl_set_verify, of each certificate that counts; p: the session. */
int tls_check_peer(void *p, mbedtls_x509_crt *crt, int depth, uint32_t *flags);

int64_t tls_seconds_of(const mbedtls_x509_time *t); /* since 1970 */

/* The session that this thread is in the library with: its callbacks know
 * no more than the configuration. */
extern _Thread_local struct tls *tls_current;

/* The key log: opens the file of the settings; a callback for mbedTLS, p: the
 * session. */
int tls_keylog_open(struct tls_context *c, struct tls_why *why);
void tls_keylog_close(struct tls_context *c);
void tls_keylog_write(void *p, mbedtls_ssl_key_export_type type, const unsigned char *secret,
                      size_t n, const unsigned char client_random[32],
                      const unsigned char server_random[32], mbedtls_tls_prf_types prf);

/* Session tickets: callbacks for mbedTLS, p: the context. */
int tls_ticket_write(void *p, const mbedtls_ssl_session *session, unsigned char *start,
                     const unsigned char *end, size_t *length, uint32_t *lifetime);
int tls_ticket_parse(void *p, mbedtls_ssl_session *session, unsigned char *bytes, size_t n);

#endif
