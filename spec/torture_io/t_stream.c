/* SPDX-License-Identifier: MIT */
/* Streams of every kind: bytes, back-pressure, half-close, and all the ways to
 * end. */
#include "torture.h"

#include <unistd.h>

#include "io/stream_private.h"

#define FOR_EACH_KIND(k) for (enum kind k = KIND_TCP; k < KINDS; k++)

static void finish(struct world *w, struct end *a, struct end *b) {
    if (a->s) stream_close(a->s);
    if (b->s) stream_close(b->s);
    world_until(w, &a->closed, 5000);
    world_until(w, &b->closed, 5000);
    CHECK_EQ(a->closes, 1);
    CHECK_EQ(b->closes, 1);
    end_end(a);
    end_end(b);
    world_end(w);
}

static void begin(struct world *w, enum kind k, struct end *a, struct end *b) {
    world_begin(w);
    connect_ends(w, k, a, b);
    for (int i = 0; i < 2 && k == KIND_TCP; i++) { /* or they grow to MBs */
        stream_option(i ? a->s : b->s, "send_buffer", 100000);
        stream_option(i ? a->s : b->s, "receive_buffer", 100000);
    }
}

/* ── echo ─────────────────────────────────────────────────────────────────*/

enum { ECHO_TOTAL = 50 * 1000 * 1000 };

static void echo_one(enum kind k) {
    static char block[256 * 1024];
    struct world w;
    struct end a, b;
    begin(&w, k, &a, &b);
    b.echo = true;
    stream_read(b.s, true);
    size_t rss = rss_kib(), peak = 0;
    unsigned pauses = 0;
    bool stalled = false;
    while (a.got < ECHO_TOTAL && !a.closed && !b.closed) {
        /* Every so often nobody reads the echo for a while. */
        if (!stalled && test_random() % 64 == 0) stalled = true;
        if (stalled && a.s->told_to_pause && test_random() % 8 == 0)
            stalled = false;
        if (a.sent == ECHO_TOTAL) stalled = false;
        stream_read(a.s, !stalled);
        for (int i = 0; i < 8 && a.sent < ECHO_TOTAL; i++) {
            if (a.s->told_to_pause) break;
            size_t n = 1 + test_random() % (test_random() % 4 ? 2000 : 262144);
            if (n > ECHO_TOTAL - a.sent) n = ECHO_TOTAL - a.sent;
            pattern_fill(block, a.sent, n);
            int rc = end_write(&a, block, n);
            CHECK(rc == 0 || rc == 1);
            CHECK_EQ(rc, a.s->told_to_pause);
            pauses += rc == 1;
        }
        CHECK(a.s->queued < 2 * 262144 + 65536);
        loop_turn(w.loop, 10);
        if (w.mem.live > peak) peak = w.mem.live;
    }
    CHECK_EQ(a.got, ECHO_TOTAL);
    CHECK_EQ(b.got, ECHO_TOTAL);
    CHECK(pauses > 3 && a.drains > 3 && b.drains > 1);
    CHECK(a.drains <= pauses);
    CHECK(peak < 2 * 1024 * 1024);
    CHECK(grew_kib(rss) < 8 * 1024);
    if (a.s) CHECK_EQ(a.s->bytes_in, ECHO_TOTAL);
    if (b.s) CHECK_EQ(b.s->bytes_out, ECHO_TOTAL);
    finish(&w, &a, &b);
    CHECK_EQ(a.reason, 0);
    CHECK_EQ(b.reason, 0);
}

static void echo_tcp(void) { echo_one(KIND_TCP); }
static void echo_unix(void) { echo_one(KIND_UNIX); }
static void echo_pair(void) { echo_one(KIND_PAIR); }

/* ── half-close, pause ────────────────────────────────────────────────────*/

static void half_close(void) {
    FOR_EACH_KIND(k) {
        static char block[300000];
        struct world w;
        struct end a, b;
        begin(&w, k, &a, &b);
        pattern_fill(block, 0, sizeof block);
        stream_read(b.s, true);
        stream_read(a.s, true);
        end_write(&a, block, sizeof block);
        CHECK_EQ(stream_shutdown(a.s), 0);
        CHECK_EQ(stream_shutdown(a.s), 0);
        CHECK_EQ(end_write(&a, "x", 1), RW_ECLOSED);
        world_until(&w, &b.has_eof, 5000);
        CHECK_EQ(b.got, sizeof block);
        CHECK_EQ(b.eofs, 1);
        CHECK_EQ(a.shutdowns, 1);
        CHECK(!b.closed);
        CHECK(end_write(&b, block, sizeof block) >= 0);
        stream_close(b.s);
        world_until(&w, &a.has_eof, 5000);
        CHECK_EQ(a.got, sizeof block);
        finish(&w, &a, &b);
        CHECK_EQ(a.reason, 0);
        CHECK_EQ(b.reason, 0);
    }
}

