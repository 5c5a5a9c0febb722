/* SPDX-License-Identifier: MIT */
/* One session: ciphertext gathers in `in` until mbedTLS reads it, and in `out`
 * until somebody sends it.
 *
 * An established session that has nothing to do gives its two record buffers
 * (33 kB, most of what it has) to its context: their first bytes, which hold a
 * counter, are kept, and the library's pointers into them are moved to the copy.
 * No call of the library happens before they are moved back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <mbedtls/error.h>

#include "base/codec.h"
#include "io/accel.h"
#include "io/tls_resume.h"

enum { RECORD_MAX = 16384, RECORD_EXTRA = 64, BUFFERED_MAX = 1 << 20 };

_Thread_local struct tls *tls_current;

/* ── bytes ────────────────────────────────────────────────────────────────*/

static int receive(void *p, unsigned char *out, size_t size) {
    struct tls *t = p;
    size_t n = buf_len(&t->in);
    if (n == 0) return t->ended ? MBEDTLS_ERR_SSL_CONN_EOF : MBEDTLS_ERR_SSL_WANT_READ;
    if (n > size) n = size;
    memcpy(out, buf_str(&t->in).p, n);
    buf_drop(&t->in, n);
    return (int)n;
}

static int transmit(void *p, const unsigned char *bytes, size_t n) {
    struct tls *t = p;
    return buf_add(&t->out, bytes, n) < 0 ? MBEDTLS_ERR_SSL_ALLOC_FAILED : (int)n;
}

struct buf *tls_output(struct tls *t) { return &t->out; }

/* ── life ─────────────────────────────────────────────────────────────────*/

static int set_up(struct tls *t) {
    int rc = mbedtls_ssl_setup(&t->ssl, &t->context->config);
    if (rc < 0) return rc;
    mbedtls_ssl_set_user_data_p(&t->ssl, t);
    mbedtls_ssl_set_bio(&t->ssl, t, transmit, receive, NULL);
    if (t->context->keylog >= 0) mbedtls_ssl_set_export_keys_cb(&t->ssl, tls_keylog_write, t);
    t->good_until = INT64_MAX;
    mbedtls_ssl_set_verify(&t->ssl, tls_check_peer, t);
    if (!t->context->settings.client) return 0;
    bool is_address = strchr(t->name, ':') || (*t->name && strspn(t->name, "0123456789.") ==
                                                              strlen(t->name));
    return mbedtls_ssl_set_hostname(&t->ssl, *t->name && !is_address ? t->name : NULL);
}

int tls_new(struct tls_context *c, struct mem *mem, const char *name, struct tls **out) {
    *out = NULL;
    struct tls *t = mem_zalloc(mem, sizeof *t);
    if (!t) return RW_ENOMEM;
    t->mem = mem;
    t->context = tls_context_ref(c);
    mem_init(&t->account, 0);
    buf_init(&t->in, &t->account, BUFFERED_MAX);
    buf_init(&t->out, &t->account, SIZE_MAX / 4);
    mbedtls_ssl_init(&t->ssl);
    int rc = -EINVAL;
    if (!name || strlen(name) < sizeof t->name) {
        snprintf(t->name, sizeof t->name, "%s", name ? name : "");
        rc = set_up(t);
        if (rc < 0) rc = tls_explain(&t->why, rc, "TLS cannot be set up");
    }
    if (rc < 0) tls_free(&t);
    *out = t;
    return rc;
}

/* ── buffers of an idle session ───────────────────────────────────────────*/

static void move(unsigned char **pointer, const unsigned char *from, unsigned char *to) {
    if (*pointer) *pointer = to + (*pointer - from);
}

static void move_in(mbedtls_ssl_context *ssl, unsigned char *to) {
    unsigned char *from = ssl->in_buf;
    unsigned char **all[] = {&ssl->in_ctr, &ssl->in_hdr, &ssl->in_len,
                             &ssl->in_iv, &ssl->in_msg, &ssl->in_offt};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) move(all[i], from, to);
    ssl->in_buf = to;
}

