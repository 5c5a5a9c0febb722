/* SPDX-License-Identifier: MIT */
/* UNIX datagram sockets come to be: bound to a path or to an abstract name, or
 * connected. A connected one needs an address, too, lest it cannot be answered:
 * that of bind=, or else an abstract one that the system chooses. Nobody but its
 * peer can send to it. */
#include "io/datagram_private.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int begin(struct loop *l, int fd, struct socket_file *file, struct datagram **out) {
    int rc = datagram_new(l, fd, AF_UNIX, out);
    if (rc == 0) {
        (*out)->file = *file;
        return 0;
    }
    socket_file_leave(file);
    close(fd);
    return rc;
}

int unixgram_open(struct loop *l, const struct endpoint *e, struct datagram **out) {
    struct socket_file file;
    int fd = bind_unix(e, SOCK_DGRAM, &file);
    return fd < 0 ? fd : begin(l, fd, &file, out);
}

static int bind_somewhere(void) {
    sa_family_t unnamed = AF_UNIX;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (bind(fd, (const void *)&unnamed, sizeof unnamed) == 0) return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

/* mode=, user= and group= are of our own file; the lock is the server's. */
static int bind_own(const struct endpoint *e, struct socket_file *file) {
    struct endpoint own = *e;
    if (!e->bind_path[0]) return bind_somewhere();
    own.lock = false;
    snprintf(own.host, sizeof own.host, "%s", e->bind_path);
    return bind_unix(&own, SOCK_DGRAM, file);
}

int unixgram_connect(struct loop *l, const struct endpoint *e, struct datagram **out) {
    struct socket_file file = {.lock = -1};
    struct datagram_address to;
    struct datagram *d;
    int rc = unixgram_address(e->host, &to);
    if (rc == 0 && e->lock) rc = unix_lock_check(e->host);
    if (rc < 0) return rc;
    int fd = bind_own(e, &file);
    rc = fd < 0 ? fd : begin(l, fd, &file, &d);
    if (rc < 0) return rc;
    if ((rc = datagram_set_peer(d, &to)) < 0) datagram_close(d);
    else *out = d;
    return rc;
}

int unixgram_address(const char *path, struct datagram_address *out) {
    struct sockaddr_un un;
    unsigned size;
    int rc = address_unix(path, &un, &size);
    if (rc == 0) datagram_address_of((struct sockaddr *)&un, size, out);
    return rc;
}
