/* SPDX-License-Identifier: MIT */
/* Questions and what is kept of the answers. There is one entry for each name
 * and type that somebody waits for or that is kept; who asks the same waits at
 * the same entry. Answers are kept as the bytes of a DNS message, so that what
 * they take is known, and go when they are too old, or the least recently told
 * ones when there are too many.
 *
 * c-ares cannot forget one question. An entry whose time is over is told so at
 * once, but stays until c-ares lets go of it. */
#include "io/names_private.h"

#include <stdio.h>
#include <sys/random.h>

enum {
    KEY_MAX = HOSTNAME_MAX + 3,
    TELL_SLICE = 64, /* who waited for one name, told in one turn */
};

/* ── lists ────────────────────────────────────────────────────────────────*/

static void list_add(struct entry_list *list, struct name_entry *e) {
    e->next = NULL;
    e->prev = list->end;
    *list->end = e;
    list->end = &e->next;
    list->count++;
}

static void list_remove(struct entry_list *list, struct name_entry *e) {
    *e->prev = e->next;
    if (e->next) e->next->prev = e->prev;
    else list->end = e->prev;
    list->count--;
}

/* Is it to be answered by a server yet? */
static bool is_open(const struct name_entry *e) {
    return e->state == ENTRY_QUEUED || e->state == ENTRY_ASKING;
}

static void query_join(struct name_entry *e, struct name_query *q) {
    if (is_open(e)) e->names->open_queries++;
    q->entry = e;
    q->next = NULL;
    q->prev = e->queries_end;
    *e->queries_end = q;
    e->queries_end = &q->next;
    e->query_count++;
}

static void query_leave(struct name_query *q) {
    if (is_open(q->entry)) q->entry->names->open_queries--;
    *q->prev = q->next;
    if (q->next) q->next->prev = q->prev;
    else q->entry->queries_end = q->prev;
    q->entry->query_count--;
    q->entry = NULL;
}

/* ── resolvers ────────────────────────────────────────────────────────────*/

void names_config_init(struct names_config *c) {
    memset(c, 0, sizeof *c); /* compared as bytes */
    snprintf(c->hosts_file, sizeof c->hosts_file, "/etc/hosts");
    snprintf(c->resolv_file, sizeof c->resolv_file, "/etc/resolv.conf");
    c->limits = limits_default;
}

static bool config_eq(const struct names_config *a, const struct names_config *b) {
    return strcmp(a->servers, b->servers) == 0 && strcmp(a->search, b->search) == 0 &&
           strcmp(a->hosts_file, b->hosts_file) == 0 &&
           strcmp(a->resolv_file, b->resolv_file) == 0 &&
           memcmp(&a->limits, &b->limits, sizeof a->limits) == 0;
}

static void pump(struct deferral *d);

static int names_new(struct loop *l, const struct names_config *c, struct names **out) {
    uint64_t seed[4];
    if (getrandom(seed, sizeof seed, 0) != sizeof seed) return -EIO;
    struct names *n = mem_zalloc(l->mem, sizeof *n);
    if (!n) return RW_ENOMEM;
    n->loop = l;
    n->config = *c;
    n->waiting.end = &n->waiting.first;
    n->kept.end = &n->kept.first;
    n->pump.run = pump;
    map_init(&n->entries, l->mem, seed,
             c->limits.names_cache + c->limits.names_waiting + c->limits.names_queries);
    map_init(&n->hosts.names, l->mem, seed + 2, c->limits.names_hosts);
    int rc = channel_ready(n);
    if (rc < 0) {
        mem_free(l->mem, n, sizeof *n);
        return rc;
    }
    n->next = l->names;
    n->prev = &l->names;
    if (n->next) n->next->prev = &n->next;
    l->names = n;
    loop_opened(l, LEDGER_NAMES);
    *out = n;
    return 0;
}

