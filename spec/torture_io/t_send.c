/* SPDX-License-Identifier: MIT */
/* Files to streams; standard input and output of child processes. */
#include "torture.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void finish(struct world *w, struct end *a, struct end *b) {
    if (a->s) stream_close(a->s);
    if (b->s) stream_close(b->s);
    world_until(w, &a->closed, 5000);
    world_until(w, &b->closed, 5000);
    end_end(a);
    end_end(b);
    world_end(w);
}

static int pattern_file(uint64_t from, size_t n) {
    static char block[1 << 20];
    char path[] = "/tmp/torture-io-XXXXXX";
    int fd = mkstemp(path);
    unlink(path);
    for (size_t at = 0; at < n; at += sizeof block) {
        size_t k = n - at < sizeof block ? n - at : sizeof block;
        pattern_fill(block, from + at, k);
        if (write(fd, block, k) != (ssize_t)k) abort();
    }
    return fd;
}

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

/* ── whole files ──────────────────────────────────────────────────────────*/

enum { BIG = 100 * 1000 * 1000 };

static void big_file(void) {
    for (enum kind k = KIND_TCP; k <= KIND_UNIX; k++) {
        struct world w;
        struct end a, b;
        char head[1000], tail[1000];
        world_begin(&w);
        connect_ends(&w, k, &a, &b);
        int fd = pattern_file(0, BIG + 1000);
        pattern_fill(head, 0, sizeof head);
        pattern_fill(tail, BIG, sizeof tail);
        CHECK_EQ(end_write(&a, head, sizeof head), 0);
        CHECK_EQ(stream_send_file(a.s, fd, sizeof head, BIG - sizeof head), 1);
        CHECK_EQ(end_write(&a, tail, sizeof tail), 1); /* behind it */
        CHECK(a.s->queued > BIG - 1000);
        size_t rss = rss_kib();
        stream_read(b.s, true);
        double last = now_seconds();
        while (b.got < BIG + 1000 && !b.closed && !a.closed) {
            bool slow = b.got > 40000000 && b.got < 41000000;
            b.pause_on_data = slow; /* a slow reader for a while */
            if (!slow || now_seconds() > last + 0.01) {
                stream_read(b.s, true);
                last = now_seconds();
            }
            loop_turn(w.loop, 5);
            if (a.s) CHECK(a.s->queued <= BIG + 1000);
        }
        CHECK_EQ(b.got, BIG + 1000);
        CHECK(grew_kib(rss) < 4096);
        CHECK(w.mem.peak < 1000000);
        CHECK(!is_open(fd));
        CHECK_EQ(a.drains, 1);
        if (a.s) CHECK_EQ(a.s->bytes_out, BIG + 1000);
        finish(&w, &a, &b);
        CHECK_EQ(a.reason, 0);
    }
}

static void small_file(void) {
    struct world w;
    struct end a, b;
    world_begin(&w);
    connect_ends(&w, KIND_TCP, &a, &b);
    int fd = pattern_file(0, 5000);
    stream_read(b.s, true);
    CHECK_EQ(stream_send_file(a.s, fd, 0, 5000), 0); /* at once */
    CHECK(!is_open(fd));
    fd = pattern_file(0, 5000);
    CHECK_EQ(stream_send_file(a.s, fd, 0, 0), 0);
    CHECK(!is_open(fd));
    fd = pattern_file(5000, 300000);
    CHECK_EQ(stream_send_file(a.s, fd, 0, 300000), 1);
    stream_close(a.s); /* waits for it */
    fd = pattern_file(0, 10);
    CHECK_EQ(stream_send_file(a.s, fd, 0, 10), RW_ESTATE);
    CHECK(is_open(fd)); /* refused: still the caller's */
    close(fd);
    world_until(&w, &b.has_eof, 5000);
    CHECK_EQ(b.got, 305000);
    finish(&w, &a, &b);
    CHECK_EQ(a.reason, 0);
}

