/* SPDX-License-Identifier: MIT */
/* Datagram sockets: ours, watched by a uv_poll, as listeners are.
 *
 * Input is taken in batches by recvmmsg, into one buffer that all sockets of a
 * loop share, at most TURN_SLICE datagrams per turn and socket: what is left is
 * reported again by the next poll. A slot of the batch is as long as the limit
 * max_datagram; what does not fit comes truncated and is dropped.
 *
 * Output is tried at once. What the system does not take now is queued, in
 * order, up to max_datagram_queue bytes (UNIX: unixgram_send.c).
 *
 * Errors of a peer (ICMP) are told for connected sockets, and end nothing.
 */
#include "io/datagram_private.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BATCH_BYTES = 256 * 1024,
    BATCH_MOST = 32,  /* datagrams in one call */
    TURN_SLICE = 128, /* datagrams in one turn */
    PAUSE = 100,      /* ms, when the system is out of memory */
};

static void watch(struct datagram *d);

/* ── input ────────────────────────────────────────────────────────────────*/

static size_t slot_size(const struct datagram *d) {
    uint64_t max = d->limits->max_datagram;
    return max < 65536 ? (size_t)max : 65536;
}

struct batch {
    struct mmsghdr heads[BATCH_MOST];
    struct iovec slots[BATCH_MOST];
    struct sockaddr_storage from[BATCH_MOST];
};

static unsigned batch_init(struct batch *b, char *buffer, size_t slot) {
    unsigned n = (unsigned)(BATCH_BYTES / slot);
    if (n > BATCH_MOST) n = BATCH_MOST;
    for (unsigned i = 0; i < n; i++) {
        b->slots[i] = (struct iovec){buffer + i * slot, slot};
        b->heads[i] = (struct mmsghdr){.msg_hdr = {
            .msg_name = &b->from[i], .msg_namelen = sizeof b->from[i],
            .msg_iov = &b->slots[i], .msg_iovlen = 1}};
    }
    return n;
}

static void pause_over(struct timer *t) { watch(CONTAINER(t, struct datagram, pause)); }

/* Whether there may be more. */
static bool input_failed(struct datagram *d, int error) {
    switch (error) {
    case EAGAIN: return false;
    case EINTR: return true;
    case ECONNREFUSED:
        if (d->hooks->on_refused) d->hooks->on_refused(d);
        return true;
    case ENOMEM: case ENOBUFS: case EBADF: case ENOTSOCK:
        timer_start(d->loop, &d->pause, PAUSE, pause_over);
        watch(d);
        return false;
    default: return true; /* a peer's, not ours */
    }
}

static bool is_reading(const struct datagram *d) { return d->started && !d->closing; }

/* Datagrams taken, 0: no more now. */
static unsigned take_batch(struct datagram *d) {
    struct batch b;
    size_t slot = slot_size(d);
    unsigned room = batch_init(&b, d->loop->batch, slot);
    int n = recvmmsg(d->fd, b.heads, room, MSG_DONTWAIT, NULL);
    if (n < 0) return input_failed(d, errno);
    for (int i = 0; i < n; i++) {
        struct msghdr *head = &b.heads[i].msg_hdr;
        struct datagram_address from;
        if (head->msg_flags & MSG_TRUNC) {
            d->oversized++;
            continue;
        }
        /* What is taken is delivered, also when a hook stops the socket. */
        if (d->closing) break;
        datagram_address_of(head->msg_name, head->msg_namelen, &from);
        d->hooks->on_datagram(d, str_of(b.slots[i].iov_base, b.heads[i].msg_len), &from);
    }
    return (unsigned)n < room ? 0 : (unsigned)n;
}

static void on_readable(struct datagram *d) {
    unsigned taken = 0, n = 1;
    while (taken < TURN_SLICE && n > 0 && is_reading(d)) taken += n = take_batch(d);
}

/* ── output ───────────────────────────────────────────────────────────────*/

