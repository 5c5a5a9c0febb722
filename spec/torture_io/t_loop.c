/* SPDX-License-Identifier: MIT */
/* Timers, deferrals, turn ends, wakers, signals. The wheel is also driven by a
 * false clock, through the private header, over days and against a model. */
#include "torture.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "io/internal.h"

/* ── order ────────────────────────────────────────────────────────────────*/

struct shot {
    struct timer timer;
    struct world *w;
    unsigned id;
    uint64_t delay, at, turn;
    struct shot *stops, *starts;
};

static unsigned fired_order[64], fired_count;

static void shot_fires(struct timer *t) {
    struct shot *s = (struct shot *)t;
    fired_order[fired_count++ % 64] = s->id;
    s->at = loop_now(s->w->loop);
    s->turn = s->w->loop->turn;
    if (s->stops) timer_stop(s->w->loop, &s->stops->timer);
    if (s->starts)
        timer_start(s->w->loop, &s->starts->timer, s->starts->delay,
                    shot_fires);
}

static void timers_order(void) {
    static const uint64_t delays[] = {30, 10, 20, 10, 0, 30, 0, 1, 20, 90, 70};
    static const unsigned order[] = {4, 6, 7, 1, 3, 2, 8, 0, 5, 10, 9};
    struct world w;
    struct shot s[11] = {0};
    world_begin(&w);
    fired_count = 0;
    w.loop->turning = true; /* as inside a hook: one time for all */
    for (unsigned i = 0; i < 11; i++) {
        s[i].w = &w;
        s[i].id = i;
        timer_start(w.loop, &s[i].timer, delays[i], shot_fires);
        CHECK(timer_active(&s[i].timer));
    }
    w.loop->turning = false;
    uint64_t began = loop_now(w.loop);
    loop_run(w.loop);
    CHECK_EQ(fired_count, 11);
    for (unsigned i = 0; i < 11; i++) {
        CHECK_EQ(fired_order[i], order[i]);
        CHECK(s[i].at >= began + delays[i]);
        CHECK(s[i].at < began + delays[i] + 500);
        CHECK(!timer_active(&s[i].timer));
    }
    world_end(&w);
}

static void timers_while_firing(void) {
    struct world w;
    struct shot s[4] = {0};
    world_begin(&w);
    for (unsigned i = 0; i < 4; i++) {
        s[i].w = &w;
        s[i].id = i;
    }
    fired_count = 0;
    s[0].starts = &s[1]; /* delay 0: next turn */
    s[0].stops = &s[2];  /* due in the same turn */
    s[1].starts = &s[3];
    s[3].delay = 5;
    timer_start(w.loop, &s[0].timer, 5, shot_fires);
    timer_start(w.loop, &s[2].timer, 5, shot_fires);
    loop_run(w.loop);
    CHECK_EQ(fired_count, 3);
    CHECK(s[1].turn == s[0].turn + 1);
    CHECK(s[3].at >= s[1].at + 5);
    CHECK_EQ(s[2].at, 0);
    world_end(&w);
}

static void timer_moves_later(void) {
    struct world w;
    struct shot s = {.w = &w};
    world_begin(&w);
    timer_start(w.loop, &s.timer, 100, shot_fires);
    uint64_t began = loop_now(w.loop);
    for (int i = 0; i < 20; i++) {
        loop_turn(w.loop, 10);
        timer_start(w.loop, &s.timer, 100, shot_fires);
    }
    uint64_t last = loop_now(w.loop);
    CHECK_EQ(s.at, 0);
    CHECK(last > began + 100);
    loop_run(w.loop);
    CHECK(s.at >= last + 100);
    timer_start(w.loop, &s.timer, 100000, shot_fires);
    timer_stop(w.loop, &s.timer);
    double t = now_seconds();
    loop_run(w.loop); /* nothing is alive */
    CHECK(now_seconds() - t < 1);
    world_end(&w);
}

/* ── a false clock ────────────────────────────────────────────────────────*/

static uint64_t last_due, last_id, wrong_order, fires;
struct model {
    struct timer timer;
    uint64_t id; /* arming order */
};

static void model_fires(struct timer *t) {
    struct model *m = (struct model *)t;
    if (t->due < last_due || (t->due == last_due && m->id < last_id))
        wrong_order++;
    last_due = t->due;
    last_id = m->id;
    fires++;
}

