/* SPDX-License-Identifier: MIT */
#include "base/route.h"

#include "base/codec.h"
#include "base/err.h"

enum { METHOD_ANY = -1, METHOD_UNKNOWN = -2 };

struct route_entry {
    int method;          /* bit, or METHOD_ANY */
    int id;
    unsigned count;
    struct str *names;   /* owned, `count` of them, slices of `text` */
    struct str text;     /* owned: the pattern */
};

struct route_node {
    struct str segment;           /* owned, decoded */
    struct route_node **children; /* owned, sorted: child_order */
    size_t count, cap;
    struct route_node *param;     /* owned: any one segment */
    struct route_node *rest;      /* owned: whatever follows */
    struct route_entry *entries;  /* owned */
    size_t entry_count, entry_cap;
    uint32_t methods;             /* bits of the entries */
};

void route_init(struct route_table *t, struct mem *mem,
                const uint64_t seed[2]) {
    *t = (struct route_table){.mem = mem};
    map_init(&t->whole, mem, seed, ROUTE_MAX_NODES);
}

static void str_release(struct mem *mem, struct str s) {
    mem_free(mem, (char *)s.p, s.n);
}

static void node_free(struct mem *mem, struct route_node *n) {
    if (!n) return;
    for (size_t i = 0; i < n->count; i++) node_free(mem, n->children[i]);
    node_free(mem, n->param);
    node_free(mem, n->rest);
    for (size_t i = 0; i < n->entry_count; i++) {
        struct route_entry *e = &n->entries[i];
        mem_free(mem, e->names, e->count * sizeof *e->names);
        str_release(mem, e->text);
    }
    mem_free(mem, n->entries, n->entry_cap * sizeof *n->entries);
    mem_free(mem, n->children, n->cap * sizeof *n->children);
    str_release(mem, n->segment);
    mem_free(mem, n, sizeof *n);
}

void route_fini(struct route_table *t) {
    node_free(t->mem, t->root);
    map_release(&t->whole);
    for (unsigned i = 0; i < t->method_count; i++)
        str_release(t->mem, t->methods[i]);
    *t = (struct route_table){.mem = t->mem};
}

/* ── growing ──────────────────────────────────────────────────────────────*/

static int str_copy(struct mem *mem, struct str s, struct str *out) {
    *out = STR_NONE;
    if (s.n == 0) return 0;
    char *p = mem_alloc(mem, s.n);
    if (!p) return RW_ENOMEM;
    memcpy(p, s.p, s.n);
    *out = str_of(p, s.n);
    return 0;
}

static int node_new(struct route_table *t, struct str segment, struct route_node **out) {
    *out = NULL;
    if (t->nodes == ROUTE_MAX_NODES) return RW_ELIMIT;
    struct route_node *n = mem_zalloc(t->mem, sizeof *n);
    if (!n) return RW_ENOMEM;
    if (str_copy(t->mem, segment, &n->segment) < 0) {
        mem_free(t->mem, n, sizeof *n);
        return RW_ENOMEM;
    }
    t->nodes++;
    *out = n;
    return 0;
}

/* Room for one more in an array that grows by doubling. */
static void *array_grow(struct mem *mem, void *p, size_t count, size_t *cap,
                        size_t size) {
    if (count < *cap) return p;
    size_t more = *cap ? *cap * 2 : 2;
    void *grown = mem_realloc(mem, p, *cap * size, more * size);
    if (grown) *cap = more;
    return grown;
}

static int child_order(struct str a, struct str b) {
    if (a.n != b.n) return a.n < b.n ? -1 : 1;
    return a.n ? memcmp(a.p, b.p, a.n) : 0;
}

/* Index of the child, or where it belongs. */
static size_t child_index(const struct route_node *n, struct str segment,
                          bool *found) {
    size_t low = 0, high = n->count;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = child_order(segment, n->children[middle]->segment);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return low;
}

static int child_make(struct route_table *t, struct route_node *n, struct str segment,
                      struct route_node **out) {
    bool found;
    size_t at = child_index(n, segment, &found);
    if (found) return *out = n->children[at], 0;
    void *grown = array_grow(t->mem, n->children, n->count, &n->cap,
                             sizeof *n->children);
    if (!grown) return RW_ENOMEM;
    n->children = grown;
    struct route_node *child;
    int failed = node_new(t, segment, &child);
    if (failed < 0) return failed;
    memmove(n->children + at + 1, n->children + at,
            (n->count - at) * sizeof *n->children);
    n->children[at] = *out = child;
    n->count++;
    return 0;
}

