/* SPDX-License-Identifier: MIT */
/* Listening and connecting in a simulation. A connection takes a while; it may
 * be refused; it waits in the listener's backlog for another while before it
 * is accepted, and its client may have written by then. */
#include <string.h>

#include "io/sim.h"

enum {
    SYN_AGAIN = 1000, /* ms: the backlog is full */
    NEXT_ADDRESS = 250, /* ms: one that does not answer */
};

/* ── addresses ────────────────────────────────────────────────────────────*/

static void set_host(struct address *a, const char *host) {
    size_t n = strnlen(host, sizeof a->host - 1);
    memcpy(a->host, host, n);
    a->host[n] = 0;
}

static struct address address_at(const struct sim *s, const struct endpoint *e, const char *host) {
    struct address a = {.kind = ADDRESS_UNIX};
    char text[SIM_HOST];
    if (e->kind == ENDPOINT_UNIX) {
        set_host(&a, host);
        return a;
    }
    a.kind = ADDRESS_TCP;
    a.port = e->port;
    sim_host_text(s, host, text);
    set_host(&a, text);
    return a;
}

static struct sim_port *port_find(const struct sim *s, const struct address *a) {
    for (struct sim_port *p = s->ports; p; p = p->next) {
        const struct address *b = &p->address;
        if (a->kind != b->kind || a->port != b->port) continue;
        if (strcmp(a->host, b->host) == 0) return p;
        if (a->kind == ADDRESS_UNIX) continue;
        if (sim_host_is_any(b->host) || sim_host_is_any(a->host)) return p;
    }
    return NULL;
}

/* ── listening ────────────────────────────────────────────────────────────*/

int sim_port_open(struct loop *l, const struct endpoint *e, const struct limits *limits,
                  struct sim_port *p) {
    struct sim *s = l->sim;
    if (e->kind != ENDPOINT_TCP && e->kind != ENDPOINT_UNIX) return RW_ESIMULATED;
    if (e->kind == ENDPOINT_TCP && sim_host_is_long(e->host)) return RW_ENONAME;
    bool any = e->kind == ENDPOINT_TCP && !e->host[0];
    struct address a = address_at(s, e, any ? "::" : e->host);
    if (a.kind == ADDRESS_TCP && a.port == 0) {
        do a.port = s->next_port++;
        while (port_find(s, &a));
    }
    if (port_find(s, &a)) return -EADDRINUSE;
    if (a.kind == ADDRESS_TCP) sim_host_lives(l, a.host);
    unsigned most = sizeof p->backlog / sizeof *p->backlog;
    p->loop = l;
    p->address = a;
    p->limits = limits;
    p->room = e->backlog > 0 && (unsigned)e->backlog < most ? (unsigned)e->backlog : most;
    p->next = s->ports;
    p->prev = &s->ports;
    if (p->next) p->next->prev = &p->next;
    s->ports = p;
    return 0;
}

static void accept_next(struct sim_event *e) {
    struct sim_port *p = CONTAINER(e, struct sim_port, accept);
    if (!p->started || !p->waiting) return;
    struct stream *stream = p->backlog[0];
    memmove(p->backlog, p->backlog + 1, --p->waiting * sizeof *p->backlog);
    if (p->waiting) sim_schedule(p->loop, e, sim_delay(p->loop->sim), accept_next);
    p->arrived(p, stream);
}

void sim_port_start(struct sim_port *p, bool on) {
    p->started = on;
    if (on && p->waiting)
        sim_schedule(p->loop, &p->accept, sim_delay(p->loop->sim), accept_next);
}

void sim_port_close(struct sim_port *p) {
    sim_unschedule(p->loop, &p->accept);
    *p->prev = p->next;
    if (p->next) p->next->prev = p->prev;
    for (unsigned i = 0; i < p->waiting; i++) stream_abort(p->backlog[i], RW_EABORTED);
    p->waiting = 0;
}

/* ── connecting ───────────────────────────────────────────────────────────*/

static struct address address_now(const struct sim_dial *d) {
    const struct endpoint *e = &d->endpoint;
    char text[IP_TEXT_MAX];
    bool given = d->at < d->address_count;
    return address_at(d->loop->sim, e, given ? ip_format(&d->addresses[d->at], text).p : e->host);
}