static void move_out(mbedtls_ssl_context *ssl, unsigned char *to) {
    unsigned char *from = ssl->out_buf;
    unsigned char **all[] = {&ssl->out_ctr, &ssl->out_hdr, &ssl->out_len,
                             &ssl->out_iv, &ssl->out_msg};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) move(all[i], from, to);
    ssl->out_buf = to;
}

static void release(unsigned char *p, size_t n) {
    if (p) mbedtls_platform_zeroize(p, n);
    free(p);
}

void tls_buffers_free(struct tls_buffers *b) {
    release(b->in, b->in_size);
    release(b->out, b->out_size);
    *b = (struct tls_buffers){0};
}

/* The spare ones if they are as large, or new ones. */
static int take_buffers(struct tls_context *c, size_t in_size, size_t out_size,
                        struct tls_buffers *b) {
    *b = c->spare;
    if (b->in && b->in_size == in_size && b->out_size == out_size) {
        c->spare = (struct tls_buffers){0};
        return 0;
    }
    *b = (struct tls_buffers){malloc(in_size), malloc(out_size), in_size, out_size};
    if (b->in && b->out) return 0;
    tls_buffers_free(b);
    return RW_ENOMEM;
}

void tls_idle(struct tls *t) {
    mbedtls_ssl_context *ssl = &t->ssl;
    if (buf_len(&t->in) == 0) buf_release(&t->in);
    if (buf_len(&t->out) == 0) buf_release(&t->out);
    if (!t->established || t->parked || t->failed) return;
    if (ssl->in_left || ssl->in_offt || ssl->in_msglen || ssl->in_hslen || ssl->out_left) return;
    if (ssl->in_msg - ssl->in_buf > PREFIX_MAX || ssl->out_msg - ssl->out_buf > PREFIX_MAX) return;
    struct tls_buffers b = {ssl->in_buf, ssl->out_buf, ssl->in_buf_len, ssl->out_buf_len};
    memcpy(t->prefix[0], b.in, PREFIX_MAX);
    memcpy(t->prefix[1], b.out, PREFIX_MAX);
    move_in(ssl, t->prefix[0]);
    move_out(ssl, t->prefix[1]);
    tls_buffers_free(&t->context->spare);
    t->context->spare = b;
    t->parked = true;
}

static int wake(struct tls *t) {
    if (!t->parked) return 0;
    mbedtls_ssl_context *ssl = &t->ssl;
    struct tls_buffers b;
    int rc = take_buffers(t->context, ssl->in_buf_len, ssl->out_buf_len, &b);
    if (rc < 0) return rc;
    memcpy(b.in, t->prefix[0], PREFIX_MAX);
    memcpy(b.out, t->prefix[1], PREFIX_MAX);
    move_in(ssl, b.in);
    move_out(ssl, b.out);
    t->parked = false;
    return 0;
}

void tls_free(struct tls **handle) {
    struct tls *t = *handle;
    *handle = NULL;
    if (!t) return;
    tls_resume_end(t);
    if (t->parked) t->ssl.in_buf = t->ssl.out_buf = NULL;
    mbedtls_ssl_free(&t->ssl);
    buf_release(&t->in);
    buf_release(&t->out);
    tls_identity_unref(&t->identity);
    tls_context_unref(&t->context);
    mbedtls_platform_zeroize(t->prefix, sizeof t->prefix);
    mem_free(t->mem, t, sizeof *t);
}

/* ── failures ─────────────────────────────────────────────────────────────*/

