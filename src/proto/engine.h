/* SPDX-License-Identifier: MIT */
/* The engine contract: every wire protocol is one struct behind these calls.
 *
 * An engine is bytes in, events out, events in, bytes out. It owns no socket,
 * reads no clock and calls nobody back; it allocates from env->mem only. The
 * same struct plays both roles. Whoever drives it does:
 *
 *      taken = feed(e, bytes)          give it input; it may take less
 *      while (next(e, &event) == 1)    pull until 0, then feed the rest
 *          act on event, maybe send(e, &reply)
 *      flush env->out                  what send() encoded
 *      deadline = tick(e, now)         once per round; 0: no deadline
 *
 * When the pulling is interrupted (the script waits) and the fed bytes are about
 * to die, the caller copies them and tells by moved() where they are now; they
 * stay there until next() has returned 0. Slices in an event borrow from the
 * bytes fed or from the engine and die at the next feed() or next().
 *
 * feed() takes nothing (returns 0) while the engine must not see more, for
 * example a request while the one before is not answered, or after an upgrade:
 * those bytes stay with the caller, who feeds them again later or gives them to
 * the next engine. After a negative return only fini() is legal; what is then in
 * env->out (a 400, say) is still to be sent before the connection is closed.
 *
 * A tick at or after the deadline ends the engine: it puts what is to be said
 * into env->out, and next() gives RW_ETIMEDOUT.
 *
 * The first member of an engine's struct is its `struct engine_env env`; the
 * driver may give it other limits between two calls.
 *
 * `now` is the peer's clock in ms: the caller stops it while our own side is
 * the slow one, so that nobody is timed out for our slowness.
 */
#ifndef PROTO_ENGINE_H
#define PROTO_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/str.h"

enum role { ROLE_SERVER, ROLE_CLIENT };

struct engine_env {
    enum role role;
    const struct limits *limits; /* borrowed, outlives the engine */
    struct mem *mem;             /* borrowed, outlives the engine */
    struct buf *out;             /* borrowed: where send() encodes to */
    /* In the engine's own copy: the name of the limit that ended it, for the
     * log. Set with RW_ELIMIT and RW_ETIMEDOUT. */
    const char *limit;
    uint64_t idle; /* ms, instead of the limit idle_timeout; 0: as that one says */
};

/* A list of name-value pairs: header fields, trailers, parameters. */
struct field {
    struct str name, value;
};
struct fields {
    const struct field *at; /* borrowed */
    size_t count;
};

enum { EVENT_MAX_ARGS = 6 };

union event_arg {
    struct str str;
    int64_t num;
    struct fields fields;
};

struct event {
    unsigned type; /* index into the engine's events[] */
    union event_arg args[EVENT_MAX_ARGS];
};

/* One row of events[]: its name, its arguments as "kind:name …" with kind one
 * of str, int, fields, and which way it goes. The table drives the Lua hooks
 * (on_<name>), the docs, the transcripts and the fuzz dictionaries. */
enum event_way { EVENT_IN = 1, EVENT_OUT = 2, EVENT_BOTH = 3 };
struct event_def {
    const char *name;
    const char *args;
    enum event_way way; /* IN: from the peer; OUT: to the peer */
};

struct engine {
    const char *name;
    size_t size;                    /* of the engine's struct */
    const struct event_def *events; /* ended by a row without a name */

    int (*init)(void *e, const struct engine_env *env);
    int64_t (*feed)(void *e, struct str bytes); /* bytes taken, or < 0 */
    int (*next)(void *e, struct event *out);    /* 1, 0 wants more, < 0 */
    void (*moved)(void *e, const char *from, const char *to);
    /* Taken but not given out, one slice: for the engine that comes after. Asked
     * while an event is looked at, or when next() has said 0, or after eof(). NULL:
     * this engine leaves nothing and cannot be taken off in between. */
    struct str (*left)(const void *e);
    int (*send)(void *e, const struct event *ev); /* 0 or < 0 */
    int (*eof)(void *e); /* the peer finished: 0, or RW_EOF in mid-message */
    uint64_t (*tick)(void *e, uint64_t now); /* next deadline in ms, 0: none */
    void (*fini)(void *e);
};

extern const struct engine raw_engine, line_engine, netstring_engine,
    frame_engine, http1_engine;

/* All engines, ended by NULL; by name, NULL when there is none. */
extern const struct engine *const engines[];
const struct engine *engine_find(struct str name);

/* Index of the event, or -1. */
int engine_event(const struct engine *engine, struct str name);

/* For moved(): a slice of what was at `from` is now one of what is at `to`. */
static inline struct str slice_moved(struct str s, const char *from, const char *to) {
    return s.n ? str_of(to + (s.p - from), s.n) : s;
}

/* Walks an event's argument list "str:method int:status": kind is 's', 'i' or
 * 'f'; false at the end. */
bool event_arg_next(const char **args, char *kind, struct str *name);

#endif
