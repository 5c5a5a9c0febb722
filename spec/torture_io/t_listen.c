/* SPDX-License-Identifier: MIT */
/* Listening and connecting, with raw sockets at the other end where that says
 * more. */
#include "torture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/internal.h"

/* ── a server that keeps what it accepts ──────────────────────────────────*/

struct server {
    struct world *w;
    struct listener *l;
    struct stream *got[512];
    unsigned count, most_in_turn, in_turn, closes, stop_at;
    uint64_t turn;
    bool any, closed;
};

static void on_accept(struct listener *l, struct stream *s) {
    struct server *v = listener_owner(l);
    if (v->turn != v->w->loop->turn) v->in_turn = 0;
    v->turn = v->w->loop->turn;
    if (++v->in_turn > v->most_in_turn) v->most_in_turn = v->in_turn;
    if (v->count < 512) v->got[v->count] = s;
    v->count++;
    v->any = true;
    if (v->count == v->stop_at) listener_stop(l);
    if (v->count > 512) stream_abort(s, 0);
}
static void on_close(struct listener *l) {
    struct server *v = listener_owner(l);
    v->closes++;
    v->closed = true;
}
static const struct listener_hooks server_hooks = {on_accept, on_close};

static int server_open(struct server *v, struct world *w,
                       const struct endpoint *e) {
    *v = (struct server){.w = w};
    int rc = listener_open(w->loop, e, &w->limits, &v->l);
    if (rc == 0) listener_start(v->l, &server_hooks, v);
    return rc;
}

static void server_close(struct server *v) {
    listener_close(v->l);
    CHECK(!v->closed);
    world_until(v->w, &v->closed, 1000);
    for (unsigned i = 0; i < v->count && i < 512; i++)
        stream_abort(v->got[i], 0);
}

static uint16_t port_of(struct server *v) {
    struct address a;
    CHECK_EQ(listener_address(v->l, 0, &a), 0);
    CHECK(a.port != 0);
    return a.port;
}

static int raw_connect(uint16_t port) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof in) == 0)
        return fd;
    close(fd);
    return -1;
}

static int bound(const struct endpoint *e) {
    int fds[LISTENER_SOCKETS];
    struct socket_file file;
    if (e->kind == ENDPOINT_UNIX) return bind_unix(e, SOCK_STREAM, &file);
    CHECK_EQ(bind_tcp(e, fds), 1);
    return fds[0];
}

static const struct endpoint any_port = {.kind = ENDPOINT_TCP,
                                         .host = "127.0.0.1"};

/* ── accepting ────────────────────────────────────────────────────────────*/

