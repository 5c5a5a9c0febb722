/* SPDX-License-Identifier: MIT */
/* Starting a child and waiting for it. The descriptors that it gets are made
 * first, then our ends of them, then the child (exec.c); after that nothing can
 * fail but the watch on it.
 *
 *     fds ──→ ends: ours ──→ stream (childpipe.c)
 *                   theirs ──→ plan.fds ──→ the child, closed here
 */
#include "io/process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/childpipe.h"
#include "io/exec.h"

struct process {
    uv_poll_t watch; /* of pidfd: readable when it has ended */
    struct loop *loop;
    pid_t pid;
    int pidfd;
    bool own_group, ended;
    struct stream *terminal; /* held until it ends; NULL: none */
    void (*on_exit)(void *owner, const struct process_status *status);
    void *owner;
};

/* ── descriptors ──────────────────────────────────────────────────────────*/

struct launch {
    struct loop *loop;
    struct process_options *o;
    struct exec_plan plan;
    int theirs[PROCESS_MAX_FDS]; /* owned, of each fd; -1: none */
    int null;                    /* owned; -1: not needed yet */
};

static int add_target(struct launch *x, int target, int source) {
    for (size_t i = 0; i < x->plan.fd_count; i++)
        if (x->plan.fds[i].target == target) return RW_EINVAL; /* named twice */
    x->plan.fds[x->plan.fd_count++] = (struct exec_fd){target, source};
    return 0;
}

static int add_null(struct launch *x, int target) {
    if (x->null < 0) x->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    return x->null < 0 ? -errno : add_target(x, target, x->null);
}

