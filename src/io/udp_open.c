/* SPDX-License-Identifier: MIT */
/* Datagram sockets come to be: UDP ones, bound or connected to a peer, and those
 * that were inherited. Addresses, in the system's form: that of an IPv4 peer of an
 * IPv6 socket is kept as IPv4, so that one peer has one address. */
#include "io/datagram_private.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ── addresses ────────────────────────────────────────────────────────────*/

static void keep(const void *sa, size_t size, struct datagram_address *out) {
    *out = (struct datagram_address){0};
    if (size > sizeof out->bytes) return;
    out->size = (uint8_t)size;
    memcpy(out->bytes, sa, size);
}

void datagram_address_of(const struct sockaddr *sa, size_t size, struct datagram_address *out) {
    static const sa_family_t unnamed = AF_UNIX;
    const struct sockaddr_in6 *in6 = (const void *)sa;
    if (size < sizeof unnamed) { /* only a UNIX socket may have none */
        keep(&unnamed, sizeof unnamed, out);
        return;
    }
    /* the system ends a path of 108 bytes with a zero that it does not take back */
    if (sa->sa_family == AF_UNIX && size > sizeof(struct sockaddr_un))
        size = sizeof(struct sockaddr_un);
    if (sa->sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        keep(sa, size, out);
        return;
    }
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = in6->sin6_port};
    memcpy(&in.sin_addr, &in6->sin6_addr.s6_addr[12], 4);
    keep(&in, sizeof in, out);
}

void datagram_address_map(const struct datagram_address *a, struct datagram_address *out) {
    struct sockaddr_in in;
    *out = *a;
    if (a->size != sizeof in) return;
    memcpy(&in, a->bytes, sizeof in);
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = in.sin_port};
    in6.sin6_addr.s6_addr[10] = in6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(&in6.sin6_addr.s6_addr[12], &in.sin_addr, 4);
    keep(&in6, sizeof in6, out);
}

void datagram_address_read(const struct datagram_address *a, struct address *out) {
    struct sockaddr_storage sa;
    memcpy(&sa, a->bytes, a->size);
    address_of((struct sockaddr *)&sa, a->size, out);
    if (out->kind == ADDRESS_TCP) out->kind = ADDRESS_UDP;
}

static int resolve(const char *host, uint16_t port, int flags, struct addrinfo **all) {
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV | flags};
    return getaddrinfo(host, service, &hints, all);
}

int datagram_address_make(const struct address *a, struct datagram_address *out) {
    struct addrinfo *all;
    if (a->kind == ADDRESS_UNIX) return unixgram_address(a->host, out);
    if (a->kind != ADDRESS_TCP && a->kind != ADDRESS_UDP) return RW_ESYNTAX;
    if (resolve(a->host, a->port, AI_NUMERICHOST, &all) != 0) return RW_ESYNTAX;
    datagram_address_of(all->ai_addr, all->ai_addrlen, out);
    freeaddrinfo(all);
    return 0;
}

int udp_address(const char *host, uint16_t port, struct datagram_address *out) {
    struct address at = {.kind = ADDRESS_UDP, .port = port};
    if (strlen(host) >= sizeof at.host) return RW_ESYNTAX;
    memcpy(at.host, host, strlen(host) + 1);
    return datagram_address_make(&at, out);
}

/* ── binding ──────────────────────────────────────────────────────────────*/

static int new_socket(int family) {
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

static int bind_to(const struct endpoint *e, const struct sockaddr *sa, socklen_t size) {
    int fd = new_socket(sa->sa_family), on = 1, v6only = e->ipv6_only;
    if (fd < 0) return fd;
    if (e->reuse_address && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0) goto fail;
    if (e->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) goto fail;
    if (sa->sa_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only) < 0)
        goto fail;
    if (bind(fd, sa, size) == 0) return fd;
fail:;
    int rc = -errno;
    close(fd);
    return rc;
}

static int adopt(struct loop *l, int fd, int family, struct datagram **out) {
    int rc = datagram_new(l, fd, family, out);
    if (rc < 0) close(fd);
    return rc;
}

