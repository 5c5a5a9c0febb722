/* SPDX-License-Identifier: MIT */
/* Strict on purpose: a header is what tells us whom to believe, and a proxy
 * that is read in two ways is a way in. Version 1 has one blank between its
 * words, canonical numbers and at most 107 bytes; version 2 a length that fits
 * its family and its additions exactly. */
#include "base/proxy.h"

#include <arpa/inet.h>

#include "base/err.h"

enum {
    V1_MAX = 107, /* with CR LF */
    V2_HEAD = 16,
    SIGNATURE = 12,
    V2_LOCAL = 0x20, V2_PROXY = 0x21,
    UNIX_PATH = 108,
    UNIQUE_ID_MAX = 128,
    SSL_HEAD = 5,
    SSL_USED = 0x01, SSL_CERT_CONNECTION = 0x02, SSL_CERT_SESSION = 0x04,
};

static const char v1_begin[] = "PROXY ";
static const char v2_begin[SIGNATURE + 1] = "\r\n\r\n\0\r\nQUIT\n";

/* ── addresses ────────────────────────────────────────────────────────────*/

static void read_ipv6(const uint8_t *bytes, struct proxy_end *out) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (memcmp(bytes, mapped, sizeof mapped) == 0)
        inet_ntop(AF_INET, bytes + sizeof mapped, out->host, sizeof out->host);
    else
        inet_ntop(AF_INET6, bytes, out->host, sizeof out->host);
}

static bool to_binary(enum proxy_family family, const char *host, uint8_t *out) {
    return inet_pton(family == PROXY_IPV6 ? AF_INET6 : AF_INET, host, out) == 1;
}

static uint16_t read_u16(const char *p) {
    return (uint16_t)((uint8_t)p[0] << 8 | (uint8_t)p[1]);
}

/* ── version 1 ────────────────────────────────────────────────────────────*/

static bool read_host(enum proxy_family family, struct str text,
                      struct proxy_end *out) {
    uint8_t binary[16];
    char z[INET6_ADDRSTRLEN];
    if (text.n >= sizeof z || memchr(text.p, 0, text.n)) return false;
    memcpy(z, text.p, text.n);
    z[text.n] = 0;
    if (!to_binary(family, z, binary)) return false;
    if (family == PROXY_IPV6) read_ipv6(binary, out);
    else inet_ntop(AF_INET, binary, out->host, sizeof out->host);
    return true;
}

static bool read_port(struct str text, struct proxy_end *out) {
    uint64_t n;
    if (text.n > 1 && text.p[0] == '0') return false;
    if (str_to_u64(text, &n) < 0 || n > UINT16_MAX) return false;
    out->port = (uint16_t)n;
    return true;
}

static int read_line(struct str line, struct proxy_header *out) {
    *out = (struct proxy_header){.version = 1};
    struct str word = str_cut(&line, ' ');
    if (str_eq(word, STR("UNKNOWN"))) return 0; /* the rest is not for us */
    if (str_eq(word, STR("TCP4"))) out->family = PROXY_IPV4;
    else if (str_eq(word, STR("TCP6"))) out->family = PROXY_IPV6;
    else return RW_EPROTO;
    struct str source = str_cut(&line, ' '), destination = str_cut(&line, ' ');
    struct str source_port = str_cut(&line, ' ');
    bool ok = read_host(out->family, source, &out->source) &&
              read_host(out->family, destination, &out->destination) &&
              read_port(source_port, &out->source) &&
              read_port(line, &out->destination);
    return ok ? 0 : RW_EPROTO;
}

static int64_t decode_v1(struct str in, size_t max, struct proxy_header *out) {
    size_t most = max < V1_MAX ? max : V1_MAX;
    struct str seen = str_of(in.p, in.n < most ? in.n : most);
    size_t cr = str_find(seen, '\r');
    if (str_find(seen, '\n') < cr) return RW_EPROTO;
    if (cr + 1 >= seen.n) {
        if (in.n < most) return 0;
        return most < V1_MAX ? RW_ELIMIT : RW_EPROTO;
    }
    if (seen.p[cr + 1] != '\n') return RW_EPROTO;
    size_t begin = sizeof v1_begin - 1;
    int rc = read_line(str_of(seen.p + begin, cr - begin), out);
    return rc < 0 ? rc : (int64_t)cr + 2;
}

/* ── additions ────────────────────────────────────────────────────────────*/

bool proxy_tlv_next(struct str *rest, uint8_t *type, struct str *value) {
    if (rest->n < 3) return false;
    size_t n = read_u16(rest->p + 1);
    if (n > rest->n - 3) return false;
    *type = (uint8_t)rest->p[0];
    *value = str_of(rest->p + 3, n);
    *rest = str_skip(*rest, 3 + n);
    return true;
}

