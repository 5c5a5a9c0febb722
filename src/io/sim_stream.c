/* SPDX-License-Identifier: MIT */
/* Connections of a simulation. What one end writes is cut into pieces, each
 * under way for a while, in order; the other end's inbox holds them, on their
 * way or arrived, up to a window, as the two socket buffers of a real one do.
 *
 *     write ─→ pieces ─→ inbox of the peer ─→ (due, wanted) ─→ stream_input
 *     shutdown, close ─→ `fin` behind them ─→ stream_input_end
 *     abort, unread bytes at a close ─→ reset: before or behind what is
 *                                       still under way, as chance has it
 *
 * Bytes for an end that is gone vanish, and are answered by a reset.
 */
#include <stdio.h>
#include <string.h>

#include "io/sim.h"
#include "io/stream_private.h"

struct piece {
    struct piece *next;
    uint64_t due;
    size_t n, at; /* bytes, and how many of them were delivered */
    char data[];
};

struct sim_stream {
    struct flow f;
    struct sim_stream *next, **prev; /* list: sim->streams */
    struct sim_stream *peer;         /* NULL: gone */
    unsigned id;                     /* of the connection; both ends have it */
    bool is_server, fin;             /* fin: the peer's end is behind the inbox */
    bool broken;                     /* a reset is on its way here … */
    bool overtakes;                  /* … and does not wait for the inbox */
    uint64_t last_due;               /* nothing may arrive before */
    struct piece *inbox, *inbox_last;
    size_t unread, window;
    struct chunk *waiting;           /* borrowed until stream_taken */
    struct sim_event arrival, room;
    struct deferral gone;
    struct address here, there;
};

static struct sim_stream *sim_of(struct stream *s) {
    return (struct sim_stream *)(void *)s;
}

static struct sim *world(const struct sim_stream *p) { return p->f.s.loop->sim; }

static const char *server_host(const struct sim_stream *p) {
    return p->is_server ? p->here.host : p->there.host;
}

static void trace(struct sim_stream *p, const char *to_server, const char *to_client,
                  struct str text) {
    simulation_trace(p->f.s.loop, p->is_server ? to_server : to_client, p->id, text);
}

/* ── on the way ───────────────────────────────────────────────────────────*/

static void arrive(struct sim_event *e);

static uint64_t due_next(struct sim_stream *to) {
    uint64_t due = world(to)->now + sim_delay(world(to));
    if (due < to->last_due) due = to->last_due;
    return to->last_due = due;
}

static void wake_at(struct sim_stream *p, uint64_t due) {
    uint64_t now = world(p)->now;
    sim_schedule(p->f.s.loop, &p->arrival, due > now ? due - now : 0, arrive);
}

static int send_piece(struct sim_stream *to, struct str bytes) {
    struct piece *piece = mem_alloc(to->f.s.loop->mem, sizeof *piece + bytes.n);
    if (!piece) return RW_ENOMEM;
    *piece = (struct piece){.due = due_next(to), .n = bytes.n};
    memcpy(piece->data, bytes.p, bytes.n);
    if (to->inbox) to->inbox_last->next = piece;
    else to->inbox = piece;
    to->inbox_last = piece;
    to->unread += bytes.n;
    if (to->inbox == piece) wake_at(to, piece->due);
    return 0;
}

static void piece_drop(struct sim_stream *p) {
    struct piece *piece = p->inbox;
    p->inbox = piece->next;
    p->unread -= piece->n - piece->at;
    mem_free(p->f.s.loop->mem, piece, sizeof *piece + piece->n);
}

static void inbox_drop(struct sim_stream *p) {
    while (p->inbox) piece_drop(p);
}

static void send_reset(struct sim_stream *to) {
    struct sim *s = world(to);
    if (to->broken) return;
    to->broken = true;
    to->overtakes = random_chance(&s->chance, 0.5);
    if (to->overtakes) wake_at(to, s->now + sim_delay(s));
    else if (!to->inbox) wake_at(to, due_next(to));
}

static void send_end(struct sim_stream *to) {
    to->fin = true;
    uint64_t due = due_next(to);
    if (!to->inbox) wake_at(to, due);
}

/* ── writing ──────────────────────────────────────────────────────────────*/

static int sim_write(struct stream *stream, struct str bytes) {
    struct sim_stream *p = sim_of(stream), *peer = p->peer;
    struct sim *s = world(p);
    if (!peer) {
        send_reset(p);
        return (int)bytes.n;
    }
    size_t room = peer->window > peer->unread ? peer->window - peer->unread : 0;
    size_t n = bytes.n < room ? bytes.n : room;
    if (n == 0) return RW_EAGAIN;
    if (random_chance(&s->chance, s->faults.partial))
        n = (size_t)random_between(&s->chance, 1, n);
    for (size_t done = 0; done < n;) {
        size_t size = n - done;
        if (random_chance(&s->chance, s->faults.split))
            size = (size_t)random_between(&s->chance, 1, size);
        int rc = send_piece(peer, str_of(bytes.p + done, size));
        if (rc < 0) return done ? (int)done : rc;
        done += size;
    }
    return (int)n;
}

