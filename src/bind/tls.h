/* SPDX-License-Identifier: MIT */
/* TLS as scripts see it: identities, trust and contexts. What a connection
 * does with them is conn_tls.c. */
#ifndef BIND_TLS_H
#define BIND_TLS_H

#include "bind/bind.h"
#include "io/tls_filter.h"

/* A context in a userdata; uservalue 1 is the hook that chooses a certificate. */
struct bind_tls {
    struct tls_context *context;
    struct map names;      /* "example.com", ".example.com" for "*.example.com" →
                              struct tls_identity, a reference each */
    struct tls_identity *fallback; /* without a name, or when nothing fits; or NULL */
    struct tls_context *challenge; /* for TLS-ALPN-01 (RFC 8737), or NULL */
    bool has_hook;
};

/* Where a context is anchored: uservalue of a server's box (http.h has the
 * others), and of a transport. */
enum { BOX_TLS = 4 };

struct bind_tls *tls_check_context(lua_State *L, int index);
struct tls_identity *tls_check_identity(lua_State *L, int index);
/* By name, else the fallback; with a hook that one decides instead: NULL. Borrowed. */
struct tls_identity *tls_find_identity(const struct bind_tls *t, struct str name);

/* ── certificate.c ────────────────────────────────────────────────────────*/

/* Pushes what a certificate says. */
void tls_push_certificate(lua_State *L, const struct tls_certificate *c);
int core_tls_certificate(lua_State *L);
int core_tls_certificate_serves(lua_State *L);

/* ── conn_tls.c ───────────────────────────────────────────────────────────*/

/* On a stream whose owner is a connection when the first hook comes. `name`: a
 * client's. 0 or < 0. */
int conn_tls_push(struct stream *s, const struct bind_tls *t, const char *name);
/* A client's handshake on a stream that has no owner yet. `done` is told once:
 * 0 and the stream, again without an owner, or < 0, why, and no stream. */
typedef void tls_secured(void *owner, int status, const char *why, struct stream *s);
int tls_secure(struct rw *rw, struct stream *s, const struct bind_tls *t, const char *name,
               tls_secured *done, void *owner);
bool conn_is_secure(const struct stream *s);
bool conn_in_handshake(const struct stream *s);
/* Pushes what was agreed on, or nil. */
void push_tls(lua_State *L, const struct stream *s);

void tls_open(lua_State *L);

#endif