static const char *alert_name(unsigned code) {
    static const struct { unsigned code; const char *name; } names[] = {
        {10, "unexpected_message"}, {20, "bad_record_mac"}, {22, "record_overflow"},
        {40, "handshake_failure"}, {41, "no_certificate"}, {42, "bad_certificate"}, {43, "unsupported_certificate"},
        {44, "certificate_revoked"}, {45, "certificate_expired"}, {46, "certificate_unknown"},
        {47, "illegal_parameter"}, {48, "unknown_ca"}, {49, "access_denied"},
        {50, "decode_error"}, {51, "decrypt_error"}, {70, "protocol_version"},
        {71, "insufficient_security"}, {80, "internal_error"}, {86, "inappropriate_fallback"},
        {90, "user_canceled"}, {109, "missing_extension"}, {110, "unsupported_extension"},
        {112, "unrecognized_name"}, {115, "unknown_psk_identity"},
        {116, "certificate_required"}, {120, "no_application_protocol"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code) return names[i].name;
    return "unknown";
}

static void explain_certificate(struct tls *t) {
    static const struct { uint32_t flag; const char *text; } reasons[] = {
        {MBEDTLS_X509_BADCERT_EXPIRED, "it has expired"},
        {MBEDTLS_X509_BADCERT_FUTURE, "it is not valid yet"},
        {MBEDTLS_X509_BADCERT_REVOKED, "it has been revoked"},
        {MBEDTLS_X509_BADCRL_NOT_TRUSTED, "its authority has not signed the revocation list"},
        {MBEDTLS_X509_BADCRL_EXPIRED, "the revocation list is too old"},
        {MBEDTLS_X509_BADCRL_FUTURE, "the revocation list is not valid yet"},
        {MBEDTLS_X509_BADCRL_BAD_MD | MBEDTLS_X509_BADCRL_BAD_PK | MBEDTLS_X509_BADCRL_BAD_KEY,
         "the revocation list is signed too weakly"},
        {MBEDTLS_X509_BADCERT_CN_MISMATCH, "it is for another name"},
        {MBEDTLS_X509_BADCERT_NOT_TRUSTED, "no trusted authority has signed it"},
        {MBEDTLS_X509_BADCERT_MISSING, "there is none"},
        {MBEDTLS_X509_BADCERT_KEY_USAGE, "its key usage does not allow this"},
        {MBEDTLS_X509_BADCERT_EXT_KEY_USAGE, "its extended key usage does not allow this"},
        {MBEDTLS_X509_BADCERT_NS_CERT_TYPE, "its type does not allow this"},
        {MBEDTLS_X509_BADCERT_BAD_MD, "it is signed with a weak hash"},
        {MBEDTLS_X509_BADCERT_BAD_PK, "it is signed with a weak kind of key"},
        {MBEDTLS_X509_BADCERT_BAD_KEY, "its key is too weak"},
    };
    uint32_t flags = mbedtls_ssl_get_verify_result(&t->ssl);
    bool expected = t->context->settings.client && *t->name;
    size_t at = (size_t)snprintf(t->why.text, sizeof t->why.text, "the peer's certificate%s%s%s",
                                 expected ? " for " : "", expected ? t->name : "", " is refused");
    if (flags == UINT32_MAX) return;
    const char *joint = ": ";
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons && at < sizeof t->why.text; i++) {
        if (!(flags & reasons[i].flag)) continue;
        at += (size_t)snprintf(t->why.text + at, sizeof t->why.text - at, "%s%s", joint,
                               reasons[i].text);
        joint = "; ";
    }
}

/* Is it the X.509 module that complains: a hash or extension that it does not know? */
static bool is_of_certificate(int code) {
    int module = -code & ~0x7f;
    return module >= -MBEDTLS_ERR_X509_FEATURE_UNAVAILABLE &&
           module <= -MBEDTLS_ERR_X509_BUFFER_TOO_SMALL && module != -MBEDTLS_ERR_X509_ALLOC_FAILED;
}

static int fail(struct tls *t, int code, const char *what) {
    t->failed = true;
    bool unread = is_of_certificate(code) && code != MBEDTLS_ERR_X509_CERT_VERIFY_FAILED;
    int rc = tls_explain(&t->why, code, unread ? "the peer's certificate cannot be read" : what);
    if (unread) rc = RW_ECERTIFICATE;
    if (code == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE)
        snprintf(t->why.text, sizeof t->why.text, "%s: the peer sent the alert %s", what,
                 alert_name(t->ssl.in_msg[1]));
    else if (code == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED ||
             (code == MBEDTLS_ERR_SSL_BAD_CERTIFICATE && mbedtls_ssl_get_verify_result(&t->ssl)))
        explain_certificate(t);
    else if (code == MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE)
        snprintf(t->why.text, sizeof t->why.text, "the client has shown no certificate");
    return rc;
}

