/* SPDX-License-Identifier: MIT */
/* Listening and connecting: where streams come from. */
#ifndef IO_LISTEN_H
#define IO_LISTEN_H

#include "io/ip.h"
#include "io/stream.h"

/* ── listening and connecting ─────────────────────────────────────────────*/

struct names;

enum endpoint_kind {
    ENDPOINT_TCP, ENDPOINT_UNIX, ENDPOINT_STDIO, ENDPOINT_FD, ENDPOINT_SYSTEMD, ENDPOINT_UDP,
    ENDPOINT_UNIXGRAM,
};

enum { LISTENER_SOCKETS = 16 }; /* of one listener: the addresses of a name */

struct endpoint {
    enum endpoint_kind kind;
    char host[256]; /* tcp: name or address, "" any; unix, unixgram: path, '@x' abstract;
                       systemd: name, "" when it is the index that counts */
    uint16_t port;
    int fd;         /* ENDPOINT_FD; systemd: the index */
    int backlog;    /* 0: 1024 */
    int mode;       /* unix: of the socket file; 0: as umask says */
    char user[33], group[33]; /* unix: whose file; "": ours */
    bool lock;           /* unix: there is a lock beside it (unix_lock.c) */
    bool datagram;       /* fd, systemd: of datagrams */
    bool reuse_port, ipv6_only;
    bool reuse_address; /* udp: others may bind it, too (groups) */
    bool delay;          /* Nagle's algorithm stays on */
    int keepalive;       /* s of silence before the peer is asked; 0: never */
    uint32_t timeout_ms; /* connect; 0: 30 s */
    char bind_path[108]; /* unixgram, connecting: ours; "": the system chooses */
    /* connecting over tcp */
    struct ip bind_ip;   /* ours; family 0: the system chooses */
    uint16_t bind_port;  /* 0: any */
    struct names *names; /* borrowed; NULL: the loop's, as the system has it */
    const struct ip *addresses; /* borrowed; instead of the host's */
    unsigned address_count;
};

/* UDP, or UNIX datagrams: see io/datagram.h */
bool endpoint_is_datagram(const struct endpoint *e);
/* Is it one connection that is there already (stdio, a connected descriptor),
 * or something to listen at? 1, 0 or < 0. */
int endpoint_is_stream(const struct endpoint *e);
/* That connection; its descriptor is taken over. */
int endpoint_stream(struct loop *l, const struct endpoint *e,
                    const struct limits *limits, struct stream **out);

struct listener;
struct listener_hooks {
    /* The stream is the owner's now (hooks, owner, reading still unset). */
    void (*on_accept)(struct listener *l, struct stream *s);
    void (*on_close)(struct listener *l); /* last */
};
/* 0 or < 0 (EADDRINUSE, EACCES, …). Bound and listening when it returns, but
 * accepts only after listener_start: a connection waits in the backlog. */
int listener_open(struct loop *l, const struct endpoint *e,
                  const struct limits *limits, struct listener **out);
void listener_start(struct listener *l, const struct listener_hooks *hooks, void *owner);
void listener_stop(struct listener *l); /* stops accepting, stays bound */
void listener_close(struct listener *l);
void *listener_owner(const struct listener *l);
/* Of its nth socket, with the real port; RW_ENONAME: it has fewer. */
int listener_address(const struct listener *l, unsigned n, struct address *out);
uint64_t listener_accepted(const struct listener *l);
uint64_t listener_shed(const struct listener *l); /* no descriptor, no memory */

/* Calls back once from the loop: status 0 and the stream, or < 0. */
struct connector;
int connector_open(struct loop *l, const struct endpoint *e, const struct limits *limits,
                   void (*done)(void *owner, int status, struct stream *s), void *owner,
                   struct connector **out);
void connector_cancel(struct connector *c); /* done comes with RW_ECANCELED */
/* In `done`: what was tried and why it failed, address by address; "" when
 * there was none. */
struct str connector_report(const struct connector *c);

#endif
