/* SPDX-License-Identifier: MIT */
/* Open addressing with linear probing, at most three quarters full; a removal
 * shifts back what follows, so there are no tombstones and a lookup ends at
 * the first free slot. The table doubles when full and halves when it is an
 * eighth full: a flood of keys leaves no large table behind. */
#include "base/map.h"

#include "base/err.h"

enum { MAP_MIN_SLOTS = 8, MAP_NEAR_KEY = 16 };

struct map_slot {
    uint32_t hash; /* 0: free */
    uint32_t n;    /* length of the key */
    union {
        char near[MAP_NEAR_KEY]; /* keys up to this length */
        char *far;               /* owned: longer ones */
    };
    union map_value value;
};

/* ---- SipHash-1-3: one round a word, three at the end (Aumasson, Bernstein
 * 2012): as strong as a table needs it, at half the price of 2-4 ---- */

static uint64_t rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static uint64_t little_endian(const char *p, size_t n) {
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++) word |= (uint64_t)(unsigned char)p[i] << (8 * i);
    return word;
}

uint64_t siphash13(const uint64_t seed[2], struct str s) {
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d,
                     seed[0] ^ 0x6c7967656e657261, seed[1] ^ 0x7465646279746573};
    uint64_t last = (uint64_t)s.n << 56;
    for (; s.n >= 8; s = str_skip(s, 8)) {
        uint64_t word = little_endian(s.p, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    last |= little_endian(s.p, s.n);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- slots ---- */

static uint32_t map_hash(const struct map *m, struct str key) {
    uint32_t hash = (uint32_t)siphash13(m->seed, key);
    return hash ? hash : 1;
}

static struct str slot_key(const struct map_slot *s) {
    return str_of(s->n <= MAP_NEAR_KEY ? s->near : s->far, s->n);
}

/* The slot that has the key, or the free one where it would go. cap > 0. */
static size_t map_seek(const struct map *m, uint32_t hash, struct str key) {
    size_t i = hash & (m->cap - 1);
    while (m->slots[i].hash &&
           (m->slots[i].hash != hash || !str_eq(slot_key(&m->slots[i]), key)))
        i = (i + 1) & (m->cap - 1);
    return i;
}

static int map_resize(struct map *m, size_t cap) {
    struct map_slot *slots = mem_zalloc(m->mem, cap * sizeof *slots);
    if (!slots) return RW_ENOMEM;
    for (size_t i = 0; i < m->cap; i++) {
        if (!m->slots[i].hash) continue;
        size_t to = m->slots[i].hash & (cap - 1);
        while (slots[to].hash) to = (to + 1) & (cap - 1);
        slots[to] = m->slots[i];
    }
    mem_free(m->mem, m->slots, m->cap * sizeof *slots);
    m->slots = slots;
    m->cap = cap;
    return 0;
}

static void slot_free_key(struct map *m, struct map_slot *s) {
    if (s->n > MAP_NEAR_KEY) mem_free(m->mem, s->far, s->n);
}

/* ---- public ---- */

void map_init(struct map *m, struct mem *mem, const uint64_t seed[2], size_t max) {
    *m = (struct map){.mem = mem, .max = max, .seed = {seed[0], seed[1]}};
}

void map_release(struct map *m) {
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].hash) slot_free_key(m, &m->slots[i]);
    mem_free(m->mem, m->slots, m->cap * sizeof *m->slots);
    m->slots = NULL;
    m->cap = m->count = 0;
}

union map_value *map_find(const struct map *m, struct str key) {
    if (m->count == 0) return NULL;
    struct map_slot *s = &m->slots[map_seek(m, map_hash(m, key), key)];
    return s->hash ? &s->value : NULL;
}

int map_put(struct map *m, struct str key, union map_value **value_out) {
    union map_value *there = map_find(m, key);
    if (there) return *value_out = there, 0;
    if (m->count >= m->max || key.n > UINT32_MAX) return RW_ELIMIT;
    if (m->count + 1 > m->cap / 4 * 3) {
        int rc = map_resize(m, m->cap ? 2 * m->cap : MAP_MIN_SLOTS);
        if (rc < 0) return rc;
    }
    uint32_t hash = map_hash(m, key);
    struct map_slot made = {.hash = hash, .n = (uint32_t)key.n};
    if (key.n > MAP_NEAR_KEY && !(made.far = mem_alloc(m->mem, key.n))) return RW_ENOMEM;
    if (key.n) memcpy(key.n > MAP_NEAR_KEY ? made.far : made.near, key.p, key.n);
    struct map_slot *s = &m->slots[map_seek(m, hash, key)];
    *s = made;
    m->count++;
    *value_out = &s->value;
    return 1;
}

/* Frees slot i: what follows moves up if it may, so that no search ends early.
 * It may when its home is not cyclically within (i, j]. */
static void map_vacate(struct map *m, size_t i) {
    size_t mask = m->cap - 1;
    for (size_t j = (i + 1) & mask; m->slots[j].hash; j = (j + 1) & mask) {
        size_t home = m->slots[j].hash & mask;
        if (((j - home) & mask) < ((j - i) & mask)) continue;
        m->slots[i] = m->slots[j];
        i = j;
    }
    m->slots[i] = (struct map_slot){0};
}

bool map_remove(struct map *m, struct str key, union map_value *old_out) {
    if (m->count == 0) return false;
    size_t i = map_seek(m, map_hash(m, key), key);
    if (!m->slots[i].hash) return false;
    if (old_out) *old_out = m->slots[i].value;
    slot_free_key(m, &m->slots[i]);
    map_vacate(m, i);
    m->count--;
    if (m->cap > MAP_MIN_SLOTS && m->count < m->cap / 8)
        (void)map_resize(m, m->cap / 2); /* if not now, then next time */
    return true;
}

bool map_next(const struct map *m, size_t *cursor, struct str *key,
              union map_value **value_out) {
    while (*cursor < m->cap) {
        struct map_slot *s = &m->slots[(*cursor)++];
        if (!s->hash) continue;
        *key = slot_key(s);
        *value_out = &s->value;
        return true;
    }
    return false;
}