int proxy_tlv_add(struct buf *tlvs, uint8_t type, struct str value) {
    if (value.n > UINT16_MAX) return RW_EINVAL;
    char head[3] = {(char)type, (char)(value.n >> 8), (char)value.n};
    int rc = buf_add(tlvs, head, sizeof head);
    return rc < 0 ? rc : buf_add_str(tlvs, value);
}

static bool well_formed(struct str tlvs) {
    uint8_t type;
    struct str value;
    while (proxy_tlv_next(&tlvs, &type, &value)) continue;
    return tlvs.n == 0;
}

int proxy_ssl_read(struct str value, struct proxy_ssl *out) {
    if (value.n < SSL_HEAD) return RW_EPROTO;
    uint8_t client = (uint8_t)value.p[0];
    out->used = client & SSL_USED;
    out->certificate = client & (SSL_CERT_CONNECTION | SSL_CERT_SESSION);
    out->verified = out->certificate && memcmp(value.p + 1, "\0\0\0\0", 4) == 0;
    out->tlvs = str_skip(value, SSL_HEAD);
    return well_formed(out->tlvs) ? 0 : RW_EPROTO;
}

static uint32_t crc32c(uint32_t crc, struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        crc ^= (uint8_t)s.p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return crc;
}

/* Of the header as if the sum itself were zero. */
static bool sum_is_right(struct str header, struct str sum) {
    if (sum.n != 4) return false;
    size_t at = (size_t)(sum.p - header.p);
    uint32_t crc = crc32c(UINT32_MAX, str_of(header.p, at));
    crc = crc32c(crc, STR("\0\0\0\0"));
    crc = ~crc32c(crc, str_skip(header, at + 4));
    return read_u16(sum.p) == crc >> 16 && read_u16(sum.p + 2) == (uint16_t)crc;
}

static int check_tlvs(struct str header, struct str tlvs) {
    uint8_t type;
    struct str value;
    struct proxy_ssl ssl;
    if (!well_formed(tlvs)) return RW_EPROTO;
    while (proxy_tlv_next(&tlvs, &type, &value)) {
        bool ok = true;
        if (type == PROXY_CRC32C) ok = sum_is_right(header, value);
        else if (type == PROXY_SSL) ok = proxy_ssl_read(value, &ssl) == 0;
        else if (type == PROXY_UNIQUE_ID) ok = value.n <= UNIQUE_ID_MAX;
        if (!ok) return RW_EPROTO;
    }
    return 0;
}

/* ── version 2 ────────────────────────────────────────────────────────────*/

/* A path, an abstract name behind a NUL, or nothing; up to the next NUL. */
static void read_path(const char *p, struct proxy_end *out) {
    if ((!p[0] || p[0] == '@') && !p[1]) return;
    memcpy(out->host, p, strnlen(p + 1, UNIX_PATH - 1) + 1);
    if (!p[0]) out->host[0] = '@';
}

static size_t size_of_ends(enum proxy_family family) {
    return family == PROXY_IPV4   ? 12
           : family == PROXY_IPV6 ? 36
           : family == PROXY_UNIX ? 2 * UNIX_PATH
                                  : 0;
}

static void read_ends(const char *p, struct proxy_header *out) {
    if (out->family == PROXY_UNIX) {
        read_path(p, &out->source);
        read_path(p + UNIX_PATH, &out->destination);
        return;
    }
    size_t n = out->family == PROXY_IPV4 ? 4 : 16;
    const char *ports = p + 2 * n;
    struct proxy_end *ends[] = {&out->source, &out->destination};
    for (size_t i = 0; i < 2; i++) {
        const uint8_t *bytes = (const uint8_t *)p + i * n;
        if (n == 16) read_ipv6(bytes, ends[i]);
        else inet_ntop(AF_INET, bytes, ends[i]->host, sizeof ends[i]->host);
        ends[i]->port = read_u16(ports + 2 * i);
    }
}

/* High half: unspecified, IPv4, IPv6, unix; low half: unspecified, stream,
 * datagram. */
static bool read_family(uint8_t byte, enum proxy_family *out) {
    *out = (enum proxy_family)(byte >> 4);
    return byte == 0 || (byte >> 4 >= 1 && byte >> 4 <= 3 &&
                         (byte & 15) >= 1 && (byte & 15) <= 2);
}

