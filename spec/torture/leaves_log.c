/* SPDX-License-Identifier: MIT */
/* base/log: what a line looks like, and a reader who does not read. */
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "torture.h"

struct catcher {
    char text[2 * LOG_LINE_MAX];
    size_t n;
};

static void catch_line(void *context, enum log_level level, struct str line) {
    struct catcher *c = context;
    (void)level;
    c->n = line.n;
    memcpy(c->text, line.p, line.n);
    c->text[c->n] = '\0';
}

/* Is it the line, its time aside? `want` begins behind the time. */
static bool is_line(const struct catcher *c, const char *before, const char *want) {
    size_t lead = strlen(before), time = strlen("2026-01-02T03:04:05.123Z");
    return c->n > lead + time && strncmp(c->text, before, lead) == 0 &&
           c->text[lead + time - 1] == 'Z' && c->text[lead + 10] == 'T' &&
           strcmp(c->text + lead + time, want) == 0;
}

static void check_text(struct log *l, const struct catcher *c) {
    log_info(l, "listening", LF_Z("endpoint", "tcp:127.0.0.1:7000"), LF_INT("generation", 1));
    CHECK(is_line(c, "", " info  listening endpoint=tcp:127.0.0.1:7000 generation=1\n"));
    log_error(l, "two words", LF_Z("a", ""), LF_Z("b", "x y"), LF_Z("c", "q\"u\\o"), LF_Z("d", "a=b"),
              LF_BOOL("e", true), LF_REAL("f", 0.25), LF_UINT("g", UINT64_MAX), LF_INT("h", INT64_MIN),
              LF_ERR("i", RW_EOF));
    CHECK(is_line(c, "", " error two words a=\"\" b=\"x y\" c=\"q\\\"u\\\\o\" d=\"a=b\" e=true f=0.25 "
                  "g=18446744073709551615 h=-9223372036854775808 i=\"end of stream\"\n"));
    log_warn(l, "grüße", LF_Z("v", "größe"), LF_Z("bad key=\n", "v"));
    CHECK(is_line(c, "", " warn  grüße v=größe bad_key__=v\n"));
    /* what would forge a line, a field, or reach the terminal */
    log_warn(l, "a\n2026-01-02T03:04:05.123Z error forged=yes", LF_STR("v", STR("\r\n\t\0\x1b[31m\xff")),
             LF_Z("c1", "\xc2\x9b" "31m"), LF_Z("bidi", "\u202e"));
    CHECK(is_line(c, "", " warn  \"a\\n2026-01-02T03:04:05.123Z error forged=yes\" "
                  "v=\"\\r\\n\\t\\x00\\x1b[31m\\xff\" c1=\"\\x9b31m\" bidi=\"\\u202e\"\n"));
    log_info(l, "k=v");
    CHECK(is_line(c, "", " info  \"k=v\"\n"));
    log_error(l, "script error", LF_BLOCK("traceback", STR("a.lua:1: \"x\"\n\tin b\x1b\n\n")), LF_INT("n", 1));
    CHECK(is_line(c, "", " error script error n=1\n    a.lua:1: \"x\"\n    \tin b\\x1b\n"));
    size_t before = c->n;
    log_debug(l, "not wanted");
    CHECK(c->n == before);
}

static void check_json(struct log *l, const struct catcher *c) {
    l->format = LOG_JSON;
    log_info(l, "m", LF_Z("bidi", "a\u202e\u2066\ufeff\u2028\u00e9\U0001f600"));
    CHECK(is_line(c, "{\"time\":\"", "\",\"level\":\"info\",\"message\":\"m\","
                  "\"bidi\":\"a\\u202e\\u2066\\ufeff\\u2028\u00e9\U0001f600\"}\n"));
    log_info(l, "list\"ening\n", LF_Z("a", "x\x1b\xff"), LF_INT("b", -1), LF_BOOL("c", false),
             LF_REAL("d", 1.0 / 0.0), LF_BLOCK("e", STR("a\n\tb")));
    CHECK(is_line(c, "{\"time\":\"", "\",\"level\":\"info\",\"message\":\"list\\\"ening\\n\",\"a\":\"x\\u001b\xef\xbf\xbd\","
                  "\"b\":-1,\"c\":false,\"d\":null,\"e\":\"a\\n\\tb\"}\n"));
}

