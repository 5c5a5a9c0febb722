/* SPDX-License-Identifier: MIT */
/* How long one request takes in the http1 engine: head in, events out, with and
 * without its answer. Each figure is the best of several rounds, because the
 * machine has other things to do as well.
 *
 *      cc -O2 -D_GNU_SOURCE -Isrc spec/bench/http1_parse.c src/base/buf.c \
 *          src/base/mem.c src/base/str.c src/base/limits.c \
 *          src/proto/http1*.c src/proto/scan.c && ./a.out
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "proto/http1.h"
#include "proto/scan.h"

enum { ROUNDS = 300, REQUESTS = 2000 };

static const char tiny[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
static const char browser[] =
    "GET /articles/2024/rope.html HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 "
    "Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    "\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Connection: keep-alive\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "Cookie: session=0123456789abcdef; a=b\r\n"
    "Priority: u=0, i\r\n\r\n";

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void one(struct http1 *e, struct str in, bool answer) {
    struct str data;
    int rc;
    if (http1_feed(e, in) != (int64_t)in.n) abort();
    while ((rc = http1_next(e, &data)) > 0) {
        if (rc != HTTP1_REQUEST + 1) continue;
        if (answer) {
            buf_clear(e->env.out);
            http1_respond(e, 200, STR("text/plain; charset=utf-8"),
                          STR("Hello from Ropewalk\n"),
                          STR("Thu, 01 Jan 1970 00:00:00 GMT"));
        } else { /* what an answer does to the state, without writing one */
            e->out = HTTP1_OUT_DONE;
        }
    }
    if (rc < 0 || !http1_idle(e)) abort();
}

static void measure(const char *what, struct str in, bool answer) {
    struct mem mem;
    struct buf out;
    struct http1 e;
    mem_init(&mem, 0);
    buf_init(&out, &mem, 1 << 20);
    struct engine_env env = {.role = ROLE_SERVER, .limits = &limits_default,
                             .mem = &mem, .out = &out};
    http1_init(&e, &env);
    double best = 1e9;
    for (int i = 0; i < ROUNDS; i++) {
        double from = seconds();
        for (int k = 0; k < REQUESTS; k++) one(&e, in, answer);
        double took = (seconds() - from) / REQUESTS;
        if (took < best) best = took;
    }
    printf("%-8s %4zu bytes, %s: %6.1f ns\n", what, in.n,
           answer ? "parsed and answered" : "parsed             ", best * 1e9);
    http1_fini(&e);
    buf_release(&out);
}

int main(void) {
    static const char *const kinds[] = {"avx2", "sse2", "scalar"};
    printf("sizeof(struct http1) = %zu\n", sizeof(struct http1));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!scan_use(kinds[i])) continue;
        printf("-- wide scan: %s\n", kinds[i]);
        for (int answer = 0; answer < 2; answer++) {
            measure("tiny", STR(tiny), answer);
            measure("browser", STR(browser), answer);
        }
    }
    return 0;
}
