/* SPDX-License-Identifier: MIT */
/* Connections whose protocol is a Lua object over any engine: build.c
 * makes the protocol, proto.c feeds the engine and runs the hooks, transport.c
 * is what Lua holds, migrate.c moves it all to another generation. */
#ifndef BIND_PROTO_H
#define BIND_PROTO_H

#include "bind/conn.h"
#include "proto/engine.h"

struct transport_box { /* userdata; uservalues: protocol, fields of the script */
    struct proto_conn *conn; /* NULL: closed, or moved to another generation */
};

/* What C must know of a protocol class, looked up once per class and
 * generation. */
enum { PROTO_MAX_EVENTS = 8, PROTO_NAME_SIZE = 48 };
struct proto_class {
    struct proto_class *next; /* list: generation->proto_classes */
    const void *class;        /* lua_topointer of the metatable */
    const struct engine *engine;
    char methods[PROTO_MAX_EVENTS][PROTO_NAME_SIZE];
    char kinds[PROTO_MAX_EVENTS][EVENT_MAX_ARGS + 1]; /* of their arguments: "sis" */
};

struct proto_conn {
    struct conn base;
    const struct proto_class *class; /* NULL: no protocol built yet */
    void *engine;                    /* owned; class->engine's state */
    struct limits *own_limits;       /* outgoing, or changed by the script; owned */
    struct buf pushback;             /* raw bytes given back, to be read as lines */
    struct buf stash;                /* what the engine borrows while a hook waits */
    struct transport_box *box;       /* borrowed from Lua, NULL: none */
    lua_KFunction after_made;        /* where connect goes on, or NULL */
    struct task *drain_waiters;      /* list by task->next */
    uint64_t idle_limit;             /* ms; of transport:set_timeout; 0: the engine's */
    uint64_t last_heard;             /* peer's clock */
    bool pumping, told_lost, retire_due;
    bool producing;                  /* a producer is registered: close waits */
    bool filled;                     /* it was told to pause */
};

static inline struct proto_conn *proto_of(struct conn *c) {
    return (struct proto_conn *)c;
}

/* Looks at the protocol at `index`; raises when its engine is unknown. */
const struct proto_class *proto_class_of(lua_State *L, int index);

/* In a task, stack: …, factory. Makes the connection of `s`, builds its
 * protocol, tells it, and goes on at `k` with the protocol (or nil) pushed. */
int proto_conn_connect(lua_State *L, struct stream *s, const struct limits *limits,
                       lua_KFunction k);
/* The stream of `from`, another kind of connection, gets a protocol of the
 * factory at `index`; `ahead` is what was read already. */
void proto_conn_adopt(lua_State *L, int index, struct stream *s, struct conn *from,
                      struct str ahead);

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

/* Pushes the transport of the connection, made if need be. */
void transport_push(lua_State *L, struct proto_conn *p);
void transport_detach(struct proto_conn *p);
/* The connection of the transport at `index`; NULL: closed. */
struct proto_conn *transport_check(lua_State *L, int index);
void push_address(lua_State *L, const struct address *a);

/* Moves it to the server that its port now has, by save() and restore(). */
void proto_migrate(struct proto_conn *p);

#endif
