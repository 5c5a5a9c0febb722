/* SPDX-License-Identifier: MIT */
/* TLS on a stream, from its first byte or in mid-stream (STARTTLS: what came
 * in plain text before the push has been delivered; what comes after it is
 * ciphertext, and anything else fails). Writes wait until the handshake is over. */
#ifndef IO_TLS_FILTER_H
#define IO_TLS_FILTER_H

#include "base/client_hello.h"
#include "io/stream.h"
#include "io/tls.h"

struct tls_filter;

struct tls_filter_hooks {
    /* Server: who the client asks for. Answer with tls_filter_use or
     * tls_filter_refuse, now or later; hello is borrowed until this returns. */
    void (*on_hello)(void *owner, struct tls_filter *f, const struct client_hello *hello);
    /* May be NULL: */
    void (*on_established)(void *owner, struct tls_filter *f);
    void (*on_failed)(void *owner, int code, const char *why);
};

/* `name`: client: the host to ask for and to expect. 0 or < 0:
 * RW_EPROTO if the stream holds plain text that the owner has not read. */
int tls_filter_push(struct stream *s, struct tls_context *c, const char *name,
                    const struct tls_filter_hooks *hooks, void *owner,
                    struct tls_filter **out);
void tls_filter_use(struct tls_filter *f, struct tls_identity *id);
/* Before tls_filter_use: this handshake goes by another context. 0 or < 0. */
int tls_filter_change(struct tls_filter *f, struct tls_context *c);
void tls_filter_refuse(struct tls_filter *f, const char *why); /* alert: unrecognized_name */
/* The session, for tls_describe and the like; NULL once the stream is closing. */
struct tls *tls_filter_session(struct tls_filter *f);
/* The one on the stream, or NULL. */
struct tls_filter *tls_filter_of(const struct stream *s);
bool tls_filter_established(const struct tls_filter *f);
/* Another owner of the hooks. */
void tls_filter_own(struct tls_filter *f, const struct tls_filter_hooks *hooks, void *owner);

#endif