int names_open(struct loop *l, const struct names_config *c, struct names **out) {
    if (l->sim) return RW_ESIMULATED;
    struct names_config system;
    names_config_init(&system);
    if (!c) c = &system;
    struct names *n = l->names;
    while (n && !config_eq(&n->config, c)) n = n->next;
    if (!n) {
        int rc = names_new(l, c, &n);
        if (rc < 0) return rc;
    }
    n->users++;
    *out = n;
    return 0;
}

static void entry_free(struct name_entry *e);

/* Nobody asks any more: what c-ares still does is nobody's. */
static void names_free(struct names *n) {
    struct loop *l = n->loop;
    while (n->channel) channel_free(n->channel); /* ends the entries that it has */
    while (n->waiting.first) entry_free(n->waiting.first);
    while (n->kept.first) entry_free(n->kept.first);
    loop_defer_cancel(&n->pump);
    map_release(&n->entries);
    hosts_free(n);
    *n->prev = n->next;
    if (n->next) n->next->prev = n->prev;
    loop_gone(l, LEDGER_NAMES);
    mem_free(l->mem, n, sizeof *n);
}

static void names_release(struct names *n) {
    if (--n->users == 0) names_free(n);
}

void names_close(struct names **n) {
    if (*n) names_release(*n);
    *n = NULL;
}

/* Behind those that are asked for: in the queue, and for what is asked for already. */
static size_t waiting(const struct names *n) {
    return n->open_queries > n->asking ? n->open_queries - n->asking : 0;
}

static bool is_full(const struct names *n) {
    return waiting(n) >= n->config.limits.names_waiting;
}

void names_state(const struct names *n, struct names_state *out) {
    *out = (struct names_state){
        .asking = n->asking, .waiting = waiting(n), .sockets = n->sockets,
        .cached = n->kept.count, .bytes = n->kept_bytes,
        .asked = n->asked, .hits = n->hits, .failed = n->failed,
    };
    char *servers = n->channel ? ares_get_servers_csv(n->channel->ares) : NULL;
    snprintf(out->servers, sizeof out->servers, "%s", servers ? servers : "");
    if (servers) ares_free_string(servers);
}

/* ── entries ──────────────────────────────────────────────────────────────*/

static struct str entry_key(const struct name_entry *e, char out[KEY_MAX]) {
    memcpy(out, &e->type, 2);
    memcpy(out + 2, e->name, e->name_size);
    return str_of(out, e->name_size + 2);
}

static size_t entry_size(const struct name_entry *e) {
    return sizeof *e + e->name_size + 1 + e->wire_size;
}

static void entry_unlist(struct name_entry *e) {
    char key[KEY_MAX];
    if (e->listed) map_remove(&e->names->entries, entry_key(e, key), NULL);
    e->listed = false;
}

/* Out of whichever list its state has put it into. */
static void entry_leave(struct name_entry *e) {
    struct names *n = e->names;
    if (is_open(e)) n->open_queries -= e->query_count;
    if (e->state == ENTRY_QUEUED) list_remove(&n->waiting, e);
    if (e->state == ENTRY_KEPT) {
        list_remove(&n->kept, e);
        n->kept_bytes -= entry_size(e);
    }
    e->state = ENTRY_TELLING;
}

static void entry_free(struct name_entry *e) {
    struct loop *l = e->names->loop;
    entry_leave(e);
    entry_unlist(e);
    timer_stop(l, &e->timeout);
    mem_free(l->mem, e->wire, e->wire_size);
    mem_free(l->mem, e, sizeof *e + e->name_size + 1);
}

static struct name_entry *entry_new(struct names *n, struct str name, int type) {
    struct name_entry *e = mem_zalloc(n->loop->mem, sizeof *e + name.n + 1);
    if (!e) return NULL;
    e->names = n;
    e->type = (uint16_t)type;
    e->queries_end = &e->queries;
    e->state = ENTRY_TELLING;
    e->name_size = name.n;
    memcpy(e->name, name.p, name.n);
    return e;
}

