/* SPDX-License-Identifier: MIT */
/* All sessions are in one list by age, those of a key in one of their own, which
 * the map has by its newest. A session leaves the store when it is used, so the
 * oldest is also the one that has waited longest for a use. Secrets are wiped
 * when they go; those whose time is over go when others come. */
#include "io/tls_resume.h"

#include "base/map.h"

enum { KEYS_MAX = 1 << 20, LIFETIME_MAX = 604800 /* RFC 8446 §4.6.1 */ };

struct tls_store {
    unsigned refs;
    struct mem *mem;
    struct map keys;                   /* → the newest of each */
    struct tls_saved *oldest, *newest; /* list */
    size_t count, bytes;
    uint64_t max, max_bytes, max_of_key;
    int64_t lifetime;
};

int tls_store_new(struct mem *mem, const uint64_t seed[2], struct tls_store **out) {
    struct tls_store *s = mem_zalloc(mem, sizeof *s);
    *out = s;
    if (!s) return RW_ENOMEM;
    s->refs = 1;
    s->mem = mem;
    map_init(&s->keys, mem, seed, KEYS_MAX);
    tls_store_bound(s, &limits_default);
    return 0;
}

struct tls_store *tls_store_ref(struct tls_store *s) {
    s->refs++;
    return s;
}

size_t tls_store_count(const struct tls_store *s) { return s->count; }
size_t tls_store_bytes(const struct tls_store *s) { return s->bytes; }
struct mem *tls_store_mem(struct tls_store *s) { return s->mem; }
int64_t tls_store_lifetime(const struct tls_store *s) { return s->lifetime; }

/* ── one session ──────────────────────────────────────────────────────────*/

struct tls_saved *tls_saved_new(struct tls_store *s, const uint8_t key[DIGEST_SIZE], size_t size,
                                struct tls_chain *chain) {
    struct tls_saved *saved = mem_zalloc(s->mem, sizeof *saved + size);
    if (!saved) return NULL;
    saved->mem = s->mem;
    saved->chain = tls_chain_ref(chain);
    saved->size = size;
    memcpy(saved->key, key, DIGEST_SIZE);
    return saved;
}

void tls_saved_free(struct tls_saved **handle) {
    struct tls_saved *saved = *handle;
    *handle = NULL;
    if (!saved) return;
    tls_chain_unref(&saved->chain);
    mbedtls_platform_zeroize(saved->session, saved->size);
    mem_free(saved->mem, saved, sizeof *saved + saved->size);
}

/* Certificates that several have in common count with each. */
static size_t weight(const struct tls_saved *saved) {
    return sizeof *saved + saved->size + saved->chain->size;
}

static struct str key_of(const struct tls_saved *saved) {
    return str_of((const char *)saved->key, DIGEST_SIZE);
}

/* ── the lists ────────────────────────────────────────────────────────────*/

static void leave_key(struct tls_store *s, struct tls_saved *saved) {
    union map_value *first = map_find(&s->keys, key_of(saved));
    struct tls_saved *at = first->ptr;
    if (at == saved && !saved->next) {
        map_remove(&s->keys, key_of(saved), NULL);
    } else if (at == saved) {
        first->ptr = saved->next;
    } else {
        while (at->next != saved) at = at->next;
        at->next = saved->next;
    }
}

static void leave(struct tls_store *s, struct tls_saved *saved) {
    leave_key(s, saved);
    *(saved->older ? &saved->older->newer : &s->oldest) = saved->newer;
    *(saved->newer ? &saved->newer->older : &s->newest) = saved->older;
    s->count--;
    s->bytes -= weight(saved);
}

static void drop(struct tls_store *s, struct tls_saved *saved) {
    leave(s, saved);
    tls_saved_free(&saved);
}

static void drop_many(struct tls_store *s) {
    while (s->oldest && (s->count > s->max || s->bytes > s->max_bytes)) drop(s, s->oldest);
}

static void drop_of_key(struct tls_store *s, struct tls_saved *newest) {
    uint64_t n = 0;
    for (struct tls_saved *at = newest, *next; at; at = next) {
        next = at->next;
        if (++n > s->max_of_key) drop(s, at);
    }
}

static bool is_good(const struct tls_saved *saved, int64_t now) {
    return saved->since <= now && now < saved->until; /* clocks are set back, too */
}

/* ── the calls ────────────────────────────────────────────────────────────*/

void tls_store_bound(struct tls_store *s, const struct limits *l) {
    s->max = l->tls_sessions;
    s->max_bytes = l->tls_sessions_bytes;
    s->max_of_key = l->tls_sessions_per_server;
    s->lifetime = l->tls_session_lifetime < LIFETIME_MAX ? (int64_t)l->tls_session_lifetime : LIFETIME_MAX;
    drop_many(s);
}

int tls_store_put(struct tls_store *s, struct tls_saved *saved) {
    union map_value *first;
    if (weight(saved) > s->max_bytes) return RW_ELIMIT; /* it would cost all the others */
    while (s->oldest && !is_good(s->oldest, saved->since)) drop(s, s->oldest);
    int rc = map_put(&s->keys, key_of(saved), &first);
    if (rc < 0) return rc;
    saved->next = first->ptr;
    first->ptr = saved;
    saved->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = saved;
    s->newest = saved;
    s->count++;
    s->bytes += weight(saved);
    drop_of_key(s, saved);
    drop_many(s);
    return 0;
}

struct tls_saved *tls_store_take(struct tls_store *s, const uint8_t key[DIGEST_SIZE], int64_t now) {
    union map_value *first;
    struct str k = str_of((const char *)key, DIGEST_SIZE);
    while ((first = map_find(&s->keys, k))) {
        struct tls_saved *saved = first->ptr;
        leave(s, saved);
        if (is_good(saved, now)) return saved;
        tls_saved_free(&saved);
    }
    return NULL;
}

void tls_store_forget(struct tls_store *s, const uint8_t key[DIGEST_SIZE]) {
    union map_value *first;
    struct str k = str_of((const char *)key, DIGEST_SIZE);
    while ((first = map_find(&s->keys, k))) drop(s, first->ptr);
}

void tls_store_unref(struct tls_store **handle) {
    struct tls_store *s = *handle;
    *handle = NULL;
    if (!s || --s->refs) return;
    while (s->oldest) drop(s, s->oldest);
    map_release(&s->keys);
    mem_free(s->mem, s, sizeof *s);
}
