/* SPDX-License-Identifier: MIT */
/* From clone to exec.
 *
 * Not uv_spawn: that takes SIGCHLD away from the host, knows no terminals and
 * no groups, and leaves descriptors of the host that are not close-on-exec to
 * the child. A pidfd tells the end of this one child to this one loop; no
 * signal handler is involved, so any number of instances and the host's own
 * children do not meet.
 *
 * The child borrows our memory, and we stand still, until it executes (as in
 * posix_spawn): starting it costs the same whatever we have mapped. It changes
 * only its own stack and the plan, and makes system calls only. If it becomes
 * somebody else it gets a copy instead, since a change of credentials marks the
 * memory, ours too, as not to be looked at.
 *
 * All signals are blocked meanwhile: no handler of ours runs in the child.
 */
#include "io/exec.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/descriptors.h"

enum { STACK_SIZE = 64 * 1024, SIGNALS = 64, MARK_BY_HAND_MAX = 65536 };

enum step {
    STEP_SESSION, STEP_TERMINAL, STEP_DESCRIPTORS, STEP_IDS, STEP_DIRECTORY,
    STEP_DEATH_SIGNAL, STEP_EXECUTE,
};
static const char *const step_names[] = {
    "make a session", "take the terminal", "set up the descriptors",
    "change the user", "enter the directory", "set the death signal", "execute",
};

struct report {
    int step, error;
};

/* ── in the child ─────────────────────────────────────────────────────────*/

/* A stack that is never returned from would stay marked for AddressSanitizer. */
#define CHILD __attribute__((no_sanitize("address")))

/* What the kernel takes as SIG_DFL and no flags, and as an empty set. (Its own
 * calls: a sanitizer in front of the C library's would note it for us, too.) */
static const char nothing[256];
enum { SIGNAL_SET_SIZE = SIGNALS / 8 };

CHILD static void reset_signals(void) {
    for (int i = 1; i <= SIGNALS; i++)
        syscall(SYS_rt_sigaction, i, nothing, NULL, SIGNAL_SET_SIZE);
}

CHILD static void unblock_signals(void) {
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, nothing, NULL, SIGNAL_SET_SIZE);
}

CHILD static int join_session(const struct exec_plan *p) {
    if (p->terminal >= 0) return setsid() < 0 ? -1 : 0;
    return p->options->own_group ? setpgid(0, 0) : 0;
}

/* Whatever is open now ends with exec; without close_range, as far as we can
 * know of it. */
