/* SPDX-License-Identifier: MIT */
/* struct rw and the public calls: options, signals, the loop. */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/logfile.h"
#include "bind/bind.h"
#include "bind/conn.h"
#include "bind/coverage.h"
#include "bind/datagram.h"
#include "bind/leftover.h"
#include "bind/port.h"
#include "bind/state.h"
#include "bind/tool.h"
#include "io/accel.h"
#include "io/descriptors.h"
#include "io/tls_store.h"
#include "ropewalk.h"

enum { WATCH_DEBOUNCE_MS = 75, OUT_MAX = 1 << 26, PEERS_MAX = 1 << 22 };

void worker_init(struct rw *rw, struct arena *arena, const uint64_t seed[2]) {
    mem_init(&rw->mem, 0);
    rw->mem.arena = arena;
    door_init(rw);
    buf_init(&rw->out, &rw->mem, OUT_MAX);
    map_init(&rw->peers, &rw->mem, seed, PEERS_MAX);
}

const char *rw_error_text(int code) { return err_text(code); }
const char *rw_version(void) { return RW_VERSION; }
const char *rw_accelerators(void) { return accel_in_use(); }

struct rw_value rw_boolean(bool b) { return (struct rw_value){.type = RW_BOOLEAN, .boolean = b}; }
struct rw_value rw_integer(long long n) {
    return (struct rw_value){.type = RW_INTEGER, .integer = n};
}
struct rw_value rw_number(double n) { return (struct rw_value){.type = RW_NUMBER, .number = n}; }
struct rw_value rw_string(const char *text) {
    if (!text) return (struct rw_value){.type = RW_NIL};
    return (struct rw_value){.type = RW_STRING, .string = text, .length = strlen(text)};
}

bool rw_limit(size_t index, const char **name, const char **unit,
              unsigned long long *value, const char **comment) {
    if (index >= LIMIT_COUNT) return false;
    const struct limit_def *def = &limit_defs[index];
    *name = def->name;
    *unit = def->unit;
    *value = def->value;
    *comment = def->comment;
    return true;
}

/* ── options ──────────────────────────────────────────────────────────────*/

static _Thread_local char option_error[256];

static char *copy_text(struct rw *rw, const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = mem_alloc(&rw->mem, n);
    return copy ? memcpy(copy, text, n) : NULL;
}

static void free_text(struct rw *rw, const char *text) {
    if (text) mem_free(&rw->mem, (char *)text, strlen(text) + 1);
}

static void log_to_hook(void *context, enum log_level level, struct str line) {
    struct rw *rw = context;
    rw->log_hook(rw->log_owner, (int)level, line.p, line.n);
}

static bool set_log_file(struct rw *rw, const struct rw_options *o) {
    enum { KEEP = 7, KEEP_MOST = 1000 };
    uint64_t keep = KEEP;
    struct log_file_options file = {.path = o->log_file};
    if (!o->log_file) {
        if (!o->log_rotate && !o->log_keep) return true;
        snprintf(option_error, sizeof option_error, "which log file? (--log-file)");
        return false;
    }
    if (o->log_keep && (str_to_u64(str_c(o->log_keep), &keep) < 0 || !keep || keep > KEEP_MOST)) {
        snprintf(option_error, sizeof option_error,
                 "how many old log files are kept? A number from 1 to %d, not '%s'", KEEP_MOST, o->log_keep);
        return false;
    }
    file.keep = (unsigned)keep;
    if (o->log_rotate && log_rotation_parse(o->log_rotate, &file) < 0) {
        snprintf(option_error, sizeof option_error,
                 "when is a new log file begun? A size (100K, 10M, 1G) or daily, not '%s'", o->log_rotate);
        return false;
    }
    int rc = log_file_open(&rw->mem, &file, &rw->log.file);
    if (rc < 0) {
        snprintf(option_error, sizeof option_error, "log file %s: %s", o->log_file, err_text(rc));
        return false;
    }
    rw->log.fd = log_file_fd(rw->log.file);
    return true;
}

