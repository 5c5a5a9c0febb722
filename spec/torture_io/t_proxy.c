/* SPDX-License-Identifier: MIT */
/* The PROXY header at the beginning of a stream: cut at every byte, late, wrong,
 * missing, with memory failing; and what a stream says of itself afterwards. */
#include "torture.h"

#include "io/proxy.h"

enum { MAX = 300 };

static const char v1[] = "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n";

struct arrival {
    struct world *w;
    struct end *end;
    unsigned calls;
    int status;
    bool told, pauses, closes;
};

static void arrived(void *owner, struct stream *s, int status) {
    struct arrival *a = owner;
    a->calls++;
    a->status = status;
    a->told = true;
    if (status < 0) return;
    end_begin(a->end, a->w, s);
    a->end->keep = true;
    if (a->pauses) stream_read(s, false);
    if (a->closes) stream_close(s);
}

/* b's end begins when its header is there. */
static void expect(struct arrival *a, struct world *w, enum kind k,
                   struct end *client, struct end *server, uint64_t timeout) {
    connect_ends(w, k, client, server);
    struct stream *s = server->s;
    s->hooks = NULL;
    *a = (struct arrival){.w = w, .end = server};
    CHECK_EQ(proxy_expect(s, timeout, MAX, arrived, a), 0);
}

static void finish(struct world *w, struct end *a, struct end *b) {
    if (a->s) stream_close(a->s);
    if (b->s) stream_close(b->s);
    world_until(w, &a->closed, 5000);
    world_until(w, &b->closed, 5000);
    end_end(a);
    end_end(b);
    world_end(w);
}

static void check_ends(struct stream *s, enum kind k) {
    struct address a;
    CHECK_EQ(stream_peer(s, &a), 0);
    CHECK(a.kind == ADDRESS_TCP && a.port == 1000 && strcmp(a.host, "192.0.2.1") == 0);
    CHECK_EQ(stream_host(s, &a), 0);
    CHECK(a.port == 443 && strcmp(a.host, "198.51.100.2") == 0);
    CHECK_EQ(stream_carrier(s, &a), 0);
    CHECK(k == KIND_TCP ? strcmp(a.host, "127.0.0.1") == 0
                        : a.kind == (k == KIND_UNIX ? ADDRESS_UNIX : ADDRESS_PAIR));
    CHECK(!s->top);
}

/* In two writes, cut everywhere, what follows the header with either of them. */
static void cut_everywhere(void) {
    static const char text[] = "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\nhello, world";
    for (enum kind k = KIND_TCP; k < KINDS; k++) {
        for (size_t cut = 0; cut < sizeof text; cut++) {
            struct world w;
            struct end a, b;
            struct arrival v;
            world_begin(&w);
            expect(&v, &w, k, &a, &b, 1000);
            v.pauses = cut % 3 == 0;
            if (cut) end_write(&a, text, cut);
            if (cut) world_pass(&w, 2);
            CHECK_EQ(v.told, cut >= sizeof v1 - 1);
            if (cut < sizeof text - 1) end_write(&a, text + cut, sizeof text - 1 - cut);
            world_until(&w, &v.told, 1000);
            CHECK_EQ(v.status, 0);
            check_ends(b.s, k);
            CHECK(!v.pauses || b.got == 0);
            if (v.pauses) stream_read(b.s, true);
            for (int i = 0; i < 200 && b.got < 12; i++) world_pass(&w, 1);
            CHECK(str_eq(buf_str(&b.bytes), STR("hello, world"))); /* once */
            CHECK_EQ(v.calls, 1);
            finish(&w, &a, &b);
        }
    }
}

/* Each leaves done called once, and the stream aborted. */
static void refusals(void) {
    static const struct {
        const char *text;
        bool ends, resets;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", false, false, RW_EPROTO},
        {"PROXY TCP4 1", true, false, RW_EPROTO},
        {"", true, false, RW_EOF},
        {"", false, false, RW_ETIMEDOUT},
        {"PROXY TCP4 1", false, false, RW_ETIMEDOUT},
        {"\r\n\r\n", false, true, -ECONNRESET},
    };
    for (enum kind k = KIND_TCP; k < KINDS; k++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct world w;
            struct end a, b;
            struct arrival v;
            world_begin(&w);
            expect(&v, &w, k, &a, &b, 60);
            a.anything = true;
            stream_read(a.s, true);
            if (cases[i].text[0]) end_write(&a, cases[i].text, strlen(cases[i].text));
            if (cases[i].ends) stream_shutdown(a.s);
            if (cases[i].resets) {
                world_pass(&w, 5);
                stream_abort(a.s, 0);
            }
            world_until(&w, &v.told, 1000);
            bool reset = cases[i].resets && k == KIND_UNIX; /* is an end there */
            CHECK_EQ(v.status, reset ? RW_EPROTO : cases[i].status);
            b.closed = true;
            b.s = NULL;
            if (a.s && !a.has_eof) world_pass(&w, 20);
            CHECK(a.closed || a.has_eof);
            finish(&w, &a, &b);
            CHECK_EQ(v.calls, 1);
        }
    }
}

