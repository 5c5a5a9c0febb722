/* SPDX-License-Identifier: MIT */
/* Sessions that are gone on with, both ends ours, without a network: who takes
 * which, for how long, what it says of its peer. */
#include <time.h>

#include "io/tls_resume.h"
#include "pki.h"

/* ── one connection ───────────────────────────────────────────────────────*/

static int64_t pretended;
static int64_t pretend(void) { return pretended; }

struct talk {
    struct mem mem;
    struct tls *client, *server;
    struct tls_context *cc, *sc;
    struct tls_identity *id;
    const char *name, *where; /* NULL: the usual ones */
    const char *asked;        /* the server believes; NULL: the name */
    int a, b;                 /* what the handshakes came to */
    bool resumed;
};

static void pass(struct tls *from, struct tls *to) {
    CHECK_EQ(tls_feed(to, buf_str(tls_output(from))), 0);
    buf_clear(tls_output(from));
}

/* Until the tickets have come. */
static void talk_begin(struct talk *t) {
    const char *name = t->name ? t->name : "test.example";
    char byte;
    t->a = t->b = 0;
    mem_init(&t->mem, 0);
    CHECK_EQ(tls_new(t->cc, &t->mem, name, &t->client), 0);
    CHECK_EQ(tls_new(t->sc, &t->mem, t->asked ? t->asked : name, &t->server), 0);
    tls_use(t->server, t->id);
    tls_resume(t->client, str_c(t->where ? t->where : "one place"));
    for (int turn = 0; turn < 20 && t->a >= 0 && t->b >= 0 && (t->a != 1 || t->b != 1); turn++) {
        t->a = tls_handshake(t->client);
        pass(t->client, t->server);
        t->b = tls_handshake(t->server);
        pass(t->server, t->client);
    }
    t->resumed = false;
    if (t->a != 1 || t->b != 1) return;
    CHECK_EQ(tls_read(t->server, &byte, 1), 0); /* writes the tickets */
    pass(t->server, t->client);
    CHECK_EQ(tls_read(t->client, &byte, 1), 0); /* takes them, though nothing is behind */
    struct tls_info client, server;
    tls_describe(t->client, &client);
    tls_describe(t->server, &server);
    CHECK_EQ(client.resumed, server.resumed);
    t->resumed = client.resumed;
}

static void talk_end(struct talk *t) {
    tls_free(&t->client);
    tls_free(&t->server);
    CHECK_EQ(t->mem.live, 0);
}

/* A whole one, which must come about: was it resumed? */
static bool resumes(struct talk *t) {
    talk_begin(t);
    CHECK(t->a == 1 && t->b == 1);
    talk_end(t);
    return t->resumed;
}

/* ── what all of them need ────────────────────────────────────────────────*/

struct town {
    struct pki pki;
    struct tls_identity *id;
    struct tls_store *store;
    struct tls_context *cc, *sc;
};

static struct tls_context *context_of(const struct tls_settings *s) {
    struct tls_context *c;
    struct tls_why why = {""};
    CHECK_EQ(tls_context_new(s, &c, &why), 0);
    return c;
}

static struct tls_settings client_settings(struct town *w) {
    return (struct tls_settings){.client = true, .verify = TLS_VERIFY_REQUIRED, .trust = w->pki.trust,
                                 .sessions = w->store, .now = pretend, .alpn = {"http/1.1", NULL}};
}

static struct talk town_begin(struct town *w) {
    pki_begin(&w->pki);
    pretended = (int64_t)time(NULL);
    w->id = pki_issue(&w->pki, TLS_KEY_P256, "test.example", 10, false);
    w->store = pki_store(&w->pki);
    struct tls_settings client = client_settings(w), server = {.tickets = true};
    w->cc = context_of(&client);
    w->sc = context_of(&server);
    return (struct talk){.cc = w->cc, .sc = w->sc, .id = w->id};
}

static void town_end(struct town *w) {
    tls_context_unref(&w->cc);
    tls_context_unref(&w->sc);
    tls_store_unref(&w->store);
    tls_identity_unref(&w->id);
    pki_end(&w->pki);
}

static void only(struct tls_context *c, unsigned version) {
    if (version == TLS_12) mbedtls_ssl_conf_max_tls_version(&c->config, MBEDTLS_SSL_VERSION_TLS1_2);
}

static const unsigned versions[] = {TLS_12, TLS_13};

