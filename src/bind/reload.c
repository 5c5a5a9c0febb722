/* SPDX-License-Identifier: MIT */
/* The reload, a transaction:
 *
 *   stage    a new generation runs the script; what it listens on is bound,
 *            the running generation does not notice. Any error, time-out or
 *            memory overrun: it is thrown away, and the log says why.
 *   commit   one step without a wait: services hand their state over, ports
 *            point at the new generation.
 *   drain    connections move by their factory's policy; the old generation
 *            is told to retire and freed with its last connection.
 *
 * Staging is a task like any other: preempted, so that the running generation
 * goes on serving, and free to wait (a database, a self-test).
 */
#include "bind/bind.h"
#include "bind/child.h"
#include "bind/conn.h"
#include "bind/datagram.h"
#include "bind/port.h"
#include "bind/state.h"

static int call_boot(lua_State *L) { /* boot[function](app) */
    const char *function = lua_touserdata(L, 1);
    state_push_boot(L, function);
    lua_pushstring(L, generation_of(L)->rw->app);
    lua_callk(L, 1, 0, 0, no_results);
    return 0;
}

static struct task *enter_boot(struct generation *g, const char *function, uint64_t budget,
                       void (*done)(struct task *t, int status)) {
    return door_enter(g, &(struct door_call){.body = call_boot, .arg = (void *)function,
                                             .budget = budget, .done = done});
}

/* ── retire ───────────────────────────────────────────────────────────────*/

static void retired(struct task *t, int status) {
    (void)status; /* reported */
    struct generation *g = t->gen;
    g->retire_done = true;
    scope_close(&g->scope);
    g->scope.closed = false; /* connections may still start background work */
    generation_check(g);
}

static size_t abort_connections(struct generation *g, int reason) {
    size_t count = 0;
    for (struct conn *c = g->conns, *next; c; c = next) {
        next = c->next;
        count++;
        conn_abort(c, reason);
    }
    return count;
}

static void drain_timed_out(struct timer *timer) {
    struct generation *g = CONTAINER(timer, struct generation, deadline);
    size_t left = abort_connections(g, RW_EDRAINED);
    children_kill(g);
    dgrams_close(g);
    const struct log_field what[] = {
        LF_UINT("generation", g->id), LF_UINT("connections_closed", left),
        LF_UINT("tasks", g->task_count), LF_UINT("children", g->child_count)};
    limit_fired_with(g->rw, "drain timed out", "drain_timeout", what, 4);
    g->retire_done = true;
    scope_close(&g->scope);
    g->scope.closed = false;
    /* again, for what its code may begin while it is told */
    timer_start(g->rw->loop, &g->deadline, g->limits.drain_timeout, drain_timed_out);
    generation_check(g);
}

static void retire(struct generation *g) {
    g->state = GENERATION_RETIRED;
    servers_release(g); /* a port that nobody else wants is closed */
    g->retired_at = loop_now(g->rw->loop);
    timer_start(g->rw->loop, &g->deadline, g->limits.drain_timeout, drain_timed_out);
    for (struct conn *c = g->conns, *next; c; c = next) {
        next = c->next;
        c->ops->retire(c);
    }
    enter_boot(g, "retire", g->limits.drain_timeout, retired);
}

/* ── stage and commit ─────────────────────────────────────────────────────*/

/* A reload was asked for while the last one was under way. */
static void reload_again(struct rw *rw) {
    if (!rw->reload_again || rw->stopping || rw->staging) return;
    rw->reload_again = false;
    reload_begin(rw);
}

static void stage_failed(struct generation *g, const char *why) {
    struct rw *rw = g->rw;
    rw->staging = NULL;
    rw->stats.reloads_failed++;
    timer_stop(rw->loop, &g->deadline);
    if (rw->stopping)
        log_info(&rw->log, "reload abandoned", LF_UINT("generation", g->id),
                 LF_Z("reason", why));
    else if (rw->current)
        log_error(&rw->log, "reload failed; the running generation goes on",
                  LF_UINT("generation", g->id), LF_UINT("running", rw->current->id),
                  LF_Z("reason", why), LF_Z("app", rw->app));
    else
        log_error(&rw->log, "the script failed", LF_Z("reason", why), LF_Z("app", rw->app));
    sources_settle(g); /* a repair may be in a file that only it knows */
    /* Not while its own task is still on the stack. */
    g->state = GENERATION_RETIRED;
    g->retire_done = true;
    servers_release(g);
    scope_close(&g->scope);
    abort_connections(g, RW_EABORTED);
    generation_check(g);
    if (!rw->current && !rw->stopping) {
        rw->status = RW_ESCRIPT;
        worker_stop(rw);
    }
    reload_again(rw);
}