static int method_find(const struct route_table *t, struct str method) {
    for (unsigned i = 0; i < t->method_count; i++)
        if (str_eq(t->methods[i], method)) return (int)i;
    return METHOD_UNKNOWN;
}

static int method_make(struct route_table *t, struct str method, int *out) {
    if (str_eq(method, STR("*"))) {
        *out = METHOD_ANY;
        return 0;
    }
    if (!is_token(method)) return RW_ESYNTAX;
    if ((*out = method_find(t, method)) >= 0) return 0;
    if (t->method_count == ROUTE_MAX_METHODS) return RW_ELIMIT;
    int failed = str_copy(t->mem, method, &t->methods[t->method_count]);
    if (failed < 0) return failed;
    *out = (int)t->method_count++;
    return 0;
}

/* ── patterns ─────────────────────────────────────────────────────────────*/

static bool is_name(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = ascii_lower(s.p[i]);
        bool digit = c >= '0' && c <= '9';
        if (!(c >= 'a' && c <= 'z') && c != '_' && !(digit && i)) return false;
    }
    return s.n > 0;
}

struct pattern {
    struct str text;
    struct str names[ROUTE_MAX_PARAMS];
    unsigned count;
    struct route_node *end;
};

static int pattern_name(struct pattern *p, struct str name) {
    if (!is_name(name)) return RW_ESYNTAX;
    if (p->count == ROUTE_MAX_PARAMS) return RW_ELIMIT;
    for (unsigned i = 0; i < p->count; i++)
        if (str_eq(p->names[i], name)) return RW_ESYNTAX;
    p->names[p->count++] = name;
    return 0;
}

/* One segment further; *slot is where the next node hangs. */
static int pattern_step(struct route_table *t, struct pattern *p,
                        struct str segment, bool last) {
    struct route_node **slot;
    if (segment.n && (segment.p[0] == ':' || segment.p[0] == '*')) {
        bool rest = segment.p[0] == '*';
        int failed = rest && !last ? RW_ESYNTAX
                                   : pattern_name(p, str_skip(segment, 1));
        if (failed < 0) return failed;
        slot = rest ? &p->end->rest : &p->end->param;
        if (!*slot && (failed = node_new(t, STR_NONE, slot)) < 0) return failed;
        p->end = *slot;
        return 0;
    }
    char decoded[ROUTE_MAX_PATTERN];
    int64_t n = percent_decode(segment, PERCENT_PATH, decoded);
    if (n < 0) return (int)n;
    struct str plain = str_of(decoded, (size_t)n);
    if (str_find(plain, '/') < plain.n || str_find(plain, 0) < plain.n)
        return RW_ESYNTAX;
    return child_make(t, p->end, plain, &p->end);
}

/* Makes the nodes that the pattern needs. */
static int pattern_walk(struct route_table *t, struct pattern *p) {
    struct str text = p->text;
    if (text.n == 0 || text.p[0] != '/') return RW_ESYNTAX;
    if (text.n > ROUTE_MAX_PATTERN) return RW_ELIMIT;
    int failed = t->root ? 0 : node_new(t, STR_NONE, &t->root);
    if (failed < 0) return failed;
    p->end = t->root;
    for (unsigned depth = 0; text.n; depth++) {
        if (depth == ROUTE_MAX_DEPTH) return RW_ELIMIT;
        text = str_skip(text, 1);
        struct str segment = str_of(text.p, str_find(text, '/'));
        text = str_skip(text, segment.n);
        failed = pattern_step(t, p, segment, text.n == 0);
        if (failed < 0) return failed;
    }
    return 0;
}

static int entry_add(struct route_table *t, const struct pattern *p, int method,
                     int id) {
    struct route_node *n = p->end;
    for (size_t i = 0; i < n->entry_count; i++)
        if (n->entries[i].method == method) return -EEXIST;
    void *grown = array_grow(t->mem, n->entries, n->entry_count, &n->entry_cap,
                             sizeof *n->entries);
    if (!grown) return RW_ENOMEM;
    n->entries = grown;
    struct route_entry e = {.method = method, .id = id, .count = p->count};
    if (str_copy(t->mem, p->text, &e.text) < 0) return RW_ENOMEM;
    if (e.count) {
        e.names = mem_alloc(t->mem, e.count * sizeof *e.names);
        if (!e.names) {
            str_release(t->mem, e.text);
            return RW_ENOMEM;
        }
    }
    for (unsigned i = 0; i < e.count; i++)
        e.names[i] = str_of(e.text.p + (p->names[i].p - p->text.p),
                            p->names[i].n);
    n->entries[n->entry_count++] = e;
    if (method >= 0) n->methods |= UINT32_C(1) << method;
    return 0;
}

