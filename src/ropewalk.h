/* SPDX-License-Identifier: MIT */
/* Ropewalk, embedded. One `struct rw` is one server: its own loop, its own
 * scripts, nothing shared with another one in the same process. All calls of
 * one instance, rw_new included, come from one thread; only rw_stop and
 * rw_reload may be called from any thread and from signal handlers.
 *
 *      struct rw *server = rw_new(&(struct rw_options){.app = "app.lua"}, NULL);
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
    const char *log_file;         /* NULL: log_fd; else a path, which is appended to … */
    const char *log_rotate;       /* … until it is so large ("10M"), or "daily"; NULL: for ever */
    const char *log_keep;         /* how many old ones, FILE.1 and so on; NULL: 7 */
    /* a line of the log, ending in a newline; level 0 (debug) to 3 (error). On the
     * instance's thread; nothing goes to log_fd then. */
    void (*log_hook)(void *owner, int level, const char *line, size_t n);
    void *log_owner;
    bool watch;                   /* reload when a file of the script changes */
    bool handle_signals;          /* SIGHUP reloads, SIGTERM and SIGINT stop */
    bool raise_nofile;            /* the process's soft limit of open files becomes the hard one */
    const char *lua_path;         /* use this tree instead of the built-in library */
};

/* NULL when there is no memory or an option is wrong (then *error, if given,
 * says which; valid until the next call). */
RW_API struct rw *rw_new(const struct rw_options *options, const char **error);

/* Loads the script and serves until rw_stop or SIGTERM. 0: stopped cleanly;
 * RW_ESCRIPT: the script failed (the log says why). */
RW_API int rw_run(struct rw *rw);

/* The same in pieces, for a host that has a loop of its own. rw_start begins to
 * load the script and returns at once (negative: no memory); then, until
 * rw_step returns false,
 *
 *      wait until rw_fd is readable or rw_timeout ms are over (-1: no time)
 *      rw_step(rw, 0)
 *
 * rw_fd stays the same for the life of an instance. Ask rw_timeout anew before
 * each wait: any call of this header may change it. rw_step(rw, 0) never waits;
 * with -1 or a time it waits at most that long. A script gets slices of
 * script_slice ms of processor time in it. rw_step returns false when the
 * instance has stopped; rw_status says how. */
RW_API int rw_start(struct rw *rw);
RW_API bool rw_step(struct rw *rw, int timeout_ms);
RW_API int rw_fd(const struct rw *rw);
RW_API int rw_timeout(const struct rw *rw);

/* rw_start, and waits until the script is committed (0) or has failed. */
RW_API int rw_load(struct rw *rw);

/* What rw_run returns: 0 so far; RW_ESCRIPT: the first load failed; or the
 * number that the script gave to rw.reactor:stop. */
RW_API int rw_status(const struct rw *rw);

/* Is the script live? False before its first commit and after a stop. */
RW_API bool rw_serving(const struct rw *rw);

/* From the next load or reload on the script is this text (copied), not the
 * file; `name` stands for it in messages, and its directory is where modules
 * are looked for first. 0 or no memory. */
RW_API int rw_script(struct rw *rw, const char *name, const char *text, size_t n);

/* ── values, and calls between host and scripts ───────────────────────────*/

enum rw_type { RW_NIL, RW_BOOLEAN, RW_INTEGER, RW_NUMBER, RW_STRING };
struct rw_value {
    enum rw_type type;
    union {
        bool boolean;
        long long integer;
        double number;
        const char *string; /* `length` bytes; borrowed until the call returns */
    };
    size_t length;
};
enum { RW_MAX_ARGS = 16 };

RW_API struct rw_value rw_boolean(bool b);
RW_API struct rw_value rw_integer(long long n);
RW_API struct rw_value rw_number(double n);
RW_API struct rw_value rw_string(const char *text); /* up to its NUL; NULL: RW_NIL */

/* A function of the host's that scripts call as rw.host.NAME(…). It gets the
 * arguments and sets *result (RW_NIL at first; a string in it has to live until
 * the next call of the function). 0, or a negative code: an error is raised in
 * the script, with the text in *result or that of the code. It is called on the
 * instance's thread, from within rw_step; it should not take long, and may call
 * any function of this header but rw_run, rw_load, rw_step and rw_free.
 * Before the first load; 0, -EEXIST, or a negative code. */
typedef int (*rw_function)(void *owner, const struct rw_value *args, size_t n,
                           struct rw_value *result);
RW_API int rw_register(struct rw *rw, const char *name, rw_function call, void *owner);

/* Calls rw.exports.NAME of the script that is live; it may wait. `done` (may be
 * NULL) comes exactly once, before rw_call returns or later from rw_step or
 * rw_free: status 0 and the function's first result; or a negative code and the
 * message as a string. The result is borrowed until `done` returns; so are name
 * and arguments until rw_call does. Negative, and done does not come: no script
 * is live, too many arguments, no memory. */
typedef void (*rw_done)(void *owner, int status, const struct rw_value *result);
RW_API int rw_call(struct rw *rw, const char *name, const struct rw_value *args, size_t n,
                   rw_done done, void *owner);

/* ── reload, stop, end ────────────────────────────────────────────────────*/

/* Stages the script anew and commits it if it is good; the log has the
 * verdict. */
RW_API void rw_reload(struct rw *rw);

/* Stops accepting, lets what runs finish for at most drain_timeout. A second
 * call does not wait. */
RW_API void rw_stop(struct rw *rw);

/* Ends the instance in whatever state it is, frees it and sets *rw to NULL.
 * What runs is cut; threads of the script are waited for, for 5 s at most. Not
 * from within a hook or a host function. */
RW_API void rw_free(struct rw **rw);

/* Runs the initialisers with nothing bound, and the script's self-tests. 0, or
 * RW_ESCRIPT with the reason in the log; 128 and the signal's number if one that the
 * instance handles (handle_signals) ended it. */
RW_API int rw_check(struct rw *rw);

/* Runs the specs with busted: argv as busted wants it (without the program's
 * name). Returns the exit status, of a signal as rw_check. */
RW_API int rw_test(struct rw *rw, int argc, const char *const *argv);

/* Runs a command of the Lua library ("cert") with these arguments; its results go
 * to standard output, complaints to standard error. Returns the exit status. */
RW_API int rw_tool(struct rw *rw, const char *name, int argc, const char *const *argv);

RW_API const char *rw_error_text(int code);
RW_API const char *rw_version(void);
/* What makes TLS faster on this machine, with this build: "aes-gcm p256", "none". */
RW_API const char *rw_accelerators(void);

/* The table of limits, for help texts: false at the end. */
RW_API bool rw_limit(size_t index, const char **name, const char **unit,
                     unsigned long long *value, const char **comment);

#ifdef __cplusplus
}
#endif
#endif
