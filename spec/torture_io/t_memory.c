/* SPDX-License-Identifier: MIT */
/* Every allocation of a whole life of connections fails once: nothing crashes,
 * nothing hangs, nothing leaks, on_close comes exactly once, and the listener
 * goes on. */
#include "torture.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/internal.h"

struct life {
    struct world w;
    struct end a, b;
    struct listener *l;
    bool accepted, connected, over;
    int status;
};

static void over(struct timer *t) {
    (void)t;
}

static void on_accept(struct listener *l, struct stream *s) {
    struct life *f = listener_owner(l);
    if (f->accepted) {
        stream_abort(s, 0);
        return;
    }
    f->accepted = true;
    end_begin(&f->b, &f->w, s);
    f->b.echo = f->b.close_on_eof = f->b.anything = true;
    stream_read(s, true);
}
static const struct listener_hooks hooks = {on_accept, NULL};

static void on_connected(void *owner, int status, struct stream *s) {
    struct life *f = owner;
    f->connected = true;
    f->status = status;
    if (!s) return;
    end_begin(&f->a, &f->w, s);
    f->a.anything = true;
    stream_read(s, true);
}

static int some_file(void) {
    char path[] = "/tmp/torture-io-XXXXXX";
    int fd = mkstemp(path);
    unlink(path);
    if (ftruncate(fd, 2000000) < 0) abort();
    return fd;
}

static int passes_up(struct filter *f, struct str b) { return filter_up(f, b); }
static int passes_down(struct filter *f, struct str b) {
    filter_up(f, STR("answer")); /* has to wait in the backlog */
    return filter_down(f, b);
}
static const struct filter_ops pass_ops = {
    .name = "pass", .input = passes_up, .output = passes_down,
};

/* The client writes, sends a file, writes through a filter, closes. */
static void talk(struct life *f) {
    static char block[3000000];
    struct filter pass = {.ops = &pass_ops};
    struct world *w = &f->w;
    stream_option(f->a.s, "send_buffer", 50000);
    end_write(&f->a, block, sizeof block);
    if (f->a.s && stream_can_send_file(f->a.s)) {
        int fd = some_file();
        if (stream_send_file(f->a.s, fd, 0, 2000000) == RW_ESTATE) close(fd);
    }
    world_pass(w, 5);
    if (f->a.s) {
        stream_push_filter(f->a.s, &pass);
        stream_read(f->a.s, false);
        end_write(&f->a, "through the filter", 18);
        stream_read(f->a.s, true);
        world_pass(w, 3);
    }
    if (f->a.s) stream_shutdown(f->a.s);
    for (int i = 0; i < 300 && !f->a.closed && !f->a.has_eof; i++)
        world_pass(w, 1);
    if (f->a.s) stream_close(f->a.s);
    world_until(w, &f->a.closed, 3000);
}

/* Whether an allocation failed. */
static bool live(struct life *f, enum kind k, uint64_t nth) {
    struct endpoint e = {.kind = ENDPOINT_TCP, .host = "127.0.0.1"};
    struct connector *c;
    memset(f, 0, sizeof *f);
    f->w.limits = limits_default;
    mem_init(&f->w.mem, 0);
    f->w.mem.fail_in = nth;
    f->w.loop = loop_new(&f->w.mem);
    if (!f->w.loop) return true;
    if (k == KIND_UNIX) {
        e.kind = ENDPOINT_UNIX;
        snprintf(e.host, sizeof e.host, "@torture-oom");
    }
    int rc = listener_open(f->w.loop, &e, &f->w.limits, &f->l);
    if (rc < 0) {
        CHECK_EQ(rc, RW_ENOMEM);
        goto end;
    }
    struct address at;
    listener_address(f->l, 0, &at);
    e.port = at.port;
    listener_start(f->l, &hooks, f);
    rc = connector_open(f->w.loop, &e, &f->w.limits, on_connected, f, &c);
    if (rc == 0) {
        world_until(&f->w, &f->connected, 3000);
        if (f->status == 0) talk(f);
        else CHECK_EQ(f->status, RW_ENOMEM);
    } else {
        CHECK_EQ(rc, RW_ENOMEM);
    }
    world_pass(&f->w, 2);
    if (f->accepted && f->b.s) stream_abort(f->b.s, 0);
    if (f->accepted) world_until(&f->w, &f->b.closed, 3000);
    listener_close(f->l);
end:
    CHECK(f->a.closes <= 1 && f->b.closes <= 1);
    if (f->a.w) end_end(&f->a);
    if (f->b.w) end_end(&f->b);
    uint64_t failures = f->w.mem.failures;
    f->w.mem.fail_in = 0;
    world_end(&f->w);
    return failures > 0;
}

static void sweep(void) {
    for (enum kind k = KIND_TCP; k <= KIND_UNIX; k++) {
        struct life f;
        uint64_t n = 1;
        /* the first ones one by one, then here and there */
        while (n < 100000 && live(&f, k, n)) n += n < 60 ? 1 : n / 9;
        CHECK(n > 20);
    }
}

/* The one whose memory fails is closed; the next one is served. */
static void listener_goes_on(void) {
    struct life f;
    struct sockaddr_un un;
    unsigned size;
    int fd[2];
    char c;
    memset(&f, 0, sizeof f);
    world_begin(&f.w);
    struct endpoint e = {.kind = ENDPOINT_UNIX, .host = "@torture-oom-2"};
    CHECK_EQ(listener_open(f.w.loop, &e, &f.w.limits, &f.l), 0);
    listener_start(f.l, &hooks, &f);
    address_unix(e.host, &un, &size);
    for (int i = 0; i < 2; i++) {
        fd[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_EQ(connect(fd[i], (struct sockaddr *)&un, size), 0);
    }
    f.w.mem.fail_in = 1;
    world_until(&f.w, &f.accepted, 1000);
    CHECK_EQ(listener_shed(f.l), 1);
    CHECK_EQ(listener_accepted(f.l), 1);
    CHECK_EQ(recv(fd[0], &c, 1, MSG_DONTWAIT), 0);
    CHECK_EQ(recv(fd[1], &c, 1, MSG_DONTWAIT), -1);
    stream_abort(f.b.s, 0);
    listener_close(f.l);
    world_until(&f.w, &f.b.closed, 1000);
    end_end(&f.b);
    close(fd[0]);
    close(fd[1]);
    world_end(&f.w);
}

static void small_objects(void) {
    for (uint64_t n = 1; n < 12; n++) {
        struct mem m;
        struct stream *s[2];
        mem_init(&m, 0);
        struct loop *l = loop_new(&m);
        m.fail_in = n;
        struct waker *w = waker_new(l, NULL, NULL);
        struct signal_watch *g = signal_watch_new(l, 10, NULL, NULL);
        struct file_watch *f = file_watch_new(l, 1, NULL, NULL);
        if (f) {
            int rc = file_watch_add(f, "/tmp");
            CHECK(rc == 0 || rc == RW_ENOMEM);
        }
        if (stream_pair(l, &limits_default, s) == 0) {
            stream_write(s[0], STR("x"));
            stream_close(s[0]);
            stream_close(s[1]);
        }
        waker_free(&w);
        signal_watch_free(&g);
        file_watch_free(&f);
        struct timer t = {0};
        timer_start(l, &t, 1000000, over);
        loop_free(&l);
        CHECK(!timer_active(&t));
        CHECK_EQ(m.live, 0);
    }
}

const struct test memory_tests[] = {
    {"out of memory at every allocation of a life", sweep},
    {"out of memory in accept", listener_goes_on},
    {"out of memory for small objects", small_objects},
    {0},
};
