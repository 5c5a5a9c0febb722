/* SPDX-License-Identifier: MIT */
/* Memory at one place: a mapping at a fixed address, given out by size class,
 * so that the same requests in the same order get the same addresses, in this
 * process and in the next one. All that an arena knows lies at its beginning:
 * a copy of its first arena_used() bytes is a snapshot of all that lives in it,
 * and copying them back is the whole of forgetting what came after. What lives
 * in one points to nothing outside that could be gone by then.
 *
 * Accounts (mem.h) take their blocks from it when they are told so.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena;

/* 0; -EEXIST: there is one in this process; RW_ENOMEM. Where the system
 * cannot give that address at all (ThreadSanitizer), it is another one. */
int arena_open(size_t size, struct arena **out);
void arena_close(struct arena **a);

/* As realloc and free, with sizes. NULL: full. */
void *arena_realloc(struct arena *a, void *p, size_t old, size_t size);
void arena_free(struct arena *a, void *p, size_t size);

size_t arena_used(const struct arena *a);
void arena_copy(struct arena *a, void *out); /* arena_used() bytes */
/* `copy`: an earlier arena_copy, of `n` bytes. */
void arena_restore(struct arena *a, const void *copy, size_t n);

#endif
