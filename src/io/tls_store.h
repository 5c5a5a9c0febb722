/* SPDX-License-Identifier: MIT */
/* The sessions that clients keep, to resume them: whoever shares a store shares
 * them, each under its own key (tls_resume.c), so that a session is found again
 * only by who would have made it. Who takes one has it alone. Bounded by
 * tls_sessions, tls_sessions_bytes and tls_sessions_per_server; the oldest go. */
#ifndef IO_TLS_STORE_H
#define IO_TLS_STORE_H

#include "base/limits.h"
#include "base/mem.h"

struct tls_store;
/* `seed`: unpredictable to servers. */
int tls_store_new(struct mem *mem, const uint64_t seed[2], struct tls_store **out);
struct tls_store *tls_store_ref(struct tls_store *s);
void tls_store_unref(struct tls_store **s);
/* From now on by these limits, what is there, too. */
void tls_store_bound(struct tls_store *s, const struct limits *l);
/* What it has: sessions, and their bytes with those of the certificates. */
size_t tls_store_count(const struct tls_store *s);
size_t tls_store_bytes(const struct tls_store *s);

#endif