static void push(struct sim_event *e) {
    struct sim_stream *p = CONTAINER(e, struct sim_stream, room);
    struct stream *s = &p->f.s;
    int rc;
    if (!p->waiting || p->f.dying) return;
    if (!outgoing_push(s, p->waiting, &rc)) { /* RW_EAGAIN: the peer wakes us when it has read */
        if (rc != RW_EAGAIN) sim_schedule(s->loop, e, sim_delay(world(p)), push);
        return;
    }
    p->waiting = NULL;
    stream_taken(s, rc);
}

static int sim_queue(struct stream *s, struct chunk *c) {
    struct sim_stream *p = sim_of(s);
    p->waiting = c;
    sim_schedule(s->loop, &p->room, sim_delay(world(p)), push);
    return 0;
}

static size_t sim_unsent(struct stream *s) {
    return chunk_left(sim_of(s)->waiting);
}

/* ── arriving ─────────────────────────────────────────────────────────────*/

static bool wants(const struct sim_stream *p) {
    return p->f.lingering || stream_wants_input(&p->f.s);
}

/* Some of the pieces that are due, as one read would find them. */
static size_t gather(struct sim_stream *p, char *out, size_t size) {
    struct sim *s = world(p);
    size_t n = 0;
    do {
        struct piece *piece = p->inbox;
        size_t left = piece->n - piece->at, take = left < size - n ? left : size - n;
        memcpy(out + n, piece->data + piece->at, take);
        n += take;
        piece->at += take;
        p->unread -= take;
        if (piece->at == piece->n) piece_drop(p);
    } while (n < size && p->inbox && p->inbox->due <= s->now &&
             random_chance(&s->chance, 0.5));
    return n;
}

static void reset_both(struct sim_stream *p) {
    struct sim_stream *peer = p->peer;
    trace(p, "reset ←", "reset →", STR_NONE);
    if (peer) {
        peer->peer = NULL;
        p->peer = NULL;
        send_reset(peer);
    }
    stream_abort(&p->f.s, -ECONNRESET);
}

static void deliver(struct sim_stream *p) {
    struct stream *s = &p->f.s;
    struct loop *l = s->loop;
    if (random_chance(&world(p)->chance, world(p)->faults.reset)) {
        reset_both(p);
        return;
    }
    size_t n = gather(p, l->buffer, LOOP_BUFFER);
    struct str bytes = str_of(l->buffer, n);
    trace(p, "deliver →", "deliver ←", bytes);
    if (p->inbox) wake_at(p, p->inbox->due);
    else if (p->fin || p->broken) wake_at(p, p->last_due);
    if (p->peer && p->peer->waiting && !sim_scheduled(&p->peer->room))
        sim_schedule(l, &p->peer->room, sim_delay(world(p)), push);
    if (p->f.lingering) {
        closing_lingers(s, false);
        return;
    }
    l->buffer_busy = true;
    stream_input(s, bytes);
    l->buffer_busy = false;
}

/* What is next: a piece, the end, or a reset. */
static void arrive(struct sim_event *e) {
    struct sim_stream *p = CONTAINER(e, struct sim_stream, arrival);
    struct stream *s = &p->f.s;
    if (p->f.dying || sim_is_cut(world(p), server_host(p))) return;
    if (p->broken && (p->overtakes || !p->inbox || !wants(p))) {
        trace(p, "reset →", "reset ←", STR_NONE);
        stream_abort(s, -ECONNRESET);
    } else if (!wants(p)) {
        return; /* sim_read comes back to it */
    } else if (p->inbox && p->inbox->due > world(p)->now) {
        wake_at(p, p->inbox->due);
    } else if (p->inbox) {
        deliver(p);
    } else if (p->fin) {
        p->fin = false;
        trace(p, "end →", "end ←", STR_NONE);
        if (p->f.lingering) closing_lingers(s, true);
        else stream_input_end(s);
    }
}

static int sim_read(struct stream *s, bool on) {
    struct sim_stream *p = sim_of(s);
    if (!on || sim_scheduled(&p->arrival)) return 0;
    if (p->inbox) wake_at(p, p->inbox->due);
    else if (p->fin || p->broken) wake_at(p, p->last_due);
    return 0;
}

