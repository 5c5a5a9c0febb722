/* SPDX-License-Identifier: MIT */
/* Ropewalk, embedded. One `struct rw` is one server: its own loop, its own
 * scripts, nothing shared with another one in the same process. All calls of
 * one instance come from one thread; rw_stop and rw_reload may be called from
 * any thread and from signal handlers.
 *
 *      struct rw *server = rw_new(&(struct rw_options){.app = "app.lua"});
 *      int status = rw_run(server);
 *      rw_free(&server);
 *
 * Functions that can fail return 0 or a negative code; rw_error_text says it
 * in words. */
#ifndef ROPEWALK_H
#define ROPEWALK_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define RW_API __attribute__((visibility("default")))
#else
#define RW_API
#endif

struct rw;

struct rw_setting { /* what scripts see as rw.config.KEY */
    const char *key, *value;
};

struct rw_options {
    const char *app;              /* path of the script; copied */
    const struct rw_setting *settings; /* copied */
    size_t setting_count;
    const char *const *args;      /* what scripts see as rw.args; copied */
    size_t arg_count;
    const struct rw_setting *limits; /* limit name, number; docs/limits.md */
    size_t limit_count;
    const char *log_level;        /* "debug" "info" "warn" "error" "none" */
    const char *log_format;       /* "text" "json" */
    int log_fd;                   /* 0: standard error */
    void (*log_hook)(void *owner, int level, const char *line, size_t n);
    void *log_owner;              /* with log_hook nothing goes to log_fd */
    bool watch;                   /* reload when a file of the script changes */
    bool handle_signals;          /* SIGHUP reloads, SIGTERM and SIGINT stop */
    const char *lua_path;         /* use this tree instead of the built-in library */
};

/* NULL when there is no memory or an option is wrong (then *error, if given,
 * says which; valid until the next call). */
RW_API struct rw *rw_new(const struct rw_options *options, const char **error);

/* Loads the script and serves until rw_stop or SIGTERM. 0: stopped cleanly;
 * RW_ESCRIPT: the script failed (the log says why). */
RW_API int rw_run(struct rw *rw);

/* The same in pieces, for a host that has a loop of its own: after rw_load,
 * call rw_step whenever rw_fd is readable or rw_timeout ms (-1: none) are over,
 * until it returns false. rw_load returns when the script is committed. */
RW_API int rw_load(struct rw *rw);
RW_API bool rw_step(struct rw *rw, int timeout_ms);
RW_API int rw_fd(const struct rw *rw);
RW_API int rw_timeout(const struct rw *rw);

/* Stages the script anew and commits it if it is good; the log has the
 * verdict. */
RW_API void rw_reload(struct rw *rw);

/* Stops accepting, lets what runs finish for at most drain_timeout. A second
 * call does not wait. */
RW_API void rw_stop(struct rw *rw);
RW_API void rw_free(struct rw **rw);

/* Runs the initialisers with nothing bound, and the script's self-tests. 0, or
 * RW_ESCRIPT with the reason in the log. */
RW_API int rw_check(struct rw *rw);

/* Runs the specs with busted: argv as busted wants it (without the program's
 * name). Returns the exit status. */
RW_API int rw_test(struct rw *rw, int argc, const char *const *argv);

RW_API const char *rw_error_text(int code);
RW_API const char *rw_version(void);

/* The table of limits, for help texts: false at the end. */
RW_API bool rw_limit(size_t index, const char **name, const char **unit,
                     unsigned long long *value, const char **comment);

#ifdef __cplusplus
}
#endif
#endif
