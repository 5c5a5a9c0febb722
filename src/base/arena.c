/* SPDX-License-Identifier: MIT */
/* Blocks are rounded up to a class: steps of 16 bytes up to 1 kB, then four
 * classes to each doubling. A class's free blocks are a list, newest first;
 * what no list has comes from the untouched rest. Blocks are never split or
 * joined: an arena lives for a simulation, not for a day. */
#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define FORBID(p, n) __asan_poison_memory_region((p), (n))
#define PERMIT(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define FORBID(p, n) ((void)(p), (void)(n))
#define PERMIT(p, n) ((void)(p), (void)(n))
#endif

enum {
    STEP = 16,
    SMALL = 1024,               /* up to here a class each STEP */
    SMALL_CLASSES = SMALL / STEP,
    CLASSES = SMALL_CLASSES + 4 * (64 - 10),
    KEPT = 64 << 20,            /* of the rest, pages kept from run to run */
};

/* Far from where the system, or a sanitizer, puts anything by itself. */
static const uintptr_t PLACE = (uintptr_t)0x200000000000;

struct block {
    struct block *next; /* list: arena->free[class] */
};

struct arena {
    size_t size, used;
    struct block *free[CLASSES];
};

static unsigned class_of(size_t size, size_t *rounded) {
    if (size <= SMALL) {
        unsigned class = (unsigned)((size + STEP - 1) / STEP);
        *rounded = class * (size_t)STEP;
        return class - 1;
    }
    unsigned top = 63u - (unsigned)__builtin_clzll(size - 1); /* 10 or more */
    unsigned quarter = (unsigned)((size - 1) >> (top - 2)) & 3;
    *rounded = (((size - 1) >> (top - 2)) + 1) << (top - 2);
    return SMALL_CLASSES + 4 * (top - 10) + quarter;
}

static size_t header_size(void) {
    return (sizeof(struct arena) + STEP - 1) / STEP * STEP;
}

int arena_open(size_t size, struct arena **out) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *p = mmap((void *)PLACE, size, PROT_READ | PROT_WRITE,
                   flags | MAP_FIXED_NOREPLACE, -1, 0);
    if (p == MAP_FAILED && errno == EEXIST) return -EEXIST;
    if (p == MAP_FAILED) p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p == MAP_FAILED) return RW_ENOMEM;
    struct arena *a = p;
    a->size = size;
    a->used = header_size();
    *out = a;
    return 0;
}

void arena_close(struct arena **arena) {
    struct arena *a = *arena;
    *arena = NULL;
    if (!a) return;
    PERMIT(a, a->used);
    munmap(a, a->size);
}

/* Of a block as large as its class, so many bytes are in use. */
static void *lend(void *p, size_t size, size_t rounded) {
    PERMIT(p, size);
    FORBID((char *)p + size, rounded - size);
    return p;
}

static void *take(struct arena *a, size_t size) {
    size_t rounded;
    unsigned class = class_of(size, &rounded);
    struct block *b = a->free[class];
    if (b) {
        PERMIT(b, sizeof *b);
        a->free[class] = b->next;
        return lend(b, size, rounded);
    }
    if (rounded < size || rounded > a->size - a->used) return NULL;
    void *p = (char *)a + a->used;
    a->used += rounded;
    return lend(p, size, rounded);
}

void arena_free(struct arena *a, void *p, size_t size) {
    size_t rounded;
    if (!p) return;
    struct block *b = p;
    unsigned class = class_of(size, &rounded);
    PERMIT(b, sizeof *b);
    b->next = a->free[class];
    a->free[class] = b;
    FORBID(b, rounded);
}

void *arena_realloc(struct arena *a, void *p, size_t old, size_t size) {
    size_t had, wanted;
    if (!p) return take(a, size);
    class_of(old, &had);
    class_of(size, &wanted);
    if (had == wanted) return lend(p, size, wanted);
    void *q = take(a, size);
    if (!q) return size < old ? p : NULL; /* smaller never fails, as realloc's */
    memcpy(q, p, old < size ? old : size);
    arena_free(a, p, old);
    return q;
}

size_t arena_used(const struct arena *a) { return a->used; }

void arena_copy(struct arena *a, void *out) {
    PERMIT(a, a->used);
    memcpy(out, a, a->used);
}

void arena_restore(struct arena *a, const void *copy, size_t n) {
    if (a->used > n + KEPT) {
        size_t from = (n + KEPT) & ~(size_t)0xffff;
        madvise((char *)a + from, a->size - from, MADV_DONTNEED);
    }
    PERMIT(a, a->used);
    memcpy(a, copy, n);
}
