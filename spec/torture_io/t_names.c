/* SPDX-License-Identifier: MIT */
/* Names and connecting to them, while memory fails and at every moment of
 * giving up. The name server is a thread: A is 127.0.0.1, twice, with an
 * address between them where nobody listens; AAAA comes late, or never. */
#include "torture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/internal.h"
#include "support/descriptors.h"

/* ── the name server ──────────────────────────────────────────────────────*/

struct server {
    pthread_t thread;
    int fd;
    char address[32];
};

static size_t put_record(uint8_t *at, uint8_t last) {
    const uint8_t record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, last};
    memcpy(at, record, sizeof record);
    return sizeof record;
}

/* In place; the question ends at `end`. */
static size_t answer(uint8_t *packet, size_t end, bool v4) {
    packet[2] = 0x81;
    packet[3] = 0x80;
    memset(packet + 6, 0, 6);
    if (!v4) return end;
    packet[7] = 3;
    end += put_record(packet + end, 1);
    end += put_record(packet + end, 77);
    return end + put_record(packet + end, 1);
}

static void *serve(void *arg) {
    struct server *v = arg;
    uint8_t packet[600];
    struct sockaddr_in peer;
    for (;;) {
        socklen_t size = sizeof peer;
        ssize_t n = recvfrom(v->fd, packet, 512, 0, (struct sockaddr *)&peer, &size);
        if (n < 17) return NULL; /* one byte: the end */
        size_t end = 12;
        while (end + 5 < (size_t)n && packet[end]) end += packet[end] + 1u;
        bool v4 = packet[end + 2] == 1;
        if (memcmp(packet + 13, "mute", 4) == 0) continue;
        end = answer(packet, end + 5, v4);
        sendto(v->fd, packet, end, 0, (struct sockaddr *)&peer, size);
    }
}

static void server_begin(struct server *v) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof in;
    v->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (bind(v->fd, (struct sockaddr *)&in, size) < 0) abort();
    getsockname(v->fd, (struct sockaddr *)&in, &size);
    snprintf(v->address, sizeof v->address, "127.0.0.1:%u", ntohs(in.sin_port));
    if (pthread_create(&v->thread, NULL, serve, v) != 0) abort();
}

static void server_end(struct server *v) {
    struct sockaddr_in in;
    socklen_t size = sizeof in;
    getsockname(v->fd, (struct sockaddr *)&in, &size);
    sendto(v->fd, "x", 1, 0, (struct sockaddr *)&in, size);
    pthread_join(v->thread, NULL);
    close(v->fd);
}

static void configure(struct names_config *c, const struct server *v) {
    names_config_init(c);
    snprintf(c->servers, sizeof c->servers, "%s", v->address);
    c->limits.names_try_timeout = 50;
    c->limits.names_tries = 1;
    c->limits.names_timeout = 300;
}

/* ── lookups ──────────────────────────────────────────────────────────────*/

struct lookup {
    struct name_query query;
    struct host_query host;
    int status[3], calls[3];
    bool done;
};

static void count_done(struct lookup *k) { k->done = k->calls[0] && k->calls[1] && k->calls[2]; }

static void on_answer(struct name_query *q, int status, const struct name_answer *a) {
    struct lookup *k = CONTAINER(q, struct lookup, query);
    struct ip ips[8];
    CHECK_EQ(status == 0, a != NULL);
    if (a) CHECK(name_answer_addresses(a, ips, 8) > 0);
    k->status[0] = status;
    k->calls[0]++;
    count_done(k);
}

static void on_found(struct host_query *h, int family, int status, const struct ip *ips,
                     unsigned n) {
    struct lookup *k = CONTAINER(h, struct lookup, host);
    int i = family == 6 ? 1 : 2;
    (void)ips;
    CHECK_EQ(status == 0, n > 0);
    k->status[i] = status;
    k->calls[i]++;
    count_done(k);
}