static void stage_timed_out(struct timer *timer) {
    struct generation *g = CONTAINER(timer, struct generation, deadline);
    if (g->state != GENERATION_STAGING) return;
    if (g->stage) door_report_place(g->stage);
    stage_failed(g, "it took too long (limit load_timeout)");
}

/* "tcp:127.0.0.1:80", or tls: or udp:, with the real port; false: there is no such socket. */
static bool port_socket(const struct port *p, unsigned n, char *out, size_t size,
                        struct str *at) {
    struct address a;
    int rc = p->listener ? listener_address(p->listener, n, &a)
             : n == 0    ? port_address(p, &a)
                         : RW_ENONAME;
    if (rc < 0 || (a.kind != ADDRESS_TCP && a.kind != ADDRESS_UDP)) return false;
    memcpy(out, a.kind == ADDRESS_UDP ? "udp:" : p->server->tls ? "tls:" : "tcp:", 4);
    *at = address_format(&a, out + 4, size - 4);
    *at = str_of(out, at->n + 4);
    return true;
}

/* One line per listener; a name may have more addresses than one. */
static void log_ports(struct rw *rw, struct generation *g) {
    for (struct port *p = rw->ports; p; p = p->next) {
        if (!p->server || p->server->gen != g) continue;
        char first[160], second[160];
        struct str at = str_c(p->key), also;
        port_socket(p, 0, first, sizeof first, &at);
        if (port_socket(p, 1, second, sizeof second, &also))
            log_info(&rw->log, "listening", LF_STR("endpoint", at),
                     LF_UINT("generation", g->id), LF_STR("also", also));
        else
            log_info(&rw->log, "listening", LF_STR("endpoint", at),
                     LF_UINT("generation", g->id));
    }
}

static void commit(struct generation *g) {
    struct rw *rw = g->rw;
    struct generation *old = rw->current;
    timer_stop(rw->loop, &g->deadline);
    rw->staging = NULL;
    rw->current = g;
    g->state = GENERATION_CURRENT;
    servers_commit(g);
    rw->stats.reloads += old != NULL;
    enter_boot(g, "commit", 0, NULL);
    if (old) {
        log_info(&rw->log, "reloaded", LF_UINT("generation", g->id),
                 LF_UINT("replaces", old->id));
        retire(old);
    }
    log_ports(rw, g);
    sources_settle(g);
}

static void staged(struct task *t, int status) {
    struct generation *g = t->gen;
    struct rw *rw = g->rw;
    g->stage = NULL;
    if (g->state != GENERATION_STAGING) return; /* timed out before */
    if (status == RW_EBUDGET) stage_failed(g, "it used up its processor time (limit load_timeout)");
    else if (status == RW_ENOMEM || (status < 0 && g->mem.failures))
        stage_failed(g, "it used up its memory (limit script_memory)");
    else if (status < 0) stage_failed(g, "error in the script");
    else if (rw->checking) {
        log_info(&rw->log, "the script is good", LF_Z("app", rw->app));
        rw->staging = NULL;
        rw->current = g;
        worker_stop(rw);
    } else if (rw->current && !handover(rw->current, g)) {
        stage_failed(g, "a service did not take over the state of the one before it");
    } else {
        commit(g);
        reload_again(rw);
    }
}

void reload_begin(struct rw *rw) {
    if (rw->stopping) return;
    if (rw->staging) {
        rw->reload_again = true;
        return;
    }
    struct generation *g = generation_new(rw);
    if (!g) {
        log_error(&rw->log, "no new generation could be made");
        if (!rw->current) {
            rw->status = RW_ENOMEM;
            worker_stop(rw);
        }
        return;
    }
    rw->staging = g;
    timer_start(rw->loop, &g->deadline, g->limits.load_timeout, stage_timed_out);
    if (!rw->script) sources_add(g, rw->app); /* also if it cannot be read: it may come back */
    struct task *t = enter_boot(g, "stage", g->limits.load_timeout, staged);
    if (rw->staging == g) g->stage = t;
}

/* ── stopping ─────────────────────────────────────────────────────────────*/

void worker_check_stopped(struct rw *rw) {
    if (!rw->stopping || rw->generations || rw->ports) return;
    loop_stop(rw->loop);
}

void worker_stop(struct rw *rw) {
    bool again = rw->stopping;
    rw->stopping = true;
    if (!again) {
        log_debug(&rw->log, "stopping");
        ports_stop(rw);
        if (rw->staging) stage_failed(rw->staging, "the process stops");
        struct generation *g = rw->current;
        rw->current = NULL;
        if (g) retire(g);
    } else {
        for (struct generation *g = rw->generations; g; g = g->next)
            if (g->state == GENERATION_RETIRED)
                timer_start(rw->loop, &g->deadline, 0, drain_timed_out);
    }
    worker_check_stopped(rw);
}