static void keep(struct name_entry *e) {
    struct names *n = e->names;
    const struct limits *l = &n->config.limits;
    e->state = ENTRY_KEPT;
    list_add(&n->kept, e);
    n->kept_bytes += entry_size(e);
    while (n->kept.first && (n->kept.count > l->names_cache || n->kept_bytes > l->names_cache_bytes))
        entry_free(n->kept.first);
}

/* ── telling ──────────────────────────────────────────────────────────────*/

/* A slice of those that wait now; who asks anew in `done` waits behind them. */
static void tell_some(struct name_entry *e, const struct name_answer *a) {
    unsigned count = e->query_count < TELL_SLICE ? e->query_count : TELL_SLICE;
    for (; count && e->queries; count--) {
        struct name_query *q = e->queries;
        struct names *n = q->names;
        query_leave(q);
        q->names = NULL;
        q->done(q, e->status, a);
        names_release(n);
    }
}

static void tell_soon(struct name_entry *e);

static void tell(struct deferral *d) {
    struct name_entry *e = CONTAINER(d, struct name_entry, tell);
    struct names *n = e->names;
    ares_dns_record_t *rec = NULL;
    struct name_answer answer, *a = NULL;
    if (e->status == 0 && ares_dns_parse((unsigned char *)e->wire, e->wire_size, 0, &rec) !=
                              ARES_SUCCESS) {
        e->status = RW_ENOMEM;
        e->expires = 0; /* it was fine when it came */
    }
    if (e->status == 0) {
        uint32_t age = (uint32_t)((loop_now(n->loop) - e->made) / 1000);
        answer_init(&answer, rec, str_of(e->name, e->name_size), e->type, age);
        a = &answer;
    }
    if (e->status < 0) n->failed++;
    if (!e->expires) entry_unlist(e);
    e->telling = true;
    tell_some(e, a);
    e->telling = false;
    ares_dns_record_destroy(rec);
    if (e->queries) tell_soon(e);
    else if (e->expires && e->listed) keep(e);
    else if (!e->channel) entry_free(e);
    n->loop->closing--;
    names_release(n);
}

/* Until then the resolver stays, and so does the loop. */
static void tell_soon(struct name_entry *e) {
    if (deferral_waits(&e->tell)) return;
    e->names->users++;
    e->names->loop->closing++;
    e->tell.run = tell;
    loop_defer(e->names->loop, &e->tell);
}

static void settle(struct name_entry *e, int status) {
    entry_leave(e);
    timer_stop(e->names->loop, &e->timeout);
    e->status = status;
    e->made = loop_now(e->names->loop);
    tell_soon(e);
}

static void on_timeout(struct timer *t) {
    struct name_entry *e = CONTAINER(t, struct name_entry, timeout);
    entry_unlist(e);
    settle(e, RW_ETIMEDOUT);
}

/* Keeps a copy of the message: 0 or RW_ENOMEM. */
static int entry_store(struct name_entry *e, const ares_dns_record_t *rec) {
    unsigned char *wire = NULL;
    size_t size = 0;
    if (ares_dns_write(rec, &wire, &size) != ARES_SUCCESS) return RW_EBADANSWER;
    e->wire = mem_alloc(e->names->loop->mem, size);
    if (e->wire) {
        memcpy(e->wire, wire, size);
        e->wire_size = size;
    }
    ares_free_string(wire);
    return e->wire ? 0 : RW_ENOMEM;
}

