/* SPDX-License-Identifier: MIT */
/* Datagram sockets: bound and connected, floods, limits, closing in a hook. */
#include "io/datagram.h"
#include "torture.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct box {
    struct datagram *d;
    struct datagram_address from;
    uint64_t count, bytes, refusals;
    bool close_in_hook, stop_in_hook, closed, got, refused, in_call;
};

static void on_datagram(struct datagram *d, struct str bytes, const struct datagram_address *from) {
    struct box *b = datagram_owner(d);
    CHECK(!b->in_call && !b->closed);
    b->got = true;
    b->count++;
    b->bytes += bytes.n;
    b->from = *from;
    if (b->stop_in_hook) datagram_stop(d);
    if (b->close_in_hook) datagram_close(d);
}

static void on_refused(struct datagram *d) {
    struct box *b = datagram_owner(d);
    CHECK(!b->in_call);
    b->refusals++;
    b->refused = true;
}

static void on_close(struct datagram *d) { ((struct box *)datagram_owner(d))->closed = true; }

static const struct datagram_hooks hooks = {on_datagram, on_refused, on_close};

static uint16_t open_box(struct world *w, struct box *b) {
    struct endpoint e = {.kind = ENDPOINT_UDP, .host = "127.0.0.1"};
    struct address at;
    *b = (struct box){0};
    CHECK_EQ(datagram_open(w->loop, &e, &b->d), 0);
    datagram_start(b->d, &hooks, b, &w->limits);
    CHECK_EQ(datagram_host(b->d, &at), 0);
    CHECK_EQ(at.kind, ADDRESS_UDP);
    return at.port;
}

static void connect_box(struct world *w, struct box *b, uint16_t port) {
    struct endpoint e = {.kind = ENDPOINT_UDP, .host = "127.0.0.1", .port = port};
    *b = (struct box){0};
    CHECK_EQ(datagram_connect(w->loop, &e, &b->d), 0);
    datagram_start(b->d, &hooks, b, &w->limits);
}

static int send_from(struct box *b, struct str bytes, const struct datagram_address *to) {
    b->in_call = true;
    int rc = datagram_send(b->d, bytes, to);
    b->in_call = false;
    return rc;
}

static void there_and_back(void) {
    struct world w;
    struct box a, b;
    world_begin(&w);
    connect_box(&w, &a, open_box(&w, &b));
    CHECK_EQ(send_from(&a, STR("hello"), NULL), 0);
    world_until(&w, &b.got, 5000);
    CHECK_EQ(b.bytes, 5);
    CHECK_EQ(send_from(&b, STR_NONE, &b.from), 0);
    world_until(&w, &a.got, 5000);
    CHECK_EQ(a.bytes, 0);
    datagram_close(a.d);
    CHECK_EQ(datagram_send(a.d, STR("x"), NULL), RW_ECLOSED);
    datagram_close(a.d);
    datagram_close(b.d);
    world_end(&w);
    CHECK(a.closed && b.closed);
}

/* Nothing is read while stopped, nothing is lost then. */
static void stopped(void) {
    struct world w;
    struct box a, b;
    world_begin(&w);
    connect_box(&w, &a, open_box(&w, &b));
    datagram_stop(b.d);
    for (int i = 0; i < 50; i++) CHECK_EQ(send_from(&a, STR("x"), NULL), 0);
    world_pass(&w, 20);
    CHECK_EQ(b.count, 0);
    datagram_start(b.d, &hooks, &b, &w.limits);
    world_pass(&w, 20);
    CHECK_EQ(b.count, 50);
    datagram_close(a.d);
    datagram_close(b.d);
    world_end(&w);
}

static void too_long(void) {
    static char block[70000];
    struct world w;
    struct box a, b;
    world_begin(&w);
    w.limits.max_datagram = 1000;
    connect_box(&w, &a, open_box(&w, &b));
    CHECK_EQ(send_from(&a, str_of(block, sizeof block), NULL), -EMSGSIZE);
    CHECK_EQ(send_from(&a, str_of(block, 1001), NULL), 0);
    CHECK_EQ(send_from(&a, str_of(block, 1000), NULL), 0);
    world_until(&w, &b.got, 5000);
    CHECK_EQ(b.count, 1);
    CHECK_EQ(b.bytes, 1000);
    CHECK_EQ(datagram_oversized(b.d), 1);
    datagram_close(a.d);
    datagram_close(b.d);
    world_end(&w);
}

