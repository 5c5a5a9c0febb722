/* SPDX-License-Identifier: MIT */
/* The rooms of the bind layer and who owns what.
 *
 *      worker      one per struct rw: loop, log, counters, ports
 *       ├ port     a bound listener; survives reloads; points at …
 *       ├ generation  one lua_State: the scripts as of one (re)load
 *       │  ├ server   a port's claim: factory + limits of this generation
 *       │  ├ task     a coroutine running one call (door.c)
 *       │  └ conn     a connection that this generation's code serves
 *       └ …
 *
 * Nothing outside door.c calls lua_resume or lua_pcall into scripts.
 */
#ifndef BIND_BIND_H
#define BIND_BIND_H

#include <lauxlib.h>
#include <lua.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/container.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "base/stat.h"
#include "bind/door.h"
#include "bind/libraries.h"
#include "bind/limit.h"
#include "bind/values.h"
#include "io/io.h"

struct child;
struct conn;
struct port;
struct server;
struct simulated;

/* ── worker ───────────────────────────────────────────────────────────────*/

struct rw {
    struct mem mem;
    struct loop *loop;
    struct log log;
    struct stats stats;
    struct limits limits;
    struct door door;

    const char *app, *lua_path; /* owned */
    struct config_item *config; /* owned; from rw_options.settings */
    size_t config_count;
    char **args;                /* owned; from rw_options.args */
    size_t arg_count;

    struct generation *current, *staging; /* of generations */
    struct generation *generations;       /* list, newest first */
    struct generation *spare;             /* of these: booted ahead; NULL: none */
    struct simulated *simulated;          /* the world it is in; NULL: this one */
    unsigned generation_count;            /* ids given out */
    struct port *ports;                   /* list */

    struct map peers;       /* address → connections it has */
    size_t arriving;        /* connections that have not been introduced yet */

    struct limit_lines limit_lines;
    uint8_t ticket_secret[32];      /* of TLS, for all generations; see has_ticket_secret */
    struct tls_store *tls_sessions; /* of clients of all generations; NULL: none yet */
    int64_t tls_second;             /* of the last line about TLS that failed */

    struct buf out;         /* what out_owner sends in this round */
    struct conn *out_owner; /* whose bytes are in `out` */

    char date[32];          /* value of the Date field … */
    int64_t date_second;    /* … of this second */

    struct file_watch *watch;
    struct source *sources; /* files of the last load or try */
    struct signal_watch *signals[4];
    struct waker *waker;
    struct timer drain_timer;
    atomic_bool asked_reload, asked_stop; /* set by rw_reload, rw_stop */
    struct host_function *host_functions; /* list; from rw_register */
    struct host_call *host_calls; /* list; from rw_call, not over yet */
    char *script; /* owned; the text from rw_script, NULL: rw->app is a file */
    size_t script_size;
    bool watched, checking, testing, stopping, reload_again, has_ticket_secret;
    struct leftovers *leftovers; /* tests only (leftover.c) … */
    struct coverage *coverage;   /* … and when asked for (coverage.c) */
    int status;             /* what rw_run returns */
    atomic_bool *given_up;  /* in a thread (thread.c; no loop): its call was cancelled */
    void (*log_hook)(void *owner, int level, const char *line, size_t n);
    void *log_owner;
};

struct config_item {
    char *key, *value;
};

/* Accounts, door, buffers; `arena` (NULL: malloc) is where memory is from. */
void worker_init(struct rw *rw, struct arena *arena, const uint64_t seed[2]);
void worker_woken(void *rw); /* rw_reload or rw_stop was called */
/* For seeds and scripts: nobody can foretell them, unless in a simulation. */
bool random_bytes(struct rw *rw, void *out, size_t n);

/* What the registry holds besides objects, by addresses that are the same in each process. */
enum registry_key { KEY_TASK_BOXES = 1, KEY_TURN_END, KEY_TURN_FUNCTIONS, KEY_TIMERS,
                    KEY_WAITING, KEY_PROTO_CLASSES, KEY_NO_MEMORY };
