/* SPDX-License-Identifier: MIT */
/* The loop: libuv's, one turn at a time, with phases of our own behind it.
 *
 *     turn:  poll (uv_run once: i/o, close callbacks)
 *              → timers → deferrals → turn ends → the next poll
 *
 * libuv's own idle, prepare and check handles are not needed for that: driving
 * uv_run turn by turn makes the order explicit, and every callback, whatever
 * phase it ran in, is followed by the turn ends before the loop blocks again.
 * The poll does not wait while a deferral or a timer without delay is there.
 * Thousands of them at once (a name server that is silent to all, connections
 * that idle since the same moment) are spread over turns, LOOP_SLICE in each.
 *
 * Lists of deferrals and turn ends are circular through a sentinel: members
 * leave without knowing the loop.
 */
#include "io/internal.h"
#include "io/simulate.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const char *const ledger_names[LEDGER_KINDS] = {
    [LEDGER_TCP] = "tcp",           [LEDGER_UNIX] = "unix",
    [LEDGER_STDIO] = "stdio",       [LEDGER_PAIR] = "pair",
    [LEDGER_SIMULATED] = "simulated", [LEDGER_LINGERING] = "lingering",
    [LEDGER_LISTENER] = "listener", [LEDGER_DATAGRAM] = "datagram",
    [LEDGER_CONNECTOR] = "connector",
    [LEDGER_WAKER] = "waker",       [LEDGER_SIGNAL] = "signal",
    [LEDGER_WATCH] = "watch",       [LEDGER_NAMES] = "names",
    [LEDGER_PROCESS] = "process",   [LEDGER_CHILDPIPE] = "child pipe",
    [LEDGER_THREADS] = "threads",
};

static void tick(uv_timer_t *t) { (void)t; }

/* ── birth ────────────────────────────────────────────────────────────────*/

static void deferrals_init(struct deferral *list) {
    list->next = list;
    list->prev = &list->next;
}

static void init_lists(struct loop *l) {
    wheel_init(&l->wheel, loop_now(l));
    deferrals_init(&l->deferred);
    l->turn_ends.next = &l->turn_ends;
    l->turn_ends.prev = &l->turn_ends.next;
}

struct loop *loop_new_simulated(struct mem *mem) {
    struct loop *l = mem_zalloc(mem, sizeof *l);
    if (!l) return NULL;
    l->mem = mem;
    l->reserve = -1;
    if (sim_init(l) < 0) {
        mem_free(mem, l, sizeof *l);
        return NULL;
    }
    init_lists(l);
    return l;
}

struct loop *loop_new(struct mem *mem) {
    struct loop *l = mem_zalloc(mem, sizeof *l);
    if (!l) return NULL;
    if (uv_loop_init(&l->uv) < 0) {
        if (l->uv.backend_fd > 0) close(l->uv.backend_fd); /* it forgets this one */
        mem_free(mem, l, sizeof *l);
        return NULL;
    }
    struct sigaction old;
    if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);

    l->uv.data = l;
    l->mem = mem;
    l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uv_timer_init(&l->uv, &l->tick);
    init_lists(l);
    return l;
}

/* ── deferrals ────────────────────────────────────────────────────────────*/

static bool deferrals_wait(const struct loop *l) {
    return l->deferred.next != &l->deferred;
}

void loop_defer(struct loop *l, struct deferral *d) {
    if (d->prev) return;
    d->next = &l->deferred;
    d->prev = l->deferred.prev;
    *d->prev = d;
    l->deferred.prev = &d->next;
}

void loop_defer_cancel(struct deferral *d) {
    if (!d->prev) return;
    *d->prev = d->next;
    d->next->prev = d->prev;
    d->prev = NULL;
}

/* All of `from` before what is in `to`; `from` is no list then. */
static void deferrals_move(struct deferral *from, struct deferral *to) {
    from->next->prev = &to->next;
    *from->prev = to->next;
    to->next->prev = from->prev;
    to->next = from->next;
}

/* A slice of those that are there now; what they defer waits for a later turn. */
static void deferrals_run(struct loop *l) {
    if (!deferrals_wait(l)) return;
    struct deferral now;
    deferrals_init(&now);
    deferrals_move(&l->deferred, &now);
    deferrals_init(&l->deferred);
    for (int i = 0; i < LOOP_SLICE && now.next != &now; i++) {
        struct deferral *d = now.next;
        loop_defer_cancel(d);
        d->run(d);
    }
    if (now.next != &now) deferrals_move(&now, &l->deferred);
}

/* ── turn ends ────────────────────────────────────────────────────────────*/

static void turn_end_add(struct turn_end *before, struct turn_end *t) {
    t->next = before;
    t->prev = before->prev;
    *t->prev = t;
    before->prev = &t->next;
}

void loop_at_turn_end(struct loop *l, struct turn_end *t) {
    if (!t->prev) turn_end_add(&l->turn_ends, t);
}

void loop_turn_end_remove(struct turn_end *t) {
    if (!t->prev) return;
    *t->prev = t->next;
    t->next->prev = t->prev;
    t->prev = NULL;
}

/* Two marks in the list, so that hooks may add and remove any of them. */
static void turn_ends_run(struct loop *l) {
    if (l->turn_ends.next == &l->turn_ends) return;
    struct turn_end here = {0}, end = {0};
    turn_end_add(&l->turn_ends, &end);
    turn_end_add(l->turn_ends.next, &here);
    while (here.next != &end) {
        struct turn_end *t = here.next;
        loop_turn_end_remove(&here);
        turn_end_add(t->next, &here);
        t->run(t);
    }
    loop_turn_end_remove(&here);
    loop_turn_end_remove(&end);
}