/* A header that a proxy says of itself introduces nobody; who is closed by its
 * new owner is closed. */
static void nobody(void) {
    static const char local[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0!";
    for (int closes = 0; closes < 2; closes++) {
        struct world w;
        struct end a, b;
        struct arrival v;
        struct address at;
        world_begin(&w);
        expect(&v, &w, KIND_TCP, &a, &b, 1000);
        v.closes = closes;
        end_write(&a, local, sizeof local - 1);
        world_until(&w, &v.told, 1000);
        if (!closes) {
            CHECK(!b.s->introduction);
            CHECK_EQ(stream_peer(b.s, &at), 0);
            CHECK(strcmp(at.host, "127.0.0.1") == 0 && at.port > 1);
        }
        world_pass(&w, 5);
        CHECK_EQ(b.got, !closes);
        finish(&w, &a, &b);
    }
}

/* Its port is closed while it has not said a word: aborted by its owner. */
static void aborted(void) {
    struct world w;
    struct end a, b;
    struct arrival v;
    world_begin(&w);
    expect(&v, &w, KIND_TCP, &a, &b, 10000);
    end_write(&a, "PROXY", 5);
    world_pass(&w, 5);
    stream_abort(b.s, RW_ECANCELED);
    CHECK(!v.told);
    world_until(&w, &v.told, 1000);
    CHECK_EQ(v.status, RW_ECANCELED);
    b.closed = true;
    b.s = NULL;
    finish(&w, &a, &b);
}

static void without_memory(void) {
    bool fine = false;
    for (uint64_t n = 1; n < 20 && !fine; n++) {
        struct world w;
        struct end a, b;
        struct arrival v = {0};
        world_begin(&w);
        connect_ends(&w, KIND_TCP, &a, &b);
        struct stream *s = b.s;
        s->hooks = NULL;
        v = (struct arrival){.w = &w, .end = &b};
        uint64_t before = w.mem.failures;
        w.mem.fail_in = n;
        int rc = proxy_expect(s, 1000, MAX, arrived, &v);
        if (rc == 0) {
            end_write(&a, v1, 7);
            world_pass(&w, 3);
            if (a.s) end_write(&a, v1 + 7, sizeof v1 - 8);
            world_until(&w, &v.told, 2000);
        } else {
            CHECK_EQ(rc, RW_ENOMEM);
            stream_abort(s, rc);
        }
        fine = w.mem.failures == before;
        w.mem.fail_in = 0;
        if (rc < 0 || v.status < 0) {
            b.closed = true;
            b.s = NULL;
        }
        finish(&w, &a, &b);
    }
    CHECK(fine);
}

static void both_ways(void) {
    struct address v4 = {.kind = ADDRESS_TCP, .host = "192.0.2.1", .port = 1};
    struct address v6 = {.kind = ADDRESS_TCP, .host = "fe80::1%lo", .port = 2};
    struct address local = {.kind = ADDRESS_UNIX, .host = "/run/x"};
    struct address none = {.kind = ADDRESS_STDIO};
    struct proxy_header h;
    proxy_header_of(NULL, NULL, &h);
    CHECK(h.local && h.family == PROXY_UNKNOWN && h.version == 2);
    proxy_header_of(&v4, &v4, &h);
    CHECK(!h.local && h.family == PROXY_IPV4 && h.source.port == 1);
    proxy_header_of(&v6, &v6, &h);
    CHECK(h.family == PROXY_IPV6 && strcmp(h.source.host, "fe80::1") == 0);
    proxy_header_of(&local, &local, &h);
    CHECK(h.family == PROXY_UNIX && strcmp(h.destination.host, "/run/x") == 0);
    proxy_header_of(&v4, &v6, &h);
    CHECK(!h.local && h.family == PROXY_UNKNOWN);
    proxy_header_of(&none, &none, &h);
    CHECK(h.family == PROXY_UNKNOWN);
}

const struct test proxy_tests[] = {
    {"a PROXY header cut at every byte", cut_everywhere},
    {"no PROXY header", refusals},
    {"a proxy that speaks for itself", nobody},
    {"a PROXY header that is waited for no more", aborted},
    {"out of memory for a PROXY header", without_memory},
    {"PROXY headers of two ends", both_ways},
    {0},
};
