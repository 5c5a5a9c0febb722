/* SPDX-License-Identifier: MIT */
/* What outlives a connection, so that another one may go on with its session: on
 * the client's side in a store, on the server's in the ticket. */
#ifndef IO_TLS_RESUME_H
#define IO_TLS_RESUME_H

#include "io/digest.h"
#include "io/tls_internal.h"
#include "io/tls_store.h"

/* ── what the peer has shown (tls_chain.c) ────────────────────────────────*/

/* Shared, counted, by one thread. A session that is resumed shows no certificates
 * anew, and the library keeps those of TLS 1.2 only, and of these the first. */
struct tls_chain {
    unsigned refs;
    struct mem *mem;
    size_t size;        /* of `bytes` */
    int64_t checked;    /* in a full handshake, seconds since 1970 … */
    int64_t good_until; /* … and when that would first have gone otherwise */
    bool verified;
    uint8_t bytes[];    /* certificates in DER, each behind its length in 3 bytes */
};

/* NULL: out of memory. */
struct tls_chain *tls_chain_of(struct mem *mem, const mbedtls_x509_crt *shown);
struct tls_chain *tls_chain_ref(struct tls_chain *c);
void tls_chain_unref(struct tls_chain **c);
struct str tls_chain_nth(const struct tls_chain *c, size_t n); /* empty: no more */
/* As bytes, in a ticket: how many, and there and back. */
size_t tls_chain_packed(const struct tls_chain *c);
void tls_chain_pack(const struct tls_chain *c, uint8_t *out);
int tls_chain_unpack(struct mem *mem, struct str packed, struct tls_chain **out);

/* ── the store, from inside (tls_store.c) ─────────────────────────────────*/

struct tls_saved {
    struct tls_saved *older, *newer; /* list: all of the store */
    struct tls_saved *next;          /* list: of this key, newest first */
    struct mem *mem;
    struct tls_chain *chain;         /* a reference */
    uint8_t key[DIGEST_SIZE];
    int64_t since, until;            /* when it may be used */
    size_t size;
    unsigned char session[];         /* of mbedtls_ssl_session_save */
};

/* A place for a session of `size` bytes, to be filled and put, or freed; NULL: no memory. */
struct tls_saved *tls_saved_new(struct tls_store *s, const uint8_t key[DIGEST_SIZE], size_t size,
                                struct tls_chain *chain);
void tls_saved_free(struct tls_saved **saved);
/* Takes it, unless < 0. */
int tls_store_put(struct tls_store *s, struct tls_saved *saved);
/* The newest that may be used now, to be freed; or NULL. */
struct tls_saved *tls_store_take(struct tls_store *s, const uint8_t key[DIGEST_SIZE], int64_t now);
void tls_store_forget(struct tls_store *s, const uint8_t key[DIGEST_SIZE]);
struct mem *tls_store_mem(struct tls_store *s);
int64_t tls_store_lifetime(const struct tls_store *s); /* seconds from a full check */

/* ── a session's part (tls_resume.c) ──────────────────────────────────────*/

/* After a step of a handshake. */
void tls_resume_stepped(struct tls *t);
void tls_resume_established(struct tls *t);
/* Client: there is a new ticket. */
void tls_resume_keep(struct tls *t);
void tls_resume_end(struct tls *t); /* of tls_free */
/* What the peer has shown, in this handshake or the one that is gone on with:
 * borrowed, or made and held by the session; NULL: nothing, or no memory. */
struct tls_chain *tls_resume_chain(struct tls *t, const mbedtls_ssl_session *session);
/* The session as bytes, without certificates. 0 or a code of mbedTLS. */
int tls_resume_save(const mbedtls_ssl_session *session, unsigned char *out, size_t room, size_t *n);
/* d becomes a digest of d and these bytes. 0 or < 0. */
int tls_mix(uint8_t d[DIGEST_SIZE], struct str bytes);

#endif