static void timers_over_days(void) {
    enum { N = 5000 };
    struct world w;
    struct model *m = calloc(N, sizeof *m);
    world_begin(&w);
    struct loop *l = w.loop;
    uint64_t id = 0, armed = 0, now = (UINT64_C(1) << 36) - 70000;
    l->turning = true; /* the clock stands */
    wheel_init(&l->wheel, now);
    l->uv.time = now;
    last_due = wrong_order = fires = 0;
    for (int round = 0; round < 20000; round++) {
        struct model *t = &m[test_random() % N];
        uint64_t delay = 1 + (test_random() >> test_random() % 32);
        if (test_random() % 4 == 0) delay = 1 + delay % 7;
        if (timer_active(&t->timer)) armed--;
        if (test_random() % 8 == 0) {
            timer_stop(l, &t->timer);
        } else {
            t->id = ++id;
            timer_start(l, &t->timer, delay, model_fires);
            armed++;
        }
        if (round % 3) continue;
        now += test_random() >> test_random() % 32;
        uint64_t due = 0, next = wheel_next(&l->wheel), before = fires;
        for (int i = 0; i < N && round % 50 == 0; i++) {
            if (!timer_active(&m[i].timer)) continue;
            if (m[i].timer.due <= now) due++;
            CHECK(m[i].timer.due >= next);
        }
        l->uv.time = now;
        do wheel_fire(&l->wheel, now);
        while (wheel_is_ready(&l->wheel));
        if (round % 50 == 0) CHECK_EQ(fires - before, due);
        armed -= fires - before;
        CHECK_EQ(l->wheel.count, armed);
    }
    CHECK_EQ(wrong_order, 0);
    CHECK(fires > 1000);
    wheel_drop_all(&l->wheel);
    l->turning = false;
    world_end(&w);
    free(m);
}

static void timers_million(void) {
    enum { N = 1000000 };
    struct world w;
    struct model *m = calloc(N, sizeof *m);
    world_begin(&w);
    last_due = wrong_order = fires = 0;
    uint64_t base = w.mem.live;
    double t0 = now_seconds();
    w.loop->turning = true; /* as inside a hook */
    for (int i = 0; i < N; i++)
        timer_start(w.loop, &m[i].timer, 1 + test_random() % 500, model_fires);
    double t1 = now_seconds();
    for (int i = 0; i < N; i += 2) timer_stop(w.loop, &m[i].timer);
    double t2 = now_seconds();
    for (int i = 0; i < N; i++)
        timer_start(w.loop, &m[1].timer, 75000u + i / 1000, model_fires);
    double t3 = now_seconds();
    w.loop->turning = false;
    timer_stop(w.loop, &m[1].timer);
    CHECK_EQ(w.mem.live, base);
    loop_run(w.loop);
    CHECK_EQ(fires, N / 2 - 1);
    CHECK_EQ(wrong_order, 0);
    printf("    timers: start %.0f ns, stop %.0f ns, restart %.1f ns\n",
           (t1 - t0) * 1e9 / N, (t2 - t1) * 1e9 / (N / 2),
           (t3 - t2) * 1e9 / N);
    world_end(&w);
    free(m);
}

/* ── deferrals, turn ends ─────────────────────────────────────────────────*/

struct work {
    struct deferral d;
    struct world *w;
    unsigned id, again;
    struct work *cancels;
    uint64_t turn;
};

static void work_runs(struct deferral *d) {
    struct work *k = (struct work *)d;
    fired_order[fired_count++ % 64] = k->id;
    CHECK(!deferral_waits(d));
    if (k->again) {
        CHECK(k->w->loop->turn != k->turn);
        k->again--;
        loop_defer(k->w->loop, d);
    }
    k->turn = k->w->loop->turn;
    if (k->cancels) loop_defer_cancel(&k->cancels->d);
}