static void ask(struct names *n, struct lookup *k, struct str name) {
    *k = (struct lookup){0};
    k->query.done = on_answer;
    k->host.found = on_found;
    if (names_ask(n, &k->query, name, name_type_parse(STR("a"))) < 0) k->calls[0] = 1;
    if (host_ask(n, &k->host, name) < 0) k->calls[1] = k->calls[2] = 1;
    count_done(k);
}

static void lookups_without_memory(void) {
    struct server v;
    struct world w;
    struct names_config c;
    server_begin(&v);
    configure(&c, &v);
    unsigned good = 0;
    for (uint64_t fail = 1; fail < 60; fail++) {
        struct names *n;
        struct lookup k;
        world_begin(&w);
        w.mem.fail_in = fail;
        if (names_open(w.loop, &c, &n) == 0) {
            ask(n, &k, STR("a.test"));
            if (!k.done) world_until(&w, &k.done, 3000);
            good += k.calls[0] == 1 && k.status[0] == 0 && k.calls[2] == 1 && k.status[2] == 0;
            w.mem.fail_in = 0;
            names_close(&n);
        }
        world_end(&w);
    }
    CHECK(good > 20); /* it is not all failures */
    server_end(&v);
}

static void lookups_forgotten(void) {
    struct server v;
    struct world w;
    struct names_config c;
    server_begin(&v);
    configure(&c, &v);
    unsigned before = open_descriptors();
    for (int turns = 0; turns < 12; turns++) {
        static const struct str hosts[] = {
            {"a.test", 6}, {"mute.test", 9}, {"localhost", 9}, {"192.0.2.1", 9},
        };
        struct names *n;
        struct lookup k[4];
        world_begin(&w);
        CHECK_EQ(names_open(w.loop, &c, &n), 0);
        for (int i = 0; i < 4; i++) ask(n, &k[i], hosts[i]);
        for (int i = 0; i < turns; i++) loop_turn(w.loop, i % 3);
        for (int i = 0; i < 4; i++) {
            if (turns % 2) names_close(&n); /* they hold it */
            names_forget(&k[i].query);
            host_forget(&k[i].host);
        }
        names_close(&n);
        world_end(&w);
    }
    CHECK_EQ(open_descriptors(), before);
    server_end(&v);
}

static void lookups_time_out(void) {
    struct server v;
    struct world w;
    struct names_config c;
    struct names *n;
    struct lookup k;
    server_begin(&v);
    configure(&c, &v);
    c.limits.names_try_timeout = 5000; /* longer than names_timeout */
    world_begin(&w);
    CHECK_EQ(names_open(w.loop, &c, &n), 0);
    double t = now_seconds();
    ask(n, &k, STR("mute.test"));
    world_until(&w, &k.done, 3000);
    t = now_seconds() - t;
    CHECK(t > 0.28 && t < 1.5);
    for (int i = 0; i < 3; i++) CHECK_EQ(k.status[i], RW_ETIMEDOUT);
    names_close(&n); /* while c-ares still waits */
    world_end(&w);
    server_end(&v);
}

/* Everybody asks for one name, whose server is silent: joining costs the same
 * whoever waits already, and telling them is spread over turns. */
enum { CROWD = 30000, CROWD_OF_A_TURN = 1000 };

struct crowd {
    struct loop *loop;
    unsigned told, of_turn, most;
    uint64_t turn;
    bool done;
};
static struct crowd crowd;

static void crowd_told(struct name_query *q, int status, const struct name_answer *a) {
    (void)q, (void)a;
    CHECK_EQ(status, RW_ETIMEDOUT);
    if (crowd.turn != crowd.loop->turn) crowd.of_turn = 0;
    crowd.turn = crowd.loop->turn;
    if (++crowd.of_turn > crowd.most) crowd.most = crowd.of_turn;
    crowd.done = ++crowd.told == CROWD / 2;
}

