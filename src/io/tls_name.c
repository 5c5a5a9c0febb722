/* SPDX-License-Identifier: MIT */
/* Which names a certificate is for (RFC 9525): the subject's alternative names
 * only; a wildcard stands for exactly one label, the leftmost, and never for a
 * part of one or for a name directly below the root. */
#include <arpa/inet.h>
#include <stdio.h>

#include "io/tls_internal.h"

enum { SAN_EMAIL = 0x81, SAN_DNS = 0x82, SAN_URI = 0x86, SAN_IP = 0x87 };

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

bool tls_certificate_serves(struct str der, struct str name) {
    mbedtls_x509_crt crt;
    mbedtls_x509_crt_init(&crt);
    bool serves = tls_read_any(&crt, der) == 0 && tls_certificate_is_for(&crt, name);
    mbedtls_x509_crt_free(&crt);
    return serves;
}

static bool read_name(const mbedtls_x509_buf *b, struct tls_name *out) {
    out->value = str_of((const char *)b->p, b->len);
    switch (b->tag) {
    case SAN_DNS: out->kind = TLS_NAME_HOST; break;
    case SAN_EMAIL: out->kind = TLS_NAME_EMAIL; break;
    case SAN_URI: out->kind = TLS_NAME_URI; break;
    case SAN_IP:
        if (b->len != 4 && b->len != 16) return false;
        out->kind = TLS_NAME_HOST;
        inet_ntop(b->len == 4 ? AF_INET : AF_INET6, b->p, out->address, sizeof out->address);
        out->value = str_c(out->address);
        break;
    default: return false;
    }
    /* a name that ends early for who takes it as text of C would be another one */
    return out->value.n && !memchr(out->value.p, 0, out->value.n);
}

size_t tls_certificate_names(struct str der, struct tls_name *out, size_t max) {
    mbedtls_x509_crt crt;
    size_t n = 0;
    mbedtls_x509_crt_init(&crt);
    if (tls_read_any(&crt, der) == 0)
        for (const mbedtls_x509_sequence *s = &crt.subject_alt_names; s && n < max; s = s->next)
            if (s->buf.p && read_name(&s->buf, &out[n])) n++;
    mbedtls_x509_crt_free(&crt);
    return n;
}
