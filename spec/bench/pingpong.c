/* SPDX-License-Identifier: MIT */
/* usage: pingpong -p PORT [-c CONNECTIONS] [-s SIZE] [-t MS] [-w MS] [-b WINDOW]
 *
 * Load for an echo server on 127.0.0.1: every connection sends SIZE bytes, waits
 * until all of them are back, and sends again. With -b it does not wait but
 * keeps up to WINDOW bytes on their way. Every byte that comes back is compared
 * with the one that was sent. Counts for -t ms, after -w ms that do not count;
 * then one line of JSON. Anything unexpected: a message and status 1. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* the stream is a prime number of bytes over and over, so that a shifted or
 * repeated piece does not look right */
enum { PERIOD = 65521, CHUNK = 65536, EVENTS = 256, SLOTS = 100001 };

struct conn {
    int fd;
    uint64_t sent, got;
    double since; /* when the message on its way was sent */
};

static char pattern[PERIOD + CHUNK];
static unsigned histogram[SLOTS]; /* round trips by µs; the last: or more */
static size_t size = 64, window;
static uint64_t messages, bytes;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "pingpong: %s%s%s\n", what, errno ? ": " : "",
            errno ? strerror(errno) : "");
    exit(1);
}

static void dial(struct conn *c, int port, int epoll) {
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0)
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0) fail("epoll_ctl");
}

/* As much as the window and the socket take. What the socket did not take can
 * wait for the next event: there is always some data on its way back. */
static void fill(struct conn *c) {
    while (c->sent - c->got < window) {
        size_t n = window - (size_t)(c->sent - c->got);
        if (n > CHUNK) n = CHUNK;
        ssize_t wrote = send(c->fd, pattern + c->sent % PERIOD, n,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
        if (wrote < 0 && errno == EAGAIN) return;
        if (wrote <= 0) fail("send");
        c->sent += (uint64_t)wrote;
    }
}

static void on_readable(struct conn *c, bool bulk) {
    static char in[CHUNK];
    ssize_t n = recv(c->fd, in, CHUNK, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n == 0) errno = 0;
    if (n <= 0) fail("the server closed a connection");
    errno = 0;
    if ((uint64_t)n > c->sent - c->got) fail("more came back than was sent");
    if (memcmp(in, pattern + c->got % PERIOD, (size_t)n) != 0)
        fail("other bytes came back than were sent");
    c->got += (uint64_t)n;
    bytes += (uint64_t)n;
    if (bulk) {
        fill(c);
    } else if (c->got == c->sent) {
        double t = now();
        long us = (long)((t - c->since) * 1e6);
        histogram[us < SLOTS - 1 ? us : SLOTS - 1]++;
        messages++;
        c->since = t;
        fill(c);
    }
}

static int percentile(double share) {
    uint64_t total = 0, seen = 0;
    for (int i = 0; i < SLOTS; i++) total += histogram[i];
    for (int i = 0; i < SLOTS; i++) {
        seen += histogram[i];
        if (seen && (double)seen >= share * (double)total) return i;
    }
    return 0;
}

static double turn(int epoll, bool bulk) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, 1000);
    if (n < 0 && errno != EINTR) fail("epoll_wait");
    errno = 0;
    if (n == 0) fail("nothing came back for a second");
    for (int i = 0; i < n; i++) on_readable(events[i].data.ptr, bulk);
    return now();
}

int main(int argc, char **argv) {
    int option, port = 0, count = 50;
    double length = 1, warm = 0.1, begin, t;
    bool bulk = false;
    while ((option = getopt(argc, argv, "p:c:s:t:w:b:")) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'c': count = atoi(optarg); break;
        case 's': size = (size_t)atol(optarg); break;
        case 't': length = atof(optarg) / 1e3; break;
        case 'w': warm = atof(optarg) / 1e3; break;
        case 'b': bulk = true, window = (size_t)atol(optarg); break;
        default: return 2;
        }
    }
    if (!bulk) window = size;
    if (port <= 0 || count <= 0 || !window || optind != argc) return 2;
    for (size_t i = 0; i < sizeof pattern; i++) {
        uint32_t x = (uint32_t)(i % PERIOD) * 2654435761u;
        pattern[i] = (char)(x >> 24);
    }
    int epoll = epoll_create1(0);
    struct conn *conns = calloc((size_t)count, sizeof *conns);
    if (epoll < 0 || !conns) fail("start");
    for (int i = 0; i < count; i++) dial(&conns[i], port, epoll);
    errno = 0;
    begin = now();
    for (int i = 0; i < count; i++) {
        conns[i].since = now();
        fill(&conns[i]);
    }
    for (t = begin; t - begin < warm;) t = turn(epoll, bulk);
    messages = bytes = 0;
    memset(histogram, 0, sizeof histogram);
    for (begin = t; t - begin < length;) t = turn(epoll, bulk);
    printf("{\"messages\": %llu, \"bytes\": %llu, \"seconds\": %.6f, "
           "\"p50_us\": %d, \"p99_us\": %d}\n",
           (unsigned long long)messages, (unsigned long long)bytes, t - begin,
           percentile(0.5), percentile(0.99));
    return 0;
}
