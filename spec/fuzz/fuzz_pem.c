/* SPDX-License-Identifier: MIT */
/* Certificates, keys and revocation lists: ours, which a file or an authority has
 * given, and a peer's. The first byte says what the rest is: PEM as it comes, or
 * the bytes of one block, which are put into PEM here. What a certificate says
 * stays within it, ends where it says, and is the same however it is asked. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "io/digest.h"
#include "io/io.h"
#include "io/tls_issue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { LONGEST = 4096 }; /* larger keys are slow, and nothing else */

static struct mem mem;
static struct buf key, certificate;

static void must(bool ok) {
    if (!ok) abort();
}

static void prepare(void) {
    const char *names[] = {"localhost", "127.0.0.1", NULL};
    struct tls_why why = {""};
    mem_init(&mem, 0);
    buf_init(&key, &mem, 1 << 16);
    buf_init(&certificate, &mem, 1 << 16);
    must(tls_make_key(TLS_KEY_P256, &key) == 0);
    struct tls_wish wish = {.names = names, .not_before = 1700000000, .not_after = 1800000000};
    must(tls_make_certificate(&wish, buf_str(&key), &certificate, &why) == 0);
}

/* ── what a certificate says ──────────────────────────────────────────────*/

static bool is_text(const char *s, size_t size) { return strnlen(s, size) < size; }

static void check_said(const struct tls_certificate *c) {
    must(is_text(c->subject, sizeof c->subject) && is_text(c->issuer, sizeof c->issuer));
    must(is_text(c->serial, sizeof c->serial) && is_text(c->key, sizeof c->key));
    must(is_text(c->signature, sizeof c->signature) && strlen(c->fingerprint) == 64);
    unsigned usages = 0;
    while (usages <= TLS_USAGES_MAX && c->usage[usages]) usages++;
    must(usages <= TLS_USAGES_MAX);
}

static bool is_address(const char *text) {
    unsigned char bytes[16];
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

/* A name that could be asked for is served, if it is one of the certificate's. */
static void check_names(struct str der) {
    struct tls_name list[TLS_NAMES_MAX];
    char copy[256];
    size_t count = tls_certificate_names(der, list, 4);
    must(count <= 4);
    count = tls_certificate_names(der, list, TLS_NAMES_MAX);
    must(count <= TLS_NAMES_MAX);
    for (size_t i = 0; i < count; i++) {
        struct str name = list[i].value;
        must(name.n > 0 && !memchr(name.p, 0, name.n));
        if (list[i].kind != TLS_NAME_HOST || name.n >= sizeof copy) continue;
        if (name.p[0] == '*' || name.p[name.n - 1] == '.') continue;
        memcpy(copy, name.p, name.n);
        copy[name.n] = 0;
        if (!list[i].address[0] && is_address(copy)) continue;
        must(tls_certificate_serves(der, str_of(copy, name.n)));
    }
    (void)tls_certificate_serves(der, STR("www.example.test"));
}

static void check_peers(struct str der) {
    struct tls_certificate said;
    if (tls_certificate_describe(der, &said) < 0) return;
    check_said(&said);
    check_names(der);
}

static void check_trust(struct str bytes, bool is_list) {
    struct tls_trust *trust;
    struct tls_why why = {""};
    must(tls_trust_new(&trust) == 0);
    int rc = is_list ? tls_trust_add_revoked(trust, bytes, &why) : tls_trust_add(trust, bytes, &why);
    must(is_list ? rc <= 0 : rc != 0);
    must(rc >= 0 || why.text[0]);
    tls_trust_unref(&trust);
}

static void check_identity(struct str chain, struct str key_pem) {
    struct tls_identity *id;
    struct tls_certificate said;
    struct tls_why why = {""};
    int rc = tls_identity_new(chain, key_pem, STR_NONE, &id, &why);
    must((rc == 0) == (id != NULL) && (rc == 0 || why.text[0]));
    if (!id) return;
    must(tls_identity_describe(id, &said) == 0);
    check_said(&said);
    check_peers(said.der);
    (void)tls_identity_serves(id, STR("localhost"));
    tls_identity_unref(&id);
}

static void check_key(struct str pem) {
    uint8_t point[P256_POINT_SIZE], signature[P256_SIGNATURE_SIZE];
    struct tls_why why = {""};
    if (p256_point(pem, point, &why) == 0)
        must(p256_sign(pem, STR("text"), signature, &why) == 0);
    check_identity(buf_str(&certificate), pem);
}

/* ── a run ────────────────────────────────────────────────────────────────*/

static struct str in_pem(const char *label, struct str der) {
    static char out[2 * LONGEST + 200];
    int n = snprintf(out, sizeof out, "-----BEGIN %s-----\n", label);
    n += (int)base64_encode(der, BASE64_STD, out + n);
    n += snprintf(out + n, sizeof out - (size_t)n, "\n-----END %s-----\n", label);
    return str_of(out, (size_t)n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0 || n > LONGEST) return -1;
    if (!key.mem) prepare();
    char *copy = malloc(n); /* its own block: a byte too many shows */
    must(copy != NULL);
    memcpy(copy, data + 1, n - 1);
    struct str in = str_of(copy, n - 1);
    switch (data[0] % 6) {
    case 0:
        check_trust(in, false);
        check_trust(in, true);
        check_key(in);
        check_identity(in, in);
        break;
    case 1: check_peers(in); check_trust(in, false); break;
    case 2: check_identity(in_pem("CERTIFICATE", in), buf_str(&key)); break;
    case 3: check_key(in_pem("EC PRIVATE KEY", in)); break;
    case 4: check_key(in_pem("PRIVATE KEY", in)); break;
    case 5: check_trust(in, true); break;
    }
    free(copy);
    return 0;
}
