/* SPDX-License-Identifier: MIT */
/* Random bytes: the system's, or in a simulation those of its seed. */
#include <sys/random.h>

#include "bind/bind.h"
#include "io/simulate.h"

bool random_bytes(struct rw *rw, void *out, size_t n) {
    char *at = out;
    while (n) {
        uint64_t word;
        ssize_t got;
        if (rw->simulated) {
            word = simulation_random(rw->loop);
            got = n < sizeof word ? (ssize_t)n : (ssize_t)sizeof word;
            memcpy(at, &word, (size_t)got);
        } else {
            got = getrandom(at, n, 0);
        }
        if (got <= 0) return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}
