/* SPDX-License-Identifier: MIT */
/* Listening sockets. Names are resolved here and now, which may block: only
 * while a script loads, and only for names (numeric addresses never ask
 * anybody). No host means every address, over one IPv6 socket that takes IPv4
 * as well, or over IPv4 where there is no IPv6.
 */
#include "io/internal.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static int backlog_of(const struct endpoint *e) {
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

static int turn_on(int fd, int level, int option) {
    int on = 1;
    return setsockopt(fd, level, option, &on, sizeof on);
}

static int bind_address(const struct endpoint *e, const struct sockaddr *sa,
                        socklen_t size) {
    int v6only = e->ipv6_only;
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    0);
    if (fd < 0) return -errno;
    if (turn_on(fd, SOL_SOCKET, SO_REUSEADDR) < 0) goto fail;
    if (e->reuse_port && turn_on(fd, SOL_SOCKET, SO_REUSEPORT) < 0) goto fail;
    if (sa->sa_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only) < 0)
        goto fail;
    turn_on(fd, IPPROTO_TCP, TCP_NODELAY); /* what it accepts inherits it */
    if (bind(fd, sa, size) < 0 || listen(fd, backlog_of(e)) < 0) goto fail;
    return fd;
fail:;
    int rc = -errno;
    close(fd);
    return rc;
}

static int bind_any(const struct endpoint *e) {
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                               .sin6_port = htons(e->port)};
    int fd = bind_address(e, (struct sockaddr *)&in6, sizeof in6);
    bool no_v6 = fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL;
    if (!no_v6 || e->ipv6_only) return fd;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(e->port)};
    return bind_address(e, (struct sockaddr *)&in, sizeof in);
}

int bind_tcp(const struct endpoint *e) {
    if (!e->host[0]) return bind_any(e);
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
    rc = RW_ENONAME;
    for (struct addrinfo *a = all; a && rc < 0; a = a->ai_next)
        rc = bind_address(e, a->ai_addr, a->ai_addrlen);
    freeaddrinfo(all);
    return rc;
}

/* ── unix ─────────────────────────────────────────────────────────────────*/

/* A socket file that nobody listens behind is a leftover of a crash. */
static int remove_stale(const char *path, const struct sockaddr_un *un,
                        unsigned size) {
    struct stat st;
    if (lstat(path, &st) < 0) return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode)) return -EADDRINUSE;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int rc = connect(fd, (const struct sockaddr *)un, size) < 0 ? -errno : 0;
    close(fd);
    if (rc == -ENOENT) return 0;
    if (rc != -ECONNREFUSED) return -EADDRINUSE;
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int bind_unix(const struct endpoint *e) {
    struct sockaddr_un un;
    unsigned size;
    int rc = address_unix(e->host, &un, &size);
    if (rc < 0) return rc;
    bool abstract = e->host[0] == '@';
    if (!abstract && (rc = remove_stale(e->host, &un, size)) < 0) return rc;

    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    /* Before bind the file is never more open than asked for; after it the
     * umask is made up for. */
    mode_t mode = (mode_t)(e->mode & 07777);
    if (mode && !abstract && fchmod(fd, mode) < 0) goto fail;
    if (bind(fd, (struct sockaddr *)&un, size) < 0) goto fail;
    if (mode && !abstract && chmod(e->host, mode) < 0) goto fail_bound;
    if (listen(fd, backlog_of(e)) < 0) goto fail_bound;
    return fd;
fail_bound:
    rc = -errno;
    if (!abstract) unlink(e->host);
    close(fd);
    return rc;
fail:
    rc = -errno;
    close(fd);
    return rc;
}
