/* SPDX-License-Identifier: MIT */
/* Pools of threads. What they do for scripts is in spec/e2e/thread_spec.lua. */
#include "torture.h"

#include <unistd.h>

#include "base/container.h"
#include "io/threads.h"

struct report {
    struct thread_note note;
    struct thread_job job;
    unsigned id;
};

static struct thread_pool *reporters;
static unsigned told_reports, dropped_reports;

static void report_told(struct thread_note *n) {
    told_reports++;
    CHECK_EQ(((struct report *)n)->id, 0);
    thread_pool_close(&reporters);
}
static void report_dropped(struct thread_note *n) {
    (void)n;
    dropped_reports++;
}
static void job_dropped(struct thread_job *job) { (void)job; }
static void *reporter_begin(void *owner, struct thread_pool *p) {
    (void)owner;
    return p;
}
static void reporter_end(void *thread) { (void)thread; }
static void reporter_run(void *thread, struct thread_job *job) {
    struct report *all = CONTAINER(job, struct report, job);
    for (unsigned i = 0; i < 3; i++) {
        all[i] = (struct report){.note = {.deliver = report_told, .drop = report_dropped}, .id = i};
        CHECK(thread_pool_post(thread, &all[i].note, true));
    }
}

/* A note that closes the pool is the last that is told. */
static void pool_closed_by_a_note(void) {
    static const struct thread_ops ops = {reporter_begin, reporter_run, reporter_end, job_dropped};
    struct world w;
    struct report reports[3] = {0};
    world_begin(&w);
    reporters = thread_pool_new(w.loop, &(struct thread_pool_options){
                                            .max = 1, .queue = 10, .ops = &ops});
    told_reports = dropped_reports = 0;
    CHECK_EQ(thread_pool_add(reporters, &reports[0].job), 0);
    usleep(20000); /* all are posted */
    for (int i = 0; i < 100 && reporters; i++) loop_turn(w.loop, 10);
    world_end(&w);
    CHECK_EQ(told_reports, 1);
    CHECK_EQ(dropped_reports, 2);
}

const struct test threads_tests[] = {
    {"a pool of threads that is closed by a note", pool_closed_by_a_note},
    {0},
};
