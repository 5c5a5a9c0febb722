/* SPDX-License-Identifier: MIT */
/* An IPv4 address within IPv6 (::ffff:a.b.c.d) is IPv4, in a list as well as
 * coming from a peer: what a dual-stack socket calls its peers must not get them
 * past a list, nor a list be without effect for how it is written. */
#include "base/cidr.h"

#include <arpa/inet.h>

#include "base/err.h"

enum { ADDRESS_MAX = 64 };

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool read_address(struct str text, struct cidr *out) {
    char z[ADDRESS_MAX];
    if (text.n >= sizeof z || memchr(text.p, 0, text.n)) return false;
    memcpy(z, text.p, text.n);
    z[text.n] = 0;
    *out = (struct cidr){.v6 = str_find(text, ':') < text.n};
    out->bits = out->v6 ? 128 : 32;
    return inet_pton(out->v6 ? AF_INET6 : AF_INET, z, out->address) == 1;
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits) {
    unsigned bytes = bits / 8, left = bits % 8;
    if (memcmp(a, b, bytes) != 0) return false;
    return left == 0 || (a[bytes] ^ b[bytes]) >> (8 - left) == 0;
}

static void unmap(struct cidr *c) {
    unsigned before = 8 * sizeof mapped;
    if (!c->v6 || c->bits < before || memcmp(c->address, mapped, sizeof mapped) != 0) return;
    c->v6 = false;
    c->bits = (uint8_t)(c->bits - before);
    memmove(c->address, c->address + sizeof mapped, 4);
}

int cidr_parse(struct str text, struct cidr *out) {
    size_t slash = str_find(text, '/');
    if (text.n == 0 || !read_address(str_of(text.p, slash), out)) return RW_ESYNTAX;
    if (slash < text.n) {
        uint64_t bits;
        if (str_to_u64(str_skip(text, slash + 1), &bits) < 0 || bits > out->bits)
            return RW_ESYNTAX;
        for (unsigned bit = (unsigned)bits; bit < out->bits; bit++)
            if (out->address[bit / 8] & 0x80 >> bit % 8) return RW_ESYNTAX;
        out->bits = (uint8_t)bits;
    }
    unmap(out);
    return 0;
}

bool cidr_has(const struct cidr *network, const char *address) {
    struct cidr a;
    struct str text = str_c(address);
    if (!read_address(str_of(text.p, str_find(text, '%')), &a)) return false;
    unmap(&a);
    return a.v6 == network->v6 &&
           same_prefix(a.address, network->address, network->bits);
}
