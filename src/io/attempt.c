/* SPDX-License-Identifier: MIT */
/* An attempt has a socket and a uv_poll of its own, so that others may run
 * beside it and begin while its handle is still closing. */
#include "io/attempt.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static void poll_gone(uv_handle_t *h) {
    struct attempt *a = CONTAINER(h, struct attempt, poll);
    a->loop->closing--;
    mem_free(a->loop->mem, a, sizeof *a);
}

/* The handle closes; the descriptor stays. */
static void attempt_leave(struct attempt *a) {
    *a->prev = a->next;
    if (a->next) a->next->prev = a->prev;
    a->loop->closing++;
    uv_close((uv_handle_t *)&a->poll, poll_gone);
}

void attempt_cancel(struct attempt *a) {
    attempt_leave(a);
    close(a->fd);
}

static void on_writable(uv_poll_t *p, int status, int events) {
    struct attempt *a = CONTAINER(p, struct attempt, poll);
    int error = 0;
    socklen_t size = sizeof error;
    (void)events;
    if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
    if (!error && status < 0) error = -status;
    attempt_leave(a);
    if (error) close(a->fd);
    a->ended(a, -error, error ? -1 : a->fd);
}

static int bind_to(int fd, const struct endpoint *from) {
    struct sockaddr_storage sa;
    int on = 1;
    unsigned size = ip_to_sockaddr(&from->bind_ip, from->bind_port, &sa);
    /* without a port: one that is free for this peer, chosen when connecting */
    if (from->bind_port) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    else setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    return bind(fd, (struct sockaddr *)&sa, size) < 0 ? -errno : 0;
}

static int watch(struct loop *l, int fd, struct attempt **list, const struct attempt *like) {
    struct attempt *a = mem_zalloc(l->mem, sizeof *a);
    if (!a) return RW_ENOMEM;
    *a = *like;
    int rc = uv_poll_init(&l->uv, &a->poll, fd);
    if (rc < 0) {
        mem_free(l->mem, a, sizeof *a);
        return rc;
    }
    a->loop = l;
    a->fd = fd;
    a->next = *list;
    a->prev = list;
    if (a->next) a->next->prev = &a->next;
    *list = a;
    rc = uv_poll_start(&a->poll, UV_WRITABLE, on_writable);
    if (rc < 0) attempt_leave(a);
    return rc;
}

int attempt_start(struct loop *l, const struct sockaddr *to, unsigned size,
                  const struct endpoint *from, struct attempt **list,
                  const struct attempt *like, int *fd_out) {
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int rc = from && from->bind_ip.family ? bind_to(fd, from) : 0;
    if (rc == 0) {
        do rc = connect(fd, to, size) < 0 ? -errno : 0;
        while (rc == -EINTR);
        if (rc == 0) {
            *fd_out = fd;
            return 1;
        }
        if (rc == -EINPROGRESS) rc = watch(l, fd, list, like);
        if (rc == 0) return 0;
    }
    close(fd);
    return rc;
}
