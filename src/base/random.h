/* SPDX-License-Identifier: MIT */
/* Numbers that look random and follow from a seed (SplitMix64): for what shall
 * be repeatable, never for secrets. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state; /* any value is a good seed */
};

static inline uint64_t random_next(struct random *r) {
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0 … n - 1, n > 0 */
static inline uint64_t random_below(struct random *r, uint64_t n) {
    return random_next(r) % n;
}

static inline uint64_t random_between(struct random *r, uint64_t low, uint64_t high) {
    return high <= low ? low : low + random_below(r, high - low + 1);
}

/* true with this probability; 0 and 1 draw nothing */
static inline bool random_chance(struct random *r, double probability) {
    if (probability <= 0) return false;
    if (probability >= 1) return true;
    return (double)(random_next(r) >> 11) * 0x1p-53 < probability;
}

#endif