const char *tls_why_failed(const struct tls *t) { return t->why.text; }

/* ── the handshake ────────────────────────────────────────────────────────*/

void tls_use(struct tls *t, struct tls_identity *id) {
    tls_identity_unref(&t->identity);
    t->identity = tls_identity_ref(id);
}

int tls_feed(struct tls *t, struct str bytes) {
    return buf_add_str(&t->in, bytes);
}

/* A server of TLS 1.3 has nothing to say between its Finished and the client's, but
 * why it refuses the client's certificate. The library would say it under the
 * handshake's keys, which the client has left by then (RFC 8446 §A.2). */
static void leave_handshake_keys(mbedtls_ssl_context *ssl) {
    if (mbedtls_ssl_get_version_number(ssl) != MBEDTLS_SSL_VERSION_TLS1_3) return;
    if (ssl->state != MBEDTLS_SSL_CLIENT_CERTIFICATE && ssl->state != MBEDTLS_SSL_CLIENT_FINISHED)
        return;
    if (!ssl->transform_application || ssl->transform_out == ssl->transform_application) return;
    ssl->transform_out = ssl->transform_application;
    memset(ssl->cur_out_ctr, 0, sizeof ssl->cur_out_ctr);
}

/* Now and then the library gives up without a word. */
static void say_that_it_failed(struct tls *t, int code) {
    bool refused = code == MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE ||
                   code == MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE;
    if (code == MBEDTLS_ERR_SSL_WANT_READ || code == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE ||
        code == MBEDTLS_ERR_SSL_CONN_EOF)
        return;
    mbedtls_ssl_send_alert_message(&t->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                   refused ? MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE
                                           : MBEDTLS_SSL_ALERT_MSG_INTERNAL_ERROR);
}

/* TLS 1.3 has an alert of its own for a client without a certificate (RFC 8446
 * §4.4.2.4); the library says no_certificate, which is SSL 3's. That record has not
 * left yet: it is taken back, and its number with it. */
static void say_certificate_required(struct tls *t, size_t said, const unsigned char number[8]) {
    enum { ALERT_CERTIFICATE_REQUIRED = 116 };
    mbedtls_ssl_context *ssl = &t->ssl;
    if (mbedtls_ssl_get_version_number(ssl) != MBEDTLS_SSL_VERSION_TLS1_3) return;
    if (buf_len(&t->out) == said || ssl->out_left) return;
    t->out.tail -= buf_len(&t->out) - said;
    memcpy(ssl->cur_out_ctr, number, sizeof ssl->cur_out_ctr);
    mbedtls_ssl_send_alert_message(ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL, ALERT_CERTIFICATE_REQUIRED);
}

static int shake_hands(struct tls *t) {
    int rc = 0;
    while (rc == 0 && !mbedtls_ssl_is_handshake_over(&t->ssl)) {
        size_t said = buf_len(&t->out);
        unsigned char number[sizeof t->ssl.cur_out_ctr];
        memcpy(number, t->ssl.cur_out_ctr, sizeof number);
        rc = mbedtls_ssl_handshake_step(&t->ssl);
        if (rc == MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE) say_certificate_required(t, said, number);
        accel_step_ended();
        tls_resume_stepped(t);
        if (rc == 0 && !t->context->settings.client) leave_handshake_keys(&t->ssl);
        if (rc < 0 && buf_len(&t->out) == said) say_that_it_failed(t, rc);
    }
    return rc;
}

int tls_handshake(struct tls *t) {
    if (t->established) return 1;
    if (t->failed) return RW_ESTATE;
    tls_current = t;
    int rc = shake_hands(t);
    tls_current = NULL;
    if (rc == 0) {
        t->established = true;
        tls_resume_established(t);
        return 1;
    }
    if (rc == MBEDTLS_ERR_SSL_WANT_READ) return 0;
    return fail(t, rc, "the handshake failed");
}

/* ── data ─────────────────────────────────────────────────────────────────*/

/* A client's that has come, but has not been looked at. */
static bool has_ticket(const struct tls *t) {
    return t->context->settings.client && t->ssl.state == MBEDTLS_SSL_TLS1_3_NEW_SESSION_TICKET;
}