static void many_for_one_name(void) {
    struct server v;
    struct world w;
    struct names_config c;
    struct names *n;
    struct lookup *k = calloc(CROWD, sizeof *k);
    server_begin(&v);
    configure(&c, &v);
    c.limits.names_waiting = CROWD;
    world_begin(&w);
    CHECK_EQ(names_open(w.loop, &c, &n), 0);
    crowd = (struct crowd){.loop = w.loop};
    double t = now_seconds();
    for (int i = 0; i < CROWD; i++) {
        k[i].query.done = crowd_told;
        CHECK_EQ(names_ask(n, &k[i].query, STR("mute.test"), 1), 0);
    }
    CHECK(now_seconds() - t < 0.25);
    for (int i = CROWD - 1; i > 0; i -= 2) names_forget(&k[i].query);
    world_until(&w, &crowd.done, 5000);
    CHECK_EQ(crowd.told, CROWD / 2);
    CHECK(crowd.most <= CROWD_OF_A_TURN);
    names_close(&n);
    world_end(&w);
    server_end(&v);
    free(k);
}

/* ── connecting ───────────────────────────────────────────────────────────*/

struct life {
    struct world w;
    struct listener *l;
    struct stream *accepted[8], *stream;
    unsigned count;
    int status;
    bool done;
};

static void on_accept(struct listener *l, struct stream *s) {
    struct life *f = listener_owner(l);
    if (f->count < 8) f->accepted[f->count++] = s;
    else stream_abort(s, 0);
}
static const struct listener_hooks accept_hooks = {on_accept, NULL};

static void on_connected(void *owner, int status, struct stream *s) {
    struct life *f = owner;
    f->status = status;
    f->stream = s;
    f->done = true;
}

/* A life in which the nth allocation fails (0: none), given up after so many
 * turns (-1: not at all). */
static void connect_once(const struct server *v, uint64_t fail, int turns) {
    struct life f = {0};
    struct endpoint e = {.kind = ENDPOINT_TCP, .host = "127.0.0.1"};
    struct names_config c;
    struct connector *connector;
    struct address a;
    configure(&c, v);
    world_begin(&f.w);
    CHECK_EQ(listener_open(f.w.loop, &e, &f.w.limits, &f.l), 0);
    listener_start(f.l, &accept_hooks, &f);
    CHECK_EQ(listener_address(f.l, 0, &a), 0);
    e.port = a.port;
    snprintf(e.host, sizeof e.host, "a.test");
    CHECK_EQ(names_open(f.w.loop, &c, &e.names), 0);
    f.w.mem.fail_in = fail;
    int rc = connector_open(f.w.loop, &e, &f.w.limits, on_connected, &f, &connector);
    if (rc == 0) {
        for (int i = 0; i < turns && !f.done; i++) loop_turn(f.w.loop, i % 3);
        if (turns >= 0 && !f.done) {
            connector_cancel(connector);
            CHECK(!f.done);
        }
        if (!f.done) world_until(&f.w, &f.done, 5000);
        if (turns < 0 && !fail) CHECK_EQ(f.status, 0);
        if (f.stream) stream_abort(f.stream, 0);
    }
    f.w.mem.fail_in = 0;
    names_close(&e.names);
    world_pass(&f.w, 2);
    for (unsigned i = 0; i < f.count; i++) stream_abort(f.accepted[i], 0);
    listener_close(f.l);
    world_end(&f.w);
}

static void connecting_by_name(void) {
    struct server v;
    server_begin(&v);
    unsigned before = open_descriptors();
    connect_once(&v, 0, -1);
    for (uint64_t fail = 1; fail < 40; fail++) connect_once(&v, fail, -1);
    for (int turns = 0; turns < 30; turns++) connect_once(&v, 0, turns);
    CHECK_EQ(open_descriptors(), before);
    server_end(&v);
}

const struct test names_tests[] = {
    {"lookups without memory", lookups_without_memory},
    {"lookups are forgotten at any moment", lookups_forgotten},
    {"lookups end in time", lookups_time_out},
    {"lookups of one name by many", many_for_one_name},
    {"connecting by name: without memory, given up at any moment", connecting_by_name},
    {0},
};
