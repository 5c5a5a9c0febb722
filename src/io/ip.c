/* SPDX-License-Identifier: MIT */
/* Destination address selection (RFC 6724). The source address of each
 * destination comes from connecting a datagram socket, which is a look into
 * the routing table and no packet. */
#include "io/ip.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/internal.h"

enum { SORT_MAX = 64 };

/* ── text ─────────────────────────────────────────────────────────────────*/

static int parse_zone(struct str text, uint32_t *out) {
    char name[IF_NAMESIZE];
    uint64_t number;
    if (text.n == 0 || text.n >= sizeof name) return RW_ESYNTAX;
    if (str_to_u64(text, &number) == 0 && number && number <= INT32_MAX) {
        *out = (uint32_t)number;
        return 0;
    }
    memcpy(name, text.p, text.n);
    name[text.n] = 0;
    *out = if_nametoindex(name);
    return *out ? 0 : -ENODEV;
}

int ip_parse(struct str text, struct ip *out) {
    char plain[INET6_ADDRSTRLEN];
    size_t n = str_find(text, '%');
    *out = (struct ip){0};
    if (n == 0 || n >= sizeof plain || memchr(text.p, 0, n)) return RW_ESYNTAX;
    memcpy(plain, text.p, n);
    plain[n] = 0;
    bool v6 = strchr(plain, ':');
    if (!v6 && n < text.n) return RW_ESYNTAX;
    if (inet_pton(v6 ? AF_INET6 : AF_INET, plain, out->bytes) != 1) return RW_ESYNTAX;
    out->family = v6 ? 6 : 4;
    return n < text.n ? parse_zone(str_skip(text, n + 1), &out->zone) : 0;
}

struct str ip_format(const struct ip *ip, char out[IP_TEXT_MAX]) {
    char zone[IF_NAMESIZE];
    if (!inet_ntop(ip->family == 6 ? AF_INET6 : AF_INET, ip->bytes, out, IP_TEXT_MAX))
        return STR_NONE;
    size_t n = strlen(out);
    if (ip->zone && if_indextoname(ip->zone, zone))
        snprintf(out + n, IP_TEXT_MAX - n, "%%%s", zone);
    else if (ip->zone)
        snprintf(out + n, IP_TEXT_MAX - n, "%%%u", (unsigned)ip->zone);
    return str_c(out);
}

struct str ip_arpa(const struct ip *ip, char out[IP_ARPA_MAX]) {
    static const char hex[] = "0123456789abcdef";
    const uint8_t *b = ip->bytes;
    if (ip->family == 4) {
        snprintf(out, IP_ARPA_MAX, "%u.%u.%u.%u.in-addr.arpa", b[3], b[2], b[1], b[0]);
        return str_c(out);
    }
    char *at = out;
    for (int i = 15; i >= 0; i--) {
        *at++ = hex[b[i] & 15];
        *at++ = '.';
        *at++ = hex[b[i] >> 4];
        *at++ = '.';
    }
    memcpy(at, "ip6.arpa", sizeof "ip6.arpa");
    return str_c(out);
}

bool ip_eq(const struct ip *a, const struct ip *b) {
    return a->family == b->family && a->zone == b->zone &&
           memcmp(a->bytes, b->bytes, a->family == 6 ? 16 : 4) == 0;
}

/* ── the system's form ────────────────────────────────────────────────────*/

