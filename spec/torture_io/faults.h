/* SPDX-License-Identifier: MIT */
/* System calls that fail when they are told to. The linker sends those of src/io
 * and of libuv here first (--wrap, see FAULTY in the Makefile); all others of
 * the process, too, but they are left alone while nothing is armed. */
#ifndef TORTURE_FAULTS_H
#define TORTURE_FAULTS_H

#include <stdbool.h>

/* name; what comes back from the real one; parameters; arguments */
#define FAULT_CALLS(X)                                                              \
    X(read, ssize_t, (int fd, void *p, size_t n), (fd, p, n))                       \
    X(pread, ssize_t, (int fd, void *p, size_t n, off_t at), (fd, p, n, at))        \
    X(write, ssize_t, (int fd, const void *p, size_t n), (fd, p, n))                \
    X(sendfile, ssize_t, (int to, int fd, off_t *at, size_t n), (to, fd, at, n))    \
    X(sendto, ssize_t, (int fd, const void *p, size_t n, int flags,                 \
                        const struct sockaddr *to, socklen_t size),                 \
      (fd, p, n, flags, to, size))                                                  \
    X(writev, ssize_t, (int fd, const struct iovec *v, int count), (fd, v, count))  \
    X(sendmsg, ssize_t, (int fd, const struct msghdr *m, int flags), (fd, m, flags)) \
    X(recvmsg, ssize_t, (int fd, struct msghdr *m, int flags), (fd, m, flags))      \
    X(recvmmsg, int, (int fd, struct mmsghdr *m, unsigned n, int flags,             \
                      struct timespec *t), (fd, m, n, flags, t))                    \
    X(accept4, int, (int fd, struct sockaddr *a, socklen_t *size, int flags),       \
      (fd, a, size, flags))                                                         \
    X(socket, int, (int family, int type, int protocol), (family, type, protocol))  \
    X(socketpair, int, (int family, int type, int protocol, int *fds),              \
      (family, type, protocol, fds))                                                \
    X(bind, int, (int fd, const struct sockaddr *a, socklen_t size), (fd, a, size)) \
    X(listen, int, (int fd, int backlog), (fd, backlog))                            \
    X(connect, int, (int fd, const struct sockaddr *a, socklen_t size), (fd, a, size)) \
    X(getsockname, int, (int fd, struct sockaddr *a, socklen_t *size), (fd, a, size)) \
    X(getpeername, int, (int fd, struct sockaddr *a, socklen_t *size), (fd, a, size)) \
    X(getsockopt, int, (int fd, int level, int name, void *p, socklen_t *n),        \
      (fd, level, name, p, n))                                                      \
    X(setsockopt, int, (int fd, int level, int name, const void *p, socklen_t n),   \
      (fd, level, name, p, n))                                                      \
    X(shutdown, int, (int fd, int how), (fd, how))                                  \
    X(epoll_ctl, int, (int ep, int op, int fd, struct epoll_event *e), (ep, op, fd, e)) \
    X(epoll_pwait, int, (int ep, struct epoll_event *e, int n, int ms,              \
                         const sigset_t *set), (ep, e, n, ms, set))                 \
    X(epoll_create1, int, (int flags), (flags))                                     \
    X(eventfd, int, (unsigned value, int flags), (value, flags))                    \
    X(pipe2, int, (int *fds, int flags), (fds, flags))                              \
    X(fstat, int, (int fd, struct stat *s), (fd, s))

#define FAULT_ENUM(name, ret, params, args) FAULT_##name,
enum fault_call { FAULT_CALLS(FAULT_ENUM) FAULTS };
extern const char *const fault_names[];

/* Its nth call (1: the next) fails with `error`; 0: it moves a single byte.
 * `again`: so does each second one after it, but then an eighth is moved. */
void fault_arm(enum fault_call call, int error, unsigned nth, bool again);
/* How many were made to fail; from here on none is. */
unsigned fault_disarm(void);

/* The wall clock is so far off, in seconds; the monotonic one never is. */
void fault_wall_clock(long long seconds);

#endif