static void broken_files(void) {
    static char block[20000000];
    for (int how = 0; how < 4; how++) {
        struct world w;
        struct end a, b;
        world_begin(&w);
        connect_ends(&w, KIND_TCP, &a, &b);
        int fd = pattern_file(0, 50000);
        if (how == 0) { /* shorter than promised */
            stream_read(b.s, true);
            CHECK_EQ(stream_send_file(a.s, fd, 0, 60000), 1);
            world_until(&w, &a.closed, 2000);
            CHECK_EQ(a.reason, RW_EOF);
        } else if (how == 1) { /* abort with a file in the queue */
            pattern_fill(block, 0, sizeof block);
            end_write(&a, block, sizeof block);
            CHECK_EQ(stream_send_file(a.s, fd, 0, 50000), 1);
            stream_abort(a.s, 0);
        } else if (how == 2) { /* the peer resets */
            close(fd);
            fd = pattern_file(0, 30000000);
            CHECK_EQ(stream_send_file(a.s, fd, 0, 30000000), 1);
            world_pass(&w, 20);
            stream_abort(b.s, 0);
            world_until(&w, &a.closed, 2000);
            CHECK(a.reason == -ECONNRESET || a.reason == -EPIPE);
        } else { /* nobody reads it */
            close(fd);
            w.limits.write_timeout = 100;
            fd = pattern_file(0, 30000000);
            CHECK_EQ(stream_send_file(a.s, fd, 0, 30000000), 1);
            world_until(&w, &a.closed, 2000);
            CHECK_EQ(a.reason, RW_ETIMEDOUT);
        }
        world_until(&w, &a.closed, 2000);
        CHECK(!is_open(fd));
        finish(&w, &a, &b);
    }
}

/* Others are served while a file is sent as fast as the reader takes it. */
static void fair_slices(void) {
    struct world w;
    struct end a, b, c, d;
    world_begin(&w);
    connect_ends(&w, KIND_UNIX, &a, &b);
    connect_ends(&w, KIND_UNIX, &c, &d);
    stream_read(b.s, true);
    stream_read(c.s, true);
    stream_read(d.s, true);
    d.echo = true;
    int fd = pattern_file(0, 50000000);
    CHECK_EQ(stream_send_file(a.s, fd, 0, 50000000), 1);
    unsigned rounds = 0;
    while (b.got < 50000000 && !b.closed) {
        if (c.got == c.sent) {
            char byte = pattern(c.sent);
            end_write(&c, &byte, 1);
            rounds++;
        }
        loop_turn(w.loop, 10);
    }
    CHECK(rounds > 40);
    stream_close(c.s);
    stream_close(d.s);
    world_until(&w, &c.closed, 2000);
    world_until(&w, &d.closed, 2000);
    finish(&w, &a, &b);
}

/* ── stdio, in a child ────────────────────────────────────────────────────*/

static void echo_data(struct stream *s, struct str bytes) {
    if (stream_write(s, bytes) == 1) stream_read(s, false);
}
static void echo_drain(struct stream *s) { stream_read(s, true); }
static void echo_close(struct stream *s, int reason) {
    *(int *)s->owner = reason;
}
static const struct stream_hooks echo_hooks = {
    .on_data = echo_data, .on_drain = echo_drain, .on_close = echo_close,
};

static int echo_process(void) {
    struct mem mem;
    struct stream *s;
    int reason = 1;
    char text[64];
    mem_init(&mem, 0);
    struct loop *l = loop_new(&mem);
    int rc = stream_stdio(l, &limits_default, &s);
    if (rc < 0) return 10;
    s->hooks = &echo_hooks;
    s->owner = &reason;
    stream_read(s, true);
    loop_run(l);
    if (loop_ledger(l, text, sizeof text).n) return 11;
    loop_free(&l);
    if (mem.live) return 12;
    return reason == 0 ? 0 : 13;
}

static pid_t spawn_echo(int in, int out) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid) return pid;
    dup2(in, 0);
    dup2(out, 1);
    for (int fd = 3; fd < 256; fd++) close(fd);
    _exit(echo_process());
}