/* Every length of a value around the point where it no longer fits: from there
 * on lines are cut, no shorter than they have to be. */
static void check_cuts(struct log *l, const struct catcher *c) {
    static char text[LOG_LINE_MAX + 100];
    for (size_t i = 0; i + 1 < sizeof text; i += 2) memcpy(text + i, "\xc3\xa9", 2);
    for (int way = 0; way < 4; way++) {
        bool cut = false, json = way / 2;
        for (size_t n = LOG_LINE_MAX - 200; n + 1 < sizeof text; n += 2) {
            l->format = json ? LOG_JSON : LOG_TEXT;
            log_info(l, way % 2 ? "m" : "mm", LF_STR("value", str_of(text, n)), LF_Z("k", "last words"));
            CHECK(!cut || !strstr(c->text, "last words\""));
            cut = cut || !strstr(c->text, "last words\"");
            const char *end = json ? cut ? "\"truncated\":true}\n" : "\"}\n" : cut ? " \u2026\n" : "\"\n";
            CHECK(c->n < LOG_LINE_MAX && strcmp(c->text + c->n - strlen(end), end) == 0);
            CHECK(!cut || c->n > LOG_LINE_MAX - 60);
        }
        CHECK(cut);
    }
}

void check_log_lines(void) {
    struct catcher c = {.n = 0};
    struct log l;
    log_init(&l, -1);
    l.sink = catch_line;
    l.context = &c;
    check_text(&l, &c);
    check_json(&l, &c);
    check_cuts(&l, &c);
    enum log_level level;
    enum log_format format;
    CHECK(log_level_parse(STR("warn"), &level) == 0 && level == LOG_WARN);
    CHECK(log_level_parse(STR("loud"), &level) == RW_EINVAL);
    CHECK(log_format_parse(STR("json"), &format) == 0 && format == LOG_JSON);
}

static int64_t milliseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Nobody reads the pipe: lines get lost, time does not; then somebody does. */
static void check_full_pipe(void) {
    int ends[2];
    char text[1 << 17];
    struct log l;
    CHECK(pipe(ends) == 0);
    log_init(&l, ends[1]);
    int64_t began = milliseconds();
    for (int i = 0; i < 5000; i++) log_info(&l, "a line of some length", LF_INT("number", i));
    CHECK(milliseconds() - began < 1000 && l.dropped > 0 && l.unreported == l.dropped);
    uint64_t lost = l.dropped;
    errno = EDOM;
    ssize_t n = read(ends[0], text, sizeof text);
    CHECK(n > 0 && text[n - 1] == '\n');
    log_info(&l, "back");
    CHECK(l.unreported == 0 && l.dropped == lost && errno == EDOM);
    n = read(ends[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    char want[64];
    snprintf(want, sizeof want, " warn  log lines were lost lines=%u\n", (unsigned)lost);
    CHECK(strstr(text, want) && strstr(text, " info  back\n"));
    close(ends[0]);
    close(ends[1]);
    log_info(&l, "to nobody");
    CHECK(l.dropped == lost + 1);
}

/* A file that ends in the middle of a line: the next one begins its own. */
static void check_torn(void) {
    char name[] = "/tmp/torture-log-XXXXXX", text[256];
    int fd = mkstemp(name);
    struct rlimit old = {0}, small;
    struct log l;
    CHECK(fd >= 0 && getrlimit(RLIMIT_FSIZE, &old) == 0);
    unlink(name);
    log_init(&l, fd);
    small = old;
    small.rlim_cur = 10;
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    log_info(&l, "cut off"); /* ten bytes, then EFBIG: SIGXFSZ is ignored */
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0 && l.torn && l.dropped == 1);
    log_info(&l, "whole");
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    CHECK(n > 11 && text[10] == '\n' && strstr(text, " info  whole\n") && !l.torn);
    close(fd);
}

void check_log_files(void) {
    check_full_pipe();
    check_torn();
}
