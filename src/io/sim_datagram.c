/* SPDX-License-Identifier: MIT */
/* Datagrams of a simulation. Each is on its own: it is lost, comes twice, or is
 * under way for a while, so that a later one may overtake it.
 *
 *     send ─→ flight ─→ (due) ─→ inbox of the socket that is there by then ─→ hook
 *                         │
 *                         └─ nobody has the port of a living host:
 *                            a refusal flies back, to a socket with a peer
 *
 * What goes to or from a host that is cut off is lost, also when it was under
 * way already; so is what finds a full inbox, as with a system's buffer. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "io/sim.h"
#include "io/datagram_private.h"

enum {
    DATAGRAM_MOST = 65507, /* bytes that UDP carries */
    INBOX_MOST = 212992,   /* bytes, as Linux has it */
    FLYING_MOST = 16 << 20,
    LABEL_MOST = 160,      /* "from HOST:PORT: " */
};

struct sim_flight {
    struct sim_event event;
    struct sim_flight *next, **prev; /* list: sim->flights; or an inbox */
    struct loop *loop;
    struct datagram_address from, to;
    bool refusal; /* of what was sent by `to` to `from` */
    size_t n;
    char bytes[]; /* LABEL_MOST for the trace, then the datagram */
};

static size_t size_of(const struct sim_flight *f) { return sizeof *f + LABEL_MOST + f->n; }

static struct datagram *socket_of(struct sim_datagram *p) {
    return CONTAINER(p, struct datagram, simulated);
}