unsigned ip_to_sockaddr(const struct ip *ip, uint16_t port, struct sockaddr_storage *out) {
    *out = (struct sockaddr_storage){0};
    if (ip->family == 4) {
        struct sockaddr_in *in = (void *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        memcpy(&in->sin_addr, ip->bytes, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (void *)out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    in6->sin6_scope_id = ip->zone;
    memcpy(&in6->sin6_addr, ip->bytes, 16);
    return sizeof *in6;
}

/* ── order ────────────────────────────────────────────────────────────────*/

struct candidate {
    struct ip ip;
    uint8_t bytes[16]; /* IPv4 mapped into IPv6, where the rules are written */
    uint8_t source[16];
    bool usable;
    unsigned index;
};

static void map_v4(const struct ip *ip, uint8_t out[16]) {
    if (ip->family == 6) {
        memcpy(out, ip->bytes, 16);
        return;
    }
    memset(out, 0, 10);
    out[10] = out[11] = 0xff;
    memcpy(out + 12, ip->bytes, 4);
}

static bool find_source(const struct ip *ip, uint8_t out[16]) {
    struct sockaddr_storage sa;
    socklen_t size = ip_to_sockaddr(ip, 53, &sa);
    int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool ok = connect(fd, (struct sockaddr *)&sa, size) == 0;
    size = sizeof sa;
    ok = ok && getsockname(fd, (struct sockaddr *)&sa, &size) == 0;
    close(fd);
    if (!ok) return false;
    struct ip source = {.family = ip->family};
    if (ip->family == 4) memcpy(source.bytes, &((struct sockaddr_in *)&sa)->sin_addr, 4);
    else memcpy(source.bytes, &((struct sockaddr_in6 *)&sa)->sin6_addr, 16);
    map_v4(&source, out);
    return true;
}

static unsigned common_bits(const uint8_t *a, const uint8_t *b, unsigned most) {
    unsigned n = 0;
    while (n < most && !((a[n / 8] ^ b[n / 8]) >> (7 - n % 8) & 1)) n++;
    return n;
}

/* RFC 6724 §2.1, the default policy table. */
static const struct policy {
    uint8_t prefix[16];
    uint8_t bits, precedence, label;
} policies[] = {
    {{[15] = 1}, 128, 50, 0},              /* ::1 */
    {{[10] = 0xff, [11] = 0xff}, 96, 35, 4}, /* ::ffff:0:0/96 */
    {{0}, 96, 1, 3},                       /* ::/96 */
    {{0x20, 0x01}, 32, 5, 5},              /* 2001::/32 */
    {{0x20, 0x02}, 16, 30, 2},             /* 2002::/16 */
    {{0x3f, 0xfe}, 16, 1, 12},             /* 3ffe::/16 */
    {{0xfe, 0xc0}, 10, 1, 11},             /* fec0::/10 */
    {{0xfc}, 7, 3, 13},                    /* fc00::/7 */
    {{0}, 0, 40, 1},                       /* ::/0 */
};

static const struct policy *policy_of(const uint8_t *address) {
    const struct policy *p = policies;
    while (common_bits(address, p->prefix, p->bits) < p->bits) p++;
    return p;
}

/* §3.1: 2 link-local, 5 site-local, 14 global. */
static unsigned scope_of(const uint8_t *a) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, loopback[16] = {[15] = 1};
    if (memcmp(a, mapped, 12) == 0)
        return a[12] == 127 || (a[12] == 169 && a[13] == 254) ? 2 : 14;
    if (a[0] == 0xff) return a[1] & 15;
    if (memcmp(a, loopback, 16) == 0) return 2;
    if (a[0] == 0xfe && (a[1] & 0xc0) == 0x80) return 2;
    if (a[0] == 0xfe && (a[1] & 0xc0) == 0xc0) return 5;
    return 14;
}

/* How good rules 1, 2, 5, 6 and 8 find it: more is better, the first rule
 * weighs most. */
static unsigned merit(const struct candidate *c) {
    if (!c->usable) return 0;
    const struct policy *to = policy_of(c->bytes);
    unsigned scope = scope_of(c->bytes);
    return 1u << 24 | (unsigned)(scope == scope_of(c->source)) << 23 |
           (unsigned)(to->label == policy_of(c->source)->label) << 22 |
           (unsigned)to->precedence << 8 | (15 - scope);
}

static int compare(const void *left, const void *right) {
    const struct candidate *a = left, *b = right;
    unsigned x = merit(a), y = merit(b);
    if (x == y && a->usable && a->ip.family == 6 && b->ip.family == 6) {
        x = common_bits(a->bytes, a->source, 64); /* rule 9 */
        y = common_bits(b->bytes, b->source, 64);
    }
    if (x != y) return x > y ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

void ip_sort(struct ip *ips, unsigned n) {
    struct candidate all[SORT_MAX];
    if (n > SORT_MAX) n = SORT_MAX; /* the rest stays behind, as it came */
    if (n < 2) return;
    for (unsigned i = 0; i < n; i++) {
        all[i] = (struct candidate){.ip = ips[i], .index = i};
        map_v4(&ips[i], all[i].bytes);
        all[i].usable = find_source(&ips[i], all[i].source);
    }
    qsort(all, n, sizeof *all, compare);
    for (unsigned i = 0; i < n; i++) ips[i] = all[i].ip;
}
