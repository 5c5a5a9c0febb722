/* SPDX-License-Identifier: MIT */
/* Which names a certificate is for (RFC 9525): the subject's alternative names
 * only; a wildcard stands for exactly one label, the leftmost, and never for a
 * part of one or for a name directly below the root. */
#include <arpa/inet.h>
#include <stdio.h>

#include "io/tls_internal.h"

enum { SAN_DNS = 0x82, SAN_IP = 0x87 };

bool tls_name_matches(struct str pattern, struct str name) {
    if (name.n && name.p[name.n - 1] == '.') name.n--;
    if (!str_starts(pattern, STR("*."))) return str_eq_nocase(pattern, name);
    struct str domain = str_skip(pattern, 1); /* with its dot */
    size_t dot = str_find(name, '.');
    if (dot == 0 || dot == name.n) return false;
    if (str_find(str_skip(domain, 1), '.') == domain.n - 1) return false; /* "*.com" */
    return str_eq_nocase(domain, str_skip(name, dot));
}

/* The address as bytes: 4, 16, or 0 when it is none. */
static size_t address_bytes(struct str name, unsigned char out[16]) {
    char text[64];
    if (name.n >= sizeof text) return 0;
    memcpy(text, name.p, name.n);
    text[name.n] = 0;
    if (inet_pton(AF_INET, text, out) == 1) return 4;
    return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

bool tls_certificate_is_for(const mbedtls_x509_crt *crt, struct str name) {
    unsigned char address[16];
    size_t n = address_bytes(name, address);
    for (const mbedtls_x509_sequence *s = &crt->subject_alt_names; s; s = s->next) {
        struct str value = str_of((const char *)s->buf.p, s->buf.len);
        if (n ? s->buf.tag == SAN_IP && str_eq(value, str_of((char *)address, n))
              : s->buf.tag == SAN_DNS && value.n && tls_name_matches(value, name))
            return true;
    }
    return false;
}

static bool put_name(const mbedtls_x509_buf *b, char *out, size_t size) {
    if (b->tag == SAN_IP && (b->len == 4 || b->len == 16))
        return inet_ntop(b->len == 4 ? AF_INET : AF_INET6, b->p, out, (socklen_t)size);
    if (b->tag != SAN_DNS || b->len == 0 || b->len >= size) return false;
    memcpy(out, b->p, b->len);
    out[b->len] = 0;
    return memchr(out, 0, b->len) == NULL;
}

bool tls_certificate_name(struct str der, size_t n, char *out, size_t size) {
    mbedtls_x509_crt crt;
    mbedtls_x509_crt_init(&crt);
    bool found = false;
    if (mbedtls_x509_crt_parse_der_nocopy(&crt, (const unsigned char *)der.p, der.n) == 0)
        for (const mbedtls_x509_sequence *s = &crt.subject_alt_names; s && !found; s = s->next)
            if (put_name(&s->buf, out, size) && n-- == 0) found = true;
    mbedtls_x509_crt_free(&crt);
    return found;
}
