/* SPDX-License-Identifier: MIT */
/* Connecting: Happy Eyeballs (RFC 8305), all within one time-out.
 *
 *     ask for A and AAAA ──→ addresses of one family, then of the other
 *         │  IPv6 has come, or IPv4 and RESOLUTION_DELAY since
 *         ▼
 *     begin with the best, IPv6 and IPv4 in turn, each ATTEMPT_DELAY after the
 *     one before or when one fails ──→ the first that connects wins, the
 *     others are closed
 *
 * `done` comes from the deferral phase, the connector goes after it.
 */
#include "io/attempt.h"
#include "io/names.h"
#include "io/sim.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    CONNECT_TIMEOUT = 30000, /* ms */
    RESOLUTION_DELAY = 50,   /* ms: RFC 8305 §3 */
    ATTEMPT_DELAY = 250,     /* ms: §5 */
    UNIX_RETRY = 20,         /* ms: the backlog is full */
    ADDRESSES_MAX = 16,      /* of a family; others are not tried */
};

enum { V6, V4, FAMILIES };

struct connector {
    struct loop *loop;
    const struct limits *limits;
    void (*done)(void *owner, int status, struct stream *s);
    void *owner;
    struct endpoint endpoint;
    struct names *names;     /* opened for this connector, or NULL */
    struct host_query host;
    struct ip ips[FAMILIES][ADDRESSES_MAX];
    unsigned count[FAMILIES], next[FAMILIES];
    int turn;                /* whose family's turn it is */
    bool answered[FAMILIES];
    bool racing;             /* the first attempt has begun */
    struct attempt *attempts; /* list */
    struct timer timeout, pace;
    struct deferral finish;
    struct sim_dial simulated; /* in a simulated loop, instead of the attempts */
    struct stream *stream;   /* the result */
    int status;
    bool finished, told;
    size_t report_size;
    char report[1024];
};

static void advance(struct connector *c);

/* ── the end ──────────────────────────────────────────────────────────────*/

static void run_finish(struct deferral *d) {
    struct connector *c = CONTAINER(d, struct connector, finish);
    struct loop *l = c->loop;
    c->told = true;
    c->done(c->owner, c->status, c->stream);
    l->closing--;
    loop_gone(l, LEDGER_CONNECTOR);
    mem_free(l->mem, c, sizeof *c);
}

static void finish(struct connector *c, int status, struct stream *s) {
    if (c->finished) return;
    c->finished = true;
    c->status = status;
    c->stream = s;
    c->loop->closing++;
    timer_stop(c->loop, &c->timeout);
    timer_stop(c->loop, &c->pace);
    if (c->loop->sim) sim_dial_stop(&c->simulated);
    while (c->attempts) attempt_cancel(c->attempts);
    host_forget(&c->host);
    names_close(&c->names);
    c->finish.run = run_finish;
    loop_defer(c->loop, &c->finish);
}

static void report(struct connector *c, const struct ip *ip, int status) {
    char text[IP_TEXT_MAX];
    size_t room = sizeof c->report - c->report_size;
    const char *format = ip->family == 6 ? "%s[%s]:%u: %s" : "%s%s:%u: %s";
    int n = snprintf(c->report + c->report_size, room, format, c->report_size ? "; " : "",
                     ip_format(ip, text).p, (unsigned)c->endpoint.port, err_text(status));
    if (n > 0 && (size_t)n < room) c->report_size += (size_t)n;
    else c->report[c->report_size] = 0; /* the rest is not told */
}

/* What is told in the end: not that there is no route, if there is more. */
static void note(struct connector *c, const struct ip *ip, int status) {
    bool no_way = status == -ENETUNREACH || status == -EADDRNOTAVAIL || status == -EHOSTUNREACH;
    if (!c->report_size || !no_way) c->status = status;
    report(c, ip, status);
}

static void on_timeout(struct timer *t) {
    struct connector *c = CONTAINER(t, struct connector, timeout);
    for (struct attempt *a = c->attempts; a; a = a->next) report(c, &a->ip, RW_ETIMEDOUT);
    finish(c, RW_ETIMEDOUT, NULL);
}