int datagram_send_now(struct datagram *d, struct str bytes, const struct datagram_address *to) {
    const void *address = to && to->size ? to->bytes : NULL;
    ssize_t n;
    do n = sendto(d->fd, bytes.p, bytes.n, MSG_DONTWAIT, address, address ? to->size : 0);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

static void run_refused(struct deferral *later) {
    struct datagram *d = CONTAINER(later, struct datagram, refused);
    if (!d->closing && d->hooks && d->hooks->on_refused) d->hooks->on_refused(d);
}

/* An error that an earlier datagram met is not this one's. */
static int send_again(struct datagram *d, struct str bytes, const struct datagram_address *to) {
    int rc = datagram_send_now(d, bytes, to);
    if (rc != -ECONNREFUSED) return rc;
    loop_defer(d->loop, &d->refused);
    rc = datagram_send_now(d, bytes, to);
    return rc == -ECONNREFUSED ? 0 : rc;
}

static int try_to_send(struct datagram *d, struct str bytes, const struct datagram_address *to) {
    return d->family == AF_UNIX ? unixgram_send_to_peer(d, bytes) : send_again(d, bytes, to);
}

int datagram_enqueue(struct datagram *d, struct datagram_queue *queue, struct str bytes,
                     const struct datagram_address *to) {
    uint64_t most = d->limits ? d->limits->max_datagram_queue : limits_default.max_datagram_queue;
    size_t size = sizeof(struct queued) + bytes.n;
    if (d->queued_bytes + size > most) return RW_ELIMIT;
    struct queued *q = mem_alloc(d->loop->mem, size);
    if (!q) return RW_ENOMEM;
    *q = (struct queued){.n = bytes.n};
    if (to) q->to = *to;
    if (bytes.n) memcpy(q->data, bytes.p, bytes.n);
    if (!queue->first) queue->end = &queue->first;
    *queue->end = q;
    queue->end = &q->next;
    queue->bytes += size;
    d->queued_bytes += size;
    return 0;
}

void datagram_dequeue(struct datagram *d, struct datagram_queue *queue) {
    struct queued *q = queue->first;
    size_t size = sizeof *q + q->n;
    queue->first = q->next;
    queue->bytes -= size;
    d->queued_bytes -= size;
    mem_free(d->loop->mem, q, size);
}

static int wait_for_room(struct datagram *d, struct str bytes, const struct datagram_address *to) {
    int rc = datagram_enqueue(d, &d->queue, bytes, to);
    watch(d);
    return rc;
}

static void on_writable(struct datagram *d) {
    for (int i = 0; i < TURN_SLICE && d->queue.first; i++) {
        struct queued *q = d->queue.first;
        int rc = try_to_send(d, str_of(q->data, q->n), q->to.size ? &q->to : NULL);
        if (rc == RW_EAGAIN || rc == -ENOBUFS) break;
        datagram_dequeue(d, &d->queue); /* sent, or never will be */
    }
}

int datagram_send(struct datagram *d, struct str bytes, const struct datagram_address *to) {
    struct datagram_address mapped;
    if (d->closing) return RW_ECLOSED;
    if (d->loop->sim) return sim_datagram_send(d, bytes, to);
    if (to && d->family == AF_INET6) {
        datagram_address_map(to, &mapped);
        to = &mapped;
    }
    if (to && d->family == AF_UNIX) return unixgram_send(d, bytes, to);
    if (d->queue.first) return wait_for_room(d, bytes, to);
    int rc = try_to_send(d, bytes, to);
    return rc == RW_EAGAIN || rc == -ENOBUFS ? wait_for_room(d, bytes, to) : rc;
}

/* ── watching ─────────────────────────────────────────────────────────────*/

static void on_event(uv_poll_t *p, int status, int events) {
    struct datagram *d = CONTAINER(p, struct datagram, poll);
    if (status < 0) { /* libuv has stopped: whoever asks the socket learns why */
        events = d->events;
        d->events = 0;
    }
    if (events & UV_WRITABLE) on_writable(d);
    if (events & UV_READABLE && is_reading(d)) on_readable(d);
    watch(d);
}

static void watch(struct datagram *d) {
    if (d->loop->sim) {
        sim_datagram_watch(d);
        return;
    }
    int events = d->queue.first ? UV_WRITABLE : 0;
    if (is_reading(d) && !timer_active(&d->pause)) events |= UV_READABLE;
    if (d->closing || events == d->events) return;
    d->events = events;
    if (!events) uv_poll_stop(&d->poll);
    else if (uv_poll_start(&d->poll, events, on_event) < 0) d->events = 0;
}

void datagram_start(struct datagram *d, const struct datagram_hooks *hooks, void *owner,
                    const struct limits *limits) {
    d->hooks = hooks;
    d->owner = owner;
    d->limits = limits;
    d->started = true;
    watch(d);
}

void datagram_stop(struct datagram *d) {
    d->started = false;
    watch(d);
}

/* ── life ─────────────────────────────────────────────────────────────────*/

int datagram_new(struct loop *l, int fd, int family, struct datagram **out) {
    struct datagram *d = mem_zalloc(l->mem, sizeof *d);
    if (d && !l->batch) l->batch = mem_alloc(l->mem, BATCH_BYTES);
    int rc = d && l->batch ? uv_poll_init(&l->uv, &d->poll, fd) : RW_ENOMEM;
    if (rc < 0) {
        mem_free(l->mem, d, sizeof *d);
        return rc;
    }
    d->loop = l;
    d->fd = fd;
    d->family = family;
    d->file.lock = -1;
    d->refused.run = run_refused;
    loop_opened(l, LEDGER_DATAGRAM);
    *out = d;
    return 0;
}

void datagram_free_batch(struct loop *l) {
    mem_free(l->mem, l->batch, BATCH_BYTES);
    l->batch = NULL;
}

void datagram_gone(struct datagram *d) {
    struct loop *l = d->loop;
    if (d->hooks && d->hooks->on_close) d->hooks->on_close(d);
    l->closing--;
    loop_gone(l, LEDGER_DATAGRAM);
    mem_free(l->mem, d, sizeof *d);
}

static void on_gone(uv_handle_t *h) { datagram_gone(CONTAINER(h, struct datagram, poll)); }

void datagram_close(struct datagram *d) {
    if (d->closing) return;
    d->closing = true;
    d->limits = NULL;
    d->loop->closing++;
    if (d->loop->sim) {
        sim_datagram_close(d);
        return;
    }
    timer_stop(d->loop, &d->pause);
    loop_defer_cancel(&d->refused);
    while (d->queue.first) datagram_dequeue(d, &d->queue);
    unixgram_forget(d);
    socket_file_leave(&d->file); /* now: later it could be somebody else's */
    uv_close((uv_handle_t *)&d->poll, on_gone);
    close(d->fd);
}

void *datagram_owner(const struct datagram *d) { return d->owner; }

bool datagram_can_reach(const struct datagram *d, const struct datagram_address *to) {
    sa_family_t family;
    memcpy(&family, to->bytes, sizeof family);
    return (family == AF_UNIX) == (d->family == AF_UNIX);
}

uint64_t datagram_oversized(const struct datagram *d) { return d->oversized; }

static int address_at(const struct datagram *d, bool peer, struct address *out) {
    *out = (struct address){0};
    if (d->closing) return RW_ECLOSED;
    if (d->loop->sim) return sim_datagram_address(d, peer, out);
    int rc = address_of_socket(d->fd, peer, out);
    if (out->kind == ADDRESS_TCP) out->kind = ADDRESS_UDP;
    return rc;
}

int datagram_host(const struct datagram *d, struct address *out) {
    return address_at(d, false, out);
}

int datagram_peer(const struct datagram *d, struct address *out) {
    return address_at(d, true, out);
}
