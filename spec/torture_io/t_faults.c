/* SPDX-License-Identifier: MIT */
/* Every system call of a connection's life fails, the first time it is made, the
 * second, …: by what may happen at any time (a signal, a full buffer, few bytes)
 * nothing may be lost; by what is fatal (no descriptors, no memory, a reset) the
 * life may end early, but with each hook in its place, and nothing leaks. And the
 * wall clock jumps, which is nobody's business but the log's. */
#include "torture.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io/datagram.h"
#include "support/descriptors.h"
#include "torture_io/faults.h"

enum { WRITTEN = 150000, IN_FILE = 60000, MOST = 60, DATAGRAMS = 12 };

struct life {
    struct world w;
    struct listener *l;
    struct end a, b;
    bool accepted, connected;
    int status;
};

static void on_accept(struct listener *l, struct stream *s) {
    struct life *f = listener_owner(l);
    if (f->accepted) {
        stream_abort(s, 0);
        return;
    }
    f->accepted = true;
    end_begin(&f->b, &f->w, s);
    f->b.echo = f->b.close_on_eof = true;
    stream_read(s, true);
}
static const struct listener_hooks hooks = {on_accept, NULL};

static void on_connected(void *owner, int status, struct stream *s) {
    struct life *f = owner;
    f->connected = true;
    f->status = status;
    if (!s) return;
    end_begin(&f->a, &f->w, s);
    stream_read(s, true);
}

/* The next bytes of the pattern, in a file. */
static int some_file(uint64_t from) {
    static char block[IN_FILE];
    char path[] = "/tmp/torture-io-XXXXXX";
    int fd = mkstemp(path);
    unlink(path);
    pattern_fill(block, from, sizeof block);
    for (size_t n = 0; n < sizeof block;) {
        ssize_t took = write(fd, block + n, sizeof block - n);
        if (took < 0 && errno != EINTR && errno != EAGAIN) break; /* RW_EOF, then */
        if (took > 0) n += (size_t)took;
    }
    return fd;
}

/* The client writes, sends a file, ends, and has all of it back. */
static void talk(struct life *f) {
    static char block[WRITTEN];
    pattern_fill(block, 0, sizeof block);
    stream_option(f->a.s, "send_buffer", 20000);
    if (end_write(&f->a, block, sizeof block) >= 0 && f->a.s && stream_can_send_file(f->a.s)) {
        int fd = some_file(WRITTEN);
        if (stream_send_file(f->a.s, fd, 0, IN_FILE) == RW_ESTATE) close(fd);
    }
    if (f->a.s) stream_shutdown(f->a.s);
    for (int i = 0; i < 2000 && !f->a.closed && !f->a.has_eof; i++) loop_turn(f->w.loop, 1);
    if (f->a.s) stream_close(f->a.s);
    world_until(&f->w, &f->a.closed, 3000);
}

/* Whether all that was sent came back. */
static bool live(enum kind k) {
    struct endpoint e = {.kind = ENDPOINT_TCP, .host = "127.0.0.1"};
    struct life f = {.w.limits = limits_default};
    struct connector *c;
    bool whole = false;
    mem_init(&f.w.mem, 0);
    f.w.limits.close_timeout = f.w.limits.write_timeout = 500;
    f.w.loop = loop_new(&f.w.mem);
    if (!f.w.loop) {
        CHECK_EQ(f.w.mem.live, 0);
        return false;
    }
    if (k == KIND_UNIX) {
        e.kind = ENDPOINT_UNIX;
        snprintf(e.host, sizeof e.host, "@torture-faults-%ld", (long)getpid());
    }
    if (listener_open(f.w.loop, &e, &f.w.limits, &f.l) == 0) {
        struct address at;
        listener_start(f.l, &hooks, &f);
        if (k == KIND_UNIX || listener_address(f.l, 0, &at) == 0) {
            if (k == KIND_TCP) e.port = at.port;
            if (connector_open(f.w.loop, &e, &f.w.limits, on_connected, &f, &c) == 0) {
                world_until(&f.w, &f.connected, 3000);
                if (f.status == 0) talk(&f);
            }
        }
        loop_turn(f.w.loop, 0);
        loop_turn(f.w.loop, 0);
        if (f.accepted && f.b.s) stream_abort(f.b.s, 0);
        if (f.accepted) world_until(&f.w, &f.b.closed, 3000);
        listener_close(f.l);
    }
    CHECK(f.a.closes <= 1 && f.b.closes <= 1);
    whole = f.status == 0 && f.a.got == WRITTEN + IN_FILE && f.a.reason == 0 && f.b.reason == 0;
    if (f.a.w) end_end(&f.a);
    if (f.b.w) end_end(&f.b);
    world_end(&f.w);
    return whole;
}

/* ── which call, and how it fails ─────────────────────────────────────────*/

