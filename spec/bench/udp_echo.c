/* SPDX-License-Identifier: MIT */
/* usage: udp_echo serve          plain recvfrom and sendto, prints its port
 *        udp_echo load PORT SECONDS   keeps 64 datagrams of 64 bytes under way
 *                                and prints how many came back in a second
 *
 * What a datagram costs at the least, to compare apps/udp_echo.lua with. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { WINDOW = 64, SIZE = 64 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int serve(int fd) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    char bytes[2048];
    if (bind(fd, (struct sockaddr *)&at, size) < 0) return 1;
    if (getsockname(fd, (struct sockaddr *)&at, &size) < 0) return 1;
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        size = sizeof at;
        ssize_t n = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&at, &size);
        if (n >= 0) sendto(fd, bytes, (size_t)n, 0, (struct sockaddr *)&at, size);
    }
}

static int load(int fd, int port, double seconds) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char bytes[SIZE] = {0};
    unsigned long count = 0;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) return 1;
    double begin = now(), end = begin + seconds;
    for (int i = 0; i < WINDOW; i++) send(fd, bytes, sizeof bytes, 0);
    while (now() < end) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, 100) == 0) /* lost: begin anew */
            for (int i = 0; i < WINDOW; i++) send(fd, bytes, sizeof bytes, 0);
        while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) >= 0) {
            count++;
            send(fd, bytes, sizeof bytes, 0);
        }
    }
    printf("%.0f\n", (double)count / (now() - begin));
    return 0;
}

int main(int argc, char **argv) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (argc == 2 && strcmp(argv[1], "serve") == 0) return serve(fd);
    if (argc == 4 && strcmp(argv[1], "load") == 0) return load(fd, atoi(argv[2]), atof(argv[3]));
    fprintf(stderr, "usage: udp_echo serve | load PORT SECONDS\n");
    return 2;
}
