/* SPDX-License-Identifier: MIT */
/* The look at a TLS client's first message: what it says must lie within the
 * bytes it was given, must not depend on where they end, and must be the same
 * when the message comes in records of another size. */
#include <stdlib.h>

#include "base/client_hello.h"
#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok) {
    if (!ok) abort();
}

static bool within(struct str s, struct str a, struct str b) {
    return s.n == 0 || (s.p >= a.p && s.p + s.n <= a.p + a.n) ||
           (s.p >= b.p && s.p + s.n <= b.p + b.n);
}

/* The bytes in a block of their own, so that the sanitizer sees their end. */
static int parse(struct str bytes, char *scratch, struct client_hello *out) {
    char *copy = malloc(bytes.n ? bytes.n : 1);
    if (bytes.n) memcpy(copy, bytes.p, bytes.n);
    int rc = client_hello_parse(str_of(copy, bytes.n), scratch, out);
    if (rc == 1) {
        struct str given = str_of(copy, bytes.n), joined = str_of(scratch, CLIENT_HELLO_MAX);
        must(within(out->server_name, given, joined) && within(out->alpn, given, joined));
        must(out->server_name.n <= 253);
        struct str rest = out->alpn, name;
        while (client_hello_next_alpn(&rest, &name)) must(name.n > 0);
        must(rest.n == 0);
    }
    free(copy);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static char scratch[CLIENT_HELLO_MAX], again[CLIENT_HELLO_MAX];
    static char cut[4 * CLIENT_HELLO_MAX];
    struct str all = str_of((const char *)data, n);
    struct client_hello hello, other;
    int rc = parse(all, scratch, &hello);
    must(rc == 1 || rc == 0 || rc == RW_ESYNTAX || rc == RW_ELIMIT);
    if (rc != 1) return 0;
    for (size_t i = 0; i < n && i < 300; i++) must(parse(str_of(all.p, i), again, &other) != RW_ESYNTAX);
    /* the first record again, in smaller ones, as many as may be */
    size_t record = (size_t)data[3] << 8 | data[4], at = 0;
    if (n < 5 + record || record > CLIENT_HELLO_MAX / 2) return 0;
    size_t size = record / CLIENT_HELLO_RECORDS + 4;
    for (size_t i = 0; i < record; i += size) {
        size_t part = record - i < size ? record - i : size;
        memcpy(cut + at, data, 3);
        cut[at + 3] = 0;
        cut[at + 4] = (char)part;
        memcpy(cut + at + 5, data + 5 + i, part);
        at += 5 + part;
    }
    int rc2 = client_hello_parse(str_of(cut, at), again, &other);
    must(rc2 == 1 || rc2 == 0 || rc2 == RW_ESYNTAX); /* 0, an error: more records followed */
    return 0;
}
