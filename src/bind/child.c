/* SPDX-License-Identifier: MIT */
/* The life of a child process, as its generation owns it.
 *
 *     runs ──→ reaped: on_exit ──→ all pipes closed, too: on_end, forgotten
 *       └ terminate: SIGTERM ─ process_grace → SIGKILL ─ CUT_OFF_MS → pipes abort
 *
 * It belongs to the scope of the task that started it. When that closes it is
 * terminated, unless it may finish: then the end of the drain kills it. The
 * generation is not freed before, so nobody's child is forgotten unreaped.
 *
 * Each pipe is a connection with a protocol (proto_conn_wrap), so they wait,
 * pause, drain and are limited like any other.
 */
#include "bind/child.h"

#include <signal.h>

#include "bind/leftover.h"
#include "bind/proto.h"

static const char child_class[] = "ropewalk.process";

enum { CUT_OFF_MS = 1000 }; /* for the last words, after SIGKILL */

static struct child *check_child(lua_State *L) {
    return luaL_checkudata(L, 1, child_class);
}

/* ── its end ──────────────────────────────────────────────────────────────*/

static int exit_body(lua_State *L) {
    struct child *c = CONTAINER(lua_touserdata(L, 1), struct child, exit);
    const struct process_status *end = &c->status;
    lua_rawgetp(L, LUA_REGISTRYINDEX, c);
    lua_getiuservalue(L, -1, 1);
    if (end->known && !end->signal) lua_pushinteger(L, end->code);
    else lua_pushnil(L);
    if (end->known && end->signal) lua_pushinteger(L, end->signal);
    else lua_pushnil(L);
    lua_pushboolean(L, end->core_dumped);
    lua_callk(L, 3, 0, 0, no_results);
    return 0;
}

static int end_body(lua_State *L) {
    struct child *c = CONTAINER(lua_touserdata(L, 1), struct child, end);
    lua_rawgetp(L, LUA_REGISTRYINDEX, c);
    lua_getiuservalue(L, -1, 2);
    lua_callk(L, 0, 0, 0, no_results);
    return 0;
}

static void forget(struct debt *d) {
    struct child *c = CONTAINER(d, struct child, end);
    if (c->gen->state != GENERATION_DEAD) door_protect(c->gen, registry_forget, c);
}

static void leave(struct child *c) {
    struct generation *g = c->gen;
    *c->prev = c->next;
    if (c->next) c->next->prev = c->prev;
    c->prev = NULL;
    g->child_count--;
    g->rw->stats.processes_open--;
    timer_stop(g->rw->loop, &c->timer);
    scope_remove(&c->item);
    process_free(&c->process);
}

static void check_ended(struct child *c) {
    struct generation *g = c->gen;
    if (!c->told || c->open || !c->prev) return;
    leave(c);
    c->end = (struct debt){.body = end_body, .over = forget};
    debt_owe(&c->end, g, NULL);
    generation_check(g);
}

static void exit_told(struct debt *d) {
    struct child *c = CONTAINER(d, struct child, exit);
    c->told = true;
    check_ended(c);
}

static void on_exit_status(void *owner, const struct process_status *status) {
    struct child *c = owner;
    c->status = *status;
    c->reaped = true;
    c->exit = (struct debt){.body = exit_body, .over = exit_told};
    debt_owe(&c->exit, c->gen, NULL);
}

void child_pipe_gone(struct child_pipe *pipe) {
    pipe->stream = NULL;
    pipe->conn = NULL;
    pipe->child->open--;
    check_ended(pipe->child);
}

/* ── ending it ────────────────────────────────────────────────────────────*/

static void send_signal(struct child *c, int signum) {
    process_signal(c->process, signum, true);
}

/* Those that have no protocol, since making one failed. */
static void abort_untaken(struct child *c) {
    for (size_t i = 0; i < c->pipe_count; i++)
        if (c->pipes[i].stream) stream_abort(c->pipes[i].stream, RW_EABORTED);
}

static void abort_pipes(struct child *c) {
    abort_untaken(c);
    for (size_t i = 0; i < c->pipe_count; i++)
        if (c->pipes[i].conn) conn_abort(c->pipes[i].conn, RW_EABORTED);
}

static void grace_over(struct timer *t) {
    struct child *c = CONTAINER(t, struct child, timer);
    struct rw *rw = c->gen->rw;
    if (c->stage >= CHILD_KILLED) {
        c->stage = CHILD_CUT_OFF;
        abort_pipes(c);
        return;
    }
    if (!c->reaped) {
        struct log_field pid = LF_INT("pid", process_pid(c->process));
        limit_fired_with(rw, "a child process was killed", "process_grace", &pid, 1);
    }
    c->stage = CHILD_KILLED;
    send_signal(c, SIGKILL);
    timer_start(rw->loop, t, CUT_OFF_MS, grace_over);
}

void child_terminate(struct child *c) {
    if (!c->prev || c->stage != CHILD_RUNS) return;
    c->stage = CHILD_TERMINATED;
    send_signal(c, SIGTERM);
    send_signal(c, SIGCONT); /* one that is stopped would not notice */
    timer_start(c->gen->rw->loop, &c->timer, c->limits.process_grace, grace_over);
}