static void connected(struct connector *c, int fd) {
    struct stream *s = NULL;
    int on = 1, rc;
    if (c->endpoint.kind == ENDPOINT_UNIX) {
        rc = unix_adopt(c->loop, fd, c->limits, &s);
    } else {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        rc = tcp_adopt(c->loop, fd, c->limits, &s);
    }
    if (rc < 0) close(fd);
    finish(c, rc, s);
}

/* ── the race ─────────────────────────────────────────────────────────────*/

static void on_pace(struct timer *t) { advance(CONTAINER(t, struct connector, pace)); }

static void on_ended(struct attempt *a, int status, int fd) {
    struct connector *c = a->owner;
    if (status == 0) {
        connected(c, fd);
        return;
    }
    note(c, &a->ip, status);
    advance(c);
}

static struct ip *next_address(struct connector *c) {
    for (int i = 0; i < FAMILIES; i++, c->turn = !c->turn) {
        if (c->next[c->turn] == c->count[c->turn]) continue;
        struct ip *ip = &c->ips[c->turn][c->next[c->turn]++];
        c->turn = !c->turn;
        return ip;
    }
    return NULL;
}

static int try_address(struct connector *c, const struct ip *ip) {
    struct sockaddr_storage to;
    struct attempt like = {.owner = c, .ended = on_ended, .ip = *ip};
    int fd;
    unsigned size = ip_to_sockaddr(ip, c->endpoint.port, &to);
    int rc = attempt_start(c->loop, (struct sockaddr *)&to, size, &c->endpoint, &c->attempts,
                           &like, &fd);
    if (rc == 1) connected(c, fd);
    return rc;
}

/* The next attempt; when there is none any more, the end. */
static void advance(struct connector *c) {
    struct ip *ip;
    c->racing = true;
    timer_stop(c->loop, &c->pace);
    while ((ip = next_address(c))) {
        int rc = try_address(c, ip);
        if (rc == 0) timer_start(c->loop, &c->pace, ATTEMPT_DELAY, on_pace);
        if (rc >= 0) return;
        note(c, ip, rc);
    }
    if (c->attempts || !c->answered[V6] || !c->answered[V4]) return;
    finish(c, c->status ? c->status : RW_ENONAME, NULL);
}

/* Both families are there: the better one begins. */
static void choose(struct connector *c) {
    struct ip best[FAMILIES] = {c->ips[V6][0], c->ips[V4][0]};
    if (!c->count[V6] || !c->count[V4]) return;
    ip_sort(best, FAMILIES);
    c->turn = best[0].family == 6 ? V6 : V4;
}

static void take(struct connector *c, const struct ip *ips, unsigned n) {
    uint8_t only = c->endpoint.bind_ip.family;
    for (unsigned i = 0; i < n; i++) {
        int f = ips[i].family == 6 ? V6 : V4;
        if (only && ips[i].family != only) continue;
        if (c->count[f] < ADDRESSES_MAX) c->ips[f][c->count[f]++] = ips[i];
    }
}

static void on_found(struct host_query *h, int family, int status, const struct ip *ips,
                     unsigned n) {
    struct connector *c = CONTAINER(h, struct connector, host);
    int f = family == 6 ? V6 : V4;
    c->answered[f] = true;
    take(c, ips, n);
    ip_sort(c->ips[f], c->count[f]);
    bool missing = status == RW_ENONAME || status == RW_ENODATA;
    if (status < 0 && (!c->status || !missing) && !c->report_size) c->status = status;
    bool both = c->answered[V6] && c->answered[V4];
    if (c->racing) { /* a pace that runs comes to them by itself */
        if (!timer_active(&c->pace)) advance(c);
        return;
    }
    if (both) choose(c);
    if (both || c->count[V6]) advance(c);
    else if (c->count[V4]) timer_start(c->loop, &c->pace, RESOLUTION_DELAY, on_pace);
}

/* ── beginnings ───────────────────────────────────────────────────────────*/

static int begin_tcp(struct connector *c) {
    const char *host = c->endpoint.host[0] ? c->endpoint.host : "localhost";
    struct names *names = c->endpoint.names;
    if (c->endpoint.address_count) {
        take(c, c->endpoint.addresses, c->endpoint.address_count);
        c->endpoint.addresses = NULL; /* borrowed for the call only */
        c->answered[V6] = c->answered[V4] = true;
        choose(c);
        timer_start(c->loop, &c->pace, 0, on_pace);
        return 0;
    }
    int rc = names ? 0 : names_open(c->loop, NULL, &c->names);
    if (rc < 0) return rc;
    c->host.found = on_found;
    rc = host_ask(names ? names : c->names, &c->host, str_c(host));
    if (rc < 0) names_close(&c->names);
    return rc;
}

