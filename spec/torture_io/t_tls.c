/* SPDX-License-Identifier: MIT */
/* TLS on streams, both ends ours: every kind of stream and key, both versions,
 * in mid-stream, resumed, refused, cut off, silent. */
#include "io/tls_filter.h"
#include "pki.h"

/* ── sides ────────────────────────────────────────────────────────────────*/

struct side {
    struct tls_filter *f;
    struct tls_identity *id; /* server: what it offers; NULL: it refuses */
    bool established, failed, later;
    int code;
    char why[400], asked[256];
};

static void on_hello(void *owner, struct tls_filter *f, const struct client_hello *hello) {
    struct side *s = owner;
    snprintf(s->asked, sizeof s->asked, "%.*s", STR_FMT(hello->server_name));
    if (s->later) return;
    if (s->id) tls_filter_use(f, s->id);
    else tls_filter_refuse(f, "no such name");
}
static void on_established(void *owner, struct tls_filter *f) {
    struct side *s = owner;
    CHECK(tls_filter_established(f));
    s->established = true;
}
static void on_failed(void *owner, int code, const char *why) {
    struct side *s = owner;
    s->failed = true;
    s->code = code;
    snprintf(s->why, sizeof s->why, "%s", why);
}
static const struct tls_filter_hooks side_hooks = {on_hello, on_established, on_failed};

static struct tls_context *context(bool client, struct tls_trust *trust, unsigned min,
                                   enum tls_verify verify,
                                   struct tls_identity *own) {
    struct tls_context *c;
    struct tls_why why = {""};
    struct tls_settings s = {.client = client, .verify = verify, .trust = trust,
                             .identity = own, .min_version = min,
                             .tickets = true,
                             .alpn = {"http/1.1", NULL}};
    CHECK_EQ(tls_context_new(&s, &c, &why), 0);
    return c;
}

struct pairing {
    struct world w;
    struct end a, b; /* client, server */
    struct side client, server;
    struct tls_context *cc, *sc;
};

static void secure(struct pairing *p, const char *name) {
    CHECK_EQ(tls_filter_push(p->a.s, p->cc, name, &side_hooks, &p->client, &p->client.f), 0);
    CHECK_EQ(tls_filter_push(p->b.s, p->sc, NULL, &side_hooks, &p->server, &p->server.f), 0);
    stream_read(p->a.s, true);
    stream_read(p->b.s, true);
}

static void pairing_begin(struct pairing *p, enum kind k, struct tls_trust *trust,
                          struct tls_identity *id) {
    *p = (struct pairing){.server.id = id};
    world_begin(&p->w);
    connect_ends(&p->w, k, &p->a, &p->b);
    p->cc = context(true, trust, TLS_12, TLS_VERIFY_REQUIRED, NULL);
    p->sc = context(false, NULL, TLS_12, TLS_VERIFY_NONE, NULL);
}

static void pairing_end(struct pairing *p) {
    if (p->a.s) stream_close(p->a.s);
    if (p->b.s) stream_close(p->b.s);
    world_until(&p->w, &p->a.closed, 5000);
    world_until(&p->w, &p->b.closed, 5000);
    end_end(&p->a);
    end_end(&p->b);
    world_pass(&p->w, 1);
    tls_context_unref(&p->cc);
    tls_context_unref(&p->sc);
    world_end(&p->w);
}

static void send_pattern(struct end *e, size_t n) {
    static char block[4000000];
    pattern_fill(block, e->sent, n);
    CHECK(end_write(e, block, n) >= 0);
}

static void until_got(struct world *w, struct end *e, uint64_t n) {
    for (int i = 0; i < 5000 && e->got < n && !e->closed; i++) world_pass(w, 1);
    CHECK_EQ(e->got, n);
}

/* ── tests ────────────────────────────────────────────────────────────────*/

static void both_ways(void) {
    static const enum tls_key_kind keys[] = {TLS_KEY_P256, TLS_KEY_P384, TLS_KEY_RSA2048};
    struct pki pki;
    pki_begin(&pki);
    for (size_t i = 0; i < 3; i++) {
        struct tls_identity *id = pki_issue(&pki, keys[i], "test.example", 10, false);
        for (enum kind k = KIND_TCP; k < KINDS; k++) {
            struct pairing p;
            pairing_begin(&p, k, pki.trust, id);
            secure(&p, "test.example");
            send_pattern(&p.a, 3);       /* before the handshake: kept */
            send_pattern(&p.b, 100000);
            until_got(&p.w, &p.b, 3);
            until_got(&p.w, &p.a, 100000);
            for (int n = 1; n < 60000; n = n * 3 + 1) {
                uint64_t was = p.b.got;
                send_pattern(&p.a, (size_t)n);
                send_pattern(&p.a, 5);
                send_pattern(&p.b, (size_t)n);
                until_got(&p.w, &p.b, was + (uint64_t)n + 5);
            }
            until_got(&p.w, &p.a, p.b.sent);
            CHECK(p.client.established && p.server.established);
            CHECK(strcmp(p.server.asked, "test.example") == 0);
            struct tls_info info;
            tls_describe(tls_filter_session(p.client.f), &info);
            CHECK_EQ(info.version, TLS_13);
            CHECK(strcmp(info.alpn, "http/1.1") == 0);
            CHECK(info.peer_verified && info.peer.n);
            pairing_end(&p);
        }
        tls_identity_unref(&id);
    }
    pki_end(&pki);
}