static void eof_while_paused(void) {
    FOR_EACH_KIND(k) {
        struct world w;
        struct end a, b;
        char block[5000];
        begin(&w, k, &a, &b);
        pattern_fill(block, 0, sizeof block);
        b.pause_on_data = true;
        stream_read(b.s, true);
        end_write(&a, block, sizeof block);
        stream_close(a.s);
        world_until(&w, &b.has_data, 5000);
        world_pass(&w, 30);
        CHECK_EQ(b.eofs, 0);
        for (int i = 0; i < 50 && !b.eofs && b.s; i++) {
            stream_read(b.s, true);
            world_pass(&w, 2);
        }
        CHECK_EQ(b.eofs, 1);
        CHECK_EQ(b.got, sizeof block);
        finish(&w, &a, &b);
    }
}

/* ── ends ─────────────────────────────────────────────────────────────────*/

static void abort_by_owner(void) {
    FOR_EACH_KIND(k) {
        static char block[20000000];
        struct world w;
        struct end a, b;
        begin(&w, k, &a, &b);
        pattern_fill(block, 0, sizeof block);
        end_write(&a, block, sizeof block); /* most of it stays queued */
        stream_read(b.s, true);
        a.in_call = true;
        stream_abort(a.s, 0);
        stream_abort(a.s, -EPERM);
        stream_close(a.s);
        CHECK_EQ(stream_write(a.s, STR("x")), RW_ECLOSED);
        a.in_call = false;
        world_until(&w, &a.closed, 5000);
        CHECK_EQ(a.reason, RW_EABORTED);
        for (int i = 0; i < 100 && !b.closed && !b.has_eof; i++)
            world_pass(&w, 5);
        if (k != KIND_UNIX) CHECK_EQ(b.reason, -ECONNRESET);
        finish(&w, &a, &b);
    }
}

static void reset_by_peer(void) {
    static char block[20000000];
    struct world w;
    struct end a, b;
    begin(&w, KIND_TCP, &a, &b);
    pattern_fill(block, 0, sizeof block);
    CHECK_EQ(end_write(&a, block, sizeof block), 1);
    stream_abort(b.s, -EPERM);
    world_until(&w, &a.closed, 5000); /* though it does not read */
    CHECK(a.reason == -ECONNRESET || a.reason == -EPIPE);
    CHECK_EQ(b.reason, -EPERM);
    finish(&w, &a, &b);
}

static void close_in_hooks(void) {
    FOR_EACH_KIND(k) {
        for (int how = 0; how < 3; how++) {
            struct world w;
            struct end a, b;
            char block[1000];
            begin(&w, k, &a, &b);
            pattern_fill(block, 0, sizeof block);
            b.close_on_data = how == 0;
            b.abort_on_data = how == 1;
            b.close_on_eof = how == 2;
            a.close_on_eof = true;
            stream_read(a.s, true);
            stream_read(b.s, true);
            end_write(&a, block, sizeof block);
            end_write(&a, block, 0);
            if (how == 2) stream_shutdown(a.s);
            world_until(&w, &b.closed, 5000);
            world_until(&w, &a.closed, 5000);
            CHECK_EQ(b.reason, how == 1 ? -EPERM : 0);
            CHECK_EQ(b.datas, 1);
            finish(&w, &a, &b);
        }
    }
}

static void write_to_the_dead(void) {
    FOR_EACH_KIND(k) {
        struct world w;
        struct end a, b;
        int rc = 0;
        begin(&w, k, &a, &b);
        stream_abort(b.s, 0);
        world_until(&w, &b.closed, 5000);
        for (int i = 0; i < 100 && rc >= 0 && a.s; i++) {
            char c = pattern(a.sent);
            rc = end_write(&a, &c, 1);
            world_pass(&w, 1);
        }
        world_until(&w, &a.closed, 5000);
        CHECK(a.reason == -EPIPE || a.reason == -ECONNRESET);
        finish(&w, &a, &b);
    }
}

