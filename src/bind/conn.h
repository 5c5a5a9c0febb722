/* SPDX-License-Identifier: MIT */
/* What all connections share; conn.c. The ways of speaking over one are
 * proto.h (a Lua protocol over any engine) and http.h. */
#ifndef BIND_CONN_H
#define BIND_CONN_H

#include "bind/bind.h"

struct bind_tls;
struct child_pipe;

struct conn_ops { /* one per way of speaking */
    const char *name;
    void (*input)(struct conn *c, struct str bytes); /* may keep a rest in c->in */
    void (*eof)(struct conn *c);
    void (*drain)(struct conn *c);
    void (*lost)(struct conn *c, int reason); /* last; conn_free follows */
    void (*deadline)(struct conn *c);
    /* The generation retires: move, close when idle, or let it finish. */
    void (*retire)(struct conn *c);
    void (*shutdown)(struct conn *c); /* our direction is closed; may be NULL */
    void (*secured)(struct conn *c);  /* the TLS handshake is over; may be NULL */
};

struct conn {
    struct conn *next, **prev; /* list: gen->conns */
    const struct conn_ops *ops;
    struct rw *rw;
    struct generation *gen;
    struct port *port;     /* NULL: outgoing */
    struct server *server; /* whose factory and limits; NULL: outgoing */
    struct bind_tls *tls;  /* of start_tls, in Lua's hands; NULL: the server's */
    const struct limits *limits;
    struct stream *stream; /* NULL: closed */
    size_t size;           /* of the whole object */
    struct scope scope;
    struct buf in;         /* bytes that the engine did not take yet */
    struct timer timer;    /* lazily: fires no later than `deadline` */
    uint64_t deadline;     /* on loop_now(); 0: none */
    uint64_t away;         /* ms that the peer's clock stood still */
    uint64_t paused_at;    /* since when, 0: it runs */
    bool busy;             /* a hook runs or waits: no further event */
    bool paused;           /* by the script */
    bool closing;          /* lose_connection was called */
    bool eof_seen, eof_due;
    bool lost_due;         /* the stream is gone; told when not busy */
    bool unwritten;        /* ended tasks shall flush */
    bool piped;            /* its bytes go to another one: pipe.c */
    int reason;
    uint64_t peer; /* peers.c: who it counts for; 0: nobody */
    struct child_pipe *pipe; /* of a child process; NULL: a connection */
};

void conn_attach(struct conn *c, const struct conn_ops *ops, struct rw *rw,
                 struct stream *s);
/* Into its list, out of the old one's: what that one's code has begun for the
 * connection is cancelled. Not during a handshake, which may wait for that code. */
void conn_join(struct conn *c, struct generation *g);
void conn_set_server(struct conn *c, struct server *s);
/* A port counts its connections; NULL: of no port. */
void conn_join_port(struct conn *c, struct port *p);
void conn_leave_port(struct conn *c);
/* To the rates of its limits, if they say anything. Calls no hook. */
void conn_throttle(struct conn *c);
/* The same for a stream that is none yet. p: whose totals count, or NULL. */
int conn_push_throttle(struct stream *s, const struct limits *limits, struct port *p);
void conn_free(struct conn *c);

/* Counts a connection for its address; false: that one has enough here. */
bool peer_enter(struct port *p, struct stream *s, uint64_t limit, uint64_t *peer_out);
void peer_leave(struct rw *rw, uint64_t peer);

/* accept.c: an accepted stream becomes a connection, or is refused. */
void conn_serve(struct server *server, struct stream *s);

/* c's bytes may now be encoded into rw->out: what another one left there has
 * been sent. Then conn_flush, at the latest when the door closes. */
void conn_begin_output(struct conn *c);
void conn_flush(struct conn *c);
void conn_flush_all(struct rw *rw);

/* Reads when it may; the peer's clock follows. */
void conn_update_reading(struct conn *c);
uint64_t conn_peer_clock(const struct conn *c);
void conn_set_deadline(struct conn *c, uint64_t peer_deadline);
/* Counts why it ends, and logs the limit that fired, if one did. */
void conn_note_failure(struct conn *c, int code, const char *limit);
void conn_close(struct conn *c);            /* flush, then close */
void conn_abort(struct conn *c, int reason);

struct conn *http_conn_new(struct rw *rw, struct server *server, struct stream *s);
struct conn *proto_conn_new(struct rw *rw, struct server *server, struct stream *s);

#endif
