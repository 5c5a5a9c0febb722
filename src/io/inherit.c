/* SPDX-License-Identifier: MIT */
/* Descriptors that the process was started with: "fd:N", and the sockets of
 * systemd, or of whoever else speaks its protocol (sd_listen_fds(3)):
 * LISTEN_FDS of them from 3 on, for the process LISTEN_PID, with the names
 * LISTEN_FDNAMES. The variables stay, so that a reload can look again; a child
 * does not take them for its own, LISTEN_PID is not its number.
 *
 * What listens, or is for datagrams, is duplicated: the original stays with us,
 * closed for children, and a later reload may use the number again. A connected
 * stream can be used once and is taken over.
 */
#include "io/internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST = 3, MAX_INHERITED = 1024 };

static int read_number(const char *variable, uint64_t *out) {
    const char *text = getenv(variable);
    return text ? str_to_u64(str_c(text), out) : RW_ENOTPASSED;
}

/* How many sockets systemd passed to this process. */
static int passed(void) {
    uint64_t pid, count;
    int rc = read_number("LISTEN_PID", &pid);
    if (rc == 0) rc = read_number("LISTEN_FDS", &count);
    if (rc < 0) return rc;
    if (pid != (uint64_t)getpid() || count == 0) return RW_ENOTPASSED;
    return count <= MAX_INHERITED ? (int)count : RW_ESYNTAX;
}

/* Without LISTEN_FDNAMES all are called "unknown". */
static int check_names(struct str names, int count) {
    int n = 1;
    for (size_t i = 0; i < names.n; i++) n += names.p[i] == ':';
    return n == count ? 0 : RW_ESYNTAX;
}

static int by_systemd(const struct endpoint *e, int fds[LISTENER_SOCKETS]) {
    int count = passed(), found = 0;
    if (count < 0) return count;
    struct str names = str_c(getenv("LISTEN_FDNAMES"));
    int rc = names.p ? check_names(names, count) : 0;
    if (rc < 0) return rc;
    for (int i = 0; i < count; i++) {
        int fd = FIRST + i;
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return -errno;
        struct str name = names.p ? str_cut(&names, ':') : STR("unknown");
        if (e->host[0] ? !str_eq(name, str_c(e->host)) : i != e->fd) continue;
        if (found == LISTENER_SOCKETS) return RW_ELIMIT;
        fds[found++] = fd;
    }
    return found ? found : RW_ENOSOCKET;
}

static int option(int fd, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    if (getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0) return -errno;
    return value;
}

int inherit_check(const struct endpoint *e, int fd) {
    int type = option(fd, SO_TYPE);
    if (type < 0) return type;
    int family = option(fd, SO_DOMAIN);
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
        return -EAFNOSUPPORT;
    if (type == SOCK_STREAM) return e->datagram ? RW_ESTREAM : 0;
    if (type == SOCK_DGRAM) return e->datagram ? 0 : RW_EDATAGRAM;
    return -ESOCKTNOSUPPORT;
}

/* One name may have both kinds: those of the wanted one, if there are any. */
static int sift(const struct endpoint *e, int fds[LISTENER_SOCKETS], int count) {
    int kept = 0, other = RW_ENOSOCKET;
    for (int i = 0; i < count; i++) {
        int rc = inherit_check(e, fds[i]);
        if (rc == 0) fds[kept++] = fds[i];
        else if (rc == RW_ESTREAM || rc == RW_EDATAGRAM) other = rc;
        else return rc;
    }
    return kept ? kept : other;
}

static int find(const struct endpoint *e, int fds[LISTENER_SOCKETS]) {
    fds[0] = e->fd;
    int count = e->kind == ENDPOINT_SYSTEMD ? by_systemd(e, fds) : 1;
    return count < 0 ? count : sift(e, fds, count);
}

/* 1 connected, 0 listening, or bound and about to. */
static int is_connected(int fd) {
    if (option(fd, SO_ACCEPTCONN) == 1) return 0;
    struct sockaddr_storage sa;
    socklen_t size = sizeof sa;
    return getpeername(fd, (struct sockaddr *)&sa, &size) == 0;
}

static int make_ready(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

static int duplicate(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, FIRST);
    return copy < 0 ? -errno : copy;
}

static int adopt(const struct endpoint *e, int fd) {
    if (is_connected(fd)) return -EISCONN;
    int rc = make_ready(fd);
    if (rc < 0) return rc;
    if (option(fd, SO_ACCEPTCONN) == 0 && listen(fd, SOMAXCONN) < 0)
        return -errno;
    if (option(fd, SO_DOMAIN) != AF_UNIX) tcp_options(e, fd);
    return duplicate(fd);
}

int inherit_listening(const struct endpoint *e, int fds[LISTENER_SOCKETS]) {
    int count = find(e, fds);
    for (int i = 0; i < count; i++) {
        int rc = adopt(e, fds[i]);
        if (rc < 0) {
            while (i) close(fds[--i]);
            return rc;
        }
        fds[i] = rc;
    }
    return count;
}

int inherit_datagram(const struct endpoint *e) {
    int fds[LISTENER_SOCKETS];
    int count = find(e, fds);
    if (count != 1) return count < 0 ? count : RW_ESEVERAL;
    int rc = make_ready(fds[0]);
    return rc < 0 ? rc : duplicate(fds[0]);
}

bool endpoint_is_datagram(const struct endpoint *e) {
    return e->kind == ENDPOINT_UDP || e->kind == ENDPOINT_UNIXGRAM || e->datagram;
}

int endpoint_is_stream(const struct endpoint *e) {
    int fds[LISTENER_SOCKETS];
    if (e->kind == ENDPOINT_STDIO) return 1;
    if (e->kind != ENDPOINT_FD && e->kind != ENDPOINT_SYSTEMD) return 0;
    int count = find(e, fds);
    return count == 1 ? is_connected(fds[0]) : count < 0 ? count : 0;
}

int endpoint_stream(struct loop *l, const struct endpoint *e,
                    const struct limits *limits, struct stream **out) {
    int fds[LISTENER_SOCKETS];
    if (e->kind == ENDPOINT_STDIO) return stream_stdio(l, limits, out);
    int rc = endpoint_is_stream(e);
    if (rc == 0) rc = -ENOTCONN;
    if (rc > 0) rc = find(e, fds);
    if (rc > 0) rc = make_ready(fds[0]);
    if (rc < 0) return rc;
    if (option(fds[0], SO_DOMAIN) == AF_UNIX)
        return unix_adopt(l, fds[0], limits, out);
    tcp_options(e, fds[0]);
    return tcp_adopt(l, fds[0], limits, out);
}