/* A static path that is spelt as it is decoded can be found whole. */
static int whole_add(struct route_table *t, const struct pattern *p) {
    union map_value *value;
    if (p->count || str_find(p->text, '%') < p->text.n) return 0;
    int made = map_put(&t->whole, p->text, &value);
    if (made < 0) return made;
    value->ptr = p->end;
    return 0;
}

int route_add(struct route_table *t, struct str method, struct str pattern,
              int id) {
    struct pattern p = {.text = pattern};
    int bit, failed = method_make(t, method, &bit);
    if (failed < 0 || (failed = pattern_walk(t, &p)) < 0) return failed;
    if ((failed = whole_add(t, &p)) < 0) return failed;
    return entry_add(t, &p, bit, id);
}

/* ── finding ──────────────────────────────────────────────────────────────*/

struct search {
    int method, instead; /* bits or METHOD_UNKNOWN; HEAD's GET */
    struct route_match *m;
};

static const struct route_entry *entry_of(const struct route_node *n,
                                          int method) {
    for (size_t i = 0; i < n->entry_count; i++)
        if (n->entries[i].method == method) return &n->entries[i];
    return NULL;
}

static bool accept(struct search *s, const struct route_node *n) {
    const struct route_entry *e = NULL;
    if (s->method >= 0) e = entry_of(n, s->method);
    if (!e && s->instead >= 0) e = entry_of(n, s->instead);
    if (!e) e = entry_of(n, METHOD_ANY);
    if (!e) {
        s->m->allowed |= n->methods;
        return false;
    }
    s->m->id = e->id;
    s->m->param_count = e->count;
    for (unsigned i = 0; i < e->count; i++) s->m->params[i].name = e->names[i];
    return true;
}

static const struct route_node *child_find(const struct route_node *n,
                                           struct str segment) {
    char decoded[3 * ROUTE_MAX_PATTERN];
    bool found;
    if (n->count == 0 || segment.n > sizeof decoded) return NULL;
    if (str_find(segment, '%') < segment.n) {
        int64_t length = percent_decode(segment, PERCENT_PATH, decoded);
        if (length < 0) return NULL;
        segment = str_of(decoded, (size_t)length);
    }
    size_t at = child_index(n, segment, &found);
    return found ? n->children[at] : NULL;
}

static bool walk(struct search *s, const struct route_node *n, struct str path,
                 unsigned params) {
    struct str segment = str_of(path.p, str_find(path, '/'));
    bool last = segment.n == path.n;
    struct str beyond = last ? STR_NONE : str_skip(path, segment.n + 1);

    const struct route_node *child = child_find(n, segment);
    if (child && (last ? accept(s, child) : walk(s, child, beyond, params)))
        return true;
    if (n->param && segment.n) {
        s->m->params[params].value = segment;
        if (last ? accept(s, n->param) : walk(s, n->param, beyond, params + 1))
            return true;
    }
    if (!n->rest) return false;
    s->m->params[params].value = path;
    return accept(s, n->rest);
}

int route_find(const struct route_table *t, struct str method,
               struct str path, struct route_match *m) {
    struct search s = {method_find(t, method), METHOD_UNKNOWN, m};
    m->id = 0;
    m->param_count = 0;
    m->allowed = 0;
    if (!t->root || path.n == 0 || path.p[0] != '/') return 0;
    if (str_eq(method, STR("HEAD"))) s.instead = method_find(t, STR("GET"));
    union map_value *whole = map_find(&t->whole, path);
    if (whole && accept(&s, whole->ptr)) return m->id;
    walk(&s, t->root, str_skip(path, 1), 0);
    return m->id;
}

bool route_path_ok(struct str path) {
    char byte;
    for (size_t at; (at = str_find(path, '%')) < path.n;) {
        path = str_skip(path, at);
        if (path.n < 3 || hex_decode(str_of(path.p + 1, 2), &byte) < 0)
            return false;
        path = str_skip(path, 3);
    }
    return true;
}
