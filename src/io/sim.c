/* SPDX-License-Identifier: MIT */
/* A simulated loop's turns, clock and trace.
 *
 *     poll     the clock jumps to the next event, unless one is due already;
 *              what the network had for this instant happens, in the order of
 *              chance, and not always all of it in one turn
 *     timers   as ever; the network's own only become due
 *     deferrals, turn ends: as ever
 *
 * A turn takes no time, so a script that only ever asks for the next turn would
 * stop the clock: after STILL_TURNS turns it moves by itself.
 */
#include "io/sim.h"

#include <stdio.h>
#include <string.h>

#include "base/codec.h"

enum {
    STILL_TURNS = 100,
    FIRST_PORT = 49152,
};

/* ── events ───────────────────────────────────────────────────────────────*/

static void event_due(struct timer *t) {
    struct sim_event *e = CONTAINER(t, struct sim_event, timer);
    struct sim *s = e->loop->sim;
    e->next = s->due;
    e->prev = &s->due;
    if (e->next) e->next->prev = &e->next;
    s->due = e;
    s->due_count++;
}

void sim_unschedule(struct loop *l, struct sim_event *e) {
    if (!sim_scheduled(e)) return;
    l->sim->scheduled--;
    timer_stop(l, &e->timer);
    if (!e->prev) return;
    *e->prev = e->next;
    if (e->next) e->next->prev = e->prev;
    e->prev = NULL;
    l->sim->due_count--;
}

void sim_schedule(struct loop *l, struct sim_event *e, uint64_t delay_ms,
                  void (*happen)(struct sim_event *e)) {
    sim_unschedule(l, e);
    e->loop = l;
    e->happen = happen;
    l->sim->scheduled++;
    timer_start(l, &e->timer, delay_ms, event_due);
}

static void happen_due(struct loop *l) {
    struct sim *s = l->sim;
    for (unsigned left = s->due_count; left; left--) {
        if (!s->due) return;
        struct sim_event *e = s->due;
        for (uint64_t skip = random_below(&s->chance, s->due_count); skip; skip--)
            e = e->next;
        sim_unschedule(l, e);
        e->happen(e);
        if (random_chance(&s->chance, 0.25)) return;
    }
}

/* ── turning ──────────────────────────────────────────────────────────────*/

bool sim_alive(const struct loop *l) { return l->sim->due; }

void sim_poll(struct loop *l) {
    struct sim *s = l->sim;
    wheel_turn(&l->wheel);
    bool busy = s->due || wheel_is_ready(&l->wheel) || l->deferred.next != &l->deferred;
    uint64_t next = busy ? s->now : wheel_next(&l->wheel);
    if (next > s->now && next != UINT64_MAX) {
        s->now = next;
        s->still = 0;
    } else if (++s->still >= STILL_TURNS) {
        s->now++;
        s->still = 0;
    }
    happen_due(l);
}

bool simulation_is_quiet(struct loop *l) {
    return !l->sim->scheduled && !wheel_is_ready(&l->wheel) &&
           l->deferred.next == &l->deferred;
}

/* ── chance ───────────────────────────────────────────────────────────────*/

uint64_t sim_delay(struct sim *s) {
    const struct simulation_faults *f = &s->faults;
    uint64_t delay = random_between(&s->chance, f->delay[0], f->delay[1]);
    if (random_chance(&s->chance, f->stall))
        delay += random_between(&s->chance, 1, f->stall_max);
    return delay;
}

void simulation_seed(struct loop *l, uint64_t seed) {
    struct sim *s = l->sim;
    s->chance.state = seed;
    s->other.state = ~seed;
    s->hash = seed;
    s->events = 0;
}

void simulation_set_faults(struct loop *l, const struct simulation_faults *f) {
    l->sim->faults = *f;
}

uint64_t simulation_random(struct loop *l) { return random_next(&l->sim->other); }

/* ── cuts ─────────────────────────────────────────────────────────────────*/

bool sim_is_cut(const struct sim *s, const char *host) {
    for (unsigned i = 0; i < s->cuts; i++)
        if (strcmp(s->cut[i].host, host) == 0) return true;
    return false;
}

static bool was_cut_by(const struct sim *s, const char *by) {
    for (unsigned i = 0; i < s->cuts; i++)
        if (strcmp(s->cut[i].by, by) == 0) return true;
    return false;
}

