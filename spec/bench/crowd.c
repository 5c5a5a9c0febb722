/* SPDX-License-Identifier: MIT */
/* usage: crowd -p PORT [-h] [-q] [-a N]
 *
 * A crowd of idle connections to 127.0.0.1, for an echo server or (-h) an HTTP
 * server. At most N (5000) come from one address (127.0.0.2, 127.0.0.3, …). Does what
 * the lines of its standard input say, and answers each with a line of JSON:
 *
 *   open TOTAL          until so many are held; each makes one exchange, unless -q (quiet)
 *   ask MS INTERVAL_US  an exchange every INTERVAL_US: in turn on a new connection, which
 *                       is then closed, and on any of the crowd. Times count from when
 *                       it was due, so that one long wait is seen by all behind it
 *   close               all of them
 */
#include <time.h>

#include "blocking.h"

enum {
    BATCH = 256, /* under way at a time: less than any server's backlog */
    MESSAGE = 64,
    FRESH = 256, /* new connections come from 127.0.1.1 */
};

const char program[] = "crowd";

static int port, http, quiet, share = 5000;
static int *held, count;
static char message[MESSAGE];
static size_t size = MESSAGE;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sleep_until(double when) {
    struct timespec t = {.tv_sec = (time_t)when,
                         .tv_nsec = (long)((when - (double)(time_t)when) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)) {}
}

static void await_answer(int fd) {
    static char in[ROOM + 1];
    size_t have = 0;
    do have = receive(fd, in, have);
    while (http ? !http_answer(in, have) : have < size);
    if (http ? http_answer(in, have) != have : have != size || memcmp(in, message, size) != 0)
        fail("another answer");
}

static void exchange(int fd) {
    send_all(fd, message, size);
    await_answer(fd);
}

/* When the last of a batch has its answer, the server has accepted all. */
static void open_until(int total) {
    double began = now();
    held = realloc(held, (size_t)total * sizeof *held);
    if (!held) fail("realloc");
    while (count < total) {
        int first = count;
        while (count < total && count < first + BATCH) {
            int fd = dial(port, 1 + (uint32_t)(count / share));
            held[count++] = fd;
            if (!quiet) send_all(fd, message, size);
        }
        for (int i = first; i < count && !quiet; i++) await_answer(held[i]);
        if (quiet) {
            int fd = dial(port, FRESH);
            exchange(fd);
            close(fd);
        }
    }
    printf("{\"open\": %d, \"seconds\": %.6f}\n", count, now() - began);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_times(const char *name, double *times, int n) {
    qsort(times, (size_t)n, sizeof *times, compare);
    printf("\"%s\": {\"n\": %d, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}", name, n,
           times[n / 2] * 1e6, times[n * 99 / 100] * 1e6, times[n - 1] * 1e6);
}

static void ask(int ms, int interval_us) {
    static uint32_t random = 1;
    int n = (int)((int64_t)ms * 1000 / interval_us / 2);
    if (n < 1 || !count) fail("nothing to ask");
    double *fresh = malloc(2 * (size_t)n * sizeof *fresh);
    if (!fresh) fail("malloc");
    double *old = fresh + n;
    double began = now();
    for (int i = 0; i < 2 * n; i++) {
        double due = began + i * (interval_us / 1e6);
        sleep_until(due);
        random = random * 1664525 + 1013904223;
        int fd = i % 2 ? held[(random >> 4) % (uint32_t)count] : dial(port, FRESH);
        exchange(fd);
        (i % 2 ? old : fresh)[i / 2] = now() - due;
        if (i % 2 == 0) close(fd);
    }
    double seconds = now() - began;
    printf("{\"seconds\": %.6f, ", seconds);
    print_times("new", fresh, n);
    printf(", ");
    print_times("old", old, n);
    printf("}\n");
    free(fresh);
}

static void close_all(void) {
    double began = now();
    int n = count;
    while (count) close(held[--count]);
    printf("{\"closed\": %d, \"seconds\": %.6f}\n", n, now() - began);
}

int main(int argc, char **argv) {
    int option, a, b;
    while ((option = getopt(argc, argv, "p:hqa:")) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'h': http = 1; break;
        case 'q': quiet = 1; break;
        case 'a': share = atoi(optarg); break;
        default: return 2;
        }
    }
    if (port <= 0 || share <= 0 || optind != argc) return 2;
    for (int i = 0; i < MESSAGE; i++) message[i] = (char)('!' + i);
    if (http) size = http_request(message, sizeof message, port);
    char line[128];
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "open %d", &a) == 1 && a > count) open_until(a);
        else if (sscanf(line, "ask %d %d", &a, &b) == 2 && a > 0 && b > 0) ask(a, b);
        else if (strcmp(line, "close\n") == 0) close_all();
        else fail("no such command");
        fflush(stdout);
    }
    return 0;
}