static void close_flushes(void) {
    FOR_EACH_KIND(k) {
        static char block[20000000];
        struct world w;
        struct end a, b;
        begin(&w, k, &a, &b);
        pattern_fill(block, 0, sizeof block);
        a.in_call = true;
        CHECK_EQ(end_write(&a, block, sizeof block), 1);
        stream_close(a.s);
        a.in_call = false;
        CHECK_EQ(stream_write(a.s, STR("x")), RW_ECLOSED);
        b.pause_on_data = true;
        while (b.got < sizeof block && !b.closed) {
            stream_read(b.s, true);
            loop_turn(w.loop, 5);
        }
        b.pause_on_data = false;
        stream_read(b.s, true);
        world_until(&w, &a.closed, 5000);
        world_until(&w, &b.has_eof, 5000);
        CHECK_EQ(a.reason, 0);
        finish(&w, &a, &b);
    }
}

/* The peer is still sending: a plain close would reset it before it has read
 * our last words. */
static void lingers(void) {
    FOR_EACH_KIND(k) {
        static char block[4000000];
        struct world w;
        struct end a, b;
        if (k == KIND_PAIR) continue;
        begin(&w, k, &a, &b);
        pattern_fill(block, 0, sizeof block);
        end_write(&b, block, sizeof block);
        world_pass(&w, 5);
        end_write(&a, block, 1000);
        stream_close(a.s);
        world_until(&w, &a.closed, 100); /* the owner does not wait */
        CHECK_EQ(a.reason, 0);
        world_pass(&w, 50);
        b.close_on_eof = true;
        stream_read(b.s, true);
        world_until(&w, &b.closed, 5000);
        CHECK_EQ(b.got, 1000);
        CHECK_EQ(b.reason, 0);
        finish(&w, &a, &b);
    }
}

/* ── limits ───────────────────────────────────────────────────────────────*/

static void times_out(bool closing) {
    FOR_EACH_KIND(k) {
        static char block[20000000];
        struct world w;
        struct end a, b;
        begin(&w, k, &a, &b);
        w.limits.write_timeout = closing ? 60000 : 400;
        w.limits.close_timeout = closing ? 400 : 60000;
        pattern_fill(block, 0, sizeof block);
        CHECK_EQ(end_write(&a, block, sizeof block), 1);
        b.pause_on_data = true; /* takes a little for a while */
        for (int i = 0; i < 20; i++) {
            if (i == 10 && closing) stream_close(a.s);
            stream_read(b.s, true);
            world_pass(&w, 25);
        }
        CHECK(!a.closed);
        double t = now_seconds();
        world_until(&w, &a.closed, 5000);
        t = now_seconds() - t;
        CHECK(t > 0.2 && t < 2);
        CHECK_EQ(a.reason, RW_ETIMEDOUT);
        stream_abort(b.s, 0);
        finish(&w, &a, &b);
    }
}
static void write_timeout(void) { times_out(false); }
static void close_timeout(void) { times_out(true); }

static void too_much_buffered(void) {
    FOR_EACH_KIND(k) {
        static char block[1000000];
        struct world w;
        struct end a, b;
        int rc = 0;
        begin(&w, k, &a, &b);
        w.limits.max_buffered = 2500000;
        pattern_fill(block, 0, sizeof block);
        for (int i = 0; i < 20 && rc >= 0; i++)
            rc = end_write(&a, block, sizeof block);
        CHECK_EQ(rc, RW_ELIMIT);
        CHECK(!a.closed);
        CHECK(w.mem.peak < 6000000);
        world_until(&w, &a.closed, 5000);
        CHECK_EQ(a.reason, RW_ELIMIT);
        finish(&w, &a, &b);
    }
}

/* ── the rest ─────────────────────────────────────────────────────────────*/

static void without_an_owner(void) {
    FOR_EACH_KIND(k) {
        struct world w;
        struct end a, b;
        begin(&w, k, &a, &b);
        a.s->hooks = b.s->hooks = NULL;
        a.s->owner = b.s->owner = NULL;
        stream_read(b.s, true);
        stream_write(a.s, STR("nobody listens"));
        stream_close(a.s); /* and the eof closes b */
        end_end(&a);
        end_end(&b);
        world_end(&w);
    }
}

