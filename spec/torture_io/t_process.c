/* SPDX-License-Identifier: MIT */
/* Child processes: memory and descriptors fail at every place, two loops and a
 * host with children of its own get along. */
#include "torture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/descriptors.h"
#include "torture_io/faults.h"

struct job {
    struct world *w;
    struct process *p;
    struct process_status status;
    struct end in, out;
    bool exited;
};

static void on_exit_status(void *owner, const struct process_status *status) {
    struct job *j = owner;
    CHECK(!j->exited);
    j->status = *status;
    j->exited = true;
}

static int start(struct job *j, struct world *w, const char *script) {
    char *const argv[] = {"sh", "-c", (char *)script, NULL};
    char *const files[] = {"/no/such/sh", "/bin/sh", NULL};
    char *const env[] = {"PATH=/usr/bin:/bin", NULL};
    struct process_fd fds[] = {{.fd = 0, .kind = PROCESS_FD_WRITE},
                               {.fd = 1, .kind = PROCESS_FD_READ},
                               {.fd = 5, .kind = PROCESS_FD_BOTH}};
    struct process_options o = {
        .files = files, .argv = argv, .env = env, .fds = fds, .fd_count = 3,
        .own_group = true, .limits = &w->limits, .on_exit = on_exit_status, .owner = j};
    const char *step;
    *j = (struct job){.w = w};
    int rc = process_spawn(w->loop, &o, &j->p, &step);
    CHECK(rc == 0 || *step);
    if (rc < 0) return rc;
    end_begin(&j->in, w, fds[0].stream);
    end_begin(&j->out, w, fds[1].stream);
    j->out.keep = j->out.close_on_eof = true;
    stream_read(fds[1].stream, true);
    stream_abort(fds[2].stream, 0); /* nobody's */
    return 0;
}

static void finish(struct job *j) {
    if (j->in.s) stream_close(j->in.s);
    world_until(j->w, &j->exited, 5000);
    world_until(j->w, &j->out.closed, 5000);
    world_until(j->w, &j->in.closed, 5000);
    process_free(&j->p);
    end_end(&j->in);
    end_end(&j->out);
}

static bool no_child_is_left(void) {
    return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

/* Whether an allocation failed. */
static bool live(uint64_t nth) {
    struct world w;
    struct job j;
    world_begin(&w);
    w.mem.fail_in = nth;
    int rc = start(&j, &w, "cat");
    if (rc == 0) {
        end_write(&j.in, "hello", 5);
        finish(&j);
        CHECK(j.status.known && j.status.code == 0);
        CHECK(j.out.got == 5 || w.mem.failures);
    } else {
        CHECK_EQ(rc, RW_ENOMEM);
    }
    uint64_t failures = w.mem.failures;
    w.mem.fail_in = 0;
    world_end(&w);
    return failures > 0;
}

static void memory_fails(void) {
    uint64_t n = 1;
    CHECK(!live(1000000)); /* the first loop opens what all share */
    unsigned before = open_descriptors();
    while (n < 1000 && live(n)) n++;
    CHECK(n > 3);
    CHECK_EQ(open_descriptors(), before);
    CHECK(no_child_is_left());
}

static void descriptors_fail(void) {
    struct world w;
    struct rlimit limit, low;
    unsigned refused = 0;
    world_begin(&w);
    unsigned before = open_descriptors();
    getrlimit(RLIMIT_NOFILE, &limit);
    for (unsigned more = 0; more < 40; more++) {
        struct job j;
        low = limit;
        low.rlim_cur = before + more - 4;
        setrlimit(RLIMIT_NOFILE, &low);
        int rc = start(&j, &w, "cat");
        setrlimit(RLIMIT_NOFILE, &limit);
        if (rc == 0) {
            finish(&j);
        } else {
            refused++;
            CHECK(rc == -EMFILE || rc == RW_EINVAL);
        }
        world_pass(&w, 1);
        CHECK_EQ(open_descriptors(), before);
    }
    CHECK(refused > 5 && refused < 40);
    world_end(&w);
    CHECK(no_child_is_left());
}

static void a_thousand(void) {
    static struct job jobs[300];
    struct world w;
    world_begin(&w);
    unsigned before = open_descriptors();
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < 300; i++) CHECK_EQ(start(&jobs[i], &w, "cat"), 0);
        for (size_t i = 0; i < 300; i++) end_write(&jobs[i].in, "x", 1);
        for (size_t i = 0; i < 300; i++) {
            finish(&jobs[i]);
            CHECK_EQ(jobs[i].out.got, 1);
        }
    }
    world_pass(&w, 1);
    CHECK_EQ(open_descriptors(), before);
    world_end(&w);
    CHECK(no_child_is_left());
}

static volatile sig_atomic_t child_signals;

static void on_child_signal(int signum) {
    (void)signum;
    child_signals++;
}