void sim_streams_go_on(struct loop *l) {
    for (struct sim_stream *p = l->sim->streams; p; p = p->next)
        if (!p->f.dying) sim_read(&p->f.s, true);
}

/* ── the end ──────────────────────────────────────────────────────────────*/

static int sim_shutdown(struct stream *s) {
    struct sim_stream *peer = sim_of(s)->peer;
    if (!peer) return -ENOTCONN;
    send_end(peer);
    return 0;
}

static void on_gone(struct deferral *d) {
    struct sim_stream *p = CONTAINER(d, struct sim_stream, gone);
    struct loop *l = p->f.s.loop;
    if (p->waiting) {
        p->waiting = NULL;
        stream_taken(&p->f.s, RW_ECANCELED);
    }
    stream_closed(&p->f.s);
    sim_unschedule(l, &p->arrival);
    sim_unschedule(l, &p->room);
    inbox_drop(p);
    *p->prev = p->next;
    if (p->next) p->next->prev = p->prev;
    mem_free(l->mem, p, sizeof *p);
}

static void sim_close(struct stream *s) {
    struct sim_stream *p = sim_of(s), *peer = p->peer;
    trace(p, "close by server", "close by client", STR_NONE);
    if (peer) {
        peer->peer = NULL;
        if (p->f.reset || p->inbox) send_reset(peer);
        else if (!p->f.ended) send_end(peer);
    }
    p->peer = NULL;
    p->gone.run = on_gone;
    loop_defer(s->loop, &p->gone);
}

static int sim_peer(struct stream *s, struct address *out) {
    *out = sim_of(s)->there;
    return 0;
}

static int sim_host(struct stream *s, struct address *out) {
    *out = sim_of(s)->here;
    return 0;
}

static int sim_option(struct stream *s, const char *name, int64_t value) {
    if (strcmp(name, "receive_buffer") == 0 && value > 0)
        sim_of(s)->window = (size_t)value;
    return 0;
}

static const struct transport_ops sim_ops = {
    .name = "simulated",
    .lingers = true,
    .write = sim_write,
    .queue = sim_queue,
    .unsent = sim_unsent,
    .read = sim_read,
    .shutdown = sim_shutdown,
    .close = sim_close,
    .peer = sim_peer,
    .host = sim_host,
    .option = sim_option,
};

/* ── birth ────────────────────────────────────────────────────────────────*/

static void trace_connect(struct loop *l, const struct sim_stream *client) {
    char from[128], to[128], text[300];
    struct str a = address_format(&client->here, from, sizeof from);
    struct str b = address_format(&client->there, to, sizeof to);
    int n = snprintf(text, sizeof text, "%.*s → %.*s", (int)a.n, a.p, (int)b.n, b.p);
    simulation_trace(l, "connect", client->id, str_of(text, (size_t)n));
}

int sim_connection(struct loop *l, const struct address *client,
                   const struct address *server, const struct limits *const limits[2],
                   struct stream *out[2]) {
    struct sim *world = l->sim;
    struct sim_stream *p[2];
    for (int i = 0; i < 2; i++) p[i] = mem_zalloc(l->mem, sizeof *p[i]);
    if (!p[0] || !p[1]) {
        for (int i = 0; i < 2; i++) mem_free(l->mem, p[i], sizeof *p[i]);
        return RW_ENOMEM;
    }
    world->connections++;
    for (int i = 0; i < 2; i++) {
        flow_init(&p[i]->f, l, limits[i], &sim_ops, LEDGER_SIMULATED);
        p[i]->id = world->connections;
        p[i]->is_server = i == 1;
        p[i]->peer = p[!i];
        p[i]->here = i ? *server : *client;
        p[i]->there = i ? *client : *server;
        p[i]->window = (size_t)random_between(&world->chance, world->faults.buffer[0],
                                              world->faults.buffer[1]);
        p[i]->next = world->streams;
        p[i]->prev = &world->streams;
        if (p[i]->next) p[i]->next->prev = &p[i]->next;
        world->streams = p[i];
        out[i] = &p[i]->f.s;
    }
    trace_connect(l, p[0]);
    return 0;
}

struct str simulation_open(struct loop *l, unsigned index, char *out, size_t size) {
    char from[128], to[128];
    for (struct sim_stream *p = l->sim->streams; p; p = p->next) {
        if (p->f.s.state == STREAM_CLOSED || index--) continue;
        struct str a = address_format(&p->here, from, sizeof from);
        struct str b = address_format(&p->there, to, sizeof to);
        int n = snprintf(out, size, "#%u %.*s → %.*s", p->id, (int)a.n, a.p, (int)b.n, b.p);
        return str_of(out, n < (int)size ? (size_t)n : size - 1);
    }
    return STR_NONE;
}