static void nobody_there(void) {
    struct world w;
    struct box a, b;
    world_begin(&w);
    uint16_t port = open_box(&w, &b);
    datagram_close(b.d);
    world_until(&w, &b.closed, 5000);
    connect_box(&w, &a, port);
    for (unsigned i = 1; i <= 5; i++) {
        a.refused = false;
        CHECK_EQ(send_from(&a, STR("x"), NULL), 0);
        world_until(&w, &a.refused, 5000);
    }
    datagram_stop(a.d); /* an error that nobody fetches does not spin */
    CHECK_EQ(send_from(&a, STR("x"), NULL), 0);
    world_pass(&w, 20);
    CHECK_EQ(send_from(&a, STR("x"), NULL), 0);
    world_pass(&w, 20);
    CHECK(a.refusals >= 6);
    datagram_close(a.d);
    world_end(&w);
}

static void closed_in_a_hook(void) {
    struct world w;
    struct box a, b;
    world_begin(&w);
    connect_box(&w, &a, open_box(&w, &b));
    b.close_in_hook = true;
    for (int i = 0; i < 50; i++) send_from(&a, STR("x"), NULL);
    world_until(&w, &b.closed, 5000);
    CHECK_EQ(b.count, 1);
    datagram_close(a.d);
    world_end(&w);
}

/* A flood leaves others their turns. */
static void fair(void) {
    struct world w;
    struct box a, b;
    world_begin(&w);
    connect_box(&w, &a, open_box(&w, &b));
    for (int i = 0; i < 200; i++) send_from(&a, STR("x"), NULL);
    loop_turn(w.loop, 10);
    CHECK(b.count <= 160);
    world_pass(&w, 50);
    CHECK_EQ(b.count, 200);
    datagram_close(a.d);
    datagram_close(b.d);
    world_end(&w);
}

static void out_of_memory(void) {
    struct endpoint e = {.kind = ENDPOINT_UDP, .host = "127.0.0.1"};
    for (uint64_t n = 1; n <= 4; n++) {
        struct world w;
        struct datagram *d = NULL;
        world_begin(&w);
        w.mem.fail_in = n;
        int rc = datagram_open(w.loop, &e, &d);
        CHECK(rc == 0 || rc == RW_ENOMEM);
        CHECK((rc == 0) == (n > 2));
        if (rc == 0) datagram_close(d);
        w.mem.fail_in = 0;
        world_end(&w);
    }
}

/* ── UNIX ─────────────────────────────────────────────────────────────────*/

struct place {
    char dir[32];
    struct endpoint e;
};

static void place_begin(struct place *p) {
    *p = (struct place){.dir = "/tmp/torture-io-XXXXXX", .e = {.kind = ENDPOINT_UNIXGRAM}};
    CHECK(mkdtemp(p->dir));
    snprintf(p->e.host, sizeof p->e.host, "%s/s", p->dir);
}

static void place_end(struct place *p) { CHECK_EQ(rmdir(p->dir), 0); }

static void serve(struct world *w, struct box *b, const struct endpoint *e) {
    *b = (struct box){0};
    CHECK_EQ(datagram_open(w->loop, e, &b->d), 0);
    datagram_start(b->d, &hooks, b, &w->limits);
}

static void call(struct world *w, struct box *b, const struct endpoint *e) {
    *b = (struct box){0};
    CHECK_EQ(datagram_connect(w->loop, e, &b->d), 0);
    datagram_start(b->d, &hooks, b, &w->limits);
}

/* Again and again, as a server that is started anew; both files are gone then. */
static void unix_there_and_back(void) {
    struct world w;
    struct box a, b;
    struct place p;
    struct address at;
    world_begin(&w);
    place_begin(&p);
    serve(&w, &b, &p.e);
    snprintf(p.e.bind_path, sizeof p.e.bind_path, "%s/c", p.dir);
    call(&w, &a, &p.e);
    for (int i = 0; i < 3; i++) {
        a.got = b.got = a.refused = false;
        CHECK_EQ(send_from(&a, STR("hello"), NULL), 0);
        world_until(&w, &b.got, 5000);
        datagram_address_read(&b.from, &at);
        CHECK(at.kind == ADDRESS_UNIX && strcmp(at.host, p.e.bind_path) == 0);
        CHECK_EQ(send_from(&b, STR("x"), &b.from), 0);
        world_until(&w, &a.got, 5000);
        datagram_close(b.d);
        world_until(&w, &b.closed, 5000);
        CHECK_EQ(access(p.e.host, F_OK), -1);
        CHECK_EQ(send_from(&a, STR("hello"), NULL), -ENOENT);
        world_until(&w, &a.refused, 5000);
        serve(&w, &b, &p.e);
    }
    datagram_close(a.d);
    datagram_close(b.d);
    place_end(&p);
    world_end(&w);
}

/* Who does not read is waited for, the peer of a socket or another one; the others
 * get theirs meanwhile. */