CHILD static void mark_all(void) {
    if (syscall(SYS_close_range, 0, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return;
    struct rlimit limit = {.rlim_cur = MARK_BY_HAND_MAX};
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur > MARK_BY_HAND_MAX) limit.rlim_cur = MARK_BY_HAND_MAX;
    for (int fd = 0; fd < (int)limit.rlim_cur; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* First all sources out of the way of the targets, so that they may cross. */
CHILD static int place_descriptors(struct exec_plan *p) {
    int above = PROCESS_MAX_FD + 1;
    for (size_t i = 0; i < p->fd_count; i++)
        if (p->fds[i].target < STDERR_FILENO + 1) above = STDERR_FILENO + 1;
    for (size_t i = 0; i < p->fd_count; i++)
        if (p->fds[i].target >= above) above = p->fds[i].target + 1;
    int report = fcntl(p->report, F_DUPFD_CLOEXEC, above);
    if (report < 0) return -1;
    p->report = report;
    for (size_t i = 0; i < p->fd_count; i++) {
        int fd = fcntl(p->fds[i].source, F_DUPFD_CLOEXEC, above);
        if (fd < 0) return -1;
        p->fds[i].source = fd;
    }
    mark_all();
    for (size_t i = 0; i < p->fd_count; i++)
        if (dup2(p->fds[i].source, p->fds[i].target) < 0) return -1;
    if (descriptors_before()) setrlimit(RLIMIT_NOFILE, descriptors_before());
    return 0;
}

/* The system calls themselves: the C library's would change all threads of
 * what it takes for its process. */
CHILD static int change_ids(const struct process_options *o) {
    if (!o->set_ids) return 0;
    if (syscall(SYS_setgroups, o->group_count, o->groups) < 0) return -1;
    if (syscall(SYS_setresgid, o->gid, o->gid, o->gid) < 0) return -1;
    return syscall(SYS_setresuid, o->uid, o->uid, o->uid) < 0 ? -1 : 0;
}

/* After the change of credentials, which would clear it. */
CHILD static int set_death_signal(const struct exec_plan *p) {
    int signal = p->options->death_signal;
    if (!signal) return 0;
    if (prctl(PR_SET_PDEATHSIG, signal) < 0) return -1;
    if (getppid() != p->parent) raise(SIGKILL); /* it died before that */
    return 0;
}

/* As execvp: goes on when there is no such file, remembers a refusal. */
CHILD static void execute(const struct process_options *o) {
    int error = ENOENT;
    for (char *const *file = o->files; *file; file++) {
        execve(*file, o->argv, o->env);
        if (errno == EACCES) error = EACCES;
        else if (errno != ENOENT && errno != ENOTDIR) return;
    }
    errno = error;
}

CHILD static int child(void *arg) {
    struct exec_plan *p = arg;
    const struct process_options *o = p->options;
    struct report failed = {STEP_SESSION, 0};
    reset_signals();
    if (join_session(p) < 0) goto fail;
    failed.step = STEP_TERMINAL;
    if (p->terminal >= 0 && ioctl(p->terminal, TIOCSCTTY, 0) < 0) goto fail;
    failed.step = STEP_DESCRIPTORS;
    if (place_descriptors(p) < 0) goto fail;
    failed.step = STEP_IDS;
    if (change_ids(o) < 0) goto fail;
    failed.step = STEP_DIRECTORY; /* with the child's rights */
    if (o->directory && chdir(o->directory) < 0) goto fail;
    failed.step = STEP_DEATH_SIGNAL;
    if (set_death_signal(p) < 0) goto fail;
    failed.step = STEP_EXECUTE;
    unblock_signals();
    execute(o);
fail:
    failed.error = errno;
    if (write(p->report, &failed, sizeof failed) < 0) failed.error = 0;
    syscall(SYS_exit_group, 127); /* no atexit, no unwinding: the memory is shared */
    return 127;
}

/* ── in the parent ────────────────────────────────────────────────────────*/

static int run_child(struct exec_plan *plan, int *pidfd_out) {
    void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) return -errno;
    int flags = SIGCHLD | CLONE_VFORK | CLONE_PIDFD;
    if (!plan->options->set_ids) flags |= CLONE_VM;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    *pidfd_out = -1;
    int pid = clone(child, (char *)stack + STACK_SIZE, flags, plan, pidfd_out);
    if (pid < 0) pid = -errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    munmap(stack, STACK_SIZE);
    return pid;
}

int exec_start(struct exec_plan *plan, int *pidfd_out, const char **step) {
    int ends[2];
    *step = "start a process";
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return -errno;
    plan->report = ends[1];
    plan->parent = getpid();
    int pid = run_child(plan, pidfd_out);
    close(ends[1]);
    struct report failed = {0};
    ssize_t n = pid > 0 ? read(ends[0], &failed, sizeof failed) : 0;
    close(ends[0]);
    if (pid < 0) return pid;
    int rc = pid;
    if (n == sizeof failed) {
        rc = failed.error ? -failed.error : RW_EUNKNOWN;
        *step = step_names[failed.step];
    } else if (*pidfd_out < 0) { /* a kernel before 5.2 */
        kill(pid, SIGKILL);
        rc = -ENOSYS;
    }
    if (rc > 0) return rc;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
    if (*pidfd_out >= 0) close(*pidfd_out);
    return rc;
}