/* ── turning ──────────────────────────────────────────────────────────────*/

static bool loop_alive(struct loop *l) {
    if (l->wheel.count || deferrals_wait(l)) return true;
    if (l->sim) return sim_alive(l);
    if (uv_is_active((uv_handle_t *)&l->tick)) uv_timer_stop(&l->tick);
    return uv_loop_alive(&l->uv);
}

/* Makes the poll end in time; -1: whenever the wheel wants. */
static void tick_arm(struct loop *l, int timeout_ms) {
    uint64_t due = wheel_next(&l->wheel), now = loop_now(l);
    if (timeout_ms >= 0 && due > now + (uint64_t)timeout_ms)
        due = now + (uint64_t)timeout_ms;
    if (due == UINT64_MAX) {
        uv_timer_stop(&l->tick);
        return;
    }
    if (uv_is_active((uv_handle_t *)&l->tick) && l->tick_due <= due) return;
    l->tick_due = due;
    uv_timer_start(&l->tick, tick, due > now ? due - now : 0, 0);
}

static void loop_poll(struct loop *l, int timeout_ms) {
    uv_update_time(&l->uv);
    wheel_turn(&l->wheel);
    bool wait = timeout_ms != 0 && !wheel_is_ready(&l->wheel) &&
                !deferrals_wait(l) && loop_alive(l);
    /* Of a loop that nothing keeps alive libuv would not look at the handles. */
    if (wait) tick_arm(l, timeout_ms);
    else if (!uv_loop_alive(&l->uv)) tick_arm(l, 0);
    uv_run(&l->uv, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

bool loop_turn(struct loop *l, int timeout_ms) {
    assert(!l->turning); /* a hook may not turn the loop that called it */
    l->turning = true;
    l->turn++;
    if (l->sim) sim_poll(l);
    else loop_poll(l, timeout_ms);
    wheel_fire(&l->wheel, loop_now(l));
    deferrals_run(l);
    turn_ends_run(l);
    l->turning = false;
    return loop_alive(l);
}

void loop_run(struct loop *l) {
    while (!l->stopping && loop_alive(l)) loop_turn(l, -1);
    l->stopping = false;
}

void loop_stop(struct loop *l) { l->stopping = true; }

int loop_fd(const struct loop *l) { return uv_backend_fd(&l->uv); }

int loop_timeout(const struct loop *l) {
    if (deferrals_wait(l) || wheel_is_ready(&l->wheel)) return 0;
    bool only_timers = l->wheel.count && !uv_loop_alive(&l->uv);
    int wait = only_timers ? -1 : uv_backend_timeout(&l->uv);
    /* The wheel forgets stale bits while looking: not a change that shows. */
    uint64_t due = wheel_next((struct wheel *)&l->wheel);
    if (due == UINT64_MAX) return wait;
    uint64_t now = loop_hrtime() / 1000000;
    uint64_t left = due > now ? due - now : 0;
    if (left > INT32_MAX) left = INT32_MAX;
    return wait >= 0 && wait < (int)left ? wait : (int)left;
}

/* ── clocks, ledger ───────────────────────────────────────────────────────*/

struct mem *loop_mem(struct loop *l) { return l->mem; }

uint64_t loop_now(const struct loop *l) { return l->sim ? sim_now(l) : uv_now(&l->uv); }

uint64_t loop_hrtime(void) { return uv_hrtime(); }

int64_t loop_unix_time(struct loop *l) {
    if (l->sim) return SIMULATION_EPOCH + (int64_t)(loop_now(l) / 1000);
    if (l->unix_turn != l->turn || !l->turning || !l->unix_time) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        l->unix_time = now.tv_sec;
        l->unix_turn = l->turn;
    }
    return l->unix_time;
}

struct str loop_ledger(const struct loop *l, char *out, size_t size) {
    size_t n = 0;
    if (size) out[0] = 0;
    for (unsigned i = 0; i < LEDGER_KINDS; i++) {
        if (!l->open[i] || n + 1 >= size) continue;
        int more = snprintf(out + n, size - n, "%s%s %u", n ? ", " : "",
                            ledger_names[i], l->open[i]);
        if (more < 0) break;
        n += (size_t)more < size - n ? (size_t)more : size - n - 1;
    }
    return str_of(out, n);
}

/* ── death ────────────────────────────────────────────────────────────────*/

/* An object that its owner forgot: the descriptor goes, the memory stays and
 * shows in the account. */
static void close_forgotten(uv_handle_t *h, void *arg) {
    (void)arg;
    if (!uv_is_closing(h)) uv_close(h, NULL);
}

void loop_free(struct loop **loop) {
    struct loop *l = *loop;
    if (!l) return;
    uint64_t until = loop_hrtime() + THREAD_PATIENCE * UINT64_C(1000000);
    while (l->closing && loop_alive(l)) {
        if (l->pools && loop_hrtime() > until) thread_pools_abandon(l);
        loop_turn(l, l->pools ? 100 : -1);
    }

    *loop = NULL; /* not before: owners' last hooks may still use it */
    wheel_drop_all(&l->wheel);
    datagram_free_batch(l);
    while (deferrals_wait(l)) loop_defer_cancel(l->deferred.next);
    while (l->turn_ends.next != &l->turn_ends)
        loop_turn_end_remove(l->turn_ends.next);
    if (l->sim) {
        sim_free(l);
    } else {
        uv_walk(&l->uv, close_forgotten, NULL);
        uv_run(&l->uv, UV_RUN_DEFAULT);
        int rc = uv_loop_close(&l->uv);
        assert(rc == 0);
        (void)rc;
        if (l->reserve >= 0) close(l->reserve);
    }
    mem_free(l->mem, l, sizeof *l);
}