enum { SHORT = 0 };

/* May happen at any time: all arrives all the same. (No short reads: Linux gives
 * all it has, and libuv takes a hang-up behind less for the end. What is written
 * short arrives short.) */
static const struct {
    enum fault_call call;
    int errors[4]; /* ended by -1 */
} harmless[] = {
    {FAULT_read, {EINTR, EAGAIN, -1}},
    {FAULT_pread, {SHORT, EINTR, -1}},
    {FAULT_write, {SHORT, EINTR, EAGAIN, -1}},
    {FAULT_writev, {SHORT, EINTR, EAGAIN, -1}},
    {FAULT_sendmsg, {SHORT, EINTR, EAGAIN, -1}},
    {FAULT_recvmsg, {EINTR, EAGAIN, -1}},
    {FAULT_sendfile, {SHORT, EINTR, EAGAIN, -1}},
    {FAULT_accept4, {EINTR, EAGAIN, ECONNABORTED, -1}},
    {FAULT_connect, {EINTR, -1}},
    {FAULT_epoll_pwait, {SHORT, EINTR, -1}},
};

/* The end of something, but not of the process. */
static const struct {
    enum fault_call call;
    int errors[5];
} fatal[] = {
    {FAULT_read, {ECONNRESET, ETIMEDOUT, ENOMEM, EIO, -1}},
    {FAULT_pread, {EIO, ENOMEM, -1}},
    {FAULT_write, {EPIPE, ECONNRESET, ENOMEM, ENOBUFS, -1}},
    {FAULT_writev, {EPIPE, ECONNRESET, ENOMEM, -1}},
    {FAULT_sendmsg, {EPIPE, ECONNRESET, ENOMEM, ENOBUFS, -1}},
    {FAULT_recvmsg, {ECONNRESET, ENOMEM, -1}},
    {FAULT_sendfile, {EPIPE, ECONNRESET, EIO, ENOMEM, -1}},
    {FAULT_accept4, {EMFILE, ENFILE, ENOMEM, ENOBUFS, -1}},
    {FAULT_socket, {EMFILE, ENFILE, ENOMEM, EAFNOSUPPORT, -1}},
    {FAULT_bind, {EADDRINUSE, EACCES, ENOMEM, -1}},
    {FAULT_listen, {EADDRINUSE, EOPNOTSUPP, -1}},
    {FAULT_connect, {ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL, EAGAIN, -1}},
    {FAULT_getsockname, {ENOBUFS, -1}},
    {FAULT_getpeername, {ENOTCONN, ENOBUFS, -1}},
    {FAULT_getsockopt, {ENOBUFS, -1}},
    {FAULT_setsockopt, {ENOMEM, EINVAL, ENOPROTOOPT, -1}},
    {FAULT_shutdown, {ENOTCONN, -1}},
    {FAULT_epoll_create1, {EMFILE, ENOMEM, -1}},
    {FAULT_eventfd, {EMFILE, ENFILE, -1}},
    {FAULT_pipe2, {EMFILE, ENFILE, -1}},
    {FAULT_fstat, {EIO, -1}},
};

static void blame(const char *what, enum fault_call call, int error, unsigned nth) {
    char text[200];
    snprintf(text, sizeof text, "%s: %s, call %u: %s", what, fault_names[call], nth,
             error ? strerrorname_np(error) : "short");
    check_failed(__FILE__, __LINE__, text);
}

/* The nth call, for each n until there was no such call. */
static void sweep(bool (*life)(enum kind), enum kind k, enum fault_call call, int error,
                  bool is_harmless) {
    life(k); /* the first one makes what stays: libuv's pipe for signals */
    for (unsigned n = 1; n <= MOST; n++) {
        unsigned before = check_failures(), had = open_descriptors();
        fault_arm(call, error, n, false);
        bool whole = life(k);
        unsigned hits = fault_disarm();
        if (is_harmless && !whole) blame("bytes are missing", call, error, n);
        if (open_descriptors() != had) blame("a descriptor leaks", call, error, n);
        if (check_failures() > before) {
            blame("it went wrong", call, error, n);
            return;
        }
        if (!hits) return;
    }
}

static void sweep_all(bool (*life)(enum kind), enum kind k) {
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        for (const int *e = harmless[i].errors; *e >= 0; e++)
            sweep(life, k, harmless[i].call, *e, true);
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        for (const int *e = fatal[i].errors; *e >= 0; e++)
            sweep(life, k, fatal[i].call, *e, false);
}

/* Each second call, all the time. */
static void again_and_again(bool (*life)(enum kind), enum kind k) {
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        for (const int *e = harmless[i].errors; *e >= 0; e++) {
            fault_arm(harmless[i].call, *e, 1, true);
            bool whole = life(k);
            fault_disarm();
            if (!whole) blame("again and again", harmless[i].call, *e, 1);
        }
}