static void deferrals(void) {
    struct world w;
    struct work k[4] = {0};
    struct shot far = {.w = &w};
    world_begin(&w);
    for (unsigned i = 0; i < 4; i++)
        k[i] = (struct work){.d.run = work_runs, .w = &w, .id = i};
    k[0].again = 3;
    k[1].cancels = &k[2];
    fired_count = 0;
    timer_start(w.loop, &far.timer, 60000, shot_fires);
    for (unsigned i = 0; i < 4; i++) loop_defer(w.loop, &k[i].d);
    loop_defer(w.loop, &k[0].d); /* once until it ran */
    CHECK_EQ(loop_timeout(w.loop), 0);
    double t = now_seconds();
    for (int i = 0; i < 4; i++) CHECK(loop_turn(w.loop, -1));
    CHECK(now_seconds() - t < 1); /* did not wait */
    static const unsigned order[] = {0, 1, 3, 0, 0, 0};
    CHECK_EQ(fired_count, 6);
    for (unsigned i = 0; i < 6; i++) CHECK_EQ(fired_order[i], order[i]);
    CHECK(loop_timeout(w.loop) > 1000);
    timer_stop(w.loop, &far.timer);
    world_end(&w);
}

/* Thousands that are due at once do not keep the others, and the sockets, from
 * theirs for long: a turn has a slice of them, in order. */
enum { BURST = 5000, BURST_OF_A_TURN = 500 };

struct burst {
    struct world *w;
    unsigned done, of_turn, most;
    uint64_t turn;
};

static struct burst burst;

static void burst_counts(unsigned id) {
    CHECK_EQ(id, burst.done);
    burst.done++;
    if (burst.turn != burst.w->loop->turn) burst.of_turn = 0;
    burst.turn = burst.w->loop->turn;
    if (++burst.of_turn > burst.most) burst.most = burst.of_turn;
}

static void burst_work(struct deferral *d) { burst_counts(((struct work *)d)->id); }

/* In the middle: what is added now comes behind all that wait. */
static void burst_adds(struct deferral *d) {
    struct work *k = (struct work *)d;
    burst_counts(k->id);
    loop_defer(k->w->loop, &k->cancels->d);
}

static void burst_timer(struct timer *t) { burst_counts(((struct shot *)t)->id); }

static void bursts(void) {
    struct world w;
    world_begin(&w);
    struct work *k = calloc(BURST, sizeof *k);
    struct shot *s = calloc(BURST, sizeof *s);
    burst = (struct burst){.w = &w};
    for (unsigned i = 0; i < BURST; i++) {
        k[i] = (struct work){.d.run = burst_work, .w = &w, .id = i};
        if (i + 1 < BURST) loop_defer(w.loop, &k[i].d);
    }
    k[10].d.run = burst_adds;
    k[10].cancels = &k[BURST - 1];
    loop_run(w.loop);
    CHECK_EQ(burst.done, BURST);
    CHECK(burst.most <= BURST_OF_A_TURN);

    burst = (struct burst){.w = &w};
    w.loop->turning = true; /* one time for all */
    for (unsigned i = 0; i < BURST; i++) {
        s[i].id = i;
        timer_start(w.loop, &s[i].timer, 3 + i / 1000, burst_timer);
    }
    w.loop->turning = false;
    usleep(20000);
    loop_run(w.loop);
    CHECK_EQ(burst.done, BURST);
    CHECK(burst.most <= BURST_OF_A_TURN);

    burst = (struct burst){.w = &w};
    for (unsigned i = 0; i < BURST; i++) timer_start(w.loop, &s[i].timer, 0, burst_timer);
    loop_turn(w.loop, 0); /* what is left can still be stopped */
    CHECK(burst.done > 0 && burst.done <= BURST_OF_A_TURN);
    for (unsigned i = 0; i < BURST; i++) timer_stop(w.loop, &s[i].timer);
    CHECK(!wheel_is_ready(&w.loop->wheel));
    CHECK_EQ(w.loop->wheel.count, 0);
    world_end(&w);
    free(k);
    free(s);
}

struct turn {
    struct turn_end t;
    struct world *w;
    unsigned runs;
    struct turn *removes, *adds;
};

static void turn_ends(struct turn_end *t) {
    struct turn *k = (struct turn *)t;
    k->runs++;
    if (k->removes) loop_turn_end_remove(&k->removes->t);
    if (k->adds) loop_at_turn_end(k->w->loop, &k->adds->t);
}

