/* SPDX-License-Identifier: MIT */
/* PROXY headers, and networks: written out by hand, at every length, and as
 * they come out of the encoder. */
#include "base/cidr.h"
#include "base/proxy.h"
#include "torture.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
/* 192.0.2.1:1000 → 198.51.100.2:443 */
#define IPV4 "\xc0\x00\x02\x01\xc6\x33\x64\x02\x03\xe8\x01\xbb"
#define ZEROS8 "\0\0\0\0\0\0\0\0"
#define IPV6 "\x20\x01\x0d\xb8" ZEROS8 "\0\0\0\x01" ZEROS8 "\0\0\xff\xff\xc6\x33\x64\x02\x03\xe8\x01\xbb"

/* ---- networks ---- */

static bool has(const char *network, const char *address) {
    struct cidr c;
    CHECK(cidr_parse(str_c(network), &c) == 0);
    return cidr_has(&c, address);
}

void check_cidr(void) {
    static const char *const bad[] = {"", "x", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1",
        "10.1.0.0/8", "10.0.0.1/31", "fd00::1/8", "::/129", "::1%lo", "1.2.3.4/8 ", "/8",
        "01.2.3.4", "::ffff:1.2.3.4/4", "1.2.3.4/032x"};
    struct cidr c;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(cidr_parse(str_c(bad[i]), &c) == RW_ESYNTAX);
    CHECK(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
    CHECK(has("10.128.0.0/9", "10.128.0.1") && !has("10.128.0.0/9", "10.127.255.255"));
    CHECK(has("127.0.0.1", "127.0.0.1") && !has("127.0.0.1", "127.0.0.2"));
    CHECK(has("0.0.0.0/0", "203.0.113.9") && !has("0.0.0.0/0", "::1"));
    CHECK(has("::/0", "2001:db8::1") && !has("::/0", "127.0.0.1"));
    CHECK(has("fe80::/10", "fe80::1%eth0") && !has("fe80::/10", "fec0::1"));
    CHECK(has("127.0.0.0/8", "::ffff:127.0.0.1") && !has("127.0.0.0/8", ""));
    CHECK(has("::ffff:10.0.0.0/104", "10.1.2.3") && has("::ffff:10.0.0.0/104", "::ffff:10.1.2.3"));
    CHECK(!has("::ffff:10.0.0.0/104", "11.0.0.1") && !has("::ffff:10.0.0.0/104", "::1"));
    CHECK(has("::ffff:10.1.2.3", "10.1.2.3") && !has("::ffff:10.1.2.3", "10.1.2.4"));
    CHECK(has("::ffff:0:0/96", "203.0.113.9") && !has("::ffff:0:0/96", "2001:db8::1"));
    CHECK(!has("127.0.0.0/8", "localhost") && !has("127.0.0.0/8", "127.0.0.1x"));
}

/* ---- headers ---- */

struct good {
    struct str bytes;
    enum proxy_family family;
    const char *source, *destination;
    uint16_t port;
    bool local;
};

static const struct good goods[] = {
    {STR("PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n"), PROXY_IPV4, "192.0.2.1", "198.51.100.2", 1000, false},
    {STR("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n"), PROXY_IPV4, "0.0.0.0", "255.255.255.255", 0, false},
    {STR("PROXY TCP6 2001:db8::1 ::1 1000 443\r\n"), PROXY_IPV6, "2001:db8::1", "::1", 1000, false},
    {STR("PROXY TCP6 2001:0db8:0000:0000:0000:0000:0000:0001 ::ffff:198.51.100.2 1 2\r\n"),
     PROXY_IPV6, "2001:db8::1", "198.51.100.2", 1, false},
    {STR("PROXY UNKNOWN\r\n"), PROXY_UNKNOWN, "", "", 0, false},
    {STR("PROXY UNKNOWN whatever else\0\xff\r\n"), PROXY_UNKNOWN, "", "", 0, false},
    {STR(SIGNATURE "\x21\x11\0\x0c" IPV4), PROXY_IPV4, "192.0.2.1", "198.51.100.2", 1000, false},
    {STR(SIGNATURE "\x21\x12\0\x0c" IPV4), PROXY_IPV4, "192.0.2.1", "198.51.100.2", 1000, false},
    {STR(SIGNATURE "\x21\x21\0\x24" IPV6), PROXY_IPV6, "2001:db8::1", "198.51.100.2", 1000, false},
    {STR(SIGNATURE "\x21\x00\0\x00"), PROXY_UNKNOWN, "", "", 0, false},
    {STR(SIGNATURE "\x21\x00\0\x03xyz"), PROXY_UNKNOWN, "", "", 0, false},
    {STR(SIGNATURE "\x20\x00\0\x00"), PROXY_UNKNOWN, "", "", 0, true},
    {STR(SIGNATURE "\x20\xff\0\x02xy"), PROXY_UNKNOWN, "", "", 0, true},
    /* authority, then a checksum */
    {STR(SIGNATURE "\x21\x11\0\x12" IPV4 "\x02\0\3a.b"), PROXY_IPV4, "192.0.2.1", "198.51.100.2", 1000, false},
    {STR(SIGNATURE "\x21\x11\0\x13" IPV4 "\x03\0\4\x93\xf0\x0e\xb1"), PROXY_IPV4, "192.0.2.1", "198.51.100.2", 1000, false},
    /* SSL with its version */
    {STR(SIGNATURE "\x21\x11\0\x1b" IPV4 "\x20\0\x0c\x01\0\0\0\0\x21\0\4TLSx"), PROXY_IPV4, "192.0.2.1", "198.51.100.2", 1000, false},
};

static const struct {
    struct str bytes;
    int code;
} bads[] = {
    {STR("GET / HTTP/1.0\r\n\r\n"), RW_EPROTO},
    {STR("PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n"), RW_EPROTO},
    {STR("PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n"), RW_EPROTO},
    {STR("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n"), RW_EPROTO},
    {STR("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n"), RW_EPROTO},
    {STR("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\rX"), RW_EPROTO},
    {STR("PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n"), RW_EPROTO},
    {STR("PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n"), RW_EPROTO},
    {STR("PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n"), RW_EPROTO},
    {STR("PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n"), RW_EPROTO},
    {STR("PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n"), RW_EPROTO},
    {STR("PROXY TCP4 ::1 ::1 1 2\r\n"), RW_EPROTO},
    {STR("PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n"), RW_EPROTO},
    {STR("PROXY TCP6 fe80::1%lo ::1 1 2\r\n"), RW_EPROTO},
    {STR("PROXY TCP4 192.0.2.1\0 198.51.100.2 1 2\r\n"), RW_EPROTO},
    {STR("PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n"), RW_EPROTO},
    {STR("PROXY UNKNOWNS\r\n"), RW_EPROTO},
    {STR("PROXY\r\n"), RW_EPROTO},
    {STR("proxy TCP4"), RW_EPROTO},
    {STR("PROXY UNKNOWN .........1.........2.........3.........4.........5.........6.........7"
         ".........8.........9...\r\n"), RW_EPROTO}, /* 108 bytes */
    {STR(SIGNATURE "\x11"), RW_EPROTO}, /* version 1? */
    {STR(SIGNATURE "\x22"), RW_EPROTO}, /* neither LOCAL nor PROXY */
    {STR(SIGNATURE "\x21\x41"), RW_EPROTO},
    {STR(SIGNATURE "\x21\x13"), RW_EPROTO},
    {STR(SIGNATURE "\x21\x10"), RW_EPROTO},
    {STR(SIGNATURE "\x21\x11\0\x0b" IPV4), RW_EPROTO}, /* too short for its family */
    {STR(SIGNATURE "\x21\x21\0\x0c" IPV4), RW_EPROTO},
    {STR(SIGNATURE "\x21\x11\0\x0d" IPV4 "\x04"), RW_EPROTO}, /* half an addition */
    {STR(SIGNATURE "\x21\x11\0\x10" IPV4 "\x04\0\x02x"), RW_EPROTO}, /* longer than there is */
    {STR(SIGNATURE "\x21\x11\0\x13" IPV4 "\x03\0\4\x93\xf0\x0e\xb0"), RW_EPROTO},
    {STR(SIGNATURE "\x21\x11\0\x11" IPV4 "\x03\0\2\x93\xf0"), RW_EPROTO},
    {STR(SIGNATURE "\x21\x11\0\x13" IPV4 "\x20\0\4\x01\0\0\0"), RW_EPROTO},
    {STR(SIGNATURE "\x21\x11\0\x15" IPV4 "\x20\0\6\x01\0\0\0\0\x21"), RW_EPROTO},
    {STR(SIGNATURE "\x21\x11\xff\xff"), RW_ELIMIT},
    {STR(SIGNATURE "\x20\x00\x02\x00"), RW_ELIMIT},
};

enum { MAX = 256 };

/* What is whole is read; each part of it asks for more; what follows does not
 * matter. All at the end of a page. */
static void check_good(struct guard *g, const struct good *good) {
    struct proxy_header h;
    char longer[MAX];
    for (size_t n = 0; n < good->bytes.n; n++)
        CHECK(proxy_decode(guard_place(g, str_of(good->bytes.p, n)), MAX, &h) == 0);
    memcpy(longer, good->bytes.p, good->bytes.n);
    memcpy(longer + good->bytes.n, "\r\nmore", 6);
    for (size_t more = 0; more <= 6; more += 6) {
        struct str in = guard_place(g, str_of(longer, good->bytes.n + more));
        CHECK(proxy_decode(in, MAX, &h) == (int64_t)good->bytes.n);
    }
    CHECK(proxy_decode(good->bytes, good->bytes.n, &h) == (int64_t)good->bytes.n);
    CHECK(proxy_decode(good->bytes, good->bytes.n - 1, &h) == RW_ELIMIT);
    CHECK(proxy_decode(good->bytes, MAX, &h) > 0);
    CHECK(h.version == (good->bytes.p[0] == 'P' ? 1 : 2));
    CHECK(h.family == good->family && h.local == good->local);
    CHECK(strcmp(h.source.host, good->source) == 0 && h.source.port == good->port);
    CHECK(strcmp(h.destination.host, good->destination) == 0);
}

static void check_round(const struct proxy_header *h) {
    char bytes[600];
    struct buf out = buf_over(bytes, sizeof bytes);
    struct proxy_header again;
    CHECK(proxy_encode(h, &out) == 0);
    CHECK(proxy_decode(buf_str(&out), sizeof bytes, &again) == (int64_t)buf_len(&out));
    CHECK(again.version == h->version && again.local == (h->local && h->version == 2));
    bool told = !h->local && !(h->version == 1 && h->family == PROXY_UNIX);
    CHECK(again.family == (told ? h->family : PROXY_UNKNOWN));
    if (again.family == PROXY_UNKNOWN) return;
    CHECK(strcmp(again.source.host, h->source.host) == 0);
    CHECK(strcmp(again.destination.host, h->destination.host) == 0);
    CHECK(again.source.port == h->source.port);
    CHECK(again.destination.port == h->destination.port);
    CHECK(h->version == 1 || str_eq(again.tlvs, h->tlvs));
}

static void check_encoder(void) {
    struct proxy_header h = {.family = PROXY_IPV4, .source = {"192.0.2.1", 1},
                             .destination = {"198.51.100.2", 65535},
                             .tlvs = STR("\x02\0\3a.b\x05\0\1!")};
    for (h.version = 1; h.version <= 2; h.version++) {
        for (int local = 0; local < 2; local++) {
            h.local = local;
            h.family = PROXY_IPV4;
            check_round(&h);
            struct proxy_header other = h;
            other.family = PROXY_UNKNOWN;
            check_round(&other);
            other = (struct proxy_header){.version = h.version, .local = h.local, .family = PROXY_IPV6,
                .source = {"2001:db8::1", 5}, .destination = {"::1", 6}};
            check_round(&other);
            other = (struct proxy_header){.version = h.version, .local = h.local, .family = PROXY_UNIX,
                .source = {"/run/x", 0}, .destination = {"@abstract", 0}};
            check_round(&other);
        }
        char bytes[64];
        struct buf out = buf_over(bytes, sizeof bytes);
        h.local = false;
        h.family = PROXY_IPV6; /* not what the ends are */
        CHECK(proxy_encode(&h, &out) == RW_EINVAL && buf_len(&out) == 0);
    }
    struct buf small = buf_over((char[20]){0}, 20);
    h.version = 2;
    h.family = PROXY_IPV4;
    CHECK(proxy_encode(&h, &small) == RW_ELIMIT && buf_len(&small) == 0);
}

void check_proxy(void) {
    struct guard g;
    struct proxy_header h;
    struct proxy_ssl ssl;
    CHECK(guard_init(&g, 1 << 17));
    for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) check_good(&g, &goods[i]);
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct str in = guard_place(&g, bads[i].bytes);
        int64_t rc = proxy_decode(in, MAX, &h);
        if (rc != bads[i].code) printf("  header %zu: %lld\n", i, (long long)rc);
        CHECK(rc == bads[i].code);
        for (size_t n = 0; n < in.n; n++) /* never accepted half-way */
            CHECK(proxy_decode(str_of(in.p, n), MAX, &h) <= 0);
    }
    CHECK(proxy_ssl_read(STR("\x03\0\0\0\0\x22\0\2me"), &ssl) == 0);
    CHECK(ssl.used && ssl.certificate && ssl.verified && ssl.tlvs.n == 5);
    CHECK(proxy_ssl_read(STR("\x03\0\0\0\1"), &ssl) == 0 && !ssl.verified);
    CHECK(proxy_ssl_read(STR("\x01\0\0\0\0"), &ssl) == 0 && !ssl.verified);
    check_encoder();
    guard_fini(&g);
}