static int64_t decode_v2(struct str in, size_t max, struct proxy_header *out) {
    *out = (struct proxy_header){.version = 2};
    if (in.n == SIGNATURE) return 0;
    char command = in.p[SIGNATURE];
    if (command != V2_LOCAL && command != V2_PROXY) return RW_EPROTO;
    out->local = command == V2_LOCAL; /* then nothing else counts */
    if (!out->local && in.n > 13 && !read_family((uint8_t)in.p[13], &out->family))
        return RW_EPROTO;
    if (in.n < V2_HEAD) return 0;
    size_t size = V2_HEAD + read_u16(in.p + 14);
    size_t ends = size_of_ends(out->family);
    if (size < V2_HEAD + ends) return RW_EPROTO;
    if (size > max) return RW_ELIMIT;
    if (in.n < size) return 0;
    if (out->family == PROXY_UNKNOWN) return (int64_t)size; /* all of it skipped */
    struct str header = str_of(in.p, size);
    out->tlvs = str_skip(header, V2_HEAD + ends);
    int rc = check_tlvs(header, out->tlvs);
    if (rc < 0) return rc;
    read_ends(header.p + V2_HEAD, out);
    return (int64_t)size;
}

/* ── both ─────────────────────────────────────────────────────────────────*/

static bool begins(struct str in, const char *with, size_t n) {
    return memcmp(in.p, with, in.n < n ? in.n : n) == 0;
}

int64_t proxy_decode(struct str in, size_t max, struct proxy_header *out) {
    if (in.n == 0) return 0;
    if (begins(in, v2_begin, SIGNATURE))
        return in.n < SIGNATURE ? 0 : decode_v2(in, max, out);
    size_t n = sizeof v1_begin - 1;
    if (begins(in, v1_begin, n)) return in.n < n ? 0 : decode_v1(in, max, out);
    return RW_EPROTO;
}

static int encode_v1(const struct proxy_header *h, struct buf *out) {
    uint8_t binary[16];
    bool v6 = h->family == PROXY_IPV6;
    if (h->local || (h->family != PROXY_IPV4 && !v6))
        return buf_add_str(out, STR("PROXY UNKNOWN\r\n"));
    if (!to_binary(h->family, h->source.host, binary) ||
        !to_binary(h->family, h->destination.host, binary))
        return RW_EINVAL;
    return buf_addf(out, "PROXY TCP%c %s %s %u %u\r\n", v6 ? '6' : '4',
                    h->source.host, h->destination.host, h->source.port,
                    h->destination.port);
}

static int add_host(enum proxy_family family, const char *host, struct buf *out) {
    char bytes[UNIX_PATH] = {0};
    size_t n = strlen(host);
    if (family != PROXY_UNIX) {
        if (!to_binary(family, host, (uint8_t *)bytes)) return RW_EINVAL;
        return buf_add(out, bytes, family == PROXY_IPV6 ? 16 : 4);
    }
    if (n > sizeof bytes) return RW_EINVAL;
    memcpy(bytes, host, n);
    if (bytes[0] == '@') bytes[0] = 0;
    return buf_add(out, bytes, sizeof bytes);
}

static int add_port(uint16_t port, struct buf *out) {
    char bytes[2] = {(char)(port >> 8), (char)port};
    return buf_add(out, bytes, sizeof bytes);
}

static int encode_v2(const struct proxy_header *h, struct buf *out) {
    enum proxy_family family = h->local ? PROXY_UNKNOWN : h->family;
    struct str tlvs = family == PROXY_UNKNOWN ? STR_NONE : h->tlvs;
    size_t n = size_of_ends(family) + tlvs.n;
    if (n > UINT16_MAX) return RW_EINVAL;
    char head[4] = {h->local ? V2_LOCAL : V2_PROXY,
                    family == PROXY_UNKNOWN ? 0 : (char)(family << 4 | 1),
                    (char)(n >> 8), (char)n};
    int rc = buf_add(out, v2_begin, SIGNATURE);
    if (rc == 0) rc = buf_add(out, head, sizeof head);
    if (rc < 0 || family == PROXY_UNKNOWN) return rc;
    rc = add_host(family, h->source.host, out);
    if (rc == 0) rc = add_host(family, h->destination.host, out);
    if (rc == 0 && family != PROXY_UNIX) rc = add_port(h->source.port, out);
    if (rc == 0 && family != PROXY_UNIX) rc = add_port(h->destination.port, out);
    return rc < 0 ? rc : buf_add_str(out, tlvs);
}

int proxy_encode(const struct proxy_header *h, struct buf *out) {
    size_t before = buf_len(out);
    int rc = h->version == 1 ? encode_v1(h, out) : encode_v2(h, out);
    if (rc < 0) buf_cut(out, before);
    return rc;
}