void entry_answered(struct name_entry *e, int status, const ares_dns_record_t *rec) {
    struct names *n = e->names;
    struct name_answer a;
    loop_defer(n->loop, &n->pump);
    if (e->state != ENTRY_ASKING) { /* its time was over */
        if (!deferral_waits(&e->tell) && !e->telling) entry_free(e);
        return;
    }
    if (status == RW_ECANCELED) { /* the resolver goes: nobody waits */
        entry_free(e);
        return;
    }
    if (rec) answer_init(&a, rec, str_of(e->name, e->name_size), e->type, 0);
    if (status == 0 && answer_is_empty(&a)) status = RW_ENODATA;
    uint64_t ttl = rec ? answer_ttl(&a, status, &n->config.limits) : 0;
    if (status == 0) status = entry_store(e, rec);
    bool known = status == 0 || status == RW_ENONAME || status == RW_ENODATA;
    e->expires = known && ttl ? loop_now(n->loop) + ttl * 1000 : 0;
    settle(e, status);
}

/* ── asking ───────────────────────────────────────────────────────────────*/

static void pump(struct deferral *d) {
    struct names *n = CONTAINER(d, struct names, pump);
    while (n->waiting.first && n->asking < n->config.limits.names_queries) {
        struct name_entry *e = n->waiting.first;
        int rc = channel_ready(n);
        if (rc < 0) {
            settle(e, rc);
            continue;
        }
        entry_leave(e);
        e->state = ENTRY_ASKING;
        n->open_queries += e->query_count;
        channel_ask(e);
    }
}

static int ask_server(struct names *n, struct name_entry *e) {
    char key[KEY_MAX];
    union map_value *value;
    if (is_full(n)) return RW_ELIMIT;
    int rc = map_put(&n->entries, entry_key(e, key), &value);
    if (rc < 0) return rc;
    value->ptr = e;
    e->listed = true;
    e->state = ENTRY_QUEUED;
    list_add(&n->waiting, e);
    timer_start(n->loop, &e->timeout, n->config.limits.names_timeout, on_timeout);
    loop_defer(n->loop, &n->pump);
    return 0;
}

static struct name_entry *find(struct names *n, struct str name, int type) {
    char key[KEY_MAX];
    uint16_t number = (uint16_t)type;
    memcpy(key, &number, 2);
    memcpy(key + 2, name.p, name.n);
    union map_value *value = map_find(&n->entries, str_of(key, name.n + 2));
    if (!value) return NULL;
    struct name_entry *e = value->ptr;
    if (e->state != ENTRY_KEPT) return e;
    if (e->expires <= loop_now(n->loop)) {
        entry_free(e);
        return NULL;
    }
    n->hits++;
    entry_leave(e);
    tell_soon(e);
    return e;
}

static int make(struct names *n, struct str name, int type, struct name_entry **out) {
    ares_dns_record_t *rec;
    int status, rc = 0;
    struct name_entry *e = *out = entry_new(n, name, type);
    if (!e) return RW_ENOMEM;
    if (!names_local(n, str_of(e->name, name.n), type, &status, &rec)) {
        rc = ask_server(n, e);
    } else {
        if (status == 0) status = entry_store(e, rec);
        ares_dns_record_destroy(rec);
        settle(e, status);
    }
    if (rc < 0) entry_free(e);
    return rc;
}

int names_ask(struct names *n, struct name_query *q, struct str name, int type) {
    if (name.n == 0 || name.n > HOSTNAME_MAX || type <= 0 || type > UINT16_MAX) return RW_EINVAL;
    struct name_entry *e = find(n, name, type);
    if (e && is_open(e) && is_full(n)) return RW_ELIMIT;
    if (!e) {
        int rc = make(n, name, type, &e);
        if (rc < 0) return rc;
    }
    q->names = n;
    n->users++;
    query_join(e, q);
    return 0;
}

/* A question that waits for its turn, with nobody left to wait for it, goes;
 * one that is sent stays, for its answer may be kept. */
void names_forget(struct name_query *q) {
    struct names *n = q->names;
    struct name_entry *e = q->entry;
    if (!n) return;
    query_leave(q);
    q->names = NULL;
    if (!e->queries && e->state == ENTRY_QUEUED) entry_free(e);
    names_release(n);
}