static int open_terminal(struct launch *x, int ends[2]) {
    char name[64];
    ends[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (ends[0] < 0) return -errno;
    ends[1] = -1;
    if (grantpt(ends[0]) < 0 || unlockpt(ends[0]) < 0 ||
        ptsname_r(ends[0], name, sizeof name) != 0 ||
        (ends[1] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
        int rc = -errno;
        close(ends[0]);
        return rc;
    }
    struct winsize size = {.ws_row = x->o->rows, .ws_col = x->o->columns};
    if (size.ws_row && size.ws_col) ioctl(ends[0], TIOCSWINSZ, &size);
    /* Its user may open it by name, if we may give it away. */
    if (x->o->set_ids && fchown(ends[1], x->o->uid, (gid_t)-1) < 0) errno = 0;
    x->plan.terminal = ends[1];
    return 0;
}

/* ends[0] is ours, ends[1] the child's. */
static int open_ends(struct launch *x, enum process_fd_kind kind, int ends[2]) {
    int rc;
    if (kind == PROCESS_FD_PTY) return open_terminal(x, ends);
    if (kind == PROCESS_FD_BOTH)
        rc = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
    else
        rc = pipe2(ends, O_CLOEXEC);
    if (rc < 0) return -errno;
    if (kind == PROCESS_FD_WRITE) {
        int reading = ends[0];
        ends[0] = ends[1];
        ends[1] = reading;
    }
    return 0;
}

static int open_fd(struct launch *x, size_t i) {
    struct process_fd *fd = &x->o->fds[i];
    int ends[2];
    if (fd->fd < 0 || fd->fd > PROCESS_MAX_FD) return RW_EINVAL;
    if (fd->kind == PROCESS_FD_PTY && fd->fd != 0) return RW_EINVAL;
    if (fd->kind == PROCESS_FD_NULL) return add_null(x, fd->fd);
    if (fd->kind == PROCESS_FD_GIVEN)
        return fcntl(fd->source, F_GETFD) < 0 ? -errno
                                              : add_target(x, fd->fd, fd->source);
    int rc = open_ends(x, fd->kind, ends);
    if (rc < 0) return rc;
    x->theirs[i] = ends[1];
    rc = childpipe_adopt(x->loop, ends[0], fd->kind, x->o->limits, &fd->stream);
    if (rc < 0) {
        close(ends[0]);
        return rc;
    }
    rc = add_target(x, fd->fd, ends[1]);
    for (int more = 1; fd->kind == PROCESS_FD_PTY && rc == 0 && more < 3; more++)
        rc = add_target(x, more, ends[1]);
    return rc;
}

static bool has_target(const struct launch *x, int target) {
    for (size_t i = 0; i < x->plan.fd_count; i++)
        if (x->plan.fds[i].target == target) return true;
    return false;
}

static int open_fds(struct launch *x) {
    int rc = 0;
    if (x->o->fd_count > PROCESS_MAX_FDS) return RW_EINVAL;
    for (size_t i = 0; i < x->o->fd_count && rc == 0; i++) rc = open_fd(x, i);
    /* What the child opens must not become its standard output. */
    for (int fd = 0; fd < 3 && rc == 0; fd++)
        if (!has_target(x, fd)) rc = add_null(x, fd);
    return rc;
}

/* The child has its copies; ours of a failed start go as well. */
static void close_theirs(struct launch *x, bool failed) {
    if (x->null >= 0) close(x->null);
    for (size_t i = 0; i < x->o->fd_count && i < PROCESS_MAX_FDS; i++) {
        struct stream *s = x->o->fds[i].stream;
        if (x->theirs[i] >= 0) close(x->theirs[i]);
        if (s && failed) stream_abort(s, RW_EABORTED);
        else if (s) childpipe_start(s);
        if (failed) x->o->fds[i].stream = NULL;
    }
}

/* ── the end ──────────────────────────────────────────────────────────────*/

static void on_gone(uv_handle_t *h) {
    struct process *p = CONTAINER(h, struct process, watch);
    struct loop *l = p->loop;
    l->closing--;
    loop_gone(l, LEDGER_PROCESS);
    mem_free(l->mem, p, sizeof *p);
}

void process_free(struct process **handle) {
    struct process *p = *handle;
    if (!p) return;
    *handle = NULL;
    p->on_exit = NULL;
    childpipe_let_go(&p->terminal);
    p->loop->closing++;
    uv_close((uv_handle_t *)&p->watch, on_gone);
    close(p->pidfd); /* not before: libuv would let go of who has its number now */
}

static void on_end(uv_poll_t *h, int status, int events) {
    struct process *p = CONTAINER(h, struct process, watch);
    struct process_status end = {0};
    siginfo_t info = {0};
    (void)status, (void)events;
    int rc = waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG);
    if (rc < 0 && errno != ECHILD) return;
    if (rc == 0 && info.si_pid == 0) return;
    end.known = rc == 0;
    end.core_dumped = info.si_code == CLD_DUMPED;
    if (info.si_code == CLD_EXITED) end.code = info.si_status;
    else end.signal = info.si_status;
    uv_poll_stop(&p->watch);
    p->ended = true;
    childpipe_let_go(&p->terminal);
    if (p->on_exit) p->on_exit(p->owner, &end);
}

static void kill_now(pid_t pid, int pidfd) {
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
    close(pidfd);
}

/* ── the start ────────────────────────────────────────────────────────────*/

static int start(struct launch *x, struct process *p, const char **step) {
    int pid = exec_start(&x->plan, &p->pidfd, step);
    if (pid < 0) return pid;
    *step = "watch the process";
    int rc = uv_poll_init(&x->loop->uv, &p->watch, p->pidfd);
    if (rc < 0) {
        kill_now(pid, p->pidfd);
        return rc;
    }
    uv_poll_start(&p->watch, UV_READABLE, on_end);
    p->pid = pid;
    return 0;
}

int process_spawn(struct loop *l, struct process_options *o, struct process **out,
                  const char **step) {
    struct launch x = {.loop = l, .o = o, .null = -1};
    x.plan.options = o;
    x.plan.terminal = -1;
    for (size_t i = 0; i < PROCESS_MAX_FDS; i++) x.theirs[i] = -1;
    for (size_t i = 0; i < o->fd_count; i++) o->fds[i].stream = NULL;
    *step = "start a process";
    if (l->sim) return RW_ESIMULATED;
    struct process *p = mem_zalloc(l->mem, sizeof *p);
    if (!p) return RW_ENOMEM;
    *step = "open the descriptors";
    int rc = open_fds(&x);
    if (rc == 0) rc = start(&x, p, step);
    close_theirs(&x, rc < 0);
    if (rc < 0) {
        mem_free(l->mem, p, sizeof *p);
        return rc;
    }
    p->loop = l;
    p->own_group = o->own_group || x.plan.terminal >= 0;
    p->on_exit = o->on_exit;
    p->owner = o->owner;
    for (size_t i = 0; i < o->fd_count; i++)
        if (o->fds[i].kind == PROCESS_FD_PTY) childpipe_hold(o->fds[i].stream, &p->terminal);
    loop_opened(l, LEDGER_PROCESS);
    *out = p;
    return 0;
}

pid_t process_pid(const struct process *p) { return p->pid; }

static int send_signal(struct process *p, int signum, unsigned flags) {
    return syscall(SYS_pidfd_send_signal, p->pidfd, signum, NULL, flags) < 0 ? -errno : 0;
}

/* A group keeps its number as long as it has members, but when it had none any more
 * and was waited for, that may be another one's. Before Linux 6.9 a group has no
 * descriptor: then its number is not used if a process has it. */
static int signal_group(struct process *p, int signum) {
    enum { TO_GROUP = 1 << 2 }; /* PIDFD_SIGNAL_PROCESS_GROUP */
    int rc = send_signal(p, signum, TO_GROUP);
    if (rc != -EINVAL) return rc;
    if (p->ended && (kill(p->pid, 0) == 0 || errno != ESRCH)) return RW_ESTATE;
    return kill(-p->pid, signum) < 0 ? -errno : 0;
}

/* By its descriptor, a signal never meets somebody who got its number. */
int process_signal(struct process *p, int signum, bool group) {
    if (group && p->own_group) return signal_group(p, signum);
    return p->ended ? RW_ESTATE : send_signal(p, signum, 0);
}