static void on_unix(struct attempt *a, int status, int fd) {
    struct connector *c = a->owner;
    if (status == 0) connected(c, fd);
    else finish(c, status, NULL);
}

static void try_unix(struct timer *t) {
    struct connector *c = CONTAINER(t, struct connector, pace);
    struct attempt like = {.owner = c, .ended = on_unix};
    struct sockaddr_un un;
    unsigned size;
    int fd, rc = address_unix(c->endpoint.host, &un, &size);
    if (rc == 0 && c->endpoint.lock) rc = unix_lock_check(c->endpoint.host);
    if (rc == 0)
        rc = attempt_start(c->loop, (struct sockaddr *)&un, size, NULL, &c->attempts, &like, &fd);
    if (rc == 1) connected(c, fd);
    else if (rc == RW_EAGAIN) timer_start(c->loop, t, UNIX_RETRY, try_unix);
    else if (rc < 0) finish(c, rc, NULL);
}

/* A descriptor that is connected already, from who started us. */
static int begin_fd(struct connector *c) {
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    struct stream *s = NULL;
    int fd = c->endpoint.fd, rc = inherit_check(&c->endpoint, fd);
    if (rc < 0) return rc;
    if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0) return -errno;
    rc = peer.ss_family == AF_UNIX ? unix_adopt(c->loop, fd, c->limits, &s)
                                   : tcp_adopt(c->loop, fd, c->limits, &s);
    if (rc == 0) finish(c, 0, s);
    return rc;
}

static int begin_stdio(struct connector *c) {
    struct stream *s = NULL;
    int rc = stream_stdio(c->loop, c->limits, &s);
    if (rc == 0) finish(c, 0, s);
    return rc;
}

static void dialled(struct sim_dial *d, int status, struct stream *s) {
    finish(CONTAINER(d, struct connector, simulated), status, s);
}

/* ── public ───────────────────────────────────────────────────────────────*/

int connector_open(struct loop *l, const struct endpoint *e,
                   const struct limits *limits,
                   void (*done)(void *owner, int status, struct stream *s),
                   void *owner, struct connector **out) {
    struct connector *c = mem_zalloc(l->mem, sizeof *c);
    int rc = 0;
    if (!c) return RW_ENOMEM;
    c->loop = l;
    c->limits = limits;
    c->done = done;
    c->owner = owner;
    c->endpoint = *e;
    if (l->sim) {
        c->simulated.dialled = dialled;
        sim_dial_start(l, e, limits, &c->simulated);
    } else {
        switch (e->kind) {
        case ENDPOINT_TCP: rc = begin_tcp(c); break;
        case ENDPOINT_UNIX: try_unix(&c->pace); break;
        case ENDPOINT_STDIO: rc = begin_stdio(c); break;
        case ENDPOINT_FD: rc = begin_fd(c); break;
        case ENDPOINT_SYSTEMD: /* for servers */
        case ENDPOINT_UDP: /* datagrams: io/datagram.h */
        case ENDPOINT_UNIXGRAM: rc = RW_EINVAL; break;
        }
    }
    if (rc < 0) {
        mem_free(l->mem, c, sizeof *c);
        return rc;
    }
    loop_opened(l, LEDGER_CONNECTOR);
    if (!c->finished)
        timer_start(l, &c->timeout,
                    e->timeout_ms ? e->timeout_ms : CONNECT_TIMEOUT,
                    on_timeout);
    *out = c;
    return 0;
}

struct str connector_report(const struct connector *c) {
    return str_of(c->report, c->report_size);
}

/* A stream that was there already is taken back. */
void connector_cancel(struct connector *c) {
    if (c->told) return;
    if (c->finished) {
        if (c->stream) stream_abort(c->stream, RW_ECANCELED);
        c->stream = NULL;
        c->status = RW_ECANCELED;
        return;
    }
    finish(c, RW_ECANCELED, NULL);
}