static void reopen_log(struct rw *rw) {
    int rc = rw->log.file ? log_file_reopen(rw->log.file) : 0;
    if (rc < 0) log_warn(&rw->log, "cannot reopen the log file", LF_ERR("error", rc));
}

static bool set_log(struct rw *rw, const struct rw_options *o) {
    log_init(&rw->log, o->log_fd ? o->log_fd : 2);
    if (!set_log_file(rw, o)) return false;
    if (o->log_hook) {
        rw->log_hook = o->log_hook;
        rw->log_owner = o->log_owner;
        rw->log.sink = log_to_hook;
        rw->log.context = rw;
    }
    if (o->log_level && log_level_parse(str_c(o->log_level), &rw->log.level) < 0) {
        snprintf(option_error, sizeof option_error, "unknown log level '%s': debug, info, warn, error or none", o->log_level);
        return false;
    }
    if (o->log_format && log_format_parse(str_c(o->log_format), &rw->log.format) < 0) {
        snprintf(option_error, sizeof option_error, "unknown log format '%s': text or json", o->log_format);
        return false;
    }
    return true;
}

static bool set_limits(struct rw *rw, const struct rw_options *o) {
    rw->limits = limits_default;
    for (size_t i = 0; i < o->limit_count; i++) {
        uint64_t value;
        struct str name = str_c(o->limits[i].key);
        if (!limit_find(name)) {
            snprintf(option_error, sizeof option_error, "there is no limit '%s' (ropewalk limits lists them)",
                     o->limits[i].key);
            return false;
        }
        if (str_to_u64(str_c(o->limits[i].value), &value) < 0 ||
            limits_set(&rw->limits, name, value) < 0) {
            snprintf(option_error, sizeof option_error,
                     "limit %s: a positive number is expected, not '%s'",
                     o->limits[i].key, o->limits[i].value);
            return false;
        }
    }
    return true;
}

static bool make_config(struct rw *rw, size_t count) {
    if (!count) return true;
    rw->config = mem_zalloc(&rw->mem, count * sizeof *rw->config);
    if (rw->config) rw->config_count = count;
    return rw->config;
}

static bool set_item(struct rw *rw, size_t i, const char *key, const char *value) {
    rw->config[i].key = copy_text(rw, key);
    rw->config[i].value = copy_text(rw, value);
    return rw->config[i].key && rw->config[i].value;
}

static bool set_config(struct rw *rw, const struct rw_options *o) {
    bool ok = make_config(rw, o->setting_count);
    for (size_t i = 0; ok && i < o->setting_count; i++)
        ok = set_item(rw, i, o->settings[i].key, o->settings[i].value);
    return ok;
}

static void free_texts(struct rw *rw) {
    for (size_t i = 0; i < rw->config_count; i++) {
        free_text(rw, rw->config[i].key);
        free_text(rw, rw->config[i].value);
    }
    mem_free(&rw->mem, rw->config, rw->config_count * sizeof *rw->config);
    for (size_t i = 0; i < rw->arg_count; i++) free_text(rw, rw->args[i]);
    mem_free(&rw->mem, rw->args, rw->arg_count * sizeof *rw->args);
    free_text(rw, rw->app);
    free_text(rw, rw->lua_path);
}

int worker_copy(struct rw *inner, const struct rw *outer) {
    mem_init(&inner->mem, 0);
    door_init(inner);
    buf_init(&inner->out, &inner->mem, 0);
    inner->log = outer->log;
    inner->log.file = NULL; /* the loop's thread begins new ones */
    inner->limits = outer->limits;
    bool ok = make_config(inner, outer->config_count);
    for (size_t i = 0; ok && i < outer->config_count; i++)
        ok = set_item(inner, i, outer->config[i].key, outer->config[i].value);
    if (ok && outer->app) ok = (inner->app = copy_text(inner, outer->app));
    if (ok && outer->lua_path) ok = (inner->lua_path = copy_text(inner, outer->lua_path));
    return ok ? 0 : RW_ENOMEM;
}