static void turn_end_hooks(void) {
    struct world w;
    struct turn k[4] = {0};
    struct shot s = {.w = &w};
    world_begin(&w);
    for (int i = 0; i < 4; i++) {
        k[i].t.run = turn_ends;
        k[i].w = &w;
        if (i < 3) loop_at_turn_end(w.loop, &k[i].t);
    }
    k[0].removes = &k[1]; /* the next one */
    k[2].removes = &k[2]; /* itself */
    k[0].adds = &k[3];
    timer_start(w.loop, &s.timer, 0, shot_fires);
    loop_turn(w.loop, 0);
    CHECK_EQ(k[0].runs, 1);
    CHECK_EQ(k[1].runs, 0);
    CHECK_EQ(k[2].runs, 1);
    CHECK_EQ(k[3].runs, 0);
    loop_turn(w.loop, 0);
    CHECK_EQ(k[2].runs, 1);
    CHECK_EQ(k[3].runs, 1);
    CHECK_EQ(k[0].runs, 2);
    world_end(&w);
}

/* ── from outside ─────────────────────────────────────────────────────────*/

static bool woken;
static void wake_hook(void *owner) { *(bool *)owner = true; }
static void *wake_thread(void *arg) {
    usleep(20000);
    waker_wake(arg);
    return NULL;
}

static void signal_hook(void *owner, int signum) {
    CHECK_EQ(signum, SIGUSR1);
    *(bool *)owner = true;
}

static void wakers_and_signals(void) {
    struct world w;
    pthread_t thread;
    world_begin(&w);
    woken = false;
    struct waker *k = waker_new(w.loop, wake_hook, &woken);
    loop_run(w.loop); /* a waker alone does not keep it running */
    pthread_create(&thread, NULL, wake_thread, k);
    world_until(&w, &woken, 2000);
    pthread_join(thread, NULL);
    bool signalled = false;
    struct signal_watch *s =
        signal_watch_new(w.loop, SIGUSR1, signal_hook, &signalled);
    CHECK(!signal_was_caught(SIGUSR1));
    raise(SIGUSR1);
    CHECK(signal_was_caught(SIGUSR1) && !signalled);
    /* Work without end, and nothing else: the loop looks at its handles, too. */
    struct work endless = {.d.run = work_runs, .w = &w, .again = 1000};
    loop_defer(w.loop, &endless.d);
    for (int i = 0; i < 10 && !signalled; i++) loop_turn(w.loop, -1);
    CHECK(signalled);
    loop_defer_cancel(&endless.d);
    char text[64];
    CHECK(str_eq(loop_ledger(w.loop, text, sizeof text),
                 STR("waker 1, signal 1")));
    waker_free(&k);
    signal_watch_free(&s);
    CHECK(!k && !s);
    world_end(&w);
}

static void two_loops(void) {
    struct world v, w;
    struct shot s = {.w = &v}, t = {.w = &w};
    world_begin(&v);
    world_begin(&w);
    timer_start(v.loop, &s.timer, 5, shot_fires);
    timer_start(w.loop, &t.timer, 5, shot_fires);
    loop_run(w.loop);
    CHECK(t.at && !s.at);
    loop_run(v.loop);
    CHECK(s.at);
    world_end(&v);
    world_end(&w);
}

/* ── the watchdog ─────────────────────────────────────────────────────────*/

static volatile sig_atomic_t ticks;
static void tick_hook(void) { ticks = ticks + 1; }

static void watchdog(void) {
    ticks = 0;
    CHECK_EQ(watchdog_start(10, tick_hook), 0);
    CHECK_EQ(watchdog_start(10, tick_hook), RW_ESTATE);
    for (int i = 0; i < 10; i++) usleep(20000);
    CHECK_EQ(ticks, 0);
    double t = now_seconds();
    while (ticks < 5 && now_seconds() - t < 5) continue;
    CHECK(ticks >= 5);
    watchdog_stop();
    int then = ticks;
    t = now_seconds();
    while (now_seconds() - t < 0.1) continue;
    CHECK_EQ(ticks, then);
}

const struct test loop_tests[] = {
    {"timers fire in order of due time, then of arming", timers_order},
    {"timers that are started and stopped while firing", timers_while_firing},
    {"a timer that moves later, and an idle loop ends", timer_moves_later},
    {"timers over days against a model", timers_over_days},
    {"a million timers", timers_million},
    {"deferrals run once, in order, without waiting", deferrals},
    {"a burst of timers or deferrals is spread over turns", bursts},
    {"turn ends come and go", turn_end_hooks},
    {"wakers and signals", wakers_and_signals},
    {"two loops", two_loops},
    {"the watchdog ticks only when busy", watchdog},
    {0},
};
