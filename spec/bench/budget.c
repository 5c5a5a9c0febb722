/* SPDX-License-Identifier: MIT */
/* What `spec/bench/budget` counts the instructions of, below Lua: each workload
 * does one thing a thousand times between two marks for callgrind. Without
 * valgrind it merely runs. */
#include <stdio.h>
#include <stdlib.h>
#include <valgrind/callgrind.h>

#include "base/mem.h"
#include "base/route.h"
#include "io/io.h"
#include "proto/http1.h"

enum { TIMES = 1000, WARM = 50, TIMERS = 1000 };

static struct mem mem;

static void need(bool ok) {
    if (!ok) abort();
}

/* ── engines ──────────────────────────────────────────────────────────────*/

static void http1_requests(int n) {
    static const char browser[] =
        "GET /articles/2024/rope.html HTTP/1.1\r\nHost: www.example.com\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0\r\n"
        "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n"
        "Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n"
        "Cookie: session=0123456789abcdef; a=b\r\n\r\n";
    struct buf out;
    struct http1 e;
    buf_init(&out, &mem, 1 << 20);
    struct engine_env env = {
        .role = ROLE_SERVER, .limits = &limits_default, .mem = &mem, .out = &out};
    http1_init(&e, &env);
    while (n-- > 0) {
        struct str data;
        int rc;
        need(http1_feed(&e, STR(browser)) == (int64_t)(sizeof browser - 1));
        while ((rc = http1_next(&e, &data)) > 0) {
            if (rc != HTTP1_REQUEST + 1) continue;
            buf_clear(&out);
            http1_respond(&e, 200, STR("text/plain; charset=utf-8"), STR("Hello from Ropewalk\n"),
                          STR("Thu, 01 Jan 1970 00:00:00 GMT"));
        }
        need(rc == 0 && http1_idle(&e));
    }
    http1_fini(&e);
    buf_release(&out);
}

/* Whole messages, one a feed. */
static void messages(const struct engine *engine, struct str bytes, int n) {
    struct buf out;
    void *e = mem_alloc(&mem, engine->size);
    buf_init(&out, &mem, 1 << 20);
    struct engine_env env = {
        .role = ROLE_SERVER, .limits = &limits_default, .mem = &mem, .out = &out};
    need(e && engine->init(e, &env) == 0);
    while (n-- > 0) {
        struct event event;
        need(engine->feed(e, bytes) == (int64_t)bytes.n);
        need(engine->next(e, &event) == 1 && event.args[0].str.n == 40);
        need(engine->next(e, &event) == 0);
    }
    engine->fini(e);
    mem_free(&mem, e, engine->size);
    buf_release(&out);
}

#define FORTY "0123456789012345678901234567890123456789"
static void lines(int n) { messages(&line_engine, STR(FORTY "\r\n"), n); }
static void netstrings(int n) { messages(&netstring_engine, STR("40:" FORTY ","), n); }
static void frames(int n) { messages(&frame_engine, STR("\0\0\0\x28" FORTY), n); }

/* ── routes ───────────────────────────────────────────────────────────────*/

static struct route_table routes;

static void routes_begin(void) {
    static const uint64_t seed[2] = {1, 2};
    static const char *const all[] = {
        "/", "/articles", "/articles/:id", "/articles/:id/comments/:comment", "/static/*path",
        "/users/:name", "/users/:name/followers", "/about", "/api/v1/status",
    };
    route_init(&routes, &mem, seed);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        need(route_add(&routes, STR("GET"), str_c(all[i]), (int)i + 1) == 0);
}

static void look_ups(int n) {
    struct route_match m;
    while (n-- > 0) {
        need(route_find(&routes, STR("GET"), STR("/about"), &m) == 8);
        need(route_find(&routes, STR("GET"), STR("/articles/17/comments/4"), &m) == 4);
        need(route_find(&routes, STR("GET"), STR("/nowhere/at/all"), &m) == 0);
    }
}

/* ── timers and sockets ───────────────────────────────────────────────────*/

static struct loop *loop;
static unsigned fired;

static void fire(struct timer *t) {
    (void)t;
    fired++;
}

/* Insert and remove, among a thousand others. */
static void timers(int n) {
    static struct timer others[TIMERS], one;
    for (unsigned i = 0; i < TIMERS; i++) timer_start(loop, &others[i], 60000 + i * 7, fire);
    for (int i = 0; i < n; i++) {
        timer_start(loop, &one, 1000 + (unsigned)i % 5000, fire);
        timer_stop(loop, &one);
    }
    for (unsigned i = 0; i < TIMERS; i++) timer_stop(loop, &others[i]);
}

static void turns(int n) {
    struct timer one = {0};
    for (fired = 0; fired < (unsigned)n; loop_turn(loop, -1))
        if (!timer_active(&one)) timer_start(loop, &one, 0, fire);
}

static struct stream *ends[2];
static int left;

static void on_data(struct stream *s, struct str bytes) {
    if (s == ends[0] && --left < 0) return;
    need(stream_write(s, bytes) >= 0);
}
static void on_close(struct stream *s, int reason) {
    (void)reason;
    ends[s == ends[1]] = NULL;
}
static const struct stream_hooks echo = {.on_data = on_data, .on_close = on_close};

static void serve(struct stream *s, int which) {
    ends[which] = s;
    s->hooks = &echo;
    stream_read(s, true);
}
static void on_accept(struct listener *l, struct stream *s) {
    (void)l;
    serve(s, 1);
}
static void on_connected(void *owner, int status, struct stream *s) {
    (void)owner;
    need(status == 0);
    serve(s, 0);
}

static struct listener *listener;

static void echo_begin(void) {
    static const struct listener_hooks hooks = {on_accept, NULL};
    struct endpoint at = {.kind = ENDPOINT_TCP, .host = "127.0.0.1"};
    struct connector *c;
    struct address bound;
    need(listener_open(loop, &at, &limits_default, &listener) == 0);
    listener_start(listener, &hooks, NULL);
    need(listener_address(listener, 0, &bound) == 0);
    at.port = bound.port;
    need(connector_open(loop, &at, &limits_default, on_connected, NULL, &c) == 0);
    while (!ends[0] || !ends[1]) loop_turn(loop, -1);
}

static void echo_end(void) {
    stream_close(ends[0]);
    stream_close(ends[1]);
    listener_close(listener);
    while (ends[0] || ends[1]) loop_turn(loop, 10);
}

/* 64 bytes there and back through the kernel: both ends are ours. */
static void echoes(int n) {
    left = n;
    need(stream_write(ends[0], STR(FORTY "012345678901234567890123")) >= 0);
    while (left >= 0) loop_turn(loop, -1);
}

/* ── */

static const struct {
    const char *name;
    void (*run)(int n);
} all[] = {
    {"http1: a request and its answer", http1_requests},
    {"line: a line", lines},
    {"netstring: a string", netstrings},
    {"frame: a frame", frames},
    {"route: three paths", look_ups},
    {"timer: start and stop", timers},
    {"loop: a turn with a timer", turns},
    {"tcp: 64 bytes there and back, both ends", echoes},
};

int main(void) {
    mem_init(&mem, 0);
    loop = loop_new(&mem);
    need(loop);
    routes_begin();
    echo_begin();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        all[i].run(WARM);
        CALLGRIND_ZERO_STATS;
        all[i].run(TIMES);
        CALLGRIND_DUMP_STATS_AT(all[i].name);
        printf("%d %s\n", TIMES, all[i].name);
    }
    echo_end();
    route_fini(&routes);
    loop_free(&loop);
    need(!loop && mem.live == 0);
    return 0;
}
