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
    bool has_hook;
};

struct bind_tls *tls_check_context(lua_State *L, int index);
struct tls_identity *tls_check_identity(lua_State *L, int index);
/* By name; NULL: none fits. Borrowed. */
struct tls_identity *tls_find_identity(const struct bind_tls *t, struct str name);

/* Pushes what a certificate says. */
void tls_push_certificate(lua_State *L, const struct tls_certificate *c);

void tls_open(lua_State *L);

#endif
