/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "torture_io/faults.h"

#define FAULT_NAME(name, ret, params, args) #name,
const char *const fault_names[] = {FAULT_CALLS(FAULT_NAME)};

static struct {
    bool armed, again;
    enum fault_call call;
    int error;
    unsigned wait, hits;
} fault;
static long long wall;

void fault_arm(enum fault_call call, int error, unsigned nth, bool again) {
    fault.call = call;
    fault.error = error;
    fault.wait = nth;
    fault.again = again;
    fault.hits = 0;
    fault.armed = true;
}

unsigned fault_disarm(void) {
    fault.armed = false;
    return fault.hits;
}

static bool hit(enum fault_call call) {
    if (!fault.armed || call != fault.call || --fault.wait > 0) return false;
    fault.hits++;
    fault.wait = 2;
    if (!fault.again) fault.armed = false;
    return true;
}

/* What a call looks like that moves one byte or one datagram; when that happens
 * again and again, some more, lest it takes forever. */
#define SHORT_N n = fault.again ? (n + 7) / 8 : n > 0
#define SHORT_V                                             \
    struct iovec one = {v->iov_base, v->iov_len > 0};       \
    v = &one, count = 1
#define SHORT_M                                                                      \
    struct iovec one = m->msg_iovlen ? *m->msg_iov : (struct iovec){NULL, 0};        \
    struct msghdr copy = *m;                                                         \
    one.iov_len = one.iov_len > 0;                                                   \
    copy.msg_iov = &one, copy.msg_iovlen = 1;                                        \
    m = &copy
#define SHORT_read SHORT_N
#define SHORT_pread SHORT_N
#define SHORT_write SHORT_N
#define SHORT_sendfile SHORT_N
#define SHORT_recvmmsg SHORT_N
#define SHORT_writev SHORT_V
#define SHORT_sendmsg SHORT_M
#define SHORT_recvmsg SHORT_M
#define SHORT_sendto
#define SHORT_accept4
#define SHORT_socket
#define SHORT_socketpair
#define SHORT_bind
#define SHORT_listen
#define SHORT_connect
#define SHORT_getsockname
#define SHORT_getpeername
#define SHORT_getsockopt
#define SHORT_setsockopt
#define SHORT_shutdown
#define SHORT_epoll_ctl
#define SHORT_epoll_pwait SHORT_N
#define SHORT_epoll_create1
#define SHORT_eventfd
#define SHORT_pipe2
#define SHORT_fstat

#define FAULT_WRAP(name, ret, params, args)     \
    ret __real_##name params;                   \
    ret __wrap_##name params;                   \
    ret __wrap_##name params {                  \
        if (!hit(FAULT_##name))                 \
            return __real_##name args;          \
        if (fault.error) {                      \
            errno = fault.error;                \
            return -1;                          \
        }                                       \
        SHORT_##name;                           \
        return __real_##name args;              \
    }
FAULT_CALLS(FAULT_WRAP)

void fault_wall_clock(long long seconds) { wall = seconds; }

int __real_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t) {
    int rc = __real_clock_gettime(id, t);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) t->tv_sec += wall;
    return rc;
}
