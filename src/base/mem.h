/* SPDX-License-Identifier: MIT */
/* Memory accounts. Whoever allocates says from which account, and gives the
 * size back when freeing, so that an account knows its live bytes without a
 * header per block (Lua's allocator contract, used everywhere). A limit makes
 * an allocation fail; `fail_in` makes the nth one fail, which is how the
 * torture harness walks every out-of-memory path. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

struct arena;

struct mem {
    size_t limit;      /* bytes; 0: none */
    size_t live, peak; /* bytes */
    uint64_t failures; /* allocations refused */
    uint64_t fail_in;  /* 0: off; 1: the next allocation fails, 2: the one after */
    struct arena *arena; /* where the bytes come from; NULL: malloc */
};

void mem_init(struct mem *m, size_t limit);

/* NULL when the limit or the system says no. `size` > 0. */
void *mem_alloc(struct mem *m, size_t size);
void *mem_zalloc(struct mem *m, size_t size);

/* realloc with both sizes; p may be NULL (old 0). On NULL the block stays. */
void *mem_realloc(struct mem *m, void *p, size_t old, size_t size);

/* p may be NULL. */
void mem_free(struct mem *m, void *p, size_t size);

#endif
