/* SPDX-License-Identifier: MIT */
/* The route table against a list that is searched from front to back.
 *
 * Input: lines "METHOD pattern" that are added, an empty line, then lines
 * "METHOD path" that are looked up. The list holds the same routes; the winner
 * is the one whose segments are static the longest, then parameters. */
#include <stdlib.h>

#include "base/codec.h"
#include "base/err.h"
#include "base/route.h"

enum { MAX_ROUTES = 64, MAX_LOOKUPS = 64, MAX_TEXT = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct plain_route {
    struct str method, pattern;
};

/* Next segment of "/a/b"; false at the end. */
static bool segment_next(struct str *path, struct str *out) {
    if (path->n == 0) return false;
    *path = str_skip(*path, 1);
    *out = str_of(path->p, str_find(*path, '/'));
    *path = str_skip(*path, out->n);
    return true;
}

static bool same_decoded(struct str a, struct str b) {
    static char x[MAX_TEXT], y[MAX_TEXT];
    if (a.n > MAX_TEXT || b.n > MAX_TEXT) return false;
    int64_t m = percent_decode(a, PERCENT_PATH, x);
    int64_t n = percent_decode(b, PERCENT_PATH, y);
    return m >= 0 && m == n && memcmp(x, y, (size_t)n) == 0;
}

/* Kinds of the pattern's segments ('a' static, 'b' parameter, 'c' rest), if it
 * fits the path. */
static bool fits(struct str pattern, struct str path, char kinds[80]) {
    struct str p, s;
    size_t depth = 0;
    while (segment_next(&pattern, &p)) {
        if (!segment_next(&path, &s)) return false;
        char kind = p.n && p.p[0] == ':' ? 'b' : p.n && p.p[0] == '*' ? 'c' : 'a';
        kinds[depth++] = kind;
        kinds[depth] = 0;
        if (kind == 'c') return true;
        if (kind == 'b' ? s.n == 0 : !same_decoded(p, s)) return false;
    }
    return path.n == 0;
}

/* How well a route's method fits: 0 best, 3 not at all. */
static int method_rank(struct str wanted, struct str method) {
    if (str_eq(wanted, method) && !str_eq(method, STR("*"))) return 0;
    if (str_eq(wanted, STR("HEAD")) && str_eq(method, STR("GET"))) return 1;
    return str_eq(method, STR("*")) ? 2 : 3;
}

static int plain_find(const struct plain_route *routes, int count,
                      struct str method, struct str path) {
    char best[80] = "z", kinds[80];
    int found = 0, best_rank = 3;
    if (path.n == 0 || path.p[0] != '/') return 0;
    for (int i = 0; i < count; i++) {
        int rank = method_rank(method, routes[i].method);
        kinds[0] = 0;
        if (rank == 3 || !fits(routes[i].pattern, path, kinds)) continue;
        int order = strcmp(kinds, best);
        if (order > 0 || (order == 0 && rank >= best_rank)) continue;
        memcpy(best, kinds, sizeof best);
        best_rank = rank;
        found = i + 1;
    }
    return found;
}

static void check(bool ok) {
    if (!ok) abort();
}

static void look_up(const struct route_table *t, const struct plain_route *routes,
                    int count, struct str method, struct str path) {
    struct route_match m;
    int id = route_find(t, method, path, &m);
    check(id == m.id && id == plain_find(routes, count, method, path));
    check(m.param_count <= ROUTE_MAX_PARAMS);
    for (unsigned i = 0; i < m.param_count; i++) {
        struct str value = m.params[i].value;
        check(m.params[i].name.n > 0);
        check(value.p >= path.p && value.p + value.n <= path.p + path.n);
    }
    route_path_ok(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct str input = str_of((const char *)data, n);
    struct plain_route routes[MAX_ROUTES];
    const uint64_t seed[2] = {1, 2};
    struct route_table t;
    struct mem mem;
    int count = 0, lookups = 0;
    if (n > MAX_TEXT) return 0;
    mem_init(&mem, 0);
    route_init(&t, &mem, seed);
    while (input.n && input.p[0] != '\n') {
        struct str pattern = str_cut(&input, '\n');
        struct str method = str_cut(&pattern, ' ');
        if (count == MAX_ROUTES) continue;
        if (route_add(&t, method, pattern, count + 1) == 0)
            routes[count++] = (struct plain_route){method, pattern};
    }
    while (input.n && lookups++ < MAX_LOOKUPS) {
        struct str path = str_cut(&input, '\n');
        struct str method = str_cut(&path, ' ');
        look_up(&t, routes, count, method, path);
    }
    route_fini(&t);
    check(mem.live == 0);
    return 0;
}