static void bulk(void) {
    struct pki pki;
    struct pairing p;
    pki_begin(&pki);
    struct tls_identity *id = pki_issue(&pki, TLS_KEY_P256, "test.example", 10, false);
    pairing_begin(&p, KIND_TCP, pki.trust, id);
    secure(&p, "test.example");
    for (int i = 0; i < 10; i++) {
        send_pattern(&p.a, 3000000);
        send_pattern(&p.b, 3000000);
        until_got(&p.w, &p.a, p.b.sent);
        until_got(&p.w, &p.b, p.a.sent);
    }
    pairing_end(&p);
    tls_identity_unref(&id);
    pki_end(&pki);
}

static void refused_with(const char *name, struct tls_identity *id, struct tls_trust *trust,
                         const char *expected) {
    struct pairing p;
    pairing_begin(&p, KIND_TCP, trust, id);
    secure(&p, name);
    world_until(&p.w, &p.a.closed, 3000);
    world_until(&p.w, &p.b.closed, 3000);
    CHECK(p.client.failed && !p.client.established);
    CHECK_EQ(p.a.reason, p.client.code);
    if (!strstr(p.client.why, expected)) printf("    '%s'\n", p.client.why);
    CHECK(strstr(p.client.why, expected));
    CHECK(p.server.failed && !p.server.established);
    pairing_end(&p);
}

static void refuses(void) {
    struct pki pki, other;
    pki_begin(&pki);
    pki_begin(&other);
    struct tls_identity *good = pki_issue(&pki, TLS_KEY_P256, "*.test.example", 10, false);
    struct tls_identity *old = pki_issue(&pki, TLS_KEY_P256, "test.example", -1, false);
    struct tls_identity *wrong = pki_issue(&pki, TLS_KEY_P256, "a.test.example", 10, true);
    refused_with("test.example", good, pki.trust, "it is for another name");
    refused_with("a.b.test.example", good, pki.trust, "it is for another name");
    refused_with("127.0.0.1", good, pki.trust, "it is for another name");
    refused_with("test.example", old, pki.trust, "it has expired");
    refused_with("a.test.example", good, other.trust, "no trusted authority has signed it");
    refused_with("a.test.example", wrong, pki.trust, "handshake_failure"); /* by our server */
    tls_identity_unref(&good);
    tls_identity_unref(&old);
    tls_identity_unref(&wrong);
    pki_end(&pki);
    pki_end(&other);
}

static void client_certificates(void) {
    struct pki pki;
    pki_begin(&pki);
    struct tls_identity *id = pki_issue(&pki, TLS_KEY_P256, "test.example", 10, false);
    struct tls_identity *mine = pki_issue(&pki, TLS_KEY_P256, "someone", 10, true);
    for (int with = 0; with < 2; with++) {
        struct pairing p;
        pairing_begin(&p, KIND_TCP, pki.trust, id);
        tls_context_unref(&p.sc);
        p.sc = context(false, pki.trust, TLS_12, TLS_VERIFY_REQUIRED, NULL);
        tls_context_unref(&p.cc);
        p.cc = context(true, pki.trust, TLS_12, TLS_VERIFY_REQUIRED, with ? mine : NULL);
        secure(&p, "test.example");
        send_pattern(&p.a, 10);
        if (with) {
            until_got(&p.w, &p.b, 10);
            struct tls_info info;
            struct tls_certificate c;
            tls_describe(tls_filter_session(p.server.f), &info);
            CHECK(info.peer_verified);
            CHECK_EQ(tls_certificate_describe(info.peer, &c), 0);
            CHECK(strcmp(c.subject, "CN=someone") == 0);
        } else {
            world_until(&p.w, &p.b.closed, 3000);
            CHECK_EQ(p.server.code, RW_ECERTIFICATE);
        }
        pairing_end(&p);
    }
    tls_identity_unref(&id);
    tls_identity_unref(&mine);
    pki_end(&pki);
}

static void in_mid_stream(void) {
    struct pki pki;
    struct pairing p;
    pki_begin(&pki);
    struct tls_identity *id = pki_issue(&pki, TLS_KEY_P256, "test.example", 10, false);
    pairing_begin(&p, KIND_TCP, pki.trust, id);
    stream_read(p.a.s, true);
    stream_read(p.b.s, true);
    send_pattern(&p.a, 1000);
    send_pattern(&p.b, 1000);
    until_got(&p.w, &p.a, 1000);
    until_got(&p.w, &p.b, 1000);
    secure(&p, "test.example");
    send_pattern(&p.a, 1000);
    send_pattern(&p.b, 1000);
    until_got(&p.w, &p.a, 2000);
    until_got(&p.w, &p.b, 2000);
    pairing_end(&p);
    tls_identity_unref(&id);
    pki_end(&pki);
}

