/* SPDX-License-Identifier: MIT */
/* Blocking connections to a server on 127.0.0.1, each from an address of its
 * choice, for load programs that care about order or number, not speed. The
 * program names itself in `program`. */
#ifndef BENCH_BLOCKING_H
#define BENCH_BLOCKING_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ROOM = 65536 };

extern const char program[];

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "%s: %s%s%s\n", program, what, errno ? ": " : "",
            errno ? strerror(errno) : "");
    exit(1);
}

/* From the address 127.0.0.1 + `from`. */
static int dial(int port, uint32_t from) {
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK + from)};
    struct timeval patience = {.tv_sec = 60};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0) fail("bind");
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons((uint16_t)port);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) fail("connect");
    errno = 0;
    return fd;
}

static inline void send_all(int fd, const char *bytes, size_t n) {
    if (send(fd, bytes, n, MSG_NOSIGNAL) != (ssize_t)n) fail("send");
}

/* More bytes behind the `have` that are there; returns how many there are. */
static inline size_t receive(int fd, char in[ROOM + 1], size_t have) {
    ssize_t n = recv(fd, in + have, ROOM - have, 0);
    if (n == 0) errno = 0;
    if (n <= 0) fail("no answer");
    errno = 0;
    in[have + (size_t)n] = 0;
    return have + (size_t)n;
}

/* One HTTP request; its size. */
static size_t http_request(char *out, size_t size, int port) {
    return (size_t)snprintf(out, size, "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", port);
}

/* Bytes of the first whole HTTP answer in s, 0 when there is none yet. */
static size_t http_answer(const char *s, size_t n) {
    static const char field[] = "\r\ncontent-length:";
    const char *end = memmem(s, n, "\r\n\r\n", 4);
    if (!end) return 0;
    if (n < 12 || memcmp(s, "HTTP/1.1 200", 12) != 0) fail("not a 200");
    for (const char *p = s; p < end; p++) {
        if (strncasecmp(p, field, sizeof field - 1) != 0) continue;
        size_t body = strtoul(p + sizeof field - 1, NULL, 10);
        size_t whole = (size_t)(end + 4 - s) + body;
        return whole <= n ? whole : 0;
    }
    fail("an answer without Content-Length");
}

#endif