static void fairness(void) {
    struct world w;
    struct server v;
    int fd[300];
    world_begin(&w);
    CHECK_EQ(server_open(&v, &w, &any_port), 0);
    v.stop_at = 250;
    for (int i = 0; i < 300; i++) fd[i] = raw_connect(port_of(&v));
    world_pass(&w, 50);
    CHECK_EQ(v.count, 250); /* stopped in a hook: the rest waits */
    CHECK(v.most_in_turn <= 64 && v.most_in_turn > 10);
    CHECK_EQ(listener_accepted(v.l), 250);
    listener_start(v.l, &server_hooks, &v);
    world_pass(&w, 50);
    CHECK_EQ(v.count, 300);
    server_close(&v);
    for (int i = 0; i < 300; i++) close(fd[i]);
    world_end(&w);
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void without_descriptors(void) {
    struct world w;
    struct server v;
    struct rlimit old, few;
    int fd[20];
    if (under_valgrind()) {
        test_skip("valgrind keeps descriptors of its own");
        return;
    }
    world_begin(&w);
    CHECK_EQ(server_open(&v, &w, &any_port), 0);
    uint16_t port = port_of(&v);
    for (int i = 0; i < 20; i++) fd[i] = raw_connect(port);
    int top = dup(0);
    close(top);
    getrlimit(RLIMIT_NOFILE, &old);
    few = (struct rlimit){(rlim_t)top + 8, old.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    double cpu = cpu_seconds();
    world_pass(&w, 400);
    CHECK(cpu_seconds() - cpu < 0.1);
    unsigned count = v.count; /* libuv takes one of the eight */
    CHECK(count >= 6 && count <= 8);
    CHECK_EQ(listener_shed(v.l), 20 - count);
    char c;
    CHECK_EQ(recv(fd[19], &c, 1, MSG_DONTWAIT), 0); /* told, not kept */

    /* A reserve that cannot be given up: pauses instead of spinning. */
    CHECK(w.loop->reserve >= 0);
    setrlimit(RLIMIT_NOFILE, &old);
    int more = raw_connect(port);
    few.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &few);
    cpu = cpu_seconds();
    world_pass(&w, 400);
    CHECK(cpu_seconds() - cpu < 0.1);
    CHECK_EQ(v.count, count);
    setrlimit(RLIMIT_NOFILE, &old);
    world_pass(&w, 250);
    CHECK_EQ(v.count, count + 1);
    int last = raw_connect(port);
    world_pass(&w, 20);
    CHECK_EQ(v.count, count + 2);
    server_close(&v);
    for (int i = 0; i < 20; i++) close(fd[i]);
    close(more);
    close(last);
    world_end(&w);
}

/* ── tcp endpoints ────────────────────────────────────────────────────────*/

struct outcome {
    struct stream *s;
    int status;
    unsigned calls;
    bool done;
};
static void on_connected(void *owner, int status, struct stream *s) {
    struct outcome *o = owner;
    o->status = status;
    o->s = s;
    o->calls++;
    o->done = true;
    CHECK_EQ(status == 0, s != NULL);
}

static int connect_now(struct world *w, const struct endpoint *e) {
    struct outcome o = {0};
    struct connector *c;
    int rc = connector_open(w->loop, e, &w->limits, on_connected, &o, &c);
    if (rc < 0) return rc;
    CHECK(!o.done);
    world_until(w, &o.done, 5000);
    if (o.s) stream_close(o.s);
    CHECK_EQ(o.calls, 1);
    return o.status;
}

static void tcp_endpoints(void) {
    struct world w;
    struct server v, u;
    world_begin(&w);
    struct endpoint e = {.kind = ENDPOINT_TCP};
    static const char *const hosts[] = {"127.0.0.1", "::1", "localhost"};
    CHECK_EQ(server_open(&v, &w, &e), 0); /* any: both families */
    e.port = port_of(&v);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(e.host, sizeof e.host, "%s", hosts[i]);
        CHECK_EQ(connect_now(&w, &e), 0);
        world_pass(&w, 5);
        CHECK_EQ(v.count, i + 1);
    }
    struct address a; /* not ::ffff:127.0.0.1 */
    CHECK_EQ(stream_host(v.got[0], &a), 0);
    CHECK(strcmp(a.host, "127.0.0.1") == 0);
    e.host[0] = 0;
    CHECK_EQ(server_open(&u, &w, &e), -EADDRINUSE);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(e.host, sizeof e.host, "%s", hosts[i]);
        e.port = 0;
        CHECK_EQ(server_open(&u, &w, &e), 0);
        e.port = port_of(&u);
        CHECK_EQ(connect_now(&w, &e), 0);
        server_close(&u);
    }
    snprintf(e.host, sizeof e.host, "no-such-name.invalid");
    CHECK(server_open(&u, &w, &e) == RW_ENONAME ||
          server_open(&u, &w, &e) == RW_EAGAIN);
    e.host[0] = 0;
    e.port = 0;
    e.reuse_port = true;
    struct server t;
    CHECK_EQ(server_open(&u, &w, &e), 0);
    e.port = port_of(&u);
    CHECK_EQ(server_open(&t, &w, &e), 0);
    server_close(&t);
    server_close(&u);
    server_close(&v);
    CHECK_EQ(listener_open(w.loop, &(struct endpoint){.kind = ENDPOINT_STDIO},
                           &w.limits, &u.l), RW_EINVAL);
    world_end(&w);
}

/* ── unix endpoints ───────────────────────────────────────────────────────*/

static void unix_endpoints(void) {
    struct world w;
    struct server v, u;
    struct stat st;
    world_begin(&w);
    struct endpoint e = {.kind = ENDPOINT_UNIX, .mode = 0666};
    char dir[] = "/tmp/torture-io-XXXXXX";
    CHECK(mkdtemp(dir));
    snprintf(e.host, sizeof e.host, "%s/socket", dir);

    mode_t mask = umask(077);
    CHECK_EQ(server_open(&v, &w, &e), 0);
    umask(mask);
    CHECK(stat(e.host, &st) == 0 && (st.st_mode & 07777) == 0666);
    CHECK_EQ(server_open(&u, &w, &e), -EADDRINUSE); /* alive */
    CHECK_EQ(connect_now(&w, &e), 0);
    server_close(&v);
    CHECK(stat(e.host, &st) < 0); /* our own is unlinked */
    CHECK_EQ(connect_now(&w, &e), -ENOENT);

    /* a leftover */
    struct sockaddr_un un;
    unsigned size;
    address_unix(e.host, &un, &size);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)&un, size), 0);
    close(fd);
    CHECK_EQ(connect_now(&w, &e), -ECONNREFUSED);
    CHECK_EQ(server_open(&v, &w, &e), 0);
    CHECK_EQ(connect_now(&w, &e), 0);

    /* somebody else's in our place stays */
    unlink(e.host);
    fd = open(e.host, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    server_close(&v);
    CHECK(stat(e.host, &st) == 0);
    CHECK_EQ(server_open(&v, &w, &e), -EADDRINUSE); /* not a socket */
    unlink(e.host);
    rmdir(dir);

    snprintf(e.host, sizeof e.host, "@torture-io-%ld", (long)getpid());
    CHECK_EQ(server_open(&v, &w, &e), 0);
    CHECK_EQ(server_open(&u, &w, &e), -EADDRINUSE);
    struct address a;
    CHECK_EQ(listener_address(v.l, 0, &a), 0);
    CHECK(strcmp(a.host, e.host) == 0);
    CHECK_EQ(connect_now(&w, &e), 0);
    server_close(&v);
    memset(e.host, 'x', 200);
    e.host[200] = 0;
    CHECK_EQ(server_open(&v, &w, &e), -ENAMETOOLONG);
    CHECK_EQ(connect_now(&w, &e), -ENAMETOOLONG);
    world_end(&w);
}

