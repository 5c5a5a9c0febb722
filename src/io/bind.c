/* SPDX-License-Identifier: MIT */
/* Listening sockets. Names are resolved here and now, which may block: only
 * while a script loads, and only for names (numeric addresses never ask
 * anybody). No host means every address, over one IPv6 socket that takes IPv4
 * as well, or over IPv4 where there is no IPv6. A name means each of its
 * addresses that this machine has, all with one port.
 */
#include "io/internal.h"

#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    PORT_TRIES = 32,  /* for a free port that is free for every address */
    LOCK_TRIES = 100, /* of 5 ms, for the directory of a unix socket */
};

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

/* Of two processes that find the same leftover, the slower one would unlink
 * the live socket of the other: they take turns. Where the directory cannot be
 * read or locked, it goes without. */
static int lock_directory(const char *path) {
    char directory[sizeof ((struct endpoint *)0)->host];
    snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    if (slash) slash[slash == directory] = 0;
    int fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) break;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return fd;
}

static int find_user(const char *name, uid_t *out) {
    uint64_t number;
    errno = 0;
    const struct passwd *found = getpwnam(name);
    if (found) *out = found->pw_uid;
    else if (str_to_u64(str_c(name), &number) == 0) *out = (uid_t)number;
    else return errno && errno != ENOENT ? -errno : RW_ENONAME;
    return 0;
}

static int find_group(const char *name, gid_t *out) {
    uint64_t number;
    errno = 0;
    const struct group *found = getgrnam(name);
    if (found) *out = found->gr_gid;
    else if (str_to_u64(str_c(name), &number) == 0) *out = (gid_t)number;
    else return errno && errno != ENOENT ? -errno : RW_ENONAME;
    return 0;
}

static int set_owner(const struct endpoint *e) {
    uid_t user = (uid_t)-1;
    gid_t group = (gid_t)-1;
    int rc = e->user[0] ? find_user(e->user, &user) : 0;
    if (rc == 0 && e->group[0]) rc = find_group(e->group, &group);
    if (rc < 0 || (!e->user[0] && !e->group[0])) return rc;
    return chown(e->host, user, group) < 0 ? -errno : 0;
}

/* Before bind the file is never more open than asked for; after it the umask
 * is made up for. */
static int bind_path(const struct endpoint *e, int fd,
                     const struct sockaddr_un *un, unsigned size) {
    mode_t mode = (mode_t)(e->mode & 07777);
    bool is_file = e->host[0] != '@';
    if (mode && is_file && fchmod(fd, mode) < 0) return -errno;
    if (bind(fd, (const struct sockaddr *)un, size) < 0) return -errno;
    int rc = is_file ? set_owner(e) : 0;
    if (rc == 0 && mode && is_file && chmod(e->host, mode) < 0) rc = -errno;
    if (rc == 0 && listen(fd, backlog_of(e)) < 0) rc = -errno;
    if (rc < 0 && is_file) unlink(e->host);
    return rc;
}

int bind_unix(const struct endpoint *e, int fds[LISTENER_SOCKETS]) {
    struct sockaddr_un un;
    unsigned size;
    int rc = address_unix(e->host, &un, &size), lock = -1;
    if (rc < 0) return rc;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (e->host[0] != '@') {
        lock = lock_directory(e->host);
        rc = remove_stale(e->host, &un, size);
    }
    if (rc == 0) rc = bind_path(e, fd, &un, size);
    if (lock >= 0) close(lock);
    if (rc < 0) close(fd);
    fds[0] = fd;
    return rc < 0 ? rc : 1;
}
