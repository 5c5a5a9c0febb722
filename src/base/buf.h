/* SPDX-License-Identifier: MIT */
/* A growing byte queue: bytes are added behind and dropped in front. It must
 * be told its maximum at birth; to want more is RW_ELIMIT, never a surprise.
 * An empty buffer owns no memory after buf_release. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>

#include "base/mem.h"
#include "base/str.h"

struct buf {
    char *data;      /* owned */
    size_t head;     /* first live byte */
    size_t tail;     /* behind the last live byte */
    size_t cap;      /* size of the block */
    size_t max;      /* bytes that may be live; never less than those that are */
    struct mem *mem; /* borrowed, outlives the buffer */
};

void buf_init(struct buf *b, struct mem *mem, size_t max);
/* Over memory of the caller: it cannot grow, and is not released. */
static inline struct buf buf_over(char *bytes, size_t n) {
    return (struct buf){.data = bytes, .cap = n, .max = n};
}

/* Frees the block and empties; the buffer can be used again. */
void buf_release(struct buf *b);

static inline size_t buf_len(const struct buf *b) { return b->tail - b->head; }
static inline struct str buf_str(const struct buf *b) {
    return b->data ? str_of(b->data + b->head, b->tail - b->head) : STR_NONE;
}
static inline void buf_clear(struct buf *b) { b->head = b->tail = 0; }

/* May n more bytes be live? (The block may be larger than the maximum.) */
static inline bool buf_fits(const struct buf *b, size_t n) {
    return n <= b->max - buf_len(b);
}

/* Makes room in the block, whatever the maximum: 0 or RW_ENOMEM. */
int buf_grow(struct buf *b, size_t n);

/* Room for n more bytes (> 0) behind the tail: where to write them before
 * buf_commit, or NULL: they do not fit, or there is no memory. */
static inline char *buf_reserve(struct buf *b, size_t n) {
    if (!buf_fits(b, n)) return NULL;
    if (b->cap - b->tail < n && buf_grow(b, n) < 0) return NULL;
    return b->data + b->tail;
}
static inline void buf_commit(struct buf *b, size_t n) { b->tail += n; }

/* 0, RW_ENOMEM or RW_ELIMIT; all or nothing. */
int buf_add(struct buf *b, const void *p, size_t n);
static inline int buf_add_str(struct buf *b, struct str s) {
    return buf_add(b, s.p, s.n);
}
static inline int buf_add_char(struct buf *b, char c) {
    return buf_add(b, &c, 1);
}
int buf_addf(struct buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int buf_add_u64(struct buf *b, uint64_t n); /* decimal */

/* Forgets all but the first n bytes (n ≤ buf_len). */
static inline void buf_cut(struct buf *b, size_t n) { b->tail = b->head + n; }

/* Forgets the first n bytes (n ≤ buf_len). */
static inline void buf_drop(struct buf *b, size_t n) {
    b->head += n;
    if (b->head == b->tail) b->head = b->tail = 0;
}

#endif
