/* SPDX-License-Identifier: MIT */
/* Connections whose protocol is a Lua object over any engine: build.c
 * makes the protocol, proto.c feeds the engine and runs the hooks, transport.c
 * is what Lua holds, switch.c exchanges protocol and engine, migrate.c moves it
 * all to another generation. */
#ifndef BIND_PROTO_H
#define BIND_PROTO_H

#include "bind/conn.h"
#include "proto/engine.h"
#include "proto/frame.h"

struct transport_box { /* userdata */
    struct proto_conn *conn; /* NULL: closed, or moved to another generation */
    struct debt lost;        /* connection_lost */
};
/* Its uservalues; the fields are the script's own. */
enum {
    TRANSPORT_PROTOCOL = 1, TRANSPORT_FIELDS, TRANSPORT_PEER, TRANSPORT_HOST, TRANSPORT_TLS,
    TRANSPORT_VALUES = TRANSPORT_TLS,
};

/* What C must know of a protocol class, looked up once per metatable; classes that say the
 * same are one. */
enum { PROTO_MAX_EVENTS = 8, PROTO_NAME_SIZE = 48 };
struct proto_class {
    struct proto_class *next; /* list: generation->proto_classes */
    const struct engine *engine;
    char methods[PROTO_MAX_EVENTS][PROTO_NAME_SIZE];
    char kinds[PROTO_MAX_EVENTS][EVENT_MAX_ARGS + 1]; /* of their arguments: "sis" */
    struct frame_format frame; /* of the frame engine */
};

/* Who waits for the protocol of a connection. */
struct making {
    lua_KFunction made; /* the task goes on here, protocol (nil: refused) pushed; ctx: this */
    /* Last: 0; or it raised, `made` too, or the connection is lost. */
    void (*over)(struct making *m, int code);
    bool told; /* made was called */
};

struct proto_conn {
    struct conn base;
    const struct proto_class *class; /* NULL: no protocol built yet */
    void *engine;                    /* owned; class->engine's state */
    struct limits *own_limits;       /* outgoing, or changed by the script; owned */
    struct str unfed;                /* while pumping: the engine has it not yet; borrowed */
    struct buf pushback;             /* given back by the script: read before unfed and in */
    struct buf stash;                /* what the engine borrows while a hook waits */
    struct transport_box *box;       /* borrowed from Lua, NULL: none */
    struct making *making;           /* borrowed; NULL: nobody waits */
    struct wait_list writers;        /* wait for the peer to read */
    uint64_t idle_limit;             /* ms; of transport:set_timeout; 0: the engine's */
    uint64_t last_heard;             /* peer's clock */
    unsigned switches;               /* of the engine, or of what it had to read */
    bool pumping, told_lost, retire_due;
    bool switching;                  /* until the new protocol was told */
    bool write_ended, write_lost_due; /* our direction is closed; to be told */
    bool secured_due;                /* a TLS handshake; to be told */
    bool producing;                  /* a producer is registered: close waits */
    bool filled;                     /* it was told to pause */
};

static inline struct proto_conn *proto_of(struct conn *c) {
    return (struct proto_conn *)c;
}

/* Looks at the protocol at `index`; raises when its engine is unknown. */
const struct proto_class *proto_class_of(lua_State *L, int index);

/* In a task, stack: …, factory. Makes the connection of `s`, builds its
 * protocol, tells it, and then m. Raises nothing before m is somebody's. */
int proto_conn_connect(lua_State *L, struct stream *s, const struct limits *limits,
                       struct making *m);
/* Makes the connection of a child's pipe, whose protocol, at `index`, is there
 * already, and pushes its transport. Its hooks come after proto_conn_begin. */
void proto_conn_wrap(lua_State *L, int index, struct child_pipe *pipe);
void proto_conn_begin(struct proto_conn *p);
/* The stream of `from`, another kind of connection, which is over with that, gets a
 * protocol of the factory at `index`; `ahead` is what was read already. 0, or RW_ENOMEM,
 * and all is as before. */
int proto_conn_adopt(lua_State *L, int index, struct conn *from, struct str ahead);

/* Goes on pulling events after an interruption. */
void proto_continue(struct proto_conn *p);
void proto_fail(struct proto_conn *p, int code);

/* Between build.c and proto.c: one hook at a time, then what comes after. */
extern const struct conn_ops proto_ops;
int proto_build_body(lua_State *L);
void proto_run_hook(struct proto_conn *p, lua_CFunction body, void *arg);
void proto_hook_done(struct task *t, int status);
bool proto_ensure_made(struct proto_conn *p); /* is the protocol there? */
void proto_keep(struct proto_conn *p, struct str rest);
void proto_settle(struct proto_conn *p);
/* Allocates and begins the class's engine; raises. */
void *proto_engine_new(lua_State *L, struct proto_conn *p, const struct proto_class *class);
void proto_engine_free(struct proto_conn *p);

/* Reads the field frame_format of the class at `index`; raises. */
void frame_format_read(lua_State *L, int index, struct frame_format *out);

/* Pushes a transport for the connection, anchored in this state. */
struct transport_box *transport_new(lua_State *L, struct proto_conn *p);
/* Pushes the connection's, made if need be. */
void transport_push(lua_State *L, struct proto_conn *p);
void transport_detach(struct proto_conn *p);
/* The connection of the transport at `index`; NULL: closed. */
struct proto_conn *transport_check(lua_State *L, int index);
/* What its engine has taken and not given out; not every engine can say. */
struct str proto_engine_left(const struct proto_conn *p);
/* Bytes of the peer that its protocol has not seen. */
size_t proto_unread(const struct proto_conn *p);
/* Read again before all that was not read yet: 0 or RW_ENOMEM. Line engine. */
int proto_give_back(struct proto_conn *p, struct str bytes);
void switch_open(lua_State *L); /* adds to the methods on top */
/* Who is at the other end; its `via` is the proxy that introduced it. */
void push_peer(lua_State *L, struct stream *s);

/* Moves it to the server that its port now has, by save() and restore(). */
void proto_migrate(struct proto_conn *p);

#endif