static bool same(const struct datagram_address *a, const struct datagram_address *b) {
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* ── ends ─────────────────────────────────────────────────────────────────*/

/* Which host it is on, and the port. */
static struct address end_of(const struct sim *s, const struct datagram_address *a) {
    struct address end;
    datagram_address_read(a, &end);
    sim_host_text(s, end.host, end.host);
    return end;
}

/* The socket that has a port of a host; there are never two. */
static struct datagram *holder(const struct sim *s, const char *host, uint16_t port) {
    for (struct sim_datagram *p = s->sockets; p; p = p->next)
        if (p->port == port && (strcmp(p->host, host) == 0 || sim_host_is_any(p->host) ||
                                sim_host_is_any(host)))
            return socket_of(p);
    return NULL;
}

static bool is_group(const struct datagram_address *to) {
    struct address a;
    struct ip ip;
    datagram_address_read(to, &a);
    if (ip_parse(str_c(a.host), &ip) < 0) return false;
    if (ip.family == 6) return ip.bytes[0] == 0xff;
    static const uint8_t everybody[4] = {255, 255, 255, 255};
    return (ip.bytes[0] & 0xf0) == 0xe0 || memcmp(ip.bytes, everybody, 4) == 0;
}

/* ── flights ──────────────────────────────────────────────────────────────*/

static void flight_leave(struct sim_flight *f) {
    *f->prev = f->next;
    if (f->next) f->next->prev = f->prev;
    f->prev = NULL;
}

static void flight_free(struct sim_flight *f) {
    f->loop->sim->flying -= size_of(f);
    mem_free(f->loop->mem, f, size_of(f));
}

void sim_flights_free(struct loop *l) {
    while (l->sim->flights) {
        struct sim_flight *f = l->sim->flights;
        flight_leave(f);
        flight_free(f);
    }
}

/* As "from HOST:PORT: bytes". */
static void trace(struct sim_flight *f, const char *what, unsigned id, const char *word,
                  const struct datagram_address *end) {
    char label[LABEL_MOST], text[LABEL_MOST];
    struct address a = end_of(f->loop->sim, end);
    struct str where = address_format(&a, text, sizeof text);
    int n = snprintf(label, sizeof label, "%s %.*s: ", word, (int)where.n, where.p);
    size_t length = (size_t)n < sizeof label ? (size_t)n : sizeof label - 1;
    char *begin = f->bytes + LABEL_MOST - length;
    memcpy(begin, label, length);
    simulation_trace(f->loop, what, id, str_of(begin, length + f->n));
}

static void lose(struct sim_flight *f) {
    trace(f, f->refusal ? "lost refusal" : "lost", 0, "to", &f->to);
    flight_free(f);
}

static void land(struct sim_event *e);

static int fly(struct loop *l, struct str bytes, const struct datagram_address *from,
               const struct datagram_address *to, bool refusal) {
    struct sim *s = l->sim;
    struct sim_flight *f = mem_alloc(l->mem, sizeof *f + LABEL_MOST + bytes.n);
    if (!f) return RW_ENOMEM;
    *f = (struct sim_flight){
        .loop = l, .from = *from, .to = *to, .refusal = refusal, .n = bytes.n};
    if (bytes.n) memcpy(f->bytes + LABEL_MOST, bytes.p, bytes.n);
    s->flying += size_of(f);
    if (s->flying > FLYING_MOST || random_chance(&s->chance, s->faults.loss)) {
        lose(f);
        return 0;
    }
    f->next = s->flights;
    f->prev = &s->flights;
    if (f->next) f->next->prev = &f->next;
    s->flights = f;
    sim_schedule(l, &f->event, sim_delay(s), land);
    return 0;
}

/* ── arriving ─────────────────────────────────────────────────────────────*/

static bool is_reading(const struct datagram *d) { return d->started && !d->closing; }

static void append(struct sim_datagram *p, struct sim_flight *f) {
    f->next = NULL;
    f->prev = p->inbox_end;
    *p->inbox_end = f;
    p->inbox_end = &f->next;
    p->unread += size_of(f);
}

static struct sim_flight *take(struct sim_datagram *p) {
    struct sim_flight *f = p->inbox;
    p->inbox = f->next;
    if (f->next) f->next->prev = &p->inbox;
    else p->inbox_end = &p->inbox;
    p->unread -= size_of(f);
    return f;
}

static void deliver(struct datagram *d, struct sim_flight *f) {
    if (f->n > d->limits->max_datagram) {
        d->oversized++;
        trace(f, "too long", d->simulated.id, "from", &f->from);
        return;
    }
    trace(f, "datagram", d->simulated.id, "from", &f->from);
    d->hooks->on_datagram(d, str_of(f->bytes + LABEL_MOST, f->n), &f->from);
}

/* What has come, as one look at the socket finds it. */
static void drain(struct datagram *d) {
    struct sim_datagram *p = &d->simulated;
    if (p->refused && is_reading(d)) {
        p->refused = false;
        simulation_trace(d->loop, "refused", p->id, STR_NONE);
        if (d->hooks->on_refused) d->hooks->on_refused(d);
    }
    while (p->inbox && is_reading(d)) {
        struct sim_flight *f = take(p);
        deliver(d, f);
        flight_free(f);
    }
}

static void on_ready(struct sim_event *e) {
    drain(socket_of(CONTAINER(e, struct sim_datagram, ready)));
}

void sim_datagram_watch(struct datagram *d) {
    struct sim_datagram *p = &d->simulated;
    if (is_reading(d) && (p->inbox || p->refused) && !sim_scheduled(&p->ready))
        sim_schedule(d->loop, &p->ready, 0, on_ready);
}

static void land_refusal(struct sim_flight *f, const struct address *to) {
    struct datagram *d = holder(f->loop->sim, to->host, to->port);
    if (d && same(&d->simulated.peer, &f->from)) {
        d->simulated.refused = true;
        drain(d);
    }
    flight_free(f);
}

static void land(struct sim_event *e) {
    struct sim_flight *f = CONTAINER(e, struct sim_flight, event);
    struct sim *s = f->loop->sim;
    struct address from = end_of(s, &f->from), to = end_of(s, &f->to);
    flight_leave(f);
    if (sim_is_cut(s, from.host) || sim_is_cut(s, to.host)) {
        lose(f);
        return;
    }
    if (f->refusal) {
        land_refusal(f, &to);
        return;
    }
    struct datagram *d = holder(s, to.host, to.port);
    bool hears = d && (!d->simulated.peer.size || same(&d->simulated.peer, &f->from));
    if (!hears) {
        trace(f, "unheard", 0, "to", &f->to);
        if (sim_host_is_alive(s, to.host)) fly(f->loop, STR_NONE, &f->to, &f->from, true);
        flight_free(f);
    } else if (d->simulated.unread + size_of(f) > INBOX_MOST) {
        lose(f);
    } else {
        append(&d->simulated, f);
        drain(d);
    }
}

/* ── sending ──────────────────────────────────────────────────────────────*/

/* Where it sends from. A socket that is bound to any address is on all machines:
 * who has it as its peer hears it from there. */
static struct datagram_address source(const struct datagram *d, const struct address *to) {
    const struct sim_datagram *p = &d->simulated;
    const struct sim *s = d->loop->sim;
    struct datagram_address from = p->here;
    if (!sim_host_is_any(p->host)) return from;
    const struct datagram *hears = holder(s, to->host, to->port);
    if (hears && hears->simulated.peer.size) {
        struct address peer = end_of(s, &hears->simulated.peer);
        if (holder(s, peer.host, peer.port) == d) return hears->simulated.peer;
    }
    udp_address("127.0.0.1", p->port, &from);
    return from;
}

int sim_datagram_send(struct datagram *d, struct str bytes, const struct datagram_address *to) {
    const struct sim_datagram *p = &d->simulated;
    struct sim *s = d->loop->sim;
    struct datagram_address local;
    if (!to) to = &p->peer;
    if (!to->size) return -EDESTADDRREQ;
    struct address end = end_of(s, to);
    if (end.port == 0) return -EINVAL;
    if (bytes.n > DATAGRAM_MOST) return -EMSGSIZE;
    if (is_group(to)) return RW_ESIMULATED;
    if (sim_host_is_any(end.host)) {
        udp_address("127.0.0.1", end.port, &local);
        to = &local;
        end = end_of(s, to);
    }
    struct datagram_address from = source(d, &end);
    bool twice = random_chance(&s->chance, s->faults.duplicate);
    int rc = fly(d->loop, bytes, &from, to, false);
    return rc == 0 && twice ? fly(d->loop, bytes, &from, to, false) : rc;
}

/* ── life ─────────────────────────────────────────────────────────────────*/

static void trace_ends(const struct datagram *d) {
    const struct sim_datagram *p = &d->simulated;
    struct sim *s = d->loop->sim;
    char from[LABEL_MOST], to[LABEL_MOST], text[2 * LABEL_MOST + 8];
    struct address a = end_of(s, &p->here), b = {0};
    struct str at = address_format(&a, from, sizeof from), with = STR_NONE;
    if (p->peer.size) {
        b = end_of(s, &p->peer);
        with = address_format(&b, to, sizeof to);
    }
    int n = snprintf(text, sizeof text, "%.*s%s%.*s", (int)at.n, at.p, with.n ? " → " : "",
                     (int)with.n, with.n ? with.p : "");
    simulation_trace(d->loop, "socket", p->id, str_of(text, (size_t)n));
}

static uint16_t free_port(struct sim *s, const char *host) {
    uint16_t port;
    do {
        port = s->next_port++;
        if (s->next_port == 0) s->next_port = 1024;
    } while (holder(s, host, port));
    return port;
}

static int open_at(struct loop *l, const char *host, uint16_t port, struct datagram **out) {
    struct sim *s = l->sim;
    struct datagram_address here;
    char text[SIM_HOST], address[IP_TEXT_MAX];
    if (sim_host_is_long(host)) return RW_ENONAME;
    sim_host_text(s, host, text);
    int rc = simulation_address(l, text, address);
    if (rc < 0) return rc;
    if (port == 0) port = free_port(s, text);
    else if (holder(s, text, port)) return -EADDRINUSE;
    rc = udp_address(address, port, &here);
    if (rc < 0) return rc;
    struct datagram *d = mem_zalloc(l->mem, sizeof *d);
    if (!d) return RW_ENOMEM;
    d->loop = l;
    d->fd = -1;
    struct sim_datagram *p = &d->simulated;
    p->id = ++s->connections;
    p->port = port;
    p->here = here;
    p->inbox_end = &p->inbox;
    snprintf(p->host, sizeof p->host, "%s", text);
    p->next = s->sockets;
    p->prev = &s->sockets;
    if (p->next) p->next->prev = &p->next;
    s->sockets = p;
    sim_host_lives(l, text);
    loop_opened(l, LEDGER_DATAGRAM);
    *out = d;
    return 0;
}

int sim_datagram_open(struct loop *l, const struct endpoint *e, struct datagram **out) {
    int rc = open_at(l, e->host[0] ? e->host : "::", e->port, out);
    if (rc == 0) trace_ends(*out);
    return rc;
}

int sim_datagram_connect(struct loop *l, const struct datagram_address *to,
                         struct datagram **out) {
    struct datagram *d;
    if (is_group(to)) return RW_ESIMULATED;
    int rc = open_at(l, "127.0.0.1", 0, &d);
    if (rc < 0) return rc;
    d->simulated.peer = *to;
    trace_ends(d);
    *out = d;
    return 0;
}

int sim_datagram_set_peer(struct datagram *d, const struct datagram_address *to) {
    struct sim_datagram *p = &d->simulated;
    if (is_group(to)) return RW_ESIMULATED;
    if (sim_host_is_any(p->host)) { /* from now on it has one address */
        snprintf(p->host, sizeof p->host, "127.0.0.1");
        udp_address(p->host, p->port, &p->here);
    }
    p->peer = *to;
    trace_ends(d);
    return 0;
}

static void on_gone(struct deferral *later) {
    datagram_gone(socket_of(CONTAINER(later, struct sim_datagram, gone)));
}

void sim_datagram_close(struct datagram *d) {
    struct sim_datagram *p = &d->simulated;
    simulation_trace(d->loop, "close", p->id, STR_NONE);
    sim_unschedule(d->loop, &p->ready);
    while (p->inbox) flight_free(take(p));
    *p->prev = p->next;
    if (p->next) p->next->prev = p->prev;
    p->gone.run = on_gone;
    loop_defer(d->loop, &p->gone);
}

/* ── questions ────────────────────────────────────────────────────────────*/

int sim_datagram_address(const struct datagram *d, bool peer, struct address *out) {
    const struct datagram_address *a = peer ? &d->simulated.peer : &d->simulated.here;
    if (!a->size) return -ENOTCONN;
    datagram_address_read(a, out);
    return 0;
}

/* There are no hops to count, and neither groups nor broadcasts. */
int sim_datagram_option(const char *name, int64_t value) {
    if (strcmp(name, "ttl") == 0) return 0;
    if (strcmp(name, "broadcast") == 0) return value ? RW_ESIMULATED : 0;
    bool known = strcmp(name, "multicast_ttl") == 0 || strcmp(name, "loopback") == 0;
    return known ? RW_ESIMULATED : RW_ENONAME;
}