/* Every address: IPv6 with IPv4, or IPv4 where there is no other. */
static int open_any(struct loop *l, const struct endpoint *e, struct datagram **out) {
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(e->port)};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(e->port)};
    int family = AF_INET6, fd = bind_to(e, (struct sockaddr *)&in6, sizeof in6);
    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) {
        family = AF_INET;
        fd = bind_to(e, (struct sockaddr *)&in, sizeof in);
    }
    return fd < 0 ? fd : adopt(l, fd, family, out);
}

static int open_udp(struct loop *l, const struct endpoint *e, struct datagram **out) {
    if (!e->host[0]) return open_any(l, e, out);
    struct addrinfo *all = NULL;
    int rc = resolve(e->host, e->port, AI_PASSIVE, &all);
    if (rc != 0) return resolve_error(rc);
    rc = RW_ENONAME;
    for (struct addrinfo *a = all; a && rc < 0; a = a->ai_next) {
        int fd = rc = bind_to(e, a->ai_addr, a->ai_addrlen);
        if (fd >= 0) {
            rc = adopt(l, fd, a->ai_family, out);
            break;
        }
    }
    freeaddrinfo(all);
    return rc;
}

static int open_inherited(struct loop *l, const struct endpoint *e, struct datagram **out) {
    int family = 0, fd = inherit_datagram(e);
    socklen_t size = sizeof family;
    if (fd < 0) return fd;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0)
        return adopt(l, fd, family, out);
    int rc = -errno;
    close(fd);
    return rc;
}

int datagram_open(struct loop *l, const struct endpoint *e, struct datagram **out) {
    if (l->sim) return e->kind == ENDPOINT_UDP ? sim_datagram_open(l, e, out) : RW_ESIMULATED;
    if (e->kind == ENDPOINT_UNIXGRAM) return unixgram_open(l, e, out);
    return e->kind == ENDPOINT_UDP ? open_udp(l, e, out) : open_inherited(l, e, out);
}

/* ── connecting ───────────────────────────────────────────────────────────*/

int datagram_set_peer(struct datagram *d, const struct datagram_address *to) {
    struct datagram_address mapped = *to;
    if (d->closing) return RW_ECLOSED;
    if (d->loop->sim) return sim_datagram_set_peer(d, to);
    if (d->family == AF_INET6) datagram_address_map(to, &mapped);
    if (connect(d->fd, (const void *)mapped.bytes, mapped.size) < 0) return -errno;
    if (d->family == AF_UNIX) d->peer = mapped;
    return 0;
}

/* A peer that was there when we got it. */
static int connect_inherited(struct loop *l, const struct endpoint *e, struct datagram **out) {
    struct address peer;
    struct datagram *d = NULL;
    int rc = open_inherited(l, e, &d);
    if (rc < 0) return rc;
    if ((rc = datagram_peer(d, &peer)) < 0) datagram_close(d);
    else *out = d;
    return rc;
}

static int connect_udp(struct loop *l, const struct endpoint *e, struct datagram **out) {
    struct datagram_address to;
    const char *host = e->host[0] && strcmp(e->host, "localhost") != 0 ? e->host : "127.0.0.1";
    if (udp_address(host, e->port, &to) < 0) return RW_ENONAME;
    if (l->sim) return sim_datagram_connect(l, &to, out);
    int family = to.size == sizeof(struct sockaddr_in) ? AF_INET : AF_INET6;
    int fd = new_socket(family);
    if (fd < 0) return fd;
    struct datagram *d;
    int rc = adopt(l, fd, family, &d);
    if (rc < 0) return rc;
    if ((rc = datagram_set_peer(d, &to)) < 0) datagram_close(d);
    else *out = d;
    return rc;
}

int datagram_connect(struct loop *l, const struct endpoint *e, struct datagram **out) {
    if (l->sim && e->kind != ENDPOINT_UDP) return RW_ESIMULATED;
    if (e->kind == ENDPOINT_UNIXGRAM) return unixgram_connect(l, e, out);
    return e->kind == ENDPOINT_UDP ? connect_udp(l, e, out) : connect_inherited(l, e, out);
}
