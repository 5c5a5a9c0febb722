/* SPDX-License-Identifier: MIT */
/* Buffers at their maximum and as queues, routes at theirs, and a TLS client's
 * first message in many pieces. */
#include "base/buf.h"
#include "base/client_hello.h"
#include "base/route.h"
#include "torture.h"

/* ---- buffers ---- */

/* A block is larger than the maximum: the maximum counts. */
static void check_maximum(void) {
    struct mem mem;
    struct buf b;
    mem_init(&mem, 0);
    buf_init(&b, &mem, 10);
    CHECK(buf_add_str(&b, STR("0123")) == 0);
    CHECK(!buf_reserve(&b, 7) && buf_reserve(&b, 6));
    CHECK(buf_addf(&b, "%s", "456789a") == RW_ELIMIT && buf_len(&b) == 4);
    CHECK(buf_addf(&b, "%s", "456789") == 0 && str_eq(buf_str(&b), STR("0123456789")));
    CHECK(buf_add_char(&b, 'a') == RW_ELIMIT && buf_addf(&b, "a") == RW_ELIMIT);
    CHECK(buf_addf(&b, "%s", "") == 0);
    buf_drop(&b, 1);
    CHECK(buf_addf(&b, "a") == 0 && str_eq(buf_str(&b), STR("123456789a")));
    CHECK(buf_add(&b, "", SIZE_MAX) == RW_ELIMIT && !buf_reserve(&b, SIZE_MAX));
    buf_cut(&b, 3);
    CHECK(str_eq(buf_str(&b), STR("123")));
    buf_release(&b);

    buf_init(&b, &mem, 1000);
    CHECK(buf_addf(&b, "%*s", 1000, "x") == 0 && buf_len(&b) == 1000);
    CHECK(buf_addf(&b, "%*s", 400, "x") == RW_ELIMIT);
    buf_release(&b);
    mem.fail_in = 1;
    CHECK(buf_addf(&b, "%d", 1) == RW_ENOMEM && mem.live == 0);

    char four[4];
    b = buf_over(four, sizeof four);
    CHECK(buf_addf(&b, "%d", 1234) == 0 && buf_addf(&b, "5") == RW_ELIMIT);
    CHECK(str_eq(buf_str(&b), STR("1234")));
}

/* Of a queue that stays long, what moves is in proportion to what comes. */
static void check_queue(void) {
    enum { ROUNDS = 20000 };
    for (size_t length = 1; length <= 65536; length = length * 2 + 1) {
        struct mem mem;
        struct buf b;
        size_t moved = 0;
        mem_init(&mem, 0);
        buf_init(&b, &mem, 1 << 20);
        for (size_t i = 0; i < length; i++) CHECK(buf_add_char(&b, (char)i) == 0);
        for (size_t i = 0; i < ROUNDS; i++) {
            const char *data = b.data;
            size_t head = b.head + 1;
            buf_drop(&b, 1);
            CHECK(buf_add_char(&b, (char)(length + i)) == 0);
            if (b.data != data || b.head < head) moved += length;
            CHECK(b.data[b.head] == (char)(i + 1));
        }
        CHECK(moved <= 4 * ROUNDS + 2 * length);
        CHECK(b.cap <= 4 * length || b.cap == 256);
        buf_release(&b);
        CHECK(mem.live == 0);
    }
}

void check_buf(void) {
    check_maximum();
    check_queue();
}

/* ---- routes ---- */

void check_route_limits(void) {
    struct mem mem;
    struct route_table t;
    struct route_match m;
    mem_init(&mem, 0);
    route_init(&t, &mem, (const uint64_t[2]){1, 2});
    CHECK(route_add(&t, STR("GET"), STR("/a"), 1) == 0);
    CHECK(route_add(&t, STR("GET"), STR("/a"), 2) == -EEXIST);
    t.nodes = ROUTE_MAX_NODES;
    CHECK(route_add(&t, STR("GET"), STR("/b"), 2) == RW_ELIMIT);
    CHECK(route_add(&t, STR("GET"), STR("/:b"), 2) == RW_ELIMIT);
    CHECK(route_add(&t, STR("GET"), STR("/*b"), 2) == RW_ELIMIT);
    CHECK(route_add(&t, STR("PUT"), STR("/a"), 2) == 0);
    CHECK(route_find(&t, STR("GET"), STR("/b"), &m) == 0);
    CHECK(route_find(&t, STR("PUT"), STR("/a"), &m) == 2);
    route_fini(&t);
    CHECK(mem.live == 0);
}

/* ---- the first message of TLS ---- */

static char *put_record(char *at, const char *bytes, size_t n) {
    const char head[5] = {22, 3, 1, (char)(n >> 8), (char)n};
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, bytes, n);
    return at + sizeof head + n;
}

/* It is looked at from its first byte whenever more of it has come, so the
 * number of its records is bounded, too. */
void check_hello(void) {
    static char scratch[CLIENT_HELLO_MAX], cut[6 * 512];
    char hello[400] = {1, 0, 1, (char)(sizeof hello - 4 - 256), 3, 3};
    char *at = hello + 4 + 2 + 32 + 1;
    memcpy(at, "\0\2\x13\1\1\0", 6); /* a cipher suite, a compression */
    at += 6;
    size_t left = (size_t)(hello + sizeof hello - (at + 2));
    memcpy(at, (char[]){(char)(left >> 8), (char)left, 0, 21, (char)((left - 4) >> 8), (char)(left - 4)}, 6);
    struct client_hello out;
    for (size_t records = 1; records <= CLIENT_HELLO_RECORDS + 1; records++) {
        /* all but the last have as little as can be */
        size_t done = records == 1 ? 0 : 4;
        char *end = records == 1 ? cut : put_record(cut, hello, 4);
        for (size_t i = 2; i < records; i++, done++) end = put_record(end, hello + done, 1);
        end = put_record(end, hello + done, sizeof hello - done);
        int rc = client_hello_parse(str_of(cut, (size_t)(end - cut)), scratch, &out);
        CHECK(rc == (records <= CLIENT_HELLO_RECORDS ? 1 : RW_ELIMIT));
    }
}
