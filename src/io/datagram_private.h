/* SPDX-License-Identifier: MIT */
/* What the files of a datagram socket share: datagram.c (bytes, life), udp_open.c
 * (addresses, binding, connecting), unixgram.c (the same of UNIX sockets),
 * unixgram_send.c (to whom UNIX datagrams go), udp_option.c (options, groups). In a
 * simulated loop they leave their work to sim_datagram.c. */
#ifndef IO_DATAGRAM_PRIVATE_H
#define IO_DATAGRAM_PRIVATE_H

#include "io/datagram.h"
#include "io/internal.h"
#include "io/sim.h"

/* A datagram that waits to be sent; the bytes are behind it. */
struct queued {
    struct queued *next;
    struct datagram_address to;
    size_t n;
    char data[];
};

struct datagram_queue {
    struct queued *first, **end; /* owned; end NULL: nothing was in it yet */
    size_t bytes;                /* what it costs */
};

struct receiver;

struct datagram {
    uv_poll_t poll;
    struct loop *loop;
    const struct datagram_hooks *hooks;
    void *owner;
    const struct limits *limits; /* borrowed; NULL: not started */
    struct datagram_queue queue;
    size_t queued_bytes;     /* of all queues */
    struct timer pause;
    struct deferral refused; /* on_refused is due */
    uint64_t oversized;
    int fd, family, events;
    bool started, closing;
    /* of UNIX sockets */
    struct socket_file file;
    struct datagram_address peer; /* to find it again; size 0: none */
    struct receiver *receivers;   /* list, owned: who does not read as fast as we send */
    unsigned receiver_count;
    unsigned patience;            /* ms until they are tried again */
    struct timer retry;
    struct sim_datagram simulated; /* in a simulated loop, instead of poll and fd */
};

/* Takes the descriptor over unless it fails. */
int datagram_new(struct loop *l, int fd, int family, struct datagram **out);
/* The end of a closed one: its last hook, then its memory goes. */
void datagram_gone(struct datagram *d);
/* Of a host in numbers: 0 or RW_ESYNTAX. */
int udp_address(const char *host, uint16_t port, struct datagram_address *out);
void datagram_address_of(const struct sockaddr *sa, size_t size, struct datagram_address *out);
int datagram_send_now(struct datagram *d, struct str bytes, const struct datagram_address *to);
/* Takes a copy: 0, RW_ELIMIT or RW_ENOMEM. */
int datagram_enqueue(struct datagram *d, struct datagram_queue *queue, struct str bytes,
                     const struct datagram_address *to);
void datagram_dequeue(struct datagram *d, struct datagram_queue *queue);

/* To its peer, now; on_refused is due when there is none any more. */
int unixgram_send_to_peer(struct datagram *d, struct str bytes);
/* To anybody else: now, or when that one has room. */
int unixgram_send(struct datagram *d, struct str bytes, const struct datagram_address *to);
void unixgram_forget(struct datagram *d); /* what waits for receivers */
int unixgram_open(struct loop *l, const struct endpoint *e, struct datagram **out);
int unixgram_connect(struct loop *l, const struct endpoint *e, struct datagram **out);
int unixgram_address(const char *path, struct datagram_address *out);
/* For an IPv6 socket: an IPv4 address in its mapped form, another as it is. */
void datagram_address_map(const struct datagram_address *a, struct datagram_address *out);

#endif
