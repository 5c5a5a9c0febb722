/* SPDX-License-Identifier: MIT */
/* usage: idle -p PORT [-n CONNECTIONS] [-r REQUESTS] [-d DEPTH] [-a N]
 *
 * Opens connections to 127.0.0.1, makes REQUESTS HTTP requests on each (none
 * unless asked), DEPTH at a time, prints "ready", and holds the connections
 * until its standard input ends. At most N connections come from one address
 * (127.0.0.2, 127.0.0.3, …), so that neither ports nor limits per address run
 * out. One request after the other, everything blocking: always the same calls
 * in the same order, which is what counting instructions needs. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ROOM = 65536, MAX_DEPTH = 64 };

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "idle: %s%s%s\n", what, errno ? ": " : "",
            errno ? strerror(errno) : "");
    exit(1);
}

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
    return fd;
}

/* Bytes of the first whole answer in s, 0 when there is none yet. */
static size_t answer(const char *s, size_t n) {
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

static void ask(int fd, const char *requests, size_t size, int depth) {
    static char in[ROOM + 1];
    size_t have = 0, whole;
    if (send(fd, requests, size * (size_t)depth, MSG_NOSIGNAL) !=
        (ssize_t)size * depth)
        fail("send");
    while (depth) {
        ssize_t n = recv(fd, in + have, ROOM - have, 0);
        if (n == 0) errno = 0;
        if (n <= 0) fail("no answer");
        errno = 0;
        have += (size_t)n;
        in[have] = 0;
        while (have && (whole = answer(in, have))) {
            if (depth-- == 0) fail("more answers than requests");
            memmove(in, in + whole, (have -= whole) + 1);
        }
    }
    if (have) fail("bytes after the last answer");
}

int main(int argc, char **argv) {
    static char requests[MAX_DEPTH * 64];
    int option, port = 0, count = 1, each = 0, depth = 1, share = 5000;
    while ((option = getopt(argc, argv, "p:n:r:d:a:")) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'n': count = atoi(optarg); break;
        case 'r': each = atoi(optarg); break;
        case 'd': depth = atoi(optarg); break;
        case 'a': share = atoi(optarg); break;
        default: return 2;
        }
    }
    if (port <= 0 || count <= 0 || share <= 0 || each < 0 || depth < 1 ||
        depth > MAX_DEPTH || each % depth || optind != argc)
        return 2;
    size_t size = 0;
    for (int i = 0; i < depth; i++)
        size = (size_t)sprintf(requests + size * (size_t)i,
                               "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", port);
    for (int i = 0; i < count; i++) {
        int fd = dial(port, 1 + (uint32_t)(i / share));
        errno = 0;
        for (int r = 0; r < each; r += depth) ask(fd, requests, size, depth);
    }
    printf("ready\n");
    fflush(stdout);
    char c;
    while (read(0, &c, 1) > 0) {}
    return 0;
}
