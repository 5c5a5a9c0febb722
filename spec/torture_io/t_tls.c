/* SPDX-License-Identifier: MIT */
/* TLS on streams, both ends ours: every kind of stream and key, both versions,
 * in mid-stream, resumed, refused, cut off, silent. */
#include <time.h>

#include "io/tls_filter.h"
#include "io/tls_issue.h"
#include "torture.h"

/* ── an authority and its certificates ────────────────────────────────────*/

struct pki {
    struct mem mem;
    struct buf ca, ca_key;
    struct tls_trust *trust;
};

static struct tls_identity *issue(struct pki *p, enum tls_key_kind kind, const char *name,
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

static void pki_begin(struct pki *p) {
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

static void pki_end(struct pki *p) {
    tls_trust_unref(&p->trust);
    buf_release(&p->ca);
    buf_release(&p->ca_key);
    CHECK_EQ(p->mem.live, 0);
}

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
        struct tls_identity *id = issue(&pki, keys[i], "test.example", 10, false);
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
    struct tls_identity *id = issue(&pki, TLS_KEY_P256, "test.example", 10, false);
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
    struct tls_identity *good = issue(&pki, TLS_KEY_P256, "*.test.example", 10, false);
    struct tls_identity *old = issue(&pki, TLS_KEY_P256, "test.example", -1, false);
    struct tls_identity *wrong = issue(&pki, TLS_KEY_P256, "a.test.example", 10, true);
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
    struct tls_identity *id = issue(&pki, TLS_KEY_P256, "test.example", 10, false);
    struct tls_identity *mine = issue(&pki, TLS_KEY_P256, "someone", 10, true);
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
    struct tls_identity *id = issue(&pki, TLS_KEY_P256, "test.example", 10, false);
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
    struct tls_identity *id = issue(&pki, TLS_KEY_P256, "test.example", 10, false);
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
    struct tls_identity *id = issue(&pki, TLS_KEY_P256, "test.example", 10, false);
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
    struct tls_identity *id = issue(&pki, TLS_KEY_P256, "test.example", 10, false);
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
    struct buf saved;
    struct pairing p;
    pki_begin(&pki);
    buf_init(&saved, &pki.mem, 1 << 20);
    struct tls_identity *id = issue(&pki, TLS_KEY_P256, "test.example", 10, false);
    for (int i = 0; i < 3; i++) {
        pairing_begin(&p, KIND_TCP, pki.trust, id);
        secure(&p, "test.example");
        if (i) CHECK_EQ(tls_session_load(tls_filter_session(p.client.f), buf_str(&saved)), 0);
        send_pattern(&p.a, 10);
        send_pattern(&p.b, 10);
        until_got(&p.w, &p.a, 10);
        until_got(&p.w, &p.b, 10);
        world_pass(&p.w, 5);
        struct tls_info info;
        tls_describe(tls_filter_session(p.client.f), &info);
        CHECK_EQ(info.resumed, i > 0);
        buf_clear(&saved);
        CHECK_EQ(tls_session_save(tls_filter_session(p.client.f), &saved), 0);
        pairing_end(&p);
    }
    buf_release(&saved);
    tls_identity_unref(&id);
    pki_end(&pki);
}

static int64_t pretended;
static int64_t pretend(void) { return pretended; }

/* One handshake without a network: does the server take the ticket in `session`?
 * What it gives instead is there afterwards. */
static bool takes_ticket(struct tls_context *sc, struct tls_context *cc, struct tls_identity *id,
                         const char *asked, struct buf *session) {
    struct mem mem;
    struct tls *client, *server;
    struct tls_info info;
    char byte;
    int a = 0, b = 0;
    mem_init(&mem, 0);
    CHECK_EQ(tls_new(cc, &mem, "test.example", &client), 0);
    CHECK_EQ(tls_new(sc, &mem, asked, &server), 0);
    tls_use(server, id);
    if (buf_len(session)) CHECK_EQ(tls_session_load(client, buf_str(session)), 0);
    for (int turn = 0; turn < 20 && (a != 1 || b != 1); turn++) {
        a = tls_handshake(client);
        tls_feed(server, buf_str(tls_output(client)));
        buf_clear(tls_output(client));
        b = tls_handshake(server);
        tls_feed(client, buf_str(tls_output(server)));
        buf_clear(tls_output(server));
    }
    CHECK(a == 1 && b == 1);
    CHECK_EQ(tls_write(server, STR("x"), 0), 0);
    tls_feed(client, buf_str(tls_output(server)));
    CHECK_EQ(tls_read(client, &byte, 1), 1);
    tls_describe(server, &info);
    buf_clear(session);
    CHECK_EQ(tls_session_save(client, session), 0);
    tls_free(&client);
    tls_free(&server);
    CHECK_EQ(mem.live, 0);
    return info.resumed;
}

/* A ticket serves for its lifetime, to the second, and under its name. */
static void tickets_age(void) {
    enum { LIFETIME = 1000, SKEW = 60 };
    static const struct { int64_t made, used; const char *asked; bool taken; } cases[] = {
        {0, 0, "test.example", true},
        {0, LIFETIME, "test.example", true},
        {0, LIFETIME + 1, "test.example", false},
        {LIFETIME - 1, LIFETIME, "test.example", true}, /* the next period's */
        {LIFETIME - 1, 2 * LIFETIME - 1, "test.example", true},
        {LIFETIME - 1, 2 * LIFETIME, "test.example", false},
        {SKEW, 0, "test.example", true}, /* another machine's clock is ahead */
        {SKEW + 1, 0, "test.example", false},
        {0, 1, "TEST.example", true},
        {0, 1, "other.example", false},
        {0, 1, "", false},
    };
    struct pki pki;
    struct buf session;
    struct tls_why why;
    pki_begin(&pki);
    buf_init(&session, &pki.mem, 1 << 20);
    struct tls_identity *id = issue(&pki, TLS_KEY_P256, "test.example", 10, false);
    struct tls_context *cc = context(true, pki.trust, TLS_12, TLS_VERIFY_REQUIRED, NULL), *sc;
    struct tls_settings s = {.tickets = true, .ticket_lifetime = LIFETIME, .now = pretend};
    CHECK_EQ(tls_context_new(&s, &sc, &why), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t zero = 1700000 * (int64_t)LIFETIME;
        buf_clear(&session);
        pretended = zero + cases[i].made;
        CHECK(!takes_ticket(sc, cc, id, "test.example", &session));
        pretended = zero + cases[i].used;
        CHECK_EQ(takes_ticket(sc, cc, id, cases[i].asked, &session), cases[i].taken);
    }
    buf_release(&session);
    tls_context_unref(&cc);
    tls_context_unref(&sc);
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
    {"a ticket serves for its lifetime, to the second, and under its server name", tickets_age},
    {NULL, NULL},
};