static void truncated(void) {
    struct pki pki;
    struct pairing p;
    pki_begin(&pki);
    struct tls_identity *id = pki_issue(&pki, TLS_KEY_P256, "test.example", 10, false);
    for (int polite = 0; polite < 2; polite++) {
        pairing_begin(&p, KIND_TCP, pki.trust, id);
        secure(&p, "test.example");
        send_pattern(&p.a, 1000);
        until_got(&p.w, &p.b, 1000);
        p.b.close_on_eof = true;
        if (polite) {
            stream_close(p.a.s);
        } else { /* the filter is taken away: the end comes in plain text */
            stream_pop_filter((struct filter *)(void *)p.client.f);
            stream_close(p.a.s);
        }
        world_until(&p.w, &p.b.closed, 3000);
        CHECK_EQ(p.b.reason, polite ? 0 : RW_ETRUNCATED);
        pairing_end(&p);
    }
    tls_identity_unref(&id);
    pki_end(&pki);
}

static void silent(void) {
    struct pki pki;
    struct pairing p;
    pki_begin(&pki);
    struct tls_identity *id = pki_issue(&pki, TLS_KEY_P256, "test.example", 10, false);
    for (int i = 0; i < 2; i++) {
        pairing_begin(&p, KIND_TCP, pki.trust, id);
        p.w.limits.handshake_timeout = 60;
        CHECK_EQ(tls_filter_push(p.b.s, p.sc, NULL, &side_hooks, &p.server, &p.server.f), 0);
        stream_read(p.b.s, true);
        if (i) end_write(&p.a, "\x16\x03\x01\x02", 4);
        world_until(&p.w, &p.b.closed, 3000);
        CHECK_EQ(p.b.reason, RW_ETIMEDOUT);
        CHECK(strstr(p.server.why, "handshake_timeout"));
        pairing_end(&p);
    }
    pairing_begin(&p, KIND_TCP, pki.trust, id);
    CHECK_EQ(tls_filter_push(p.b.s, p.sc, NULL, &side_hooks, &p.server, &p.server.f), 0);
    stream_read(p.b.s, true);
    end_write(&p.a, "GET / HTTP/1.1\r\n\r\n", 18);
    world_until(&p.w, &p.b.closed, 3000);
    CHECK(strstr(p.server.why, "does not speak TLS"));
    pairing_end(&p);
    tls_identity_unref(&id);
    pki_end(&pki);
}

static void chosen_late(void) {
    struct pki pki;
    struct pairing p;
    pki_begin(&pki);
    struct tls_identity *id = pki_issue(&pki, TLS_KEY_P256, "test.example", 10, false);
    pairing_begin(&p, KIND_TCP, pki.trust, id);
    p.server.later = true;
    secure(&p, "test.example");
    send_pattern(&p.a, 100);
    world_pass(&p.w, 30);
    CHECK(!p.server.established);
    tls_filter_use(p.server.f, id);
    until_got(&p.w, &p.b, 100);
    pairing_end(&p);
    pairing_begin(&p, KIND_TCP, pki.trust, NULL);
    secure(&p, "test.example");
    world_until(&p.w, &p.a.closed, 3000);
    CHECK(strstr(p.client.why, "unrecognized_name"));
    pairing_end(&p);
    tls_identity_unref(&id);
    pki_end(&pki);
}

static void resumes(void) {
    struct pki pki;
    struct pairing p;
    pki_begin(&pki);
    struct tls_store *store = pki_store(&pki);
    struct tls_identity *id = pki_issue(&pki, TLS_KEY_P256, "test.example", 10, false);
    for (int i = 0; i < 3; i++) {
        pairing_begin(&p, KIND_TCP, pki.trust, id);
        tls_context_unref(&p.cc);
        p.cc = pki_client(&pki, store);
        secure(&p, "test.example");
        tls_resume(tls_filter_session(p.client.f), STR("one place"));
        send_pattern(&p.a, 10);
        send_pattern(&p.b, 10);
        until_got(&p.w, &p.a, 10);
        until_got(&p.w, &p.b, 10);
        world_pass(&p.w, 5);
        struct tls_info info;
        tls_describe(tls_filter_session(p.client.f), &info);
        CHECK_EQ(info.resumed, i > 0);
        CHECK_EQ(tls_store_count(store), 1);
        pairing_end(&p);
    }
    tls_store_unref(&store);
    tls_identity_unref(&id);
    pki_end(&pki);
}

const struct test tls_tests[] = {
    {"TLS carries bytes both ways, over every kind of stream, with every kind of key", both_ways},
    {"TLS carries much", bulk},
    {"TLS begins in mid-stream", in_mid_stream},
    {"a TLS client refuses wrong names, old certificates, strangers, wrong purposes", refuses},
    {"a TLS server asks for certificates", client_certificates},
    {"a TLS session that is cut off is told from one that ends", truncated},
    {"a TLS peer that is silent, or speaks something else, is closed", silent},
    {"a TLS server may take its time to choose a certificate", chosen_late},
    {"a TLS session is resumed", resumes},
    {NULL, NULL},
};
