/* SPDX-License-Identifier: MIT */
/* usage: idle -p PORT [-n CONNECTIONS] [-r REQUESTS] [-d DEPTH] [-a N]
 *
 * Opens connections to 127.0.0.1, makes REQUESTS HTTP requests on each (none
 * unless asked), DEPTH at a time, prints "ready", and holds the connections
 * until its standard input ends. At most N connections come from one address
 * (127.0.0.2, 127.0.0.3, …), so that neither ports nor limits per address run
 * out. One request after the other, everything blocking: always the same calls
 * in the same order, which is what counting instructions needs. */
#include "blocking.h"

enum { MAX_DEPTH = 64 };

const char program[] = "idle";

static void ask(int fd, const char *requests, size_t size, int depth) {
    static char in[ROOM + 1];
    size_t have = 0, whole;
    send_all(fd, requests, size * (size_t)depth);
    while (depth) {
        have = receive(fd, in, have);
        while (have && (whole = http_answer(in, have))) {
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
        size = http_request(requests + size * (size_t)i, 64, port);
    for (int i = 0; i < count; i++) {
        int fd = dial(port, 1 + (uint32_t)(i / share));
        for (int r = 0; r < each; r += depth) ask(fd, requests, size, depth);
    }
    printf("ready\n");
    fflush(stdout);
    char c;
    while (read(0, &c, 1) > 0) {}
    return 0;
}