void worker_copy_free(struct rw *inner) {
    free_texts(inner);
    sources_free_all(inner);
}

static bool set_args(struct rw *rw, const struct rw_options *o) {
    if (o->arg_count == 0) return true;
    rw->args = mem_zalloc(&rw->mem, o->arg_count * sizeof *rw->args);
    if (!rw->args) return false;
    rw->arg_count = o->arg_count;
    for (size_t i = 0; i < o->arg_count; i++)
        if (!(rw->args[i] = copy_text(rw, o->args[i]))) return false;
    return true;
}

/* ── signals, wake-ups, file changes ──────────────────────────────────────*/

void worker_woken(void *owner) {
    struct rw *rw = owner;
    if (atomic_exchange(&rw->asked_stop, false)) worker_stop(rw);
    if (atomic_exchange(&rw->asked_reload, false)) {
        log_info(&rw->log, "reload asked for");
        reload_begin(rw);
    }
}

void rw_reload(struct rw *rw) {
    rw->asked_reload = true;
    waker_wake(rw->waker);
}

void rw_ask_stop(struct rw *rw) {
    rw->asked_stop = true;
    waker_wake(rw->waker);
}

void rw_stop(struct rw *rw) { rw_ask_stop(rw); }

static void signalled(void *owner, int signum) {
    struct rw *rw = owner;
    if (signum == SIGUSR1) {
        reopen_log(rw);
        log_info(&rw->log, "log reopened", LF_Z("by", "SIGUSR1"));
    } else if (signum == SIGHUP) {
        reopen_log(rw);
        log_info(&rw->log, "reload asked for", LF_Z("by", "SIGHUP"));
        reload_begin(rw);
    } else if (rw->testing) { /* at once: a test may be a loop without end */
        loop_stop(rw->loop);
    } else {
        if (rw->checking) rw->status = ENDED_BY + signum; /* good it was not said to be */
        log_info(&rw->log, "stopping", LF_Z("by", signum == SIGTERM ? "SIGTERM" : "SIGINT"));
        worker_stop(rw);
    }
}

static void files_changed(void *owner) {
    struct rw *rw = owner;
    if (!sources_changed(rw)) return;
    log_info(&rw->log, "reload asked for", LF_Z("by", "a changed file"));
    reload_begin(rw);
}

static bool start_watching(struct rw *rw, const struct rw_options *o) {
    if (o->watch) {
        rw->watch = file_watch_new(rw->loop, WATCH_DEBOUNCE_MS, files_changed, rw);
        if (!rw->watch) return false;
    }
    if (!o->handle_signals) return true;
    static const int signals[] = {SIGHUP, SIGTERM, SIGINT, SIGUSR1};
    for (size_t i = 0; i < (rw->log.file ? 4 : 3); i++) {
        rw->signals[i] = signal_watch_new(rw->loop, signals[i], signalled, rw);
        if (!rw->signals[i]) return false;
    }
    return true;
}

static bool start_watchdog(struct rw *rw) {
    int rc = door_watch(rw);
    rw->watched = rc == 0;
    if (rc < 0)
        snprintf(option_error, sizeof option_error, "no processor time timer: %s",
                 err_text(rc));
    return rw->watched;
}

/* ── life ─────────────────────────────────────────────────────────────────*/

