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

#include "base/buf.h"
#include "base/container.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "base/stat.h"
#include "bind/door.h"
#include "io/io.h"

struct conn;
struct port;
struct server;

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

    struct generation *current, *staging; /* of generations */
    struct generation *generations;       /* list, newest first */
    unsigned generation_count;            /* ids given out */
    struct port *ports;                   /* list */

    struct map peers;       /* address → connections it has */

    int64_t limit_second;     /* of the last line about a limit … */
    uint64_t limits_unlogged; /* … and how many have fired since */

    struct buf out;         /* what out_owner sends in this round */
    struct conn *out_owner; /* whose bytes are in `out` */

    char date[32];          /* value of the Date field … */
    int64_t date_second;    /* … of this second */

    struct file_watch *watch;
    struct source *sources; /* files of the last load or try */
    struct signal_watch *signals[4];
    struct waker *waker;
    struct timer drain_timer;
    volatile bool asked_reload, asked_stop; /* set by rw_reload, rw_stop */
    bool watched, checking, testing, stopping, reload_again;
    struct leftovers *leftovers; /* tests only (leftover.c) … */
    struct coverage *coverage;   /* … and when asked for (coverage.c) */
    int status;             /* what rw_run returns */
    void (*log_hook)(void *owner, int level, const char *line, size_t n);
    void *log_owner;
};

struct config_item {
    char *key, *value;
};

/* ── generations (generation.c, reload.c) ─────────────────────────────────*/

enum generation_state {
    GENERATION_STAGING, GENERATION_CURRENT, GENERATION_RETIRED, GENERATION_DEAD,
};

/* luaL_checkudata without the registry, for the hot classes. */
enum bind_class { CLASS_TRANSPORT, CLASS_REQUEST, CLASSES };
void *class_check(lua_State *L, int index, enum bind_class class, const char *name);
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
    struct scope scope;     /* background: tasks and timers of no connection */
    struct server *servers; /* list */
    struct conn *conns;     /* list */
    struct task *tasks;      /* all of them */
    struct task *idle_tasks; /* pool */
    struct source *sources;  /* files it was made from (sources.c) */
    struct task *stage;      /* runs its script; NULL: done */
    struct proto_class *proto_classes;
    unsigned task_count;     /* not idle */
    unsigned long tasks_ended;
    unsigned connecting;     /* connectors that have not called back yet */
    bool booted;             /* the library is loaded */
    bool retire_done;        /* boot.retire() has returned */
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

/* ── libraries: each expects core's table on top and adds to it ───────────*/

void port_open(lua_State *L); /* core.listen, core.connect */
void transport_open(lua_State *L);
void pipe_open(lua_State *L); /* core.pipe */
void request_open(lua_State *L);
void http_open(lua_State *L);
void timer_open(lua_State *L);
void core_open(lua_State *L);  /* log, config, limits, … */
void router_open(lua_State *L);
void json_open(lua_State *L);
void text_open(lua_State *L);
void dir_open_lib(lua_State *L);

/* Copies plain data (nil, booleans, numbers, strings, tables of these, to a
 * depth of 64) from the value at `index` of `from` to the top of `to`: 0, or
 * RW_EINVAL when something else is in it. Both protected by the caller. */
int transfer(lua_State *from, int index, lua_State *to);
const char *transfer_refused(void); /* "a function in users" */

/* Limits as a proxy table, and the reading of overrides from a table. */
void limits_override(lua_State *L, int index, struct limits *l);
/* Pushes limit `key` (or nil); sets it from the value at `value`. */
void limits_push(lua_State *L, int key, const struct limits *l);
void limits_assign(lua_State *L, int key, int value, struct limits *l);

/* "nil, code name, message" */
int push_failure(lua_State *L, int code);

#endif