/* ── the server's tickets ─────────────────────────────────────────────────*/

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
    struct town w;
    struct talk t = town_begin(&w);
    struct tls_settings s = {.tickets = true, .ticket_lifetime = LIFETIME, .now = pretend};
    t.sc = context_of(&s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t zero = 1700000 * (int64_t)LIFETIME;
        struct tls_store *store = pki_store(&w.pki);
        t.cc = pki_client(&w.pki, store); /* by the real clock */
        t.asked = "test.example";
        pretended = zero + cases[i].made;
        CHECK(!resumes(&t));
        pretended = zero + cases[i].used;
        t.asked = cases[i].asked;
        CHECK_EQ(resumes(&t), cases[i].taken);
        tls_context_unref(&t.cc);
        tls_store_unref(&store);
    }
    tls_context_unref(&t.sc);
    town_end(&w);
}

/* ── the client's sessions ────────────────────────────────────────────────*/

/* A ticket of TLS 1.3 is used once, that of TLS 1.2 until there is another. */
static void used_up(void) {
    struct town w;
    struct talk t = town_begin(&w);
    struct tls_settings mute = {0};
    struct tls_context *without = context_of(&mute);
    for (size_t v = 0; v < 2; v++) {
        struct tls_settings s = client_settings(&w);
        t.cc = context_of(&s);
        only(t.cc, versions[v]);
        CHECK(!resumes(&t));
        for (int i = 0; i < 3; i++) CHECK(resumes(&t));
        mbedtls_ssl_conf_new_session_tickets(&w.sc->config, 0); /* of TLS 1.3 */
        CHECK_EQ(tls_store_count(w.store), 1);
        CHECK(resumes(&t));
        CHECK_EQ(resumes(&t), versions[v] == TLS_12);
        mbedtls_ssl_conf_new_session_tickets(&w.sc->config, 1);
        resumes(&t);
        CHECK_EQ(tls_store_count(w.store), 1);
        t.sc = without; /* refuses it, and gives no other */
        CHECK(!resumes(&t));
        CHECK_EQ(tls_store_count(w.store), 0);
        CHECK_EQ(tls_store_bytes(w.store), 0);
        t.sc = w.sc;
        tls_context_unref(&t.cc);
    }
    tls_context_unref(&without);
    town_end(&w);
}

/* A ticket that is used again serves no longer than it did. */
static void ends_when_it_said(void) {
    enum { LIFETIME = 1000 };
    struct town w;
    struct talk t = town_begin(&w);
    const int64_t zero = pretended;
    struct tls_settings s = {.tickets = true, .ticket_lifetime = LIFETIME};
    t.sc = context_of(&s); /* by the real clock: it takes it for longer than it said */
    only(t.cc, TLS_12);
    CHECK(!resumes(&t));
    for (int i = 1; i < 4; i++) {
        pretended = zero + i * LIFETIME / 4;
        CHECK(resumes(&t));
    }
    pretended = zero + LIFETIME + 1;
    CHECK(!resumes(&t));
    tls_context_unref(&t.sc);
    town_end(&w);
}

/* In all that makes a key another client, or server, finds nothing. */
static void not_for_others(void) {
    struct town w;
    struct talk base = town_begin(&w);
    struct tls_why why;
    struct tls_trust *more, *growing;
    struct tls_identity *mine = pki_issue(&w.pki, TLS_KEY_P256, "me", 10, true);
    struct tls_identity *other = pki_issue(&w.pki, TLS_KEY_P256, "other.example", 10, false);
    struct pki stranger;
    pki_begin(&stranger);
    CHECK_EQ(tls_trust_new(&more), 0);
    CHECK_EQ(tls_trust_add(more, buf_str(&w.pki.ca), &why), 1);
    CHECK_EQ(tls_trust_add(more, buf_str(&stranger.ca), &why), 1);
    CHECK_EQ(tls_trust_new(&growing), 0);
    CHECK_EQ(tls_trust_add(growing, buf_str(&w.pki.ca), &why), 1);
    for (int part = 0; part < 8; part++) {
        struct tls_settings s = client_settings(&w);
        struct talk t = base;
        switch (part) {
        case 0: s.min_version = TLS_13; break;
        case 1: s.alpn[0] = "h2"; break;
        case 2: s.alpn[1] = "h2"; break;
        case 3: s.alpn[0] = NULL; break;
        case 4: s.trust = more; break;
        case 5: s.identity = mine; break;
        case 6: t.where = "another place"; break;
        case 7: t.name = "other.example"; t.id = other; break;
        }
        t.cc = context_of(&s);
        CHECK(!resumes(&base));
        CHECK(!resumes(&t));
        CHECK(resumes(&t));    /* its own */
        CHECK(resumes(&base)); /* is still there */
        tls_context_unref(&t.cc);
        tls_store_unref(&w.store);
        w.store = pki_store(&w.pki);
        tls_context_unref(&w.cc);
        s = client_settings(&w);
        w.cc = base.cc = context_of(&s);
    }
    /* whose trust grows under it */
    struct tls_settings s = client_settings(&w);
    s.trust = growing;
    struct talk t = base;
    t.cc = context_of(&s);
    resumes(&t);
    CHECK(resumes(&t));
    CHECK_EQ(tls_trust_add(growing, buf_str(&stranger.ca), &why), 1);
    CHECK(!resumes(&t));
    tls_context_unref(&t.cc);
    tls_trust_unref(&more);
    tls_trust_unref(&growing);
    tls_identity_unref(&mine);
    tls_identity_unref(&other);
    pki_end(&stranger);
    town_end(&w);
}