static void addresses_and_options(void) {
    FOR_EACH_KIND(k) {
        struct world w;
        struct end a, b;
        struct address x, y, z;
        char text[160];
        begin(&w, k, &a, &b);
        CHECK_EQ(stream_peer(a.s, &x), 0);
        CHECK_EQ(stream_host(b.s, &y), 0);
        CHECK_EQ(x.port, y.port);
        CHECK(strcmp(x.host, y.host) == 0);
        struct str s = address_format(&x, text, sizeof text);
        CHECK_EQ(address_parse(s, &z), 0);
        CHECK(z.kind == x.kind && z.port == x.port);
        CHECK(strcmp(z.host, x.host) == 0);
        bool tcp = k == KIND_TCP, pair = k == KIND_PAIR;
        CHECK_EQ(stream_option(a.s, "nodelay", 0) == 0, tcp);
        CHECK_EQ(stream_option(a.s, "nodelay", 1) == 0, tcp);
        CHECK_EQ(stream_option(a.s, "keepalive", 30) == 0, tcp);
        CHECK_EQ(stream_option(a.s, "send_buffer", 65536) == 0, !pair);
        CHECK_EQ(stream_option(a.s, "receive_buffer", 65536) == 0, !pair);
        CHECK_EQ(stream_option(a.s, "colour", 1), RW_EINVAL);
        finish(&w, &a, &b);
    }
    CHECK(sizeof(struct uvstream) <= 560);
    printf("    sizeof: stream %zu, flow %zu, tcp and unix stream %zu\n",
           sizeof(struct stream), sizeof(struct flow),
           sizeof(struct uvstream));
}

static void parse_addresses(void) {
    static const struct {
        const char *text;
        bool good;
    } all[] = {
        {"127.0.0.1:80", true},  {"[::1]:8080", true}, {"unix:/a", true},
        {"127.0.0.1", false},    {"::1:80", false},    {"[::1]80", false},
        {"[::1:80", false},      {"1.2.3.4:", false},  {"1.2.3.4:65536", false},
        {"1.2.3.4:-1", false},   {"name:80", false},   {"unix:", true},
        {"[fe80::1%lo]:1", true}, {"", false},         {"[127.0.0.1]:1", false},
        {"stdio", true},         {"pair", true},       {"stdio:", false},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct address a;
        char text[160];
        int rc = address_parse(str_c(all[i].text), &a);
        if ((rc == 0) != all[i].good)
            check_failed(__FILE__, __LINE__, all[i].text);
        if (rc == 0)
            CHECK(str_eq(address_format(&a, text, sizeof text),
                         str_c(all[i].text)));
    }
}

/* However much a peer has sent, a turn reads little of it: the others want
 * theirs. Nothing has to happen for the rest to be read in the next ones. */
static void a_flood_is_cut(void) {
    enum { N = 190000 };
    static char block[N];
    pattern_fill(block, 0, N);
    for (enum kind k = KIND_TCP; k <= KIND_UNIX; k++) {
        struct world w;
        struct end a, b;
        world_begin(&w);
        connect_ends(&w, k, &a, &b);
        stream_option(b.s, "receive_buffer", 1000000);
        stream_option(a.s, "send_buffer", 1000000);
        end_write(&a, block, N);
        stream_shutdown(a.s);
        for (int i = 0; i < 500 && a.s->queued; i++) loop_turn(w.loop, 1);
        CHECK_EQ(a.s->queued, 0);
        stream_read(b.s, true);
        unsigned turns = 0;
        for (uint64_t had = 0; !b.eofs && turns < 200; had = b.got, turns++) {
            loop_turn(w.loop, 1000);
            CHECK(b.got - had <= FULL_READS * LOOP_BUFFER);
        }
        CHECK(turns >= 2 && turns < 20);
        CHECK_EQ(b.got, N);
        CHECK_EQ(b.eofs, 1);
        finish(&w, &a, &b);
    }
}

const struct test stream_tests[] = {
    {"echo over tcp, with a stalled reader", echo_tcp},
    {"echo over unix, with a stalled reader", echo_unix},
    {"echo over a pair, with a stalled reader", echo_pair},
    {"half-close leaves the other direction", half_close},
    {"a flood is read in slices", a_flood_is_cut},
    {"eof waits while reading is off", eof_while_paused},
    {"abort by the owner", abort_by_owner},
    {"reset by the peer of a stream that only writes", reset_by_peer},
    {"close and abort in hooks", close_in_hooks},
    {"writing to the dead fails", write_to_the_dead},
    {"close flushes first", close_flushes},
    {"close lingers for a peer that still sends", lingers},
    {"write_timeout", write_timeout},
    {"close_timeout", close_timeout},
    {"max_buffered", too_much_buffered},
    {"streams without an owner", without_an_owner},
    {"addresses and options", addresses_and_options},
    {"addresses as text", parse_addresses},
    {0},
};
