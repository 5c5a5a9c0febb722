/* SPDX-License-Identifier: MIT */
/* To whom UNIX datagrams go. The system keeps few for each receiver (10, as it
 * comes), and lets a poll wait for the room of a socket's peer only. So what goes
 * to the peer is queued as over UDP; each other receiver that does not read as
 * fast as we send gets a queue of its own, which is tried again after a while,
 * sooner while it moves. Who does not read at all has but a share of
 * max_datagram_queue, and there are RECEIVERS such queues at most.
 *
 * What receivers have not read counts in our socket's send buffer, too (SO_SNDBUF),
 * and there are no shares of that: when it is full, all wait for who does not read.
 * One receiver can fill it, if it is connected to us: the limit of 10 is not for it.
 *
 * A peer that has ended is looked for again by the next datagram: a server that was
 * started anew is found.
 */
#include "io/datagram_private.h"

#include <string.h>
#include <sys/socket.h>

enum {
    RECEIVERS = 64,
    SHARE = 8,            /* of the whole queue, the part of one receiver */
    SOON = 1, LATER = 64, /* ms until the next try */
    SLICE = 32,           /* datagrams to one receiver in one try */
};

struct receiver {
    struct receiver *next;
    struct datagram_address to;
    struct datagram_queue queue;
};

/* ── the peer ─────────────────────────────────────────────────────────────*/

int unixgram_send_to_peer(struct datagram *d, struct str bytes) {
    int rc = datagram_send_now(d, bytes, NULL);
    if (rc != -ECONNREFUSED && (rc != -ENOTCONN || !d->peer.size)) return rc;
    if (d->peer.size && (rc = datagram_set_peer(d, &d->peer)) == 0)
        rc = datagram_send_now(d, bytes, NULL);
    if (rc < 0 && rc != RW_EAGAIN) loop_defer(d->loop, &d->refused);
    return rc;
}

/* ── others ───────────────────────────────────────────────────────────────*/

static bool is_full(int rc) { return rc == RW_EAGAIN || rc == -ENOBUFS; }

/* Whether anything went. */
static bool send_some(struct datagram *d, struct receiver *r) {
    for (int i = 0; i < SLICE && r->queue.first; i++) {
        struct queued *q = r->queue.first;
        if (is_full(datagram_send_now(d, str_of(q->data, q->n), &r->to))) return i > 0;
        datagram_dequeue(d, &r->queue); /* sent, or never will be */
    }
    return true;
}

static void receiver_remove(struct datagram *d, struct receiver **at) {
    struct receiver *r = *at;
    *at = r->next;
    d->receiver_count--;
    while (r->queue.first) datagram_dequeue(d, &r->queue);
    mem_free(d->loop->mem, r, sizeof *r);
}

static void try_again(struct timer *t) {
    struct datagram *d = CONTAINER(t, struct datagram, retry);
    bool moved = false;
    for (struct receiver **at = &d->receivers; *at;) {
        if (send_some(d, *at)) moved = true;
        if ((*at)->queue.first) at = &(*at)->next;
        else receiver_remove(d, at);
    }
    if (moved) d->patience = SOON;
    else if (d->patience < LATER) d->patience *= 2;
    if (d->receivers) timer_start(d->loop, t, d->patience, try_again);
}

static struct receiver *receiver_find(const struct datagram *d, const struct datagram_address *to) {
    for (struct receiver *r = d->receivers; r; r = r->next)
        if (r->to.size == to->size && memcmp(r->to.bytes, to->bytes, to->size) == 0) return r;
    return NULL;
}

static int receiver_add(struct datagram *d, const struct datagram_address *to,
                        struct receiver **out) {
    if (d->receiver_count == RECEIVERS) return RW_ELIMIT;
    struct receiver *r = mem_zalloc(d->loop->mem, sizeof *r);
    if (!r) return RW_ENOMEM;
    r->to = *to;
    r->next = d->receivers;
    d->receivers = r;
    d->receiver_count++;
    d->patience = SOON;
    timer_start(d->loop, &d->retry, SOON, try_again);
    *out = r;
    return 0;
}

int unixgram_send(struct datagram *d, struct str bytes, const struct datagram_address *to) {
    if (to->size <= sizeof(sa_family_t)) return -EDESTADDRREQ; /* it has no name */
    struct receiver *r = receiver_find(d, to);
    if (!r) {
        int rc = datagram_send_now(d, bytes, to);
        if (!is_full(rc)) return rc;
        rc = receiver_add(d, to, &r);
        if (rc < 0) return rc;
    }
    uint64_t most = d->limits ? d->limits->max_datagram_queue : limits_default.max_datagram_queue;
    if (r->queue.bytes + bytes.n > most / SHARE) return RW_ELIMIT;
    return datagram_enqueue(d, &r->queue, bytes, NULL);
}

void unixgram_forget(struct datagram *d) {
    timer_stop(d->loop, &d->retry);
    while (d->receivers) receiver_remove(d, &d->receivers);
}
