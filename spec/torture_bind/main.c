/* SPDX-License-Identifier: MIT */
/* torture_bind [-v] [PART]: plays the scenarios whose name contains PART, each
 * again and again while its first allocation fails, the second, …, until none is
 * left that could. After each the server rests as it did before, and the same
 * exchange, with memory, is perfect. In the end all is given back. */
#include "torture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocations.h"
#include "support/descriptors.h"

enum { SLACK = 12288, HANGS = 60 };

static const char *const outcomes[] = {"perfect", "answered otherwise", "cut", "hung"};
static unsigned complaints, failures, rounds;

static void complain(const struct scenario *s, uint64_t nth, unsigned burst, const char *what) {
    if (complaints++) return;
    printf("%s: %s\n    (allocation %llu failed, %u in a row; it was, with the log:)\n", s->name,
           what, (unsigned long long)nth, burst);
    allocations_blame();
    world_print_log();
}

static bool comes_to_rest(struct world *w) {
    for (int64_t end = now_ms() + PATIENCE_MS; !world_rests(w); world_step(w))
        if (now_ms() > end) return false;
    return true;
}

/* Whether the nth allocation was reached. */
static bool play(struct world *w, const struct scenario *s, uint64_t nth, unsigned burst) {
    alarm(HANGS);
    world_forget_log();
    allocations_arm(nth, burst);
    enum outcome o = s->play(w, s);
    unsigned failed = allocations_disarm();
    failures += failed;
    rounds++;
    if (o == HUNG) complain(s, nth, burst, "it hangs");
    if (!failed && o != PERFECT) complain(s, nth, burst, outcomes[o]);
    if (!comes_to_rest(w)) complain(s, nth, burst, "the server does not come to rest");
    if (!failed) return false;
    o = s->play(w, s);
    if (o != PERFECT) complain(s, nth, burst, "with memory again, it is not perfect");
    if (!comes_to_rest(w)) complain(s, nth, burst, "the server does not come to rest again");
    return true;
}

static void sweep(struct world *w, const struct scenario *s, unsigned burst) {
    bool thinly = s->fails == THINLY || burst > 1;
    for (uint64_t n = 1; !complaints && play(w, s, n, burst);)
        n += thinly ? 1 + n / (burst > 1 ? 4 : 8) : 1;
}

static bool run(struct world *w, const struct scenario *s, bool verbose) {
    enum { WARM = 3 };
    int64_t began = now_ms();
    complaints = 0;
    unsigned before = failures, rounds_before = rounds;
    for (int i = 0; i < WARM; i++) play(w, s, 0, 1);
    size_t memory = world_script_memory(w);
    unsigned generation = world_generation(w);
    sweep(w, s, 1);
    if (s->fails != ONE) sweep(w, s, 8);
    size_t grown = complaints ? 0 : world_script_memory(w);
    if (!complaints && generation == world_generation(w) && grown > memory + SLACK) {
        char text[80];
        snprintf(text, sizeof text, "the script has grown by %zu bytes", grown - memory);
        complain(s, 0, 0, text);
    }
    if (verbose)
        printf("%-4s %6.2fs %5u rounds %6u failures  %s\n", complaints ? "FAIL" : "ok",
               (double)(now_ms() - began) / 1000, rounds - rounds_before, failures - before, s->name);
    return !complaints;
}

int main(int argc, char **argv) {
    bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    const char *part = argv[1 + verbose]; /* or NULL */
    unsigned passed = 0, failed = 0;
    struct world w;
    setvbuf(stdout, NULL, _IOLBF, 0);
    directory_make();
    world_begin(&w); /* once for what is the process's, and stays open */
    world_end(&w);
    unsigned descriptors = open_descriptors();
    world_begin(&w);
    for (const struct scenario *s = scenarios; s->name; s++) {
        if (part && !strstr(s->name, part)) continue;
        if (run(&w, s, verbose)) {
            passed++;
            continue;
        }
        failed++;
        world_end(&w);
        world_begin(&w);
    }
    world_end(&w);
    if (allocations_live() != 0)
        failed++, printf("%lld bytes were not given back\n", (long long)allocations_live());
    if (open_descriptors() != descriptors)
        failed++, printf("%u descriptors were left open\n", open_descriptors() - descriptors);
    directory_remove();
    printf("torture_bind: %u passed, %u failed, %u allocations failed\n", passed, failed, failures);
    return failed != 0;
}
