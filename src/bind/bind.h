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
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/stat.h"
#include "bind/scope.h"
#include "io/io.h"

struct conn;
struct generation;
struct task;

/* ── worker ───────────────────────────────────────────────────────────────*/

struct door { /* who is inside Lua right now; read by the watchdog's signal */
    struct task *task;             /* the running one, or NULL */
    lua_State *volatile running;   /* its innermost coroutine */
    volatile unsigned long entries; /* grows with each entry */
    struct task *ready, **ready_end; /* FIFO of tasks to go on with */
    struct deferral pump;
    int depth;                     /* tasks started by tasks */
};

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
    bool watching, checking, testing, stopping, reload_again;
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

struct generation {
    struct generation *next, **prev; /* list: rw->generations */
    struct rw *rw;
    unsigned id;
    enum generation_state state;
    struct mem mem; /* what its Lua state has */
    lua_State *L;   /* the main state; runs nothing but short protected calls */
    struct limits limits;
    struct scope scope;     /* background: tasks and timers of no connection */
    struct server *servers; /* list */
    struct conn *conns;     /* list */
    struct task *idle_tasks; /* pool */
    struct source *sources;  /* files it was made from (sources.c) */
    struct proto_class *proto_classes;
    unsigned task_count;     /* not idle */
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
bool sources_changed(struct rw *rw); /* contents differ from what was read */
void sources_free(struct generation *g);
void sources_free_all(struct rw *rw);
/* As rw_stop, from within. */
void rw_ask_stop(struct rw *rw);
void proto_classes_free(struct generation *g);
void sources_open(lua_State *L);

/* ── the door (door.c) ────────────────────────────────────────────────────*/

/* One call into Lua. `body` runs in a coroutine, in protected mode, with the
 * light userdata `arg` as its only argument (borrowed: use it before the first
 * wait). It may call lua_callk and wait. `done`, if given, is told the end:
 * 0, RW_ESCRIPT (reported to the log already), RW_EBUDGET or RW_ENOMEM. */
struct door_call {
    lua_CFunction body;
    void *arg;
    struct scope *scope; /* whose work this is; NULL: the generation's */
    void *owner;         /* task_owner(); usually a conn */
    void (*done)(struct task *t, int status);
    uint64_t budget;     /* ms of processor time; 0: script_budget */
};
/* Runs until the end or the first wait. NULL when it has ended (done was
 * called) or could not begin (RW_ENOMEM to done). */
struct task *door_enter(struct generation *g, const struct door_call *call);

struct task {
    struct task *next; /* list: generation->idle_tasks, or door->ready */
    struct generation *gen;
    lua_State *co;     /* anchored in the registry by this task's address */
    struct scope_item item;
    struct scope *scope;
    void *owner;
    void (*done)(struct task *t, int status);
    struct task_box *box; /* Lua's handle, or NULL */
    uint64_t budget;
    unsigned slices;      /* used, of script_slice ms */
    unsigned burst;       /* of these, in a row where yielding is not possible */
    int resume_args;      /* on co's stack, for the ready queue */
    enum { TASK_IDLE, TASK_RUNNING, TASK_PARKED, TASK_READY } state;
    enum { YIELD_NONE, YIELD_PARK, YIELD_PREEMPT } yield;
    bool killed;     /* over its budget */
    bool orphan;     /* its scope has closed … */
    bool cancelled;  /* … and it was told so: it cannot wait any more */
    bool cancel_due; /* the telling is to come */
};

/* Inside a body: waits; the task goes on at `k` after task_wake. */
int task_park(lua_State *L, lua_KContext ctx, lua_KFunction k);
/* The parked task goes on in the next phase of this turn with the nargs values
 * on top of `from`'s stack (moved). */
void task_wake(struct task *t, lua_State *from, int nargs);
/* The same, but it goes on now; only from the loop, not from within Lua. */
void task_continue(struct task *t);
struct task *task_running(struct rw *rw);
/* Ends a task that nobody will wake again: its coroutine is closed, pending
 * to-be-closed variables run. Not for the running one. */
void task_kill(struct task *t);
void task_pool_free(struct generation *g);

/* Runs a short C function in protected mode on the main state (no script
 * code, no waits): for pushing and anchoring. The error is logged. */
int door_protect(struct generation *g, lua_CFunction fn, void *arg);

void door_init(struct rw *rw);
int door_watchdog_start(struct rw *rw);
void door_open(lua_State *L); /* core.spawn, park, task, … and coroutine.* */
/* A message handler that makes a Failure of whatever was raised. */
int door_traceback(lua_State *L);
/* Logs the failure at `index` with its traceback. */
void door_report(lua_State *L, int index, const char *message);

/* ── ports and servers (port.c) ───────────────────────────────────────────*/

struct port {
    struct port *next, **prev; /* list: rw->ports */
    struct rw *rw;
    struct listener *listener;
    struct server *server;     /* who gets the connections; NULL: nobody yet */
    unsigned claims;           /* servers that name this port */
    char key[300];             /* the endpoint, canonical */
    bool starts_stdio;
    struct endpoint endpoint;
    bool closing;
};

struct server {
    struct server *next, **prev; /* list: generation->servers */
    struct generation *gen;
    struct port *port;           /* NULL: closed */
    struct limits limits;
    struct server_box *box;      /* Lua's handle; the factory is its uservalue */
    struct bind_router *router;  /* http: in the box, too */
    unsigned conns;              /* that use our limits */
    enum { POLICY_NEXT_MESSAGE, POLICY_MIGRATE, POLICY_FINISH } policy;
    bool http, lazy, closed;
};

void servers_commit(struct generation *g);  /* ports now point here; one step */
void servers_release(struct generation *g); /* its claims end; frees */
void server_push_factory(lua_State *L, struct server *s);
void server_unref(struct server *s); /* a connection less */
void ports_stop(struct rw *rw);      /* no more accepts */
void port_open(lua_State *L);        /* core.listen, core.connect */

/* ── connections (conn.c; http.c) ─────────────────────────────────────────*/

struct conn_ops { /* one per way of speaking */
    const char *name;
    void (*input)(struct conn *c, struct str bytes); /* may keep a rest in c->in */
    void (*eof)(struct conn *c);
    void (*drain)(struct conn *c);
    void (*lost)(struct conn *c, int reason); /* last; conn_free follows */
    void (*deadline)(struct conn *c);
    /* The generation retires: move, close when idle, or let it finish. */
    void (*retire)(struct conn *c);
};

struct conn {
    struct conn *next, **prev; /* list: gen->conns */
    const struct conn_ops *ops;
    struct rw *rw;
    struct generation *gen;
    struct port *port;     /* NULL: outgoing */
    struct server *server; /* whose factory and limits; NULL: outgoing */
    const struct limits *limits;
    struct stream *stream; /* NULL: closed */
    size_t size;           /* of the whole object */
    struct scope scope;
    struct buf in;         /* bytes that the engine did not take yet */
    struct timer timer;    /* lazily: fires no later than `deadline` */
    uint64_t deadline;     /* on loop_now(); 0: none */
    uint64_t away;         /* ms that the peer's clock stood still */
    uint64_t paused_at;    /* since when, 0: it runs */
    bool busy;             /* a hook runs or waits: no further event */
    bool paused;           /* by the script */
    bool closing;          /* lose_connection was called */
    bool eof_seen, eof_due;
    bool lost_due;         /* the stream is gone; told when not busy */
    bool unwritten;        /* ended tasks shall flush */
    int reason;
};

void conn_attach(struct conn *c, const struct conn_ops *ops, struct rw *rw,
                 struct stream *s);
void conn_join(struct conn *c, struct generation *g); /* into its list; leaves the old */
void conn_set_server(struct conn *c, struct server *s);
void conn_free(struct conn *c);
void conn_accept(struct port *port, struct stream *s);

/* c's bytes may now be encoded into rw->out: what another one left there has
 * been sent. Then conn_flush, at the latest when the door closes. */
void conn_begin_output(struct conn *c);
void conn_flush(struct conn *c);
void conn_flush_all(struct rw *rw);

/* Reads when it may; the peer's clock follows. */
void conn_update_reading(struct conn *c);
uint64_t conn_peer_clock(const struct conn *c);
void conn_set_deadline(struct conn *c, uint64_t peer_deadline);
void conn_close(struct conn *c);            /* flush, then close */
void conn_abort(struct conn *c, int reason);

struct conn *http_conn_new(struct rw *rw, struct server *s, struct stream *st);
struct conn *proto_conn_new(struct rw *rw, struct server *s, struct stream *st);
/* An outgoing one; the caller then gives it its protocol (transport.c). */
void proto_conn_retire(struct conn *c);

/* ── libraries: each expects core's table on top and adds to it ───────────*/

void transport_open(lua_State *L);
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

/* Limits as a proxy table, and the reading of overrides from a table. */
void limits_override(lua_State *L, int index, struct limits *l);
/* Pushes limit `key` (or nil); sets it from the value at `value`. */
void limits_push(lua_State *L, int key, const struct limits *l);
void limits_assign(lua_State *L, int key, int value, struct limits *l);

/* "nil, code name, message" */
int push_failure(lua_State *L, int code);

#endif