/* Without verification there is nothing to keep, nor without a name. */
static void not_unverified(void) {
    struct town w;
    struct talk t = town_begin(&w);
    for (int i = 0; i < 3; i++) {
        struct tls_settings s = client_settings(&w);
        if (i == 0) s.verify = TLS_VERIFY_NONE;
        if (i == 1) s.verify = TLS_VERIFY_OPTIONAL;
        if (i == 2) s.sessions = NULL;
        t.cc = context_of(&s);
        CHECK(!resumes(&t));
        CHECK(!resumes(&t));
        CHECK_EQ(tls_store_count(w.store), 0);
        tls_context_unref(&t.cc);
    }
    town_end(&w);
}

static void same_chain(const struct tls *a, const struct tls *b, size_t count) {
    struct tls_info x, y;
    tls_describe(a, &x);
    tls_describe(b, &y);
    CHECK_EQ(x.peer_verified, y.peer_verified);
    CHECK(str_eq(x.peer, y.peer));
    for (size_t i = 0; i <= count; i++) {
        CHECK(str_eq(tls_peer_certificate(a, i), tls_peer_certificate(b, i)));
        CHECK_EQ(tls_peer_certificate(b, i).n > 0, i < count);
    }
}

/* On both sides, over several resumptions, in both versions. */
static void same_peer(void) {
    struct town w;
    struct talk t = town_begin(&w);
    struct tls_identity *mine = pki_issue(&w.pki, TLS_KEY_P256, "me", 10, true);
    for (size_t v = 0; v < 2; v++) {
        for (int with = 0; with < 2; with++) {
            struct tls_settings s = client_settings(&w), server = {
                .tickets = true, .verify = with ? TLS_VERIFY_REQUIRED : TLS_VERIFY_OPTIONAL,
                .trust = w.pki.trust};
            if (with) s.identity = mine;
            t.cc = context_of(&s);
            t.sc = context_of(&server);
            only(t.cc, versions[v]);
            struct talk first = t;
            talk_begin(&first);
            CHECK(!first.resumed);
            for (int i = 0; i < 3; i++) {
                talk_begin(&t);
                CHECK(t.resumed);
                same_chain(first.client, t.client, 1);
                same_chain(first.server, t.server, (size_t)with);
                talk_end(&t);
            }
            talk_end(&first);
            tls_context_unref(&t.cc);
            tls_context_unref(&t.sc);
        }
        tls_store_unref(&w.store);
        w.store = pki_store(&w.pki);
    }
    tls_identity_unref(&mine);
    town_end(&w);
}

/* A server that takes the ticket no more shows its certificate, and is looked at. */
static void refused(void) {
    struct town w;
    struct talk t = town_begin(&w);
    struct tls_identity *other = pki_issue(&w.pki, TLS_KEY_P256, "test.example", 10, false);
    struct tls_identity *wrong = pki_issue(&w.pki, TLS_KEY_P256, "wrong.example", 10, false);
    struct tls_settings s = {.tickets = true, .ticket_secret = {1}};
    struct tls_context *elsewhere = context_of(&s);
    for (size_t v = 0; v < 2; v++) {
        only(w.cc, versions[v]);
        CHECK(!resumes(&t));
        t.sc = elsewhere;
        t.id = other;
        talk_begin(&t);
        struct tls_info info;
        struct tls_certificate shown;
        CHECK_EQ(tls_identity_describe(other, &shown), 0);
        tls_describe(t.client, &info);
        CHECK(!info.resumed && info.peer_verified && str_eq(info.peer, shown.der));
        talk_end(&t);
        CHECK(resumes(&t)); /* with a ticket of that one */
        t.sc = w.sc;
        t.id = wrong;
        CHECK(tls_store_count(w.store) > 0);
        talk_begin(&t);
        CHECK_EQ(t.a, RW_ECERTIFICATE);
        talk_end(&t);
        CHECK_EQ(tls_store_count(w.store), 0); /* it came to nothing: what else is there, is none */
        t.id = w.id;
        tls_context_unref(&w.cc);
        struct tls_settings again = client_settings(&w);
        w.cc = t.cc = context_of(&again);
    }
    tls_context_unref(&elsewhere);
    tls_identity_unref(&other);
    tls_identity_unref(&wrong);
    town_end(&w);
}

