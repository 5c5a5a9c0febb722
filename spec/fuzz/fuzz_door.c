/* SPDX-License-Identifier: MIT */
/* The door between scripts and the core: random calls with random arguments.
 *
 * The input's first byte says what the worker goes through (a check, a reload,
 * a stop in the middle …), the rest is a program for door.lua, which is the
 * script: it reads the bytes as calls. Whatever is called, nothing may crash,
 * leak, or get by the sanitizers. What could hurt the machine is kept from it
 * by guard/guard.c, and the limits are small ones. */
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guard/guard.h"
#include "ropewalk.h"

enum { MAX_PROGRAM = 4096, MAX_TURNS = 600, TURNS_AFTER = 6, LAST_TURNS = 20, RUN_MS = 500 };
enum shape { CHECK = 1, RELOAD = 2, CALL = 4, CUT = 8, RELOAD_TWICE = 16 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char script[PATH_MAX], room[] = "/tmp/ropewalk-door-XXXXXX";
static int home; /* directory where libFuzzer lives */
static bool talk;

struct input {
    const char *bytes;
    size_t n;
    int read;       /* times that a script has come to its end */
    unsigned calls; /* that it has made */
};

static void require(bool ok, const char *what) {
    if (ok) return;
    perror(what);
    exit(2);
}

static int take_away(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type;
    if (at->level) remove(path);
    return 0;
}

static void empty_room(void) { nftw(room, take_away, 8, FTW_DEPTH | FTW_PHYS); }

static void leave_room(void) {
    empty_room();
    rmdir(room);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    static const char artifacts[] = "-artifact_prefix=";
    for (int i = 1; i < *argc; i++)
        if (strncmp((*argv)[i], artifacts, sizeof artifacts - 1) == 0)
            guard_spare((*argv)[i] + sizeof artifacts - 1);
    require(realpath("spec/fuzz/door.lua", script), "spec/fuzz/door.lua");
    home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    require(home >= 0 && mkdtemp(room), room);
    require(freopen("/dev/null", "r", stdin), "/dev/null");
    atexit(leave_room);
    talk = getenv("DOOR_TALK");
    return 0;
}

/* ── what the script is given ─────────────────────────────────────────────*/

static int give_input(void *owner, const struct rw_value *args, size_t n,
                      struct rw_value *result) {
    const struct input *in = owner;
    (void)args, (void)n;
    *result = (struct rw_value){.type = RW_STRING, .string = in->bytes, .length = in->n};
    return 0;
}

static int end_input(void *owner, const struct rw_value *args, size_t n,
                     struct rw_value *result) {
    struct input *in = owner;
    (void)args, (void)n, (void)result;
    in->read++;
    return 0;
}

static int say(void *owner, const struct rw_value *args, size_t n, struct rw_value *result) {
    struct input *in = owner;
    (void)result;
    in->calls++;
    if (talk && n && args[0].type == RW_STRING)
        fprintf(stderr, "%.*s\n", (int)args[0].length, args[0].string);
    return 0;
}

static void look_at_line(void *owner, int level, const char *line, size_t n) {
    (void)owner, (void)level;
    if (talk) fwrite(line, 1, n, stderr);
}

/* ── what the worker goes through ─────────────────────────────────────────*/

/* Of the processor: what else the machine does is not the input's. */
static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool step(struct rw *rw) {
    enum { LONGEST = 2 };
    int wait = rw_timeout(rw);
    return rw_step(rw, wait < 0 || wait > LONGEST ? LONGEST : wait);
}

static void serve(struct rw *rw, unsigned shape, const struct input *input) {
    enum { FIRST_RELOAD = 12, LAST_RELOAD = 14 };
    const struct rw_value args[] = {rw_integer(1), rw_string("two"), rw_number(0.5)};
    int64_t end = now_ms() + RUN_MS;
    bool alive = rw_start(rw) == 0;
    int wanted = shape & RELOAD ? 2 : 1, least = shape & RELOAD ? LAST_RELOAD : 0, after = 0;
    for (int turn = 0; alive && after < TURNS_AFTER && turn < MAX_TURNS; turn++) {
        unsigned before = input->calls;
        if (now_ms() > end) break;
        if (turn == FIRST_RELOAD && shape & RELOAD) rw_reload(rw);
        if (turn == LAST_RELOAD && shape & RELOAD_TWICE) rw_reload(rw);
        if (input->read >= wanted && turn > least) after++;
        alive = step(rw);
        /* who waits would wait for the rest of the time: another task goes on */
        if (input->calls == before || (turn % 8 == 7 && shape & CALL))
            rw_call(rw, "more", args, 3, NULL, NULL);
    }
    if (shape & CUT) return;
    rw_stop(rw);
    for (int turn = 0; alive && turn < LAST_TURNS; turn++) alive = step(rw);
}

static struct rw *make_worker(struct input *input) {
    static const struct rw_setting limits[] = {
        {"script_slice", "5"}, {"script_budget", "100"}, {"script_memory", "50000000"},
        {"load_timeout", "1000"}, {"drain_timeout", "20"}, {"close_timeout", "20"},
        {"process_grace", "5"}, {"process_timeout", "100"}, {"max_processes", "4"},
        {"threads", "3"}, {"thread_time", "50"}, {"thread_memory", "20000000"},
        {"names_timeout", "20"}, {"simulation_time", "1000"}, {"simulation_turns", "1000"},
        {"max_connections", "64"}, {"max_buffered", "1000000"}, {"high_water", "4096"},
        {"low_water", "1024"},
    };
    struct rw *rw = rw_new(&(struct rw_options){
        .app = script, .log_level = "debug", .log_hook = look_at_line, .limits = limits,
        .limit_count = sizeof limits / sizeof *limits}, NULL);
    if (rw && rw_register(rw, "input", give_input, input) == 0 &&
        rw_register(rw, "say", say, input) == 0 && rw_register(rw, "over", end_input, input) == 0)
        return rw;
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n < 2 || n > MAX_PROGRAM) return -1;
    struct input input = {.bytes = (const char *)data + 1, .n = n - 1};
    require(chdir(room) == 0, room);
    guard_begin();
    struct rw *rw = make_worker(&input);
    if (data[0] & CHECK && data[0] & CUT) rw_check(rw);
    else serve(rw, data[0], &input);
    rw_free(&rw);
    guard_end();
    empty_room();
    require(fchdir(home) == 0, "back");
    return 0;
}