static void adoption(void) {
    for (int local = 0; local < 2; local++) {
        struct world w;
        struct server v;
        world_begin(&w);
        struct endpoint from = any_port, e = {.kind = ENDPOINT_FD};
        if (local) {
            from.kind = ENDPOINT_UNIX;
            snprintf(from.host, sizeof from.host, "@torture-io-fd");
        }
        e.fd = bound(&from);
        CHECK_EQ(server_open(&v, &w, &e), 0);
        struct address a;
        CHECK_EQ(listener_address(v.l, 0, &a), 0);
        CHECK_EQ(a.kind, local ? ADDRESS_UNIX : ADDRESS_TCP);
        from.port = a.port;
        CHECK_EQ(connect_now(&w, &from), 0);
        world_until(&w, &v.any, 1000);
        CHECK(strcmp(v.got[0]->ops->name, local ? "unix" : "tcp") == 0);
        server_close(&v);
        CHECK(fcntl(e.fd, F_GETFD) >= 0); /* a later reload may want it again */
        CHECK_EQ(server_open(&v, &w, &e), 0);
        CHECK_EQ(connect_now(&w, &from), 0);
        server_close(&v);
        close(e.fd);
        int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
        e.fd = file;
        CHECK_EQ(server_open(&v, &w, &e), -ENOTSOCK);
        CHECK(fcntl(file, F_GETFD) >= 0);
        close(file);
        world_end(&w);
    }
}

/* ── connecting ───────────────────────────────────────────────────────────*/

static void connecting_fails(void) {
    struct world w;
    struct outcome o = {0};
    struct connector *c;
    world_begin(&w);
    struct endpoint e = any_port;
    int busy = bound(&e);
    struct address a;
    address_of_socket(busy, false, &a);
    close(busy);
    e.port = a.port;
    CHECK_EQ(connect_now(&w, &e), -ECONNREFUSED);

    /* a backlog that is full: the kernel drops what comes */
    struct endpoint full = any_port;
    full.backlog = 1;
    busy = bound(&full);
    address_of_socket(busy, false, &a);
    int fd[4];
    for (int i = 0; i < 4; i++) {
        struct sockaddr_in in = {.sin_family = AF_INET,
                                 .sin_port = htons(a.port)};
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(fd[i], (struct sockaddr *)&in, sizeof in) < 0) errno = 0;
    }
    e.port = a.port;
    e.timeout_ms = 100;
    double t = now_seconds();
    CHECK_EQ(connect_now(&w, &e), RW_ETIMEDOUT);
    t = now_seconds() - t;
    CHECK(t >= 0.09 && t < 1);
    CHECK_EQ(connector_open(w.loop, &e, &w.limits, on_connected, &o, &c), 0);
    loop_turn(w.loop, 5);
    connector_cancel(c);
    CHECK(!o.done);
    world_until(&w, &o.done, 1000);
    CHECK_EQ(o.status, RW_ECANCELED);
    for (int i = 0; i < 4; i++) close(fd[i]);
    close(busy);
    world_end(&w);
}

/* Cancelled while a name is looked up, and when it had succeeded already. */
static void cancelled(void) {
    for (int how = 0; how < 3; how++) {
        struct world w;
        struct server v;
        struct outcome o = {0};
        struct connector *c;
        world_begin(&w);
        CHECK_EQ(server_open(&v, &w, &any_port), 0);
        struct endpoint e = any_port;
        e.port = port_of(&v);
        if (how == 0) snprintf(e.host, sizeof e.host, "localhost");
        if (how == 2) { /* connects at once */
            server_close(&v);
            e.kind = ENDPOINT_UNIX;
            snprintf(e.host, sizeof e.host, "@torture-cancel");
            CHECK_EQ(server_open(&v, &w, &e), 0);
        }
        int rc = connector_open(w.loop, &e, &w.limits, on_connected, &o, &c);
        CHECK_EQ(rc, 0);
        connector_cancel(c);
        CHECK(!o.done);
        world_until(&w, &o.done, 5000);
        CHECK_EQ(o.status, RW_ECANCELED);
        CHECK_EQ(o.calls, 1);
        server_close(&v);
        world_end(&w);
    }
}

const struct test listen_tests[] = {
    {"a flood of connections is accepted in slices", fairness},
    {"without descriptors: no spinning, and back again", without_descriptors},
    {"tcp endpoints", tcp_endpoints},
    {"unix endpoints", unix_endpoints},
    {"adopted descriptors", adoption},
    {"connecting fails in time", connecting_fails},
    {"connecting is cancelled", cancelled},
    {0},
};