/* false: there is none that was not tried. */
static bool try_next(struct sim_dial *d, uint64_t delay) {
    if (d->at + 1 >= d->address_count) return false;
    d->at++;
    sim_schedule(d->loop, &d->event, delay, d->event.happen);
    return true;
}

static int arrive(struct sim_dial *d, struct sim_port *p, struct stream **out) {
    struct sim *s = d->loop->sim;
    struct address client = {.kind = p->address.kind}, server = p->address;
    if (client.kind == ADDRESS_TCP) {
        set_host(&client, "127.0.0.1");
        client.port = s->next_port++;
        if (s->next_port == 0) s->next_port = 1024;
        set_host(&server, address_now(d).host);
    }
    struct stream *ends[2];
    int rc = sim_connection(d->loop, &client, &server,
                            (const struct limits *const[2]){d->limits, p->limits}, ends);
    if (rc < 0) return rc;
    p->backlog[p->waiting++] = ends[1];
    if (p->started && !sim_scheduled(&p->accept))
        sim_schedule(d->loop, &p->accept, sim_delay(s), accept_next);
    *out = ends[0];
    return 0;
}

static void dial(struct sim_event *e) {
    struct sim_dial *d = CONTAINER(e, struct sim_dial, event);
    struct sim *s = d->loop->sim;
    struct address a = address_now(d);
    struct sim_port *p = port_find(s, &a);
    struct stream *stream = NULL;
    if (sim_is_cut(s, a.host)) {
        if (!try_next(d, NEXT_ADDRESS)) d->at = 0; /* until one is healed, or it times out */
        return;
    }
    if (p && p->waiting == p->room) {
        sim_schedule(d->loop, e, SYN_AGAIN, dial);
        return;
    }
    bool refused = !p || random_chance(&s->chance, s->faults.refuse);
    int rc = -ECONNREFUSED;
    if (refused) {
        char text[160];
        simulation_trace(d->loop, "refuse", 0, address_format(&a, text, sizeof text));
        if (try_next(d, sim_delay(s))) return;
        if (!p && a.kind == ADDRESS_UNIX) rc = -ENOENT;
    } else {
        rc = arrive(d, p, &stream);
    }
    sim_dial_stop(d);
    d->dialled(d, rc, stream);
}

static void looked_up(struct simulation_lookup *k, int status) {
    struct sim_dial *d = CONTAINER(k, struct sim_dial, lookup);
    struct sim *s = d->loop->sim;
    const char *host = d->endpoint.host, *address;
    while (d->address_count < SIM_ADDRESSES &&
           (address = sim_name_address(s, host, d->address_count)))
        ip_parse(str_c(address), &d->addresses[d->address_count++]);
    bool known = d->address_count || (!s->names_said && !sim_host_is_long(host));
    if (status == 0 && !known) status = RW_ENONAME;
    if (status == 0) {
        sim_schedule(d->loop, &d->event, sim_delay(s), dial);
        return;
    }
    sim_dial_stop(d);
    d->dialled(d, status, NULL);
}

void sim_dial_start(struct loop *l, const struct endpoint *e, const struct limits *limits,
                    struct sim_dial *d) {
    struct sim *s = l->sim;
    d->loop = l;
    d->endpoint = *e;
    d->endpoint.addresses = NULL; /* borrowed for the call only */
    for (; d->address_count < e->address_count && d->address_count < SIM_ADDRESSES;
         d->address_count++)
        d->addresses[d->address_count] = e->addresses[d->address_count];
    d->limits = limits;
    d->next = s->dials;
    d->prev = &s->dials;
    if (d->next) d->next->prev = &d->next;
    s->dials = d;
    if (e->kind == ENDPOINT_TCP && !d->address_count && sim_host_is_name(e->host)) {
        simulation_lookup_start(l, &d->lookup, str_c(e->host), limits->names_timeout, looked_up);
        return;
    }
    sim_schedule(l, &d->event, sim_delay(s), dial);
}

void sim_dial_stop(struct sim_dial *d) {
    if (!d->prev) return;
    simulation_lookup_stop(&d->lookup);
    sim_unschedule(d->loop, &d->event);
    *d->prev = d->next;
    if (d->next) d->next->prev = d->prev;
    d->prev = NULL;
}
