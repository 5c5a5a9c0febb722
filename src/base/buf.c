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

int buf_grow(struct buf *b, size_t n) {
    size_t live = buf_len(b);
    if (n > b->max || live > b->max - n) return RW_ELIMIT;

    /* Moving the live bytes to the front is cheaper than a larger block as
     * long as at least half of the block is dead. */
    if (b->head >= b->cap / 2 && b->cap - live >= n) {
        memmove(b->data, b->data + b->head, live);
        b->head = 0;
        b->tail = live;
        return 0;
    }
    size_t cap = b->cap ? b->cap : BUF_MIN_BLOCK;
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
    if (buf_len(b) + n > b->max) return RW_ELIMIT;
    if (b->cap - b->tail < n) {
        int rc = buf_grow(b, n);
        if (rc < 0) return rc;
    }
    memcpy(b->data + b->tail, p, n);
    b->tail += n;
    return 0;
}

int buf_addf(struct buf *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (need < 0) return RW_EINVAL;
    char *room = buf_reserve(b, (size_t)need + 1);
    if (!room) return buf_len(b) + (size_t)need + 1 > b->max ? RW_ELIMIT : RW_ENOMEM;
    va_start(args, format);
    vsnprintf(room, (size_t)need + 1, format, args);
    va_end(args);
    buf_commit(b, (size_t)need);
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