static int status_of(pid_t pid) {
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

enum { STDIO_TOTAL = 3000000 };

/* Feeds and reads at the same time, through plain descriptors. */
static size_t pump(int to, int from) {
    static char out[65536], in[65536];
    size_t sent = 0, got = 0;
    fcntl(to, F_SETFL, O_NONBLOCK);
    fcntl(from, F_SETFL, O_NONBLOCK);
    for (double end = now_seconds() + 20; now_seconds() < end;) {
        if (to >= 0) {
            size_t k = STDIO_TOTAL - sent;
            if (k > sizeof out) k = sizeof out;
            pattern_fill(out, sent, k);
            ssize_t n = write(to, out, k);
            if (n > 0) sent += (size_t)n;
            if (sent == STDIO_TOTAL) {
                if (to == from) shutdown(to, SHUT_WR);
                else close(to);
                to = -1;
            }
        }
        ssize_t n = read(from, in, sizeof in);
        if (n == 0) break;
        if (n < 0) {
            usleep(100);
            continue;
        }
        CHECK(pattern_matches(in, got, (size_t)n));
        got += (size_t)n;
    }
    return got;
}

static void stdio_pipes(void) {
    int in[2], out[2];
    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    int flags = fcntl(in[0], F_GETFL);
    pid_t pid = spawn_echo(in[0], out[1]);
    close(out[1]);
    CHECK_EQ(pump(in[1], out[0]), STDIO_TOTAL);
    CHECK_EQ(status_of(pid), 0);
    CHECK_EQ(fcntl(in[0], F_GETFL), flags); /* as it was */
    close(in[0]);
    close(out[0]);
}

static void stdio_socket(void) {
    int s[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
    pid_t pid = spawn_echo(s[1], s[1]);
    close(s[1]);
    CHECK_EQ(pump(s[0], s[0]), STDIO_TOTAL);
    CHECK_EQ(status_of(pid), 0);
    close(s[0]);
}

static void stdio_files(void) {
    int in = pattern_file(0, STDIO_TOTAL), out = pattern_file(0, 0);
    lseek(in, 0, SEEK_SET);
    CHECK_EQ(status_of(spawn_echo(in, out)), 0);
    static char all[STDIO_TOTAL];
    CHECK_EQ(pread(out, all, sizeof all, 0), STDIO_TOTAL);
    CHECK(pattern_matches(all, 0, sizeof all));
    close(in);
    close(out);
}

static void stdio_tty(void) {
    int pty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (pty < 0 || grantpt(pty) < 0 || unlockpt(pty) < 0) {
        test_skip("no pseudo-terminals");
        return;
    }
    int tty = open(ptsname(pty), O_RDWR | O_NOCTTY | O_CLOEXEC);
    pid_t pid = spawn_echo(tty, tty);
    char got[200] = {0};
    size_t n = 0;
    CHECK(write(pty, "hello\n\4", 7) == 7);
    CHECK_EQ(status_of(pid), 0);
    fcntl(pty, F_SETFL, O_NONBLOCK);
    ssize_t k;
    while (n < sizeof got - 1 && (k = read(pty, got + n, 100)) > 0)
        n += (size_t)k;
    char *first = strstr(got, "hello"); /* the terminal's echo, and ours */
    CHECK(first && strstr(first + 1, "hello"));
    close(tty);
    close(pty);
}

/* Without an output there is no such stream, and the input is still there. */
static void stdio_without_output(void) {
    int in[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) == 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        char got[8];
        struct mem mem;
        struct stream *s;
        mem_init(&mem, 0);
        struct loop *l = loop_new(&mem);
        dup2(in[0], 0);
        rlim_t next = (rlim_t)dup(0); /* for the input, then one of libuv's, then none */
        close((int)next);
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){next + 2, next + 2});
        if (stream_stdio(l, &limits_default, &s) != -EMFILE) _exit(1);
        loop_run(l);
        loop_free(&l);
        if (mem.live) _exit(2);
        if (send(in[1], "kept", 4, MSG_NOSIGNAL) != 4) _exit(3);
        _exit(read(0, got, sizeof got) == 4 ? 0 : 4);
    }
    CHECK_EQ(status_of(pid), 0);
    close(in[0]);
    close(in[1]);
}

const struct test send_tests[] = {
    {"a file of 100 MB to a slow reader", big_file},
    {"small files, and close waits for files", small_file},
    {"files that break off", broken_files},
    {"files are sent in slices", fair_slices},
    {"stdio over pipes", stdio_pipes},
    {"stdio over a socket", stdio_socket},
    {"stdio over files", stdio_files},
    {"stdio over a terminal", stdio_tty},
    {"stdio without an output", stdio_without_output},
    {0},
};
