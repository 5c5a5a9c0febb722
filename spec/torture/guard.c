/* SPDX-License-Identifier: MIT */
/* Input where it hurts: two mappings take turns. The bytes of a piece end
 * where a mapping ends, and behind it lies a page nobody may touch; while one
 * side is open the other is barred, so a slice kept for too long crashes. */
#include <sys/mman.h>
#include <unistd.h>

#include "torture.h"

static size_t page(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static size_t round_up(size_t n) { return (n + page() - 1) / page() * page(); }

bool guard_init(struct guard *g, size_t largest) {
    *g = (struct guard){.size = round_up(largest ? largest : 1)};
    for (int i = 0; i < 2; i++) {
        void *at = mmap(NULL, g->size + page(), PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) return false;
        g->sides[i] = at;
    }
    return true;
}

static void guard_bar(struct guard *g, int side, int protection) {
    size_t open = round_up(g->used[side]);
    if (open) mprotect(g->sides[side] + g->size - open, open, protection);
}

struct str guard_place(struct guard *g, struct str bytes) {
    guard_bar(g, g->side, PROT_NONE);
    g->side ^= 1;
    g->used[g->side] = bytes.n;
    guard_bar(g, g->side, PROT_READ | PROT_WRITE);
    char *at = g->sides[g->side] + g->size - bytes.n;
    if (bytes.n) memcpy(at, bytes.p, bytes.n);
    return str_of(at, bytes.n);
}

void guard_fini(struct guard *g) {
    for (int i = 0; i < 2; i++)
        if (g->sides[i]) munmap(g->sides[i], g->size + page());
}
