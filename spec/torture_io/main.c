/* SPDX-License-Identifier: MIT */
/* torture_io [-v] [PART]: runs the tests whose name contains PART. */
#include "torture.h"

#include <unistd.h>

static unsigned failures_in_test, skipped_in_test;
static const char *running = "";

void check_failed(const char *file, int line, const char *what) {
    if (failures_in_test++ < 5)
        printf("%s:%d: %s\n    in: %s\n", file, line, what, running);
}

unsigned check_failures(void) { return failures_in_test; }

void test_skip(const char *why) {
    printf("skipped: %s: %s\n", running, why);
    skipped_in_test++;
}

static unsigned passed, failed, skipped;

static void run_all(const struct test *t, const char *part, bool verbose) {
    for (; t->name; t++) {
        if (part && !strstr(t->name, part)) continue;
        running = t->name;
        failures_in_test = skipped_in_test = 0;
        alarm(240);
        double began = now_seconds();
        t->run();
        if (verbose)
            printf("%-4s %6.2fs  %s\n", failures_in_test ? "FAIL" : "ok",
                   now_seconds() - began, t->name);
        if (failures_in_test) failed++;
        else if (skipped_in_test) skipped++;
        else passed++;
    }
}

int main(int argc, char **argv) {
    bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    const char *part = argc > 1 + verbose ? argv[1 + verbose] : NULL;
    const struct test *const all[] = {
        loop_tests, threads_tests, stream_tests, filter_tests, proxy_tests, flow_tests, accel_tests,
        tls_tests, tls_resume_tests, tls_store_tests, send_tests,
        listen_tests, datagram_tests, names_tests, file_tests, memory_tests, chaos_tests,
        process_tests, sim_tests, fault_tests,
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        run_all(all[i], part, verbose);
    printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
    return failed != 0;
}
