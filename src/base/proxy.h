/* SPDX-License-Identifier: MIT */
/* The header of the PROXY protocol, versions 1 (a line) and 2 (binary): who is
 * at the ends of the connection that a proxy passes on. As of
 * "The PROXY protocol", versions 1 & 2, by HAProxy's author. */
#ifndef BASE_PROXY_H
#define BASE_PROXY_H

#include "base/buf.h"

enum proxy_family { PROXY_UNKNOWN, PROXY_IPV4, PROXY_IPV6, PROXY_UNIX };

struct proxy_end {
    char host[109]; /* numeric, or a path, '@x' an abstract one; a mapped IPv4
                       address stands as what it is */
    uint16_t port;
};

struct proxy_header {
    uint8_t version; /* 1 or 2 */
    bool local;      /* the proxy speaks for itself */
    enum proxy_family family; /* UNKNOWN: the ends are not told */
    struct proxy_end source, destination;
    struct str tlvs; /* borrowed; version 2 */
};

/* Reads a header off the front of `in`: its size, 0 while more bytes are
 * needed, RW_EPROTO (as soon as it can be told), or RW_ELIMIT when it is longer
 * than `max`. tlvs are well-formed; their checksum, if they have one, is
 * right. */
int64_t proxy_decode(struct str in, size_t max, struct proxy_header *out);

/* 0, RW_EINVAL when an end is no address of the family, or buf_add's; all or
 * nothing. A header that is local, or whose family cannot be said in its
 * version, says just so. */
int proxy_encode(const struct proxy_header *h, struct buf *out);

/* Additions of version 2: type, value. */
enum proxy_tlv {
    PROXY_ALPN = 0x01, PROXY_AUTHORITY = 0x02, PROXY_CRC32C = 0x03,
    PROXY_NOOP = 0x04, PROXY_UNIQUE_ID = 0x05, PROXY_SSL = 0x20,
    PROXY_SSL_VERSION = 0x21, PROXY_SSL_CN = 0x22, PROXY_SSL_CIPHER = 0x23,
    PROXY_SSL_SIGNATURE = 0x24, PROXY_SSL_KEY = 0x25, PROXY_NETNS = 0x30,
};
/* The next one of well-formed ones; false at the end. */
bool proxy_tlv_next(struct str *rest, uint8_t *type, struct str *value);
int proxy_tlv_add(struct buf *tlvs, uint8_t type, struct str value);

/* What PROXY_SSL holds. */
struct proxy_ssl {
    bool used;        /* the client came over TLS … */
    bool certificate; /* … and showed a certificate, now or earlier … */
    bool verified;    /* … that was good */
    struct str tlvs;  /* PROXY_SSL_… */
};
int proxy_ssl_read(struct str value, struct proxy_ssl *out); /* 0, RW_EPROTO */

#endif
