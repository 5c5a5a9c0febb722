/* SPDX-License-Identifier: MIT */
/* Listening sockets of TCP. Names are resolved here and now, which may block: only
 * while a script loads, and only for names (numeric addresses never ask
 * anybody). No host means every address, over one IPv6 socket that takes IPv4
 * as well, or over IPv4 where there is no IPv6. A name means each of its
 * addresses that this machine has, all with one port.
 */
#include "io/internal.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    PORT_TRIES = 32, /* for a free port that is free for every address */
};

int backlog_of(const struct endpoint *e) {
    return e->backlog > 0 ? e->backlog : BACKLOG;
}

int resolve_error(int eai) {
    switch (eai) {
    case 0: return 0;
    case EAI_AGAIN: case UV_EAI_AGAIN: return RW_EAGAIN;
    case EAI_MEMORY: case UV_EAI_MEMORY: return RW_ENOMEM;
    case UV_EAI_CANCELED: case UV_ECANCELED: return RW_ECANCELED;
    case EAI_SYSTEM: return errno ? -errno : RW_ENONAME;
    default: return RW_ENONAME;
    }
}

/* ── tcp ──────────────────────────────────────────────────────────────────*/

static int set(int fd, int level, int option, int value) {
    return setsockopt(fd, level, option, &value, sizeof value);
}

/* A peer that is gone is found when it is silent, by probes, and when it is sent to,
 * by TCP_USER_TIMEOUT: unacknowledged bytes keep probes from being sent. */
int tcp_keep_alive(int fd, int seconds) {
    enum { PROBES = 5, BETWEEN = 10 };
    int between = seconds < BETWEEN ? seconds : BETWEEN;
    int rc = set(fd, SOL_SOCKET, SO_KEEPALIVE, seconds > 0);
    if (rc == 0 && seconds > 0) {
        rc = set(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
        if (rc == 0) rc = set(fd, IPPROTO_TCP, TCP_KEEPINTVL, between);
        if (rc == 0) rc = set(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
    }
    if (rc == 0)
        rc = set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
                 seconds > 0 ? (seconds + PROBES * between) * 1000 : 0);
    return rc < 0 ? -errno : 0;
}

void tcp_options(const struct endpoint *e, int fd) {
    set(fd, IPPROTO_TCP, TCP_NODELAY, !e->delay);
    if (e->keepalive > 0) tcp_keep_alive(fd, e->keepalive);
}

static int bind_address(const struct endpoint *e, bool v6_only,
                        const struct sockaddr *sa, socklen_t size) {
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    0);
    if (fd < 0) return -errno;
    if (set(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0) goto fail;
    if (e->reuse_port && set(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0) goto fail;
    if (sa->sa_family == AF_INET6 &&
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6_only) < 0)
        goto fail;
    tcp_options(e, fd);
    if (bind(fd, sa, size) < 0 || listen(fd, backlog_of(e)) < 0) goto fail;
    return fd;
fail:;
    int rc = -errno;
    close(fd);
    return rc;
}

static bool not_on_this_machine(int rc) {
    return rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL;
}

static int bind_any(const struct endpoint *e) {
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                               .sin6_port = htons(e->port)};
    int fd = bind_address(e, e->ipv6_only, (struct sockaddr *)&in6, sizeof in6);
    if (!not_on_this_machine(fd) || e->ipv6_only) return fd;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(e->port)};
    return bind_address(e, false, (struct sockaddr *)&in, sizeof in);
}

static in_port_t *port_of(struct sockaddr *sa) {
    return sa->sa_family == AF_INET6
               ? &((struct sockaddr_in6 *)(void *)sa)->sin6_port
               : &((struct sockaddr_in *)(void *)sa)->sin_port;
}

static bool seen_before(const struct addrinfo *all, const struct addrinfo *a) {
    for (; all != a; all = all->ai_next)
        if (all->ai_addrlen == a->ai_addrlen &&
            memcmp(all->ai_addr, a->ai_addr, a->ai_addrlen) == 0)
            return true;
    return false;
}

static void close_all(const int *fds, int n) {
    while (n) close(fds[--n]);
}

static int bind_each(const struct endpoint *e, struct addrinfo *all,
                     int fds[LISTENER_SOCKETS]) {
    int count = 0, missing = RW_ENONAME;
    in_port_t port = htons(e->port);
    bool v6_only = e->ipv6_only || all->ai_next;
    for (struct addrinfo *a = all; a && count < LISTENER_SOCKETS;
         a = a->ai_next) {
        if (seen_before(all, a)) continue;
        *port_of(a->ai_addr) = port;
        int rc = bind_address(e, v6_only, a->ai_addr, a->ai_addrlen);
        *port_of(a->ai_addr) = htons(e->port);
        if (not_on_this_machine(rc)) {
            missing = rc;
            continue;
        }
        if (rc < 0) {
            close_all(fds, count);
            return rc;
        }
        fds[count++] = rc;
        struct address bound; /* "any port": the others take the same */
        if ((rc = address_of_socket(rc, false, &bound)) < 0) {
            close_all(fds, count);
            return rc;
        }
        port = htons(bound.port);
    }
    return count ? count : missing;
}

int bind_tcp(const struct endpoint *e, int fds[LISTENER_SOCKETS]) {
    if (!e->host[0]) {
        fds[0] = bind_any(e);
        return fds[0] < 0 ? fds[0] : 1;
    }
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)e->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV |
                                         AI_NUMERICHOST};
    struct addrinfo *all = NULL;
    int rc = getaddrinfo(e->host, port, &hints, &all);
    if (rc == EAI_NONAME) {
        hints.ai_flags &= ~AI_NUMERICHOST;
        rc = getaddrinfo(e->host, port, &hints, &all);
    }
    if (rc != 0) return resolve_error(rc);
    int tries = e->port == 0 ? PORT_TRIES : 1;
    do rc = bind_each(e, all, fds);
    while (rc == -EADDRINUSE && --tries > 0);
    freeaddrinfo(all);
    return rc;
}