struct rw *rw_new(const struct rw_options *o, const char **error) {
    struct rw *rw = calloc(1, sizeof *rw);
    snprintf(option_error, sizeof option_error, "out of memory");
    if (error) *error = option_error;
    if (!rw) return NULL;
    uint64_t seed[2] = {0};
    if (o->raise_nofile) descriptors_raise();
    bool seeded = random_bytes(rw, seed, sizeof seed);
    worker_init(rw, NULL, seed);
    if (!seeded)
        snprintf(option_error, sizeof option_error, "the system gives no random bytes");
    bool ok = seeded && set_log(rw, o) && set_limits(rw, o) && set_config(rw, o)
        && set_args(rw, o);
    if (ok && o->app) ok = (rw->app = copy_text(rw, o->app));
    if (ok && o->lua_path) ok = (rw->lua_path = copy_text(rw, o->lua_path));
    if (ok) ok = (rw->loop = loop_new(&rw->mem));
    if (ok) ok = (rw->waker = waker_new(rw->loop, worker_woken, rw));
    if (ok) ok = start_watching(rw, o);
    if (ok) ok = start_watchdog(rw);
    if (!ok) {
        rw_free(&rw);
        return NULL;
    }
    if (error) *error = NULL;
    return rw;
}

static void close_handles(struct rw *rw) {
    for (size_t i = 0; i < 4; i++)
        if (rw->signals[i]) signal_watch_free(&rw->signals[i]);
    if (rw->watch) file_watch_free(&rw->watch);
    if (rw->waker) waker_free(&rw->waker);
}

static void free_script(struct rw *rw) {
    if (rw->script) mem_free(&rw->mem, rw->script, rw->script_size + 1);
    rw->script = NULL;
}

void rw_free(struct rw **handle) {
    struct rw *rw = *handle;
    *handle = NULL;
    if (!rw) return;
    if (rw->loop) {
        rw->stopping = true;
        ports_stop(rw);
        while (rw->generations) generation_end(rw->generations);
        close_handles(rw);
        sources_free_all(rw);
        loop_free(&rw->loop);
    }
    if (rw->watched) door_unwatch();
    coverage_free(rw);
    leftover_free(rw);
    tls_store_unref(&rw->tls_sessions);
    buf_release(&rw->out);
    map_release(&rw->peers);
    host_functions_free(rw);
    free_script(rw);
    free_texts(rw);
    log_file_close(&rw->log.file);
    free(rw);
}

int rw_start(struct rw *rw) {
    waker_keep(rw->waker); /* the host decides when it has waited enough */
    reload_begin(rw);
    return rw->status;
}

int rw_load(struct rw *rw) {
    rw_start(rw);
    while (rw->staging && !rw->stopping) loop_turn(rw->loop, -1);
    return rw->status;
}

int rw_status(const struct rw *rw) { return rw->status; }
bool rw_serving(const struct rw *rw) { return rw->current && !rw->stopping; }

int rw_script(struct rw *rw, const char *name, const char *text, size_t n) {
    char *app = copy_text(rw, name), *copy = mem_alloc(&rw->mem, n + 1);
    if (!app || !copy) {
        free_text(rw, app);
        mem_free(&rw->mem, copy, n + 1);
        return RW_ENOMEM;
    }
    memcpy(copy, text, n);
    copy[n] = 0;
    free_script(rw);
    free_text(rw, rw->app);
    rw->app = app;
    rw->script = copy;
    rw->script_size = n;
    return 0;
}

int rw_run(struct rw *rw) {
    reload_begin(rw);
    loop_run(rw->loop);
    if (!rw->stopping) { /* no port, no timer, no connection */
        if (!atomic_exchange(&rw->asked_stop, false)) log_info(&rw->log, "nothing is left to wait for");
        worker_stop(rw);
        loop_run(rw->loop);
    }
    return rw->status;
}

bool rw_step(struct rw *rw, int timeout_ms) {
    loop_turn(rw->loop, timeout_ms);
    return !(rw->stopping && !rw->generations && !rw->ports);
}

int rw_fd(const struct rw *rw) { return loop_fd(rw->loop); }
int rw_timeout(const struct rw *rw) { return loop_timeout(rw->loop); }

int rw_check(struct rw *rw) {
    rw->checking = true;
    return rw_run(rw);
}