/* From a full handshake on, however often it is gone on with; and no longer than the
 * certificate is good. */
static void sessions_age(void) {
    enum { DAY = 86400 };
    struct town w;
    struct talk t = town_begin(&w);
    struct limits l = limits_default;
    const int64_t zero = pretended;
    struct tls_settings server = {.tickets = true, .ticket_lifetime = 7 * DAY};
    t.sc = context_of(&server);
    CHECK(!resumes(&t));
    for (int i = 1; i < 4; i++) {
        pretended = zero + i * DAY / 4;
        CHECK(resumes(&t));
    }
    pretended = zero + DAY - 1;
    CHECK(resumes(&t));
    pretended = zero + DAY;
    CHECK(!resumes(&t));
    pretended = zero; /* the clock is set back */
    CHECK(!resumes(&t));
    pretended = zero + 10 * DAY + 2;
    CHECK(!resumes(&t)); /* for the library, which has a clock of its own, it is good */
    CHECK_EQ(tls_store_count(w.store), 0);
    l.tls_session_lifetime = 100 * DAY;
    tls_store_bound(w.store, &l);
    pretended = zero;
    CHECK(!resumes(&t));
    pretended = zero + 7 * DAY - 1;
    CHECK(resumes(&t));
    pretended = zero + 7 * DAY; /* no session is kept for longer */
    CHECK(!resumes(&t));
    struct tls_identity *brief = pki_issue(&w.pki, TLS_KEY_P256, "test.example", 3, false);
    t.id = brief;
    pretended = zero + 1;
    CHECK(!resumes(&t));
    pretended = zero + 3 * DAY - 2;
    CHECK(resumes(&t));
    pretended = zero + 3 * DAY + 2;
    CHECK(!resumes(&t));
    tls_identity_unref(&brief);
    tls_context_unref(&t.sc);
    town_end(&w);
}

/* ── without memory ───────────────────────────────────────────────────────*/

/* Whatever allocation of the store's fails, the connection comes about. */
static void without_memory(void) {
    struct town w;
    struct talk t = town_begin(&w);
    struct mem mem;
    static const uint64_t seed[2] = {1, 2};
    bool failed = true;
    for (uint64_t nth = 1; failed; nth++) {
        struct tls_store *store;
        mem_init(&mem, 0);
        mem.fail_in = nth;
        if (tls_store_new(&mem, seed, &store) == 0) {
            struct tls_settings s = client_settings(&w);
            s.sessions = store;
            t.cc = context_of(&s);
            CHECK(!resumes(&t));
            bool resumed = resumes(&t);
            resumes(&t);
            CHECK(resumed || mem.failures);
            tls_context_unref(&t.cc);
            tls_store_unref(&store);
        }
        failed = mem.failures > 0;
        CHECK_EQ(mem.live, 0);
        CHECK(nth < 100);
    }
    town_end(&w);
}

const struct test tls_resume_tests[] = {
    {"a ticket serves for its lifetime, to the second, and under its server name", tickets_age},
    {"a ticket of TLS 1.3 is used once, that of TLS 1.2 until there is another", used_up},
    {"a ticket of TLS 1.2 that is used again serves no longer", ends_when_it_said},
    {"a session is resumed by who would have made it, and nobody else", not_for_others},
    {"a session without verification is not kept", not_unverified},
    {"a resumed session says the same of the peer, on both sides", same_peer},
    {"a session that the server refuses is a full handshake, with its checks", refused},
    {"a session is resumed for its lifetime from a full check, and while certificates last", sessions_age},
    {"a store of sessions without memory costs no handshake", without_memory},
    {NULL, NULL},
};
