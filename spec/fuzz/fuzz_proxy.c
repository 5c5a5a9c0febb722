/* SPDX-License-Identifier: MIT */
/* PROXY headers. Input: the maximum, then bytes. What is accepted is accepted
 * at no shorter length, by a copy of just its bytes, and says the same after it
 * was encoded again; what is refused is not accepted with more bytes. */
#include <stdlib.h>

#include "base/err.h"
#include "base/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(bool holds) {
    if (!holds) abort();
}

/* At the end of a block, so that reading on is seen. */
static int64_t decode(struct str in, size_t max, struct proxy_header *h, char **block) {
    *block = malloc(in.n ? in.n : 1);
    check(*block);
    memcpy(*block, in.p, in.n);
    return proxy_decode(str_of(*block, in.n), max, h);
}

static bool same_end(const struct proxy_end *a, const struct proxy_end *b) {
    return strcmp(a->host, b->host) == 0 && a->port == b->port;
}

static void check_additions(struct str tlvs) {
    uint8_t type;
    struct str value, all = tlvs;
    while (proxy_tlv_next(&tlvs, &type, &value)) {
        struct proxy_ssl ssl;
        check(value.p + value.n <= all.p + all.n);
        if (type == PROXY_SSL) check(proxy_ssl_read(value, &ssl) == 0);
    }
    check(tlvs.n == 0);
}

/* A mapped IPv4 end has become IPv4: it cannot be written as IPv6 again, nor
 * does a checksum fit any more. */
static void check_encoded(struct proxy_header *h) {
    struct proxy_header again;
    struct mem mem;
    struct buf out;
    mem_init(&mem, 0);
    buf_init(&out, &mem, 1 << 17);
    struct str tlvs = h->tlvs;
    h->tlvs = STR_NONE;
    if (proxy_encode(h, &out) == 0) {
        check(proxy_decode(buf_str(&out), SIZE_MAX, &again) == (int64_t)buf_len(&out));
        check(again.family == h->family || (h->version == 1 && h->family == PROXY_UNIX));
        check(again.family == PROXY_UNKNOWN || (same_end(&again.source, &h->source) &&
                                                same_end(&again.destination, &h->destination)));
    }
    h->tlvs = tlvs;
    buf_release(&out);
    check(mem.live == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0 || n > 1 << 16) return 0;
    struct str in = str_of((const char *)data + 1, n - 1);
    size_t max = (size_t)data[0] * 16;
    struct proxy_header h, part;
    char *block, *other;
    int64_t size = decode(in, max, &h, &block);
    if (size > 0) {
        check((size_t)size <= in.n && (size_t)size <= max);
        check(decode(str_of(in.p, (size_t)size), max, &part, &other) == size);
        check(same_end(&h.source, &part.source) && h.family == part.family);
        free(other);
        check_additions(h.tlvs);
        check_encoded(&h);
    }
    size_t most = size > 0 ? (size_t)size : in.n;
    for (size_t i = 0; i < most; i += i < 64 ? 1 : 31) {
        int64_t rc = decode(str_of(in.p, i), max, &part, &other);
        check(size < 0 ? rc <= 0 : rc == 0);
        free(other);
    }
    free(block);
    return 0;
}
