/* SPDX-License-Identifier: MIT */
/* The life of a generation: made for staging, freed whole when nobody uses it
 * any more. What a reload does with it in between is reload.c. */
#include "bind/bind.h"
#include "bind/child.h"
#include "bind/conn.h"
#include "bind/datagram.h"
#include "bind/port.h"
#include "bind/simulate.h"
#include "bind/state.h"

static bool has_io(const struct generation *g) {
    return g->conns || g->children || g->connecting || g->dgrams || g->debts.items;
}

/* Looks again: one of its timers may have begun something since. */
static void reap(struct deferral *d) {
    struct generation *g = CONTAINER(d, struct generation, reaper);
    dgrams_close(g);
    if (!g->held && !g->task_count && !has_io(g)) generation_free(&g);
}

static struct generation *take_spare(struct rw *rw) {
    struct generation *g = rw->spare;
    rw->spare = NULL;
    return g;
}

static struct generation *generation_boot(struct rw *rw) {
    struct generation *g = mem_zalloc(&rw->mem, sizeof *g);
    if (!g) return NULL;
    g->rw = rw;
    g->id = ++rw->generation_count;
    g->limits = rw->limits;
    g->reaper.run = reap;
    mem_init(&g->mem, rw->limits.script_memory);
    g->mem.arena = rw->mem.arena;
    g->next = rw->generations;
    g->prev = &rw->generations;
    if (g->next) g->next->prev = &g->next;
    rw->generations = g;
    rw->stats.generations++;
    if (state_open(g) < 0) generation_free(&g);
    else g->booted = true;
    if (g) {
        g->mem_low = g->mem.live;
        state_tune_gc(g);
    }
    return g;
}

struct generation *generation_new(struct rw *rw) {
    struct generation *g = rw->spare ? take_spare(rw) : generation_boot(rw);
    if (g && rw->simulated) simulated_begin(g);
    return g;
}

static int last_words(lua_State *L) {
    state_push_boot(L, "report");
    lua_call(L, 0, 0);
    return 0;
}

void generation_free(struct generation **handle) {
    struct generation *g = *handle;
    *handle = NULL;
    if (!g) return;
    struct rw *rw = g->rw;
    g->state = GENERATION_DEAD;
    timer_stop(rw->loop, &g->deadline);
    loop_defer_cancel(&g->reaper);
    scope_close(&g->scope);
    children_abandon(g);
    servers_release(g);
    dgrams_close(g);
    if (g->L && g->booted && !g->killed) door_protect(g, last_words, NULL);
    scope_close(&g->scope); /* timers of its last words */
    scope_close(&g->debts);
    if (g->L) lua_close(g->L);
    names_close(&g->names);
    tasks_free(g);
    host_calls_end(g);
    sources_free(g);
    proto_classes_free(g);
    log_debug(&rw->log, rw->loop ? "generation freed" : "state of a thread freed",
              LF_UINT("generation", g->id), LF_UINT("peak_memory", g->mem.peak));
    *g->prev = g->next;
    if (g->next) g->next->prev = g->prev;
    rw->stats.generations--;
    mem_free(&rw->mem, g, sizeof *g);
    worker_check_stopped(rw);
}

void generation_check(struct generation *g) {
    if (g->state != GENERATION_RETIRED || !g->retire_done) return;
    if (g->held || g->conns || g->children || g->task_count || g->connecting || g->debts.items ||
        deferral_waits(&g->reaper))
        return;
    loop_defer(g->rw->loop, &g->reaper);
}

/* Its code is told, and may begin something new; so after some turns none of it
 * runs any more. */
void generation_end(struct generation *g) {
    enum { TOLD = 100, TURNS = 200 };
    g->held = true;
    servers_release(g);
    for (int turn = 0; turn < TURNS; turn++) {
        g->killed = turn >= TOLD;
        scope_close(&g->scope);
        dgrams_close(g);
        for (struct conn *c = g->conns; c; c = c->next) conn_abort(c, RW_EABORTED);
        children_kill(g);
        if (!has_io(g)) break;
        loop_turn(g->rw->loop, 1);
    }
    generation_free(&g);
}
