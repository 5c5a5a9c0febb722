/* SPDX-License-Identifier: MIT */
/* The torture harness: runs the transcripts of spec/wire (its README is the
 * format and says what is run) against the engines, through the contract of
 * proto/engine.h alone.
 *
 *      script.c   Markdown → behaviours, each a list of steps
 *      text.c     bytes, arguments and events as they are written there
 *      calls.c    the doors that are not in the contract, for `call`
 *      drive.c    one run of a behaviour: the steps against an engine
 *      modes.c    all runs of a behaviour: whole, split, bytes, cut, starved
 *      guard.c    pages that cannot be read past, nor after their time
 *      leaves*.c  src/base, which has no wire
 *      main.c     files, totals, what was going on at a crash
 */
#ifndef TORTURE_H
#define TORTURE_H

#include <stdio.h>

#include "proto/engine.h"

/* ---- memory of a script: freed as a whole ---- */

struct keep {
    struct keep_block *blocks; /* owned */
};
void *keep_grow(struct keep *a, const void *old, size_t had, size_t size);
struct str keep_copy(struct keep *a, struct str s);
void keep_free(struct keep *a);

/* ---- what a script says ---- */

enum step_kind {
    STEP_IN, STEP_EVENTS, STEP_SEND, STEP_OUT, STEP_CALL, STEP_LEFT, STEP_EOF,
    STEP_TICK,
};

/* A line of an `events`, `send` or `call` block. */
struct item {
    enum item_kind { ITEM_EVENT, ITEM_CALL, ITEM_WAIT, ITEM_ERROR } kind;
    int line;
    struct event event;      /* strings in the script's arena */
    const struct call *call;
    int error;               /* ITEM_ERROR: which; else: `fails` with it */
    struct str limit;        /* ITEM_ERROR: the one that fired; empty: not looked at */
};

struct step {
    enum step_kind kind;
    int line;
    struct str bytes;        /* in, out, left */
    struct item *items;      /* events, send, call */
    size_t count;
    uint64_t now, deadline;  /* tick */
    bool over;               /* tick: any deadline that has passed */
    int error;               /* eof */
};

struct behaviour {
    struct str title;
    int line;
    struct step *steps;
    size_t count;
    struct limits limits;
    bool as_server, as_client;
    struct str skip;         /* why; empty: it is not */
};

struct script {
    const struct engine *engine;
    const char *path;
    struct behaviour *behaviours;
    size_t count;
    struct keep arena;
    int bad_line;            /* first line that makes no sense, 0: none */
    char bad_text[160];
};

/* false: bad_line and bad_text say why. `text` must outlive the script. */
bool script_parse(struct script *s, const struct engine *engine,
                  const char *path, struct str text);
void script_free(struct script *s);

/* ---- text.c ---- */

/* Each returns false with a reason in *why. */
bool text_bytes(struct keep *a, struct str in, struct str *out, const char **why);
bool text_args(struct keep *a, struct str *in, const char *kinds,
               union event_arg *out, const char **why);
bool text_error(struct str name, int *code);
const char *text_error_name(int code);

void text_print_bytes(struct buf *out, struct str bytes);
void text_print_args(struct buf *out, const char *kinds,
                     const union event_arg *args);
void text_print_event(struct buf *out, const struct engine *engine,
                      const struct event *ev);

/* Is the event's first argument a piece of a stream? */
bool text_is_stream(const struct engine *engine, unsigned type);

/* ---- calls.c ---- */

struct call {
    const struct engine *engine; /* NULL: any */
    const char *name, *args;
    int (*fn)(void *e, const union event_arg *args); /* NULL: feed now */
};
const struct call *call_find(const struct engine *engine, struct str name);

/* ---- guard.c ---- */

struct guard {
    char *sides[2];          /* owned mappings; the page behind each is barred */
    size_t size;             /* of a side, without that page */
    size_t used[2];          /* bytes open at the end of each */
    int side;
};
bool guard_init(struct guard *g, size_t largest);
/* A copy of the bytes that ends at a barred page; bars the copy before it. */
struct str guard_place(struct guard *g, struct str bytes);
void guard_fini(struct guard *g);

/* ---- one run ---- */

enum pieces { PIECES_WHOLE, PIECES_SPLIT, PIECES_BYTES };

struct plan {
    enum role role;
    enum pieces pieces;
    size_t at;               /* split: where; bytes: how many in a piece */
    bool cut;                /* end the run at `at` */
    uint64_t fail_in;        /* refuse this allocation, 0: none */
};

struct verdict {
    bool ok;
    int line;                /* where it went wrong */
    uint64_t refused;        /* allocations */
    struct buf report;       /* expected and actual, printable */
};

void drive(const struct script *s, const struct behaviour *b,
           const struct plan *plan, struct guard *guard, struct verdict *v);

/* Bytes in all `in` blocks. */
size_t behaviour_input(const struct behaviour *b);

/* ---- all runs ---- */

/* Runs everything until the first failure; plan_out: what it was. */
bool torture(const struct script *s, const struct behaviour *b,
             struct plan *plan_out, struct verdict *v, uint64_t *runs);
void plan_print(FILE *to, const struct plan *plan);

/* What a crash handler would want to know. */
extern struct torture_now {
    const struct script *script;
    const struct behaviour *behaviour;
    struct plan plan;
} torture_now;

/* ---- leaves.c ---- */

void check_leaves(size_t *passed, size_t *failed);
void check_log_lines(void);
void check_log_files(void);
void check_proxy(void);
void check_cidr(void);
void check_buf(void);
void check_route_limits(void);
void check_hello(void);

extern bool leaf_fine;
#define CHECK(holds)                                                           \
    ((holds) ? (void)0                                                         \
             : (leaf_fine = false,                                             \
                (void)printf("  FAIL %s:%d %s\n", __FILE__, __LINE__, #holds)))

#endif
