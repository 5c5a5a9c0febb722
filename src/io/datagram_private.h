/* SPDX-License-Identifier: MIT */
/* What the files of a datagram socket share: datagram.c (bytes, life), udp_open.c
 * (addresses, binding, connecting), unixgram.c (the same of UNIX sockets),
 * udp_option.c (options, groups). */
#ifndef IO_DATAGRAM_PRIVATE_H
#define IO_DATAGRAM_PRIVATE_H

#include "io/datagram.h"
#include "io/internal.h"

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
    struct socket_file file;   /* unix */
    struct datagram_address peer; /* unix: to find it again; size 0: none */
    uint64_t oversized;
    int fd, family, events;
    bool started, closing;
};

/* Takes the descriptor over unless it fails. */
int datagram_new(struct loop *l, int fd, int family, struct datagram **out);
void datagram_address_of(const struct sockaddr *sa, size_t size, struct datagram_address *out);
int unixgram_open(struct loop *l, const struct endpoint *e, struct datagram **out);
int unixgram_connect(struct loop *l, const struct endpoint *e, struct datagram **out);
int unixgram_address(const char *path, struct datagram_address *out);
/* For an IPv6 socket: an IPv4 address in its mapped form, another as it is. */
void datagram_address_map(const struct datagram_address *a, struct datagram_address *out);

#endif
