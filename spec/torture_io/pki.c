/* SPDX-License-Identifier: MIT */
#include "pki.h"

#include <time.h>

struct tls_identity *pki_issue(struct pki *p, enum tls_key_kind kind, const char *name,
                               int64_t days, bool client) {
    struct buf key, pem;
    struct tls_why why = {""};
    struct tls_identity *id = NULL;
    const char *names[] = {name, NULL};
    int64_t now = (int64_t)time(NULL);
    buf_init(&key, &p->mem, 1 << 20);
    buf_init(&pem, &p->mem, 1 << 20);
    CHECK_EQ(tls_make_key(kind, &key), 0);
    struct tls_wish wish = {.names = names, .not_before = now - 86400 * 30,
                            .not_after = now + days * 86400, .client = client,
                            .issuer = buf_str(&p->ca), .issuer_key = buf_str(&p->ca_key)};
    CHECK_EQ(tls_make_certificate(&wish, buf_str(&key), &pem, &why), 0);
    CHECK_EQ(tls_identity_new(buf_str(&pem), buf_str(&key), STR(""), &id, &why), 0);
    if (!id) printf("%s\n", why.text);
    buf_release(&key);
    buf_release(&pem);
    return id;
}

void pki_begin(struct pki *p) {
    struct tls_why why = {""};
    mem_init(&p->mem, 0);
    buf_init(&p->ca, &p->mem, 1 << 20);
    buf_init(&p->ca_key, &p->mem, 1 << 20);
    CHECK_EQ(tls_make_key(TLS_KEY_P256, &p->ca_key), 0);
    struct tls_wish wish = {.subject = "CN=Test Authority", .authority = true,
                            .not_before = (int64_t)time(NULL) - 86400 * 60,
                            .not_after = (int64_t)time(NULL) + 86400 * 60};
    CHECK_EQ(tls_make_certificate(&wish, buf_str(&p->ca_key), &p->ca, &why), 0);
    CHECK_EQ(tls_trust_new(&p->trust), 0);
    CHECK_EQ(tls_trust_add(p->trust, buf_str(&p->ca), &why), 1);
}

void pki_end(struct pki *p) {
    tls_trust_unref(&p->trust);
    buf_release(&p->ca);
    buf_release(&p->ca_key);
    CHECK_EQ(p->mem.live, 0);
}

struct tls_store *pki_store(struct pki *p) {
    static const uint64_t seed[2] = {1, 2};
    struct tls_store *store;
    CHECK_EQ(tls_store_new(&p->mem, seed, &store), 0);
    return store;
}

struct tls_context *pki_client(struct pki *p, struct tls_store *store) {
    struct tls_context *c;
    struct tls_why why = {""};
    struct tls_settings s = {.client = true, .verify = TLS_VERIFY_REQUIRED, .trust = p->trust,
                             .sessions = store, .alpn = {"http/1.1", NULL}};
    CHECK_EQ(tls_context_new(&s, &c, &why), 0);
    return c;
}
