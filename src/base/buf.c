/* SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include <stdio.h>

#include "base/err.h"

enum { BUF_MIN_BLOCK = 256 };

void buf_init(struct buf *b, struct mem *mem, size_t max) {
    *b = (struct buf){.mem = mem, .max = max};
}

void buf_release(struct buf *b) {
    mem_free(b->mem, b->data, b->cap);
    b->data = NULL;
    b->head = b->tail = b->cap = 0;
}

/* What is copied stays in proportion to what came and went: live bytes move to
 * the front when a quarter of the block is dead, else the block doubles. (A
 * queue that stays as long as its block would be copied for each few bytes.) */
int buf_grow(struct buf *b, size_t n) {
    size_t live = buf_len(b);
    if ((b->head >= b->cap / 4 || !b->mem) && b->cap - live >= n) {
        memmove(b->data, b->data + b->head, live);
        b->head = 0;
        b->tail = live;
        return 0;
    }
    if (!b->mem) return RW_ENOMEM; /* buf_over's */
    size_t cap = b->cap ? 2 * b->cap : BUF_MIN_BLOCK;
    while (cap - live < n) cap *= 2;
    char *data = mem_alloc(b->mem, cap);
    if (!data) return RW_ENOMEM;
    if (live) memcpy(data, b->data + b->head, live);
    mem_free(b->mem, b->data, b->cap);
    b->data = data;
    b->cap = cap;
    b->head = 0;
    b->tail = live;
    return 0;
}

int buf_add(struct buf *b, const void *p, size_t n) {
    if (n == 0) return 0;
    if (!buf_fits(b, n)) return RW_ELIMIT;
    if (b->cap - b->tail < n && buf_grow(b, n) < 0) return RW_ENOMEM;
    memcpy(b->data + b->tail, p, n);
    b->tail += n;
    return 0;
}

/* printf's NUL counts for the block, not for the maximum. */
int buf_addf(struct buf *b, const char *format, ...) {
    char few[128];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(few, sizeof few, format, args);
    va_end(args);
    if (n < 0) return RW_EINVAL;
    size_t size = (size_t)n + 1;
    if (size <= sizeof few) return buf_add(b, few, (size_t)n);
    if (!buf_fits(b, (size_t)n)) return RW_ELIMIT;
    if (b->cap - b->tail < size && buf_grow(b, size) < 0) return RW_ENOMEM;
    va_start(args, format);
    vsnprintf(b->data + b->tail, size, format, args);
    va_end(args);
    buf_commit(b, (size_t)n);
    return 0;
}

int buf_add_u64(struct buf *b, uint64_t n) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    return buf_add(b, digits + at, sizeof digits - at);
}
