/* SPDX-License-Identifier: MIT */
/* Making keys, certificates and requests: for development, tests and ACME. */
#ifndef IO_TLS_ISSUE_H
#define IO_TLS_ISSUE_H

#include "io/tls.h"

enum tls_key_kind { TLS_KEY_P256, TLS_KEY_P384, TLS_KEY_RSA2048, TLS_KEY_RSA4096 };
int tls_make_key(enum tls_key_kind kind, struct buf *pem);

struct tls_wish {
    const char *subject;        /* "CN=Test"; NULL: the first name's */
    /* NULL-ended: host names, addresses, mail addresses (with '@'), URIs ("://") */
    const char *const *names;
    int64_t not_before, not_after; /* seconds since 1970 */
    bool authority;             /* may sign others */
    bool client;                /* … for TLS clients; otherwise servers */
    struct str issuer, issuer_key; /* PEM; empty: signed with its own key */
    struct str acme;            /* 32 bytes for TLS-ALPN-01 (RFC 8737 §3), or empty */
};
int tls_make_certificate(const struct tls_wish *wish, struct str key_pem, struct buf *pem,
                         struct tls_why *why);
/* A request (PKCS #10, DER) for these names. */
int tls_make_request(const char *const *names, struct str key_pem, struct buf *der,
                     struct tls_why *why);

#endif
