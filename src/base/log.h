/* SPDX-License-Identifier: MIT */
/* The log: one line per event, a message and named fields.
 *
 *      log_info(l, "listening", LF_STR("endpoint", s), LF_INT("generation", 3));
 *
 *      2026-01-02T03:04:05.123Z info  listening endpoint=tcp:127.0.0.1:7000 generation=3
 *      {"time":"2026-01-02T03:04:05.123Z","level":"info","message":"listening",…}
 *
 * A peer's bytes can be logged as they are: whatever could forge a line, a
 * field or a terminal sequence is escaped. A line is made on the stack, at most
 * LOG_LINE_MAX bytes (then it ends in "…"), and goes out in one write, so that
 * lines of several processes do not mix. A reader who does not read costs the
 * caller LOG_PATIENCE ms once, and then the lines: they are counted, and the
 * number is logged when the reader is back. (Who logs to a pipe ignores
 * SIGPIPE.)
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/str.h"

enum {
    LOG_LINE_MAX = 4096, /* PIPE_BUF: atomic on pipes, and fits when poll says so */
    LOG_PATIENCE = 100,  /* ms */
};

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_NONE };
enum log_format { LOG_TEXT, LOG_JSON };

typedef void (*log_sink)(void *context, enum log_level level, struct str line);

struct log_file;

struct log {
    int fd;
    struct log_file *file; /* whose fd that is, not freed here; NULL: no file that turns */
    enum log_level level; /* what is below is not logged */
    enum log_format format;
    log_sink sink;        /* instead of fd; `line` ends in '\n' */
    void *context;        /* for sink */
    uint64_t dropped;     /* lines, all in all */
    uint64_t unreported;  /* of these, not yet logged */
    bool stalled;         /* the last line could not be written */
    bool torn;            /* … or only its beginning */
};

enum log_kind { LOG_STR, LOG_BLOCK, LOG_INT, LOG_UINT, LOG_REAL, LOG_BOOL, LOG_ERR };
struct log_field {
    const char *key;
    enum log_kind kind;
    union {
        struct str str;
        int64_t num;
        uint64_t count;
        double real;
        bool yes;
    };
};

#define LF_STR(k, v) ((struct log_field){.key = (k), .kind = LOG_STR, .str = (v)})
#define LF_Z(k, v) LF_STR(k, str_c(v))
#define LF_INT(k, v) ((struct log_field){.key = (k), .kind = LOG_INT, .num = (v)})
#define LF_UINT(k, v) ((struct log_field){.key = (k), .kind = LOG_UINT, .count = (v)})
#define LF_REAL(k, v) ((struct log_field){.key = (k), .kind = LOG_REAL, .real = (v)})
#define LF_BOOL(k, v) ((struct log_field){.key = (k), .kind = LOG_BOOL, .yes = (v)})
/* A code of err.h, written as its text. */
#define LF_ERR(k, v) ((struct log_field){.key = (k), .kind = LOG_ERR, .num = (v)})
/* Several lines (a traceback): in the text format they follow the line, each
 * indented. */
#define LF_BLOCK(k, v) ((struct log_field){.key = (k), .kind = LOG_BLOCK, .str = (v)})

/* Text, from LOG_INFO on. */
void log_init(struct log *l, int fd);

static inline bool log_wants(const struct log *l, enum log_level level) {
    return level >= l->level;
}

/* Never fails, never waits longer than LOG_PATIENCE, keeps errno. */
void log_write(struct log *l, enum log_level level, struct str message,
               const struct log_field *fields, size_t n);

/* The fields are not even computed when the level is off. */
#define log_at(l, lvl, msg, ...)                                               \
    do {                                                                       \
        if (log_wants((l), (lvl))) {                                           \
            const struct log_field log_fields_[] = {{0}, ##__VA_ARGS__};       \
            log_write((l), (lvl), str_c(msg), log_fields_ + 1,                 \
                      sizeof log_fields_ / sizeof *log_fields_ - 1);           \
        }                                                                      \
    } while (0)
#define log_debug(l, ...) log_at((l), LOG_DEBUG, __VA_ARGS__)
#define log_info(l, ...) log_at((l), LOG_INFO, __VA_ARGS__)
#define log_warn(l, ...) log_at((l), LOG_WARN, __VA_ARGS__)
#define log_error(l, ...) log_at((l), LOG_ERROR, __VA_ARGS__)

/* "debug" … "error", "none"; "text", "json": 0 or RW_EINVAL. */
int log_level_parse(struct str name, enum log_level *out);
int log_format_parse(struct str name, enum log_format *out);

#endif