/* Its handler stays, its child stays its own; each loop has its own as well. */
static void host_and_two_loops(void) {
    struct world w[2];
    struct job j[2];
    struct sigaction ours = {.sa_handler = on_child_signal}, now, old;
    sigaction(SIGCHLD, &ours, &old);
    pid_t pid = fork();
    if (pid == 0) _exit(9);
    for (int i = 0; i < 2; i++) {
        world_begin(&w[i]);
        CHECK_EQ(start(&j[i], &w[i], i ? "read x; exit 4" : "read x; exit 3"), 0);
    }
    for (int i = 0; i < 2; i++) finish(&j[i]);
    CHECK_EQ(j[0].status.code, 3);
    CHECK_EQ(j[1].status.code, 4);
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
    sigaction(SIGCHLD, &old, &now);
    CHECK(now.sa_handler == on_child_signal);
    CHECK(child_signals > 0);
    for (int i = 0; i < 2; i++) world_end(&w[i]);
}

/* The end is seen, how it came is not known. */
static void host_reaps_all(void) {
    struct world w;
    struct job j;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    sigaction(SIGCHLD, &ignore, &old);
    world_begin(&w);
    CHECK_EQ(start(&j, &w, "exit 3"), 0);
    finish(&j);
    CHECK(!j.status.known);
    world_end(&w);
    sigaction(SIGCHLD, &old, NULL);
}

/* What is not marked close-on-exec does not get there either. */
static void nothing_leaks(void) {
    struct world w;
    struct job j;
    world_begin(&w);
    int leaky = open("/dev/null", O_RDONLY);
    CHECK_EQ(start(&j, &w, "cd /proc/self/fd; echo *"), 0);
    finish(&j);
    CHECK(j.out.got < 20); /* 0 1 2 5, and what echo has of its own */
    CHECK_EQ(fcntl(leaky, F_GETFD), 0); /* ours as before */
    close(leaky);
    world_end(&w);
}

/* A process of our own with that number, the leader of a group; 0: the system does
 * not let us choose, or somebody was faster. */
static pid_t process_with_number(pid_t wanted) {
    for (int tries = 0; tries < 100; tries++) {
        FILE *last = fopen("/proc/sys/kernel/ns_last_pid", "w");
        if (!last) return 0;
        fprintf(last, "%d", (int)wanted - 1);
        if (fclose(last) != 0) return 0;
        pid_t pid = fork();
        if (pid == 0) {
            setpgid(0, 0);
            pause();
            _exit(0);
        }
        if (pid == wanted) {
            setpgid(pid, pid);
            return pid;
        }
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    return 0;
}

/* When a group has ended, its number may be another one's: that one is not met. */
static void number_is_used_again(void) {
    struct world w;
    struct job j;
    world_begin(&w);
    CHECK_EQ(start(&j, &w, "exit 0"), 0);
    world_until(&w, &j.exited, 5000);
    pid_t pid = process_with_number(process_pid(j.p));
    if (pid) {
        CHECK(process_signal(j.p, SIGKILL, true) < 0);
        CHECK(process_signal(j.p, SIGKILL, false) < 0);
        usleep(10000);
        CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0); /* it lives */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    finish(&j);
    world_end(&w);
}

/* The end of file is a character: a terminal that is full takes it later. */
static void terminal_is_full(void) {
    char *const argv[] = {"sh", "-c", "cat >/dev/null; exit 7", NULL};
    char *const files[] = {"/bin/sh", NULL};
    char *const env[] = {"PATH=/usr/bin:/bin", NULL};
    static const int errors[] = {EAGAIN, EINTR};
    for (int i = 0; i < 2; i++) {
        struct world w;
        struct job j = {.w = &w};
        struct process_fd fds[] = {{.fd = 0, .kind = PROCESS_FD_PTY}};
        struct process_options o = {
            .files = files, .argv = argv, .env = env, .fds = fds, .fd_count = 1,
            .limits = &w.limits, .on_exit = on_exit_status, .owner = &j};
        const char *step;
        world_begin(&w);
        int rc = process_spawn(w.loop, &o, &j.p, &step);
        CHECK_EQ(rc, 0);
        if (rc < 0) break;
        end_begin(&j.in, &w, fds[0].stream);
        j.in.anything = j.in.close_on_eof = true;
        stream_read(fds[0].stream, true);
        end_write(&j.in, "hello\n", 6);
        world_pass(&w, 20);
        fault_arm(FAULT_write, errors[i], 1, false);
        CHECK_EQ(stream_shutdown(fds[0].stream), 0);
        CHECK_EQ(fault_disarm(), 1);
        world_until(&w, &j.exited, 5000);
        world_until(&w, &j.in.closed, 5000);
        CHECK_EQ(j.in.reason, 0);
        CHECK_EQ(j.status.code, 7);
        process_free(&j.p);
        end_end(&j.in);
        world_end(&w);
    }
}

const struct test process_tests[] = {
    {"processes: memory fails", memory_fails},
    {"processes: descriptors run out", descriptors_fail},
    {"processes: many", a_thousand},
    {"processes: a host with SIGCHLD, and two loops", host_and_two_loops},
    {"processes: a host that reaps all", host_reaps_all},
    {"processes: descriptors of the host", nothing_leaks},
    {"processes: a number that is used again", number_is_used_again},
    {"processes: the end of input for a terminal that is full", terminal_is_full},
    {0},
};