/* The pipes' hooks may come. With the last of them the child may be gone. */
static void begin(struct child *c) {
    struct proto_conn *conns[PROCESS_MAX_FDS];
    size_t n = 0;
    if (c->begun) return;
    c->begun = true;
    abort_untaken(c);
    for (size_t i = 0; i < c->pipe_count; i++)
        if (c->pipes[i].conn) conns[n++] = proto_of(c->pipes[i].conn);
    for (size_t i = 0; i < n; i++) proto_conn_begin(conns[i]);
}

static void orphaned(struct scope_item *item) {
    struct child *c = CONTAINER(item, struct child, item);
    if (!c->finishes) child_terminate(c);
    begin(c); /* who started it may have failed before that */
}

void children_kill(struct generation *g) {
    for (struct child *c = g->children; c; c = c->next) {
        if (c->stage >= CHILD_KILLED) continue;
        c->stage = CHILD_KILLED;
        send_signal(c, SIGKILL);
        timer_start(g->rw->loop, &c->timer, CUT_OFF_MS, grace_over);
    }
}

/* ── its start ────────────────────────────────────────────────────────────*/

static void child_pipe_closed(struct stream *s, int reason) {
    (void)reason;
    child_pipe_gone(s->owner);
}
static const struct stream_hooks pipe_hooks = {.on_close = child_pipe_closed};

static void take_pipes(struct child *c, const struct process_options *o) {
    for (size_t i = 0; i < o->fd_count; i++) {
        if (!o->fds[i].stream) continue;
        struct child_pipe *pipe = &c->pipes[c->pipe_count++];
        *pipe = (struct child_pipe){c, o->fds[i].stream, NULL, o->fds[i].fd};
        pipe->stream->hooks = &pipe_hooks;
        pipe->stream->owner = pipe;
        c->open++;
    }
}

void children_abandon(struct generation *g) {
    while (g->children) {
        struct child *c = g->children;
        for (size_t i = 0; i < c->pipe_count; i++) {
            if (!c->pipes[i].stream) continue;
            c->pipes[i].stream->hooks = NULL;
            stream_abort(c->pipes[i].stream, RW_EABORTED);
        }
        leave(c);
    }
}

int child_start(lua_State *L, struct child *c, struct process_options *o, const char **step) {
    struct generation *g = c->gen;
    struct task *t = task_running(g->rw);
    lua_pushvalue(L, -1); /* first what may fail */
    lua_rawsetp(L, LUA_REGISTRYINDEX, c);
    o->limits = &c->limits;
    o->on_exit = on_exit_status;
    o->owner = c;
    int rc = process_spawn(g->rw->loop, o, &c->process, step);
    if (rc < 0) {
        lua_pushnil(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, c);
        return rc;
    }
    c->next = g->children;
    c->prev = &g->children;
    if (c->next) c->next->prev = &c->next;
    g->children = c;
    g->child_count++;
    g->rw->stats.processes_started++;
    g->rw->stats.processes_open++;
    c->item.cancel = orphaned;
    scope_add(t && !t->scope->closed ? t->scope : &g->scope, &c->item);
    leftover_note(L, &c->item, "child process");
    take_pipes(c, o);
    return 0;
}

struct child *child_new(lua_State *L) {
    struct child *c = lua_newuserdatauv(L, sizeof *c, 2);
    memset(c, 0, sizeof *c);
    c->gen = generation_of(L);
    luaL_setmetatable(L, child_class);
    return c;
}

/* ── methods ──────────────────────────────────────────────────────────────*/

static int process_pid_method(lua_State *L) {
    struct child *c = check_child(L);
    if (!c->prev) return 0;
    lua_pushinteger(L, process_pid(c->process));
    return 1;
}

/* process:signal(number, to its group) */
static int process_signal_method(lua_State *L) {
    struct child *c = check_child(L);
    lua_Integer signum = luaL_checkinteger(L, 2);
    luaL_argcheck(L, signum >= 0 && signum < NSIG, 2, "there is no such signal");
    if (!c->prev) return push_failure(L, RW_ESTATE);
    int rc = process_signal(c->process, (int)signum, lua_toboolean(L, 3));
    if (rc < 0) return push_failure(L, rc == -ESRCH ? RW_ESTATE : rc);
    lua_pushboolean(L, 1);
    return 1;
}

static int process_terminate(lua_State *L) {
    child_terminate(check_child(L));
    return 0;
}

/* process:pipe(fd, protocol) → transport; its hooks come after begin */
static int process_pipe(lua_State *L) {
    struct child *c = check_child(L);
    lua_Integer fd = luaL_checkinteger(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    for (size_t i = 0; i < c->pipe_count; i++) {
        struct child_pipe *pipe = &c->pipes[i];
        if (pipe->fd != fd || !pipe->stream) continue;
        proto_conn_wrap(L, 3, pipe);
        return 1;
    }
    return luaL_error(L, "the child has no pipe %d", (int)fd);
}

static int process_begin(lua_State *L) { /* connection_made is over */
    begin(check_child(L));
    return 0;
}

void child_class_open(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"pid", process_pid_method}, {"signal", process_signal_method},
        {"terminate", process_terminate}, {"pipe", process_pipe},
        {"begin", process_begin}, {NULL, NULL},
    };
    class_define(L, child_class, methods, NULL);
}
