/* SPDX-License-Identifier: MIT */
/* A hash map from byte strings to a pointer or a number.
 *
 * Keys are copied, so a key may die right after the call; short ones (an IPv6
 * address, a name of 16 bytes) live in the table itself and cost no
 * allocation. The hash is SipHash-1-3 under a seed that the caller draws per
 * map: peers who choose keys cannot make them collide. Like a buffer, a map is
 * told its maximum at birth.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/mem.h"
#include "base/str.h"

union map_value {
    void *ptr;
    uint64_t num;
};

struct map {
    struct map_slot *slots; /* owned */
    size_t cap;             /* slots, a power of two, or 0 */
    size_t count, max;      /* keys */
    uint64_t seed[2];
    struct mem *mem;        /* borrowed, outlives the map */
};

/* `seed`: unpredictable to the peers. */
void map_init(struct map *m, struct mem *mem, const uint64_t seed[2],
              size_t max);

/* Frees keys and table, not what the values point to; can be used again. */
void map_release(struct map *m);

/* NULL when the key is absent; valid until the next map_put or map_remove. */
union map_value *map_find(const struct map *m, struct str key);

/* The value of the key, made (zero) when absent: 1 made, 0 was there, or
 * RW_ENOMEM, RW_ELIMIT with nothing changed. */
int map_put(struct map *m, struct str key, union map_value **value_out);

/* Was it there? old_out may be NULL. */
bool map_remove(struct map *m, struct str key, union map_value *old_out);

/* Every pair once, in no order, while *cursor (0 at first) walks and no key
 * comes or goes; false at the end. */
bool map_next(const struct map *m, size_t *cursor, struct str *key,
              union map_value **value_out);

/* The hash itself, for whoever else needs one that cannot be steered. */
uint64_t siphash13(const uint64_t seed[2], struct str s);

#endif