int tls_read(struct tls *t, char *out, size_t size) {
    if (t->failed) return RW_ESTATE;
    if (buf_len(&t->in) == 0 && t->parked && !t->ended) return 0;
    int rc = wake(t);
    if (rc < 0) return rc;
    for (;;) {
        size_t before = buf_len(&t->in);
        tls_current = t; /* TLS 1.3's tickets are written with the first data */
        rc = mbedtls_ssl_read(&t->ssl, (unsigned char *)out, size);
        tls_current = NULL;
        if (rc > 0) return rc;
        if (rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
            tls_resume_keep(t);
            continue;
        }
        if (rc != MBEDTLS_ERR_SSL_WANT_READ) break;
        if (has_ticket(t)) continue;
        /* after a message that is not data it says so, too, with bytes left */
        if (buf_len(&t->in) == 0 || buf_len(&t->in) == before) return 0;
    }
    if (rc == 0 || rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) return RW_EOF;
    return fail(t, rc, "a record was refused");
}

int tls_write(struct tls *t, struct str bytes, size_t record) {
    if (t->failed || !t->established) return RW_ESTATE;
    if (record == 0 || record > RECORD_MAX) record = RECORD_MAX;
    int rc = wake(t);
    if (rc < 0) return rc;
    /* one block for all of them, instead of a larger one with each */
    if (!buf_reserve(&t->out, bytes.n + (bytes.n / record + 1) * RECORD_EXTRA))
        return fail(t, MBEDTLS_ERR_SSL_ALLOC_FAILED, "a record could not be written");
    while (bytes.n) {
        size_t n = bytes.n < record ? bytes.n : record;
        tls_current = t;
        rc = mbedtls_ssl_write(&t->ssl, (const unsigned char *)bytes.p, n);
        tls_current = NULL;
        if (rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) continue;
        if (rc <= 0) return fail(t, rc, "a record could not be written");
        bytes = str_skip(bytes, (size_t)rc);
    }
    return 0;
}

int tls_end(struct tls *t) {
    if (t->failed || !t->established) return RW_ESTATE;
    int rc = wake(t);
    if (rc < 0) return rc;
    rc = mbedtls_ssl_close_notify(&t->ssl);
    return rc < 0 ? fail(t, rc, "the end could not be written") : 0;
}

/* ── facts ────────────────────────────────────────────────────────────────*/

void tls_describe(const struct tls *t, struct tls_info *out) {
    const mbedtls_ssl_context *ssl = &t->ssl;
    const char *alpn = mbedtls_ssl_get_alpn_protocol(ssl), *suite = mbedtls_ssl_get_ciphersuite(ssl);
    bool verified = t->context->settings.verify != TLS_VERIFY_NONE &&
                    mbedtls_ssl_get_verify_result(ssl) == 0;
    *out = (struct tls_info){
        .client = t->context->settings.client,
        .version = (unsigned)mbedtls_ssl_get_version_number(ssl),
        .cipher = suite ? suite : "",
        .alpn = alpn ? alpn : "",
        .resumed = t->resumed,
        .peer = tls_peer_certificate(t, 0),
    };
    if (t->resumed) verified = t->chain && t->chain->verified;
    out->peer_verified = out->peer.n && verified;
}

struct str tls_peer_certificate(const struct tls *t, size_t n) {
    if (t->resumed) return t->chain ? tls_chain_nth(t->chain, n) : STR_NONE;
    const mbedtls_x509_crt *crt = mbedtls_ssl_get_peer_cert(&t->ssl);
    while (crt && n--) crt = crt->next;
    return crt ? str_of((const char *)crt->raw.p, crt->raw.len) : STR_NONE;
}

int tls_export(struct tls *t, const char *label, struct str context, void *out, size_t size) {
    if (!t->established || t->failed) return RW_ESTATE;
    int rc = mbedtls_ssl_export_keying_material(&t->ssl, out, size, label, strlen(label),
                                                (const unsigned char *)context.p, context.n,
                                                context.p != NULL);
    return rc < 0 ? RW_ETLS : 0;
}