static inline const void *registry_key(enum registry_key key) {
    return (const void *)(uintptr_t)key;
}

/* ── generations (generation.c, reload.c) ─────────────────────────────────*/

enum generation_state {
    GENERATION_STAGING, GENERATION_CURRENT, GENERATION_RETIRED, GENERATION_DEAD,
};

/* luaL_checkudata without the registry, for the hot classes. */
enum bind_class { CLASS_TRANSPORT, CLASS_REQUEST, CLASS_FAILURE, CLASSES };
void *class_check(lua_State *L, int index, enum bind_class class, const char *name);
/* A class of userdata with these methods; `gc` may be NULL. */
void class_define(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc);
/* The metatable on top is that class's. */
void class_register(lua_State *L, enum bind_class class);

struct generation {
    struct generation *next, **prev; /* list: rw->generations */
    struct rw *rw;
    unsigned id;
    enum generation_state state;
    struct mem mem; /* what its Lua state has */
    const void *meta[CLASSES]; /* metatables of the classes checked most */
    size_t mem_low; /* the least it had since the collector was tuned */
    lua_State *L;   /* the main state; runs nothing but short protected calls */
    struct limits limits;
    struct scope scope, debts; /* background: of no connection; what it has still to be told */
    struct server *servers; /* list */
    struct conn *conns;     /* list */
    struct child *children; /* list: not ended yet */
    struct task *tasks;      /* all of them */
    struct task *idle_tasks; /* pool */
    struct source *sources;  /* files it was made from (sources.c) */
    struct task *stage;      /* runs its script; NULL: done */
    struct proto_class *proto_classes;
    struct names *names;     /* NULL: not needed yet */
    struct dgram *dgrams;    /* list */
    unsigned task_count;     /* not idle */
    unsigned timer_slots, free_timer; /* of Lua's timers (timer.c) */
    unsigned long tasks_ended;
    unsigned child_count;
    unsigned threads;        /* that its pools may have in all */
    unsigned connecting;     /* connectors that have not called back yet */
    bool booted;             /* the library is loaded */
    bool retire_done;        /* boot.retire() has returned */
    bool killed;             /* none of its code runs any more */
    bool held;               /* whoever has set it frees it */
    uint64_t retired_at;
    struct timer deadline;   /* staging: load_timeout; retired: drain_timeout */
    struct deferral reaper;
};

static inline struct generation *generation_of(lua_State *L) {
    return *(struct generation **)lua_getextraspace(L);
}

struct generation *generation_new(struct rw *rw); /* NULL: out of memory */
void generation_free(struct generation **g);
/* Frees a retired generation as soon as nothing uses it any more. */
void generation_check(struct generation *g);
void generation_end(struct generation *g); /* cuts what it does and frees it */
/* Its resolver (names.c): 0 or < 0. */
int generation_names(struct generation *g, struct names **out);

/* Begins a reload, or the first load. The log gets the verdict; with one under
 * way, another follows it. */
void reload_begin(struct rw *rw);
void worker_stop(struct rw *rw);       /* begins to stop; again: at once */
void worker_check_stopped(struct rw *rw); /* stops the loop if nothing is left */
/* sources.c: a stage ended, its files are now the ones to compare with. */
void sources_settle(struct generation *g);
int sources_add(struct generation *g, const char *path);
bool sources_changed(struct rw *rw); /* contents differ from what was read */
void sources_free(struct generation *g);
void sources_free_all(struct rw *rw);
/* As rw_stop, from within. */
void rw_ask_stop(struct rw *rw);
void proto_classes_free(struct generation *g);
void sources_open(lua_State *L);
void host_functions_free(struct rw *rw);
void host_calls_end(struct generation *g); /* its tasks are gone */
/* A thread's worker: as the other one, but without a loop (0 or RW_ENOMEM). */
int worker_copy(struct rw *inner, const struct rw *outer);
void worker_copy_free(struct rw *inner);

/* As luaL_error, but with the line of the script that has called into the library. Does
 * not return; the int is for `return script_error(…)`. */
__attribute__((noreturn)) int script_error(lua_State *L, const char *format, ...);

#endif
