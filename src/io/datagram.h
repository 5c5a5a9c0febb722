/* SPDX-License-Identifier: MIT */
/* Datagram sockets: UDP over IPv4 and IPv6, and UNIX ones; bound or connected. */
#ifndef IO_DATAGRAM_H
#define IO_DATAGRAM_H

#include "io/listen.h"

/* A system's socket address, as bytes that can be compared and kept. */
struct datagram_address {
    uint8_t size; /* 0: none */
    unsigned char bytes[110];
};
void datagram_address_read(const struct datagram_address *a, struct address *out);
/* From a numeric host, or a path: 0 or < 0. */
int datagram_address_make(const struct address *a, struct datagram_address *out);

struct datagram;
struct datagram_hooks {
    void (*on_datagram)(struct datagram *d, struct str bytes, const struct datagram_address *from);
    void (*on_refused)(struct datagram *d); /* connected: nobody listens there */
    void (*on_close)(struct datagram *d); /* last */
};

/* Bound when it returns; what arrives waits until datagram_start. Names are
 * resolved here and now. 0 or < 0. */
int datagram_open(struct loop *l, const struct endpoint *e, struct datagram **out);
/* A socket with a peer, of which a numeric address is known (RW_ENONAME), or the path,
 * or that was inherited. This sends nothing, so it is done at once. 0 or < 0. */
int datagram_connect(struct loop *l, const struct endpoint *e, struct datagram **out);
/* From now on these hooks get what arrives. `limits`: borrowed, until the next call
 * or the close. */
void datagram_start(struct datagram *d, const struct datagram_hooks *hooks, void *owner,
                    const struct limits *limits);
void datagram_stop(struct datagram *d); /* what arrives waits */
void datagram_close(struct datagram *d);
void *datagram_owner(const struct datagram *d);

/* To NULL: to its peer. 0: sent, or queued for when the system has room; RW_ELIMIT:
 * dropped, as the queue has max_datagram_queue bytes; -EMSGSIZE and other errors. */
int datagram_send(struct datagram *d, struct str bytes, const struct datagram_address *to);
/* Gives a bound socket a peer: what others send is not received any more. */
int datagram_set_peer(struct datagram *d, const struct datagram_address *to);

/* Is that an address of the socket's family? */
bool datagram_can_reach(const struct datagram *d, const struct datagram_address *to);

int datagram_host(const struct datagram *d, struct address *out); /* real port */
int datagram_peer(const struct datagram *d, struct address *out);
/* Datagrams that were received, but dropped as they were longer than max_datagram. */
uint64_t datagram_oversized(const struct datagram *d);

/* "broadcast", "loopback" (of what is sent to groups), "ttl", "multicast_ttl" */
int datagram_option(struct datagram *d, const char *name, int64_t value);
/* Numeric group; the interface by its address or name, "": the system's choice. */
int datagram_group(struct datagram *d, const char *group, const char *interface, bool join);
int datagram_outgoing_interface(struct datagram *d, const char *interface);

#endif