static void unix_full(void) {
    struct world w;
    struct box a, b, c, x;
    struct place p;
    struct datagram_address to_b, to_x;
    struct address at;
    uint64_t queued = 0, others = 0;
    int rc;
    world_begin(&w);
    place_begin(&p);
    serve(&w, &b, &p.e);
    call(&w, &a, &p.e);
    datagram_stop(b.d);
    w.limits.max_datagram_queue = 10000;
    while ((rc = send_from(&a, STR("0123456789"), NULL)) == 0) CHECK(++queued < 100000);
    CHECK_EQ(rc, RW_ELIMIT);
    CHECK_EQ(datagram_host(b.d, &at), 0);
    CHECK_EQ(datagram_address_make(&at, &to_b), 0);
    p.e.host[strlen(p.e.host) - 1] = 'c';
    serve(&w, &c, &p.e);
    p.e.host[strlen(p.e.host) - 1] = 'x';
    serve(&w, &x, &p.e);
    CHECK_EQ(datagram_host(x.d, &at), 0);
    CHECK_EQ(datagram_address_make(&at, &to_x), 0);
    while ((rc = send_from(&c, STR("0123456789"), &to_b)) == 0) CHECK(++others < 100000);
    CHECK_EQ(rc, RW_ELIMIT);
    CHECK(others > 1);
    CHECK_EQ(send_from(&c, STR("x"), &to_x), 0);
    world_until(&w, &x.got, 5000);
    CHECK_EQ(b.count, 0);
    datagram_start(b.d, &hooks, &b, &w.limits);
    for (int i = 0; i < 1000 && b.count < queued + others; i++) world_pass(&w, 1);
    CHECK_EQ(b.count, queued + others);
    CHECK_EQ(send_from(&c, STR("x"), &to_b), 0);
    datagram_stop(b.d); /* closed with something for who does not read */
    while (send_from(&c, STR("x"), &to_b) == 0) continue;
    datagram_close(a.d);
    datagram_close(b.d);
    datagram_close(c.d);
    datagram_close(x.d);
    place_end(&p);
    world_end(&w);
}

static void unix_out_of_memory(void) {
    for (uint64_t n = 1; n <= 4; n++) {
        struct world w;
        struct place p;
        struct datagram *d = NULL;
        world_begin(&w);
        place_begin(&p);
        w.mem.fail_in = n;
        int rc = datagram_open(w.loop, &p.e, &d);
        CHECK((rc == 0) == (n > 2));
        if (rc == 0) datagram_close(d);
        w.mem.fail_in = 0;
        place_end(&p); /* no file stays */
        world_end(&w);
    }
}

/* The lock beside the socket: one owner, who is asked for. */
static void unix_locked(void) {
    struct world w;
    struct box a, b;
    struct datagram *d;
    struct place p;
    char lock[sizeof p.dir + 8];
    world_begin(&w);
    place_begin(&p);
    p.e.lock = true;
    snprintf(lock, sizeof lock, "%s/s.lock", p.dir);
    CHECK_EQ(datagram_connect(w.loop, &p.e, &d), RW_EUNLOCKED);
    serve(&w, &b, &p.e);
    CHECK_EQ(datagram_open(w.loop, &p.e, &d), RW_ELOCKED);
    call(&w, &a, &p.e);
    CHECK_EQ(send_from(&a, STR("x"), NULL), 0);
    world_until(&w, &b.got, 5000);
    datagram_close(b.d);
    CHECK_EQ(datagram_connect(w.loop, &p.e, &d), RW_EUNLOCKED);
    world_until(&w, &b.closed, 5000);
    serve(&w, &b, &p.e);
    datagram_close(a.d);
    datagram_close(b.d);
    CHECK_EQ(unlink(lock), 0);
    place_end(&p);
    world_end(&w);
}

const struct test datagram_tests[] = {
    {"datagrams go there and back", there_and_back},
    {"a stopped datagram socket loses nothing", stopped},
    {"datagrams that are too long are refused or dropped", too_long},
    {"a datagram to nobody is told, and ends nothing", nobody_there},
    {"a datagram socket may be closed in its hook", closed_in_a_hook},
    {"a flood of datagrams leaves others their turns", fair},
    {"opening a datagram socket without memory", out_of_memory},
    {"UNIX datagrams go there and back, to a server that was started anew, too", unix_there_and_back},
    {"UNIX receivers that do not read are waited for, and hold up nobody", unix_full},
    {"opening a UNIX datagram socket without memory", unix_out_of_memory},
    {"the lock beside a UNIX socket has one owner", unix_locked},
    {NULL, NULL},
};