static void over_tcp(void) { sweep_all(live, KIND_TCP); }
static void over_unix(void) { sweep_all(live, KIND_UNIX); }
static void all_the_time(void) {
    again_and_again(live, KIND_TCP);
    again_and_again(live, KIND_UNIX);
}

/* ── datagrams ────────────────────────────────────────────────────────────*/

struct box {
    struct datagram *d;
    unsigned count;
    bool closed;
};

static void on_datagram(struct datagram *d, struct str bytes,
                        const struct datagram_address *from) {
    (void)bytes;
    (void)from;
    ((struct box *)datagram_owner(d))->count++;
}
static void on_refused(struct datagram *d) { (void)d; }
static void on_box_close(struct datagram *d) { ((struct box *)datagram_owner(d))->closed = true; }
static const struct datagram_hooks box_hooks = {on_datagram, on_refused, on_box_close};

static void box_end(struct world *w, struct box *b) {
    if (!b->d) return;
    datagram_close(b->d);
    if (!b->closed) world_until(w, &b->closed, 3000);
}

/* What was sent has arrived. */
static bool exchange(enum kind k) {
    struct endpoint e = {.kind = ENDPOINT_UDP, .host = "127.0.0.1"};
    struct box to = {0}, from = {0};
    struct world w = {.limits = limits_default};
    struct address at;
    unsigned sent = 0;
    if (k == KIND_UNIX) e = (struct endpoint){.kind = ENDPOINT_UNIXGRAM, .host = "@torture-faults"};
    mem_init(&w.mem, 0);
    if (!(w.loop = loop_new(&w.mem))) return false;
    if (datagram_open(w.loop, &e, &to.d) == 0) {
        datagram_start(to.d, &box_hooks, &to, &w.limits);
        if (datagram_host(to.d, &at) == 0) {
            e.port = at.port;
            if (datagram_connect(w.loop, &e, &from.d) == 0)
                datagram_start(from.d, &box_hooks, &from, &w.limits);
        }
    }
    for (int i = 0; from.d && i < DATAGRAMS; i++)
        if (datagram_send(from.d, STR("datagram"), NULL) >= 0) sent++;
    for (int i = 0; i < 100 && to.count < sent; i++) loop_turn(w.loop, 1);
    bool whole = sent > 0 && to.count == sent;
    box_end(&w, &from);
    box_end(&w, &to);
    world_end(&w);
    return whole;
}

static void datagrams_of(enum kind k) {
    static const int harmless_errors[] = {SHORT, EINTR, EAGAIN}, errors[] = {ENOMEM, ENOBUFS, EIO};
    for (int i = 0; i < 3; i++) {
        sweep(exchange, k, FAULT_recvmmsg, harmless_errors[i], true);
        sweep(exchange, k, FAULT_recvmmsg, errors[i], false);
        sweep(exchange, k, FAULT_sendto, errors[i], false);
    }
    sweep(exchange, k, FAULT_sendto, EINTR, true);
    sweep(exchange, k, FAULT_sendto, EAGAIN, true); /* refused, and said so */
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        for (const int *e = fatal[i].errors; *e >= 0; e++)
            sweep(exchange, k, fatal[i].call, *e, false);
}

static void datagrams(void) {
    datagrams_of(KIND_TCP);
    datagrams_of(KIND_UNIX);
}

/* ── the wall clock ───────────────────────────────────────────────────────*/

static unsigned fired;
static void fire(struct timer *t) {
    (void)t;
    fired++;
}

static void wall_clock(void) {
    static const long long jumps[] = {86400, -86400, 10LL * 365 * 86400, 0, -3600};
    struct world w;
    world_begin(&w);
    int64_t real = loop_unix_time(w.loop);
    for (size_t i = 0; i < sizeof jumps / sizeof *jumps; i++) {
        struct timer t = {0};
        double began = now_seconds();
        fired = 0;
        timer_start(w.loop, &t, 30, fire);
        fault_wall_clock(jumps[i]);
        uint64_t before = loop_now(w.loop);
        while (!fired) loop_turn(w.loop, -1);
        double took = now_seconds() - began;
        CHECK(took >= 0.029 && took < 5);
        CHECK(loop_now(w.loop) - before < 5000);
        int64_t told = loop_unix_time(w.loop) - real - jumps[i];
        CHECK(told >= -1 && told < 30);
    }
    fault_wall_clock(0);
    world_end(&w);
}

const struct test fault_tests[] = {
    {"each system call fails once, over tcp", over_tcp},
    {"each system call fails once, over unix", over_unix},
    {"system calls are interrupted all the time", all_the_time},
    {"each system call fails once, of datagram sockets", datagrams},
    {"the wall clock jumps, timers do not", wall_clock},
    {0},
};
