/* SPDX-License-Identifier: MIT */
/* torture [-v] [PATH…]: finds the transcripts, runs them, sums up. */
#include <dirent.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "torture.h"

enum { MAX_SECONDS = 120 /* for one behaviour: an engine that hangs is a finding */ };

struct totals {
    size_t passed, failed, skipped;
    bool verbose;
};

/* ---- crashes: say where we were, then die ---- */

static void say_where(void) {
    if (!torture_now.behaviour) return;
    fprintf(stderr, "\nwhile running %s:%d %.*s (", torture_now.script->path,
            torture_now.behaviour->line, STR_FMT(torture_now.behaviour->title));
    plan_print(stderr, &torture_now.plan);
    fprintf(stderr, ")\n");
}

void __asan_on_error(void);
void __asan_on_error(void) { say_where(); } /* the sanitizer's hook */

static void on_crash(int sig) {
    say_where(); /* stdio in a handler: we are lost anyway */
    fprintf(stderr, "%s\n", sig == SIGALRM ? "the engine hangs" : strsignal(sig));
    _exit(1);
}

static void watch_crashes(void) {
    struct sigaction action = {.sa_handler = on_crash};
    sigaction(SIGALRM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* leaves_log.c fills a file */
#ifndef __SANITIZE_ADDRESS__
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGABRT, &action, NULL);
    sigaction(SIGFPE, &action, NULL);
#endif
}

/* ---- a file ---- */

static char *read_all(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = NULL;
    size_t cap = 0;
    *n = 0;
    do {
        cap = cap ? 2 * cap : 65536;
        char *more = realloc(text, cap);
        if (!more) abort();
        text = more;
        *n += fread(text + *n, 1, cap - *n, f);
    } while (*n == cap);
    fclose(f);
    return text;
}

static void print_failure(const struct script *s, const struct behaviour *b,
                          const struct plan *plan, const struct verdict *v) {
    printf("  FAIL %s:%d %.*s (", s->path, v->line, STR_FMT(b->title));
    plan_print(stdout, plan);
    printf(")\n");
    struct str report = v->report.data ? buf_str(&v->report) : STR("no memory");
    while (report.n) {
        struct str line = str_cut(&report, '\n');
        printf("       %.*s\n", STR_FMT(line));
    }
}

static bool run_behaviour(const struct script *s, const struct behaviour *b,
                          struct totals *totals, uint64_t *runs) {
    struct mem mem;
    struct plan plan = {0};
    struct verdict v = {0};
    if (b->skip.n) {
        totals->skipped++;
        printf("  skip %s:%d %.*s: %.*s\n", s->path, b->line, STR_FMT(b->title), STR_FMT(b->skip));
        return true;
    }
    mem_init(&mem, 0);
    buf_init(&v.report, &mem, 64 << 10);
    alarm(MAX_SECONDS);
    uint64_t before = *runs;
    bool ok = torture(s, b, &plan, &v, runs);
    alarm(0);
    if (!ok) print_failure(s, b, &plan, &v);
    else if (totals->verbose)
        printf("  ok   %.*s (%" PRIu64 ")\n", STR_FMT(b->title), *runs - before);
    ok ? totals->passed++ : totals->failed++;
    buf_release(&v.report);
    return ok;
}

static const struct engine *engine_of(const char *path) {
    char *copy = strdup(path);
    if (!copy) abort();
    const struct engine *engine = engine_find(str_c(basename(dirname(copy))));
    free(copy);
    return engine;
}

static void run_file(const char *path, struct totals *totals) {
    size_t n = 0;
    uint64_t runs = 0;
    struct script s;
    const struct engine *engine = engine_of(path);
    char *text = read_all(path, &n);
    if (!text || !engine) {
        totals->failed++;
        printf("  FAIL %s: %s\n", path, text ? "its directory names no engine" : strerror(errno));
        free(text);
        return;
    }
    struct totals before = *totals;
    if (script_parse(&s, engine, path, str_of(text, n))) {
        for (size_t i = 0; i < s.count; i++) run_behaviour(&s, &s.behaviours[i], totals, &runs);
    } else {
        totals->failed++;
        printf("  FAIL %s:%d %s\n", path, s.bad_line, s.bad_text);
    }
    printf("%s: %zu passed, %zu failed, %zu skipped, %" PRIu64 " runs\n", path,
           totals->passed - before.passed, totals->failed - before.failed,
           totals->skipped - before.skipped, runs);
    fflush(stdout);
    script_free(&s);
    free(text);
}

/* ---- directories ---- */

static int is_transcript(const struct dirent *entry) {
    size_t n = strlen(entry->d_name);
    return entry->d_name[0] != '.' && strcmp(entry->d_name, "README.md") != 0 &&
           (!strchr(entry->d_name, '.') || (n > 3 && strcmp(entry->d_name + n - 3, ".md") == 0));
}

static void run_path(const char *path, struct totals *totals) {
    struct stat st;
    struct dirent **entries;
    int n;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode) ||
        (n = scandir(path, &entries, is_transcript, alphasort)) < 0) {
        run_file(path, totals);
        return;
    }
    for (int i = 0; i < n; i++) {
        char *below;
        if (asprintf(&below, "%s/%s", path, entries[i]->d_name) < 0) abort();
        run_path(below, totals);
        free(below);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv) {
    struct totals totals = {0};
    int option;
    while ((option = getopt(argc, argv, "v")) != -1) {
        if (option != 'v') {
            fprintf(stderr, "usage: torture [-v] [PATH...]\n");
            return 2;
        }
        totals.verbose = true;
    }
    watch_crashes();
    check_leaves(&totals.passed, &totals.failed);
    for (int i = optind; i < argc; i++) run_path(argv[i], &totals);
    if (optind == argc) run_path("spec/wire", &totals);
    printf("%zu passed, %zu failed, %zu skipped\n", totals.passed, totals.failed, totals.skipped);
    return totals.failed ? 1 : 0;
}
