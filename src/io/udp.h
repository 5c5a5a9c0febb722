/* SPDX-License-Identifier: MIT */
/* What the files of a datagram socket share: udp.c (bytes, life), udp_open.c
 * (binding, connecting, addresses), udp_option.c (options, groups). In a simulated
 * loop they leave their work to sim_datagram.c. */
#ifndef IO_UDP_H
#define IO_UDP_H

#include "io/datagram.h"
#include "io/internal.h"
#include "io/sim.h"

struct queued;

struct datagram {
    uv_poll_t poll;
    struct loop *loop;
    const struct datagram_hooks *hooks;
    void *owner;
    const struct limits *limits; /* borrowed; NULL: not started */
    struct queued *queue, **queue_end; /* owned */
    size_t queued_bytes;
    struct timer pause;
    struct deferral refused;   /* on_refused is due */
    uint64_t oversized;
    int fd, family, events;
    bool started, closing;
    struct sim_datagram simulated; /* in a simulated loop, instead of poll and fd */
};

/* Takes the descriptor over unless it fails. */
int udp_new(struct loop *l, int fd, int family, struct datagram **out);
/* The end of a closed one: its last hook, then its memory goes. */
void udp_gone(struct datagram *d);
void udp_address_of(const struct sockaddr *sa, size_t size, struct datagram_address *out);
/* For an IPv6 socket: an IPv4 address in its mapped form, another as it is. */
void udp_address_map(const struct datagram_address *a, struct datagram_address *out);

#endif
