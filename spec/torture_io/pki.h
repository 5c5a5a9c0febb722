/* SPDX-License-Identifier: MIT */
/* An authority and its certificates, for tests of TLS. */
#ifndef TORTURE_PKI_H
#define TORTURE_PKI_H

#include "io/tls.h"
#include "io/tls_issue.h"
#include "torture.h"

struct pki {
    struct mem mem;
    struct buf ca, ca_key;
    struct tls_trust *trust;
};
void pki_begin(struct pki *p);
void pki_end(struct pki *p);
struct tls_identity *pki_issue(struct pki *p, enum tls_key_kind kind, const char *name,
                               int64_t days, bool client);
/* A store, and the context of a client that trusts the authority and has this one. */
struct tls_store *pki_store(struct pki *p);
struct tls_context *pki_client(struct pki *p, struct tls_store *store);

#endif