static void heal(struct loop *l, const char *by) {
    struct sim *s = l->sim;
    for (unsigned i = s->cuts; i--;)
        if (strcmp(s->cut[i].by, by) == 0) s->cut[i] = s->cut[--s->cuts];
    sim_streams_go_on(l);
    for (struct sim_dial *d = s->dials; d; d = d->next)
        if (!sim_scheduled(&d->event) && !sim_scheduled(&d->lookup.event))
            sim_schedule(l, &d->event, sim_delay(s), d->event.happen);
}

int simulation_cut(struct loop *l, const char *host, bool cut) {
    struct sim *s = l->sim;
    if (sim_host_is_long(host)) return RW_ELIMIT;
    simulation_trace(l, cut ? "cut" : "heal", 0, str_c(host));
    if (!cut) heal(l, host);
    if (!cut || was_cut_by(s, host)) return 0;
    const char *each = sim_name_address(s, host, 0);
    for (unsigned n = 0; n == 0 || each; each = sim_name_address(s, host, ++n)) {
        if (s->cuts == SIM_CUTS) return RW_ELIMIT;
        struct sim_cut *c = &s->cut[s->cuts++];
        snprintf(c->by, sizeof c->by, "%s", host);
        sim_host_text(s, each ? each : host, c->host);
    }
    return 0;
}

/* ── the trace ────────────────────────────────────────────────────────────*/

static uint64_t mix(uint64_t hash, uint64_t value) {
    struct random r = {hash ^ value};
    return random_next(&r);
}

static uint64_t mix_bytes(uint64_t hash, struct str s) {
    uint64_t word = s.n;
    for (size_t at = 0; at < s.n; at += sizeof word) {
        hash = mix(hash, word);
        word = 0;
        memcpy(&word, s.p + at, s.n - at < sizeof word ? s.n - at : sizeof word);
    }
    return mix(hash, word);
}

void simulation_trace(struct loop *l, const char *what, unsigned id, struct str text) {
    struct sim *s = l->sim;
    s->hash = mix(mix(s->hash, s->now), id);
    s->hash = mix_bytes(mix_bytes(s->hash, str_c(what)), text);
    struct sim_record *r = &s->records[s->events++ % SIMULATION_RECORDS];
    r->time = s->now;
    r->what = what;
    r->id = id;
    r->length = (uint32_t)text.n;
    if (text.n) memcpy(r->text, text.p, text.n < sizeof r->text ? text.n : sizeof r->text);
}

uint64_t simulation_hash(const struct loop *l) { return l->sim->hash; }
uint64_t simulation_events(const struct loop *l) { return l->sim->events; }

struct str simulation_event(const struct loop *l, unsigned back, char *out, size_t size) {
    const struct sim *s = l->sim;
    if (back >= s->events || back >= SIMULATION_RECORDS || size == 0) return STR_NONE;
    const struct sim_record *r = &s->records[(s->events - 1 - back) % SIMULATION_RECORDS];
    char id[16] = "";
    if (r->id) snprintf(id, sizeof id, " #%u", r->id);
    size_t kept = r->length < sizeof r->text ? r->length : sizeof r->text;
    bool readable = utf8_valid(str_of(r->text, kept));
    char text[4 * sizeof r->text + 4];
    size_t n = 0;
    for (size_t i = 0; i < kept; i++) {
        unsigned char c = (unsigned char)r->text[i];
        bool plain = c >= ' ' && (c < 0x7f || (c > 0x7f && readable));
        n += (size_t)snprintf(text + n, sizeof text - n, plain ? "%c" : "\\x%02x", c);
    }
    text[n] = 0;
    int length = snprintf(out, size, "%9.3f  %s%s%s%s%s", (double)r->time / 1000, r->what, id,
                          r->length ? " " : "", text, r->length > sizeof r->text ? "…" : "");
    return str_of(out, length < (int)size ? (size_t)length : size - 1);
}

/* ── birth ────────────────────────────────────────────────────────────────*/

bool loop_is_simulated(const struct loop *l) { return l->sim; }

int sim_init(struct loop *l) {
    struct sim *s = l->sim = mem_zalloc(l->mem, sizeof *s);
    if (!s) return RW_ENOMEM;
    s->now = 1; /* never 0 */
    s->next_port = FIRST_PORT;
    s->faults.buffer[0] = s->faults.buffer[1] = LOOP_BUFFER;
    simulation_seed(l, 0);
    return 0;
}

void sim_free(struct loop *l) {
    sim_flights_free(l);
    sim_hosts_free(l);
    mem_free(l->mem, l->sim, sizeof *l->sim);
}

uint64_t sim_now(const struct loop *l) { return l->sim->now; }
