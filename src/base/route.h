/* SPDX-License-Identifier: MIT */
/* Routes: which number belongs to a method and a path.
 *
 *      /users/:id/posts    `:name` is one segment, not empty; `*name`, as the
 *                          last one, is the rest, slashes and all, maybe empty
 *
 * Segment by segment what is static beats `:name` beats `*name`, and a dead end
 * (no such child, or none of its methods fits) goes back and tries the next. A
 * trailing slash and empty segments count: "/a", "/a/" and "//a" are three
 * paths. A path is split at its slashes before it is decoded, so "%2F" never
 * separates; static segments are compared decoded, parameters are handed out
 * as they came.
 *
 * A path without a percent sign is looked up whole first: one hash for the
 * static ones. The tree below it costs at most one visit per node.
 */
#ifndef BASE_ROUTE_H
#define BASE_ROUTE_H

#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

enum {
    ROUTE_MAX_PARAMS = 16,
    ROUTE_MAX_DEPTH = 64,    /* segments of a pattern: bounds the recursion */
    ROUTE_MAX_METHODS = 32,  /* different ones per table: a bit each */
    ROUTE_MAX_PATTERN = 1024,
    ROUTE_MAX_NODES = 1 << 20,
};

struct route_table {
    struct mem *mem;          /* borrowed, outlives the table */
    struct route_node *root;  /* owned; NULL while empty */
    struct map whole;         /* static path → its node */
    size_t nodes;
    struct str methods[ROUTE_MAX_METHODS]; /* owned; "*" is not among them */
    unsigned method_count;
};

struct route_param {
    struct str name;  /* borrowed from the table; no colon, no star */
    struct str value; /* borrowed from the path, not decoded */
};

struct route_match {
    int id;            /* ≥ 1; 0: none */
    unsigned param_count;
    struct route_param params[ROUTE_MAX_PARAMS];
    uint32_t allowed;  /* id 0: bit i for route_method(i) */
};

/* `seed`: see map.h. */
void route_init(struct route_table *t, struct mem *mem, const uint64_t seed[2]);
void route_fini(struct route_table *t);

/* `id` ≥ 1 for requests with this method ("*": any) and a path like the
 * pattern; both are copied. 0; RW_ESYNTAX: the pattern; -EEXIST: it is there
 * already, under whatever parameter names; RW_ELIMIT; RW_ENOMEM. */
int route_add(struct route_table *t, struct str method, struct str pattern,
              int id);

/* Fills `m`; the id, or 0. HEAD is answered by GET where there is no HEAD.
 * With id 0, `allowed` tells the methods that this path has. */
int route_find(const struct route_table *t, struct str method,
               struct str path, struct route_match *m);

/* Is every percent sign of the path an escape? (If not: 400.) */
bool route_path_ok(struct str path);

/* Name of the i-th method (i < t->method_count). */
static inline struct str route_method(const struct route_table *t, unsigned i) {
    return t->methods[i];
}

#endif
