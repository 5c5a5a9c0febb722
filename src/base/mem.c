/* SPDX-License-Identifier: MIT */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

void mem_init(struct mem *m, size_t limit) { *m = (struct mem){.limit = limit}; }

static int mem_refuses(struct mem *m, size_t more) {
    int no = (m->fail_in && --m->fail_in == 0) ||
             (m->limit && (more > m->limit || m->live > m->limit - more));
    if (no) m->failures++;
    return no;
}

static void mem_account(struct mem *m, size_t old, size_t size) {
    m->live += size - old;
    if (m->live > m->peak) m->peak = m->live;
}

void *mem_alloc(struct mem *m, size_t size) {
    return mem_realloc(m, NULL, 0, size);
}

void *mem_zalloc(struct mem *m, size_t size) {
    void *p = mem_alloc(m, size);
    if (p) memset(p, 0, size);
    return p;
}

void *mem_realloc(struct mem *m, void *p, size_t old, size_t size) {
    if (size > old && mem_refuses(m, size - old)) return NULL;
    void *q = m->arena ? arena_realloc(m->arena, p, old, size) : realloc(p, size);
    if (!q) {
        m->failures++;
        return NULL;
    }
    mem_account(m, old, size);
    return q;
}

void mem_free(struct mem *m, void *p, size_t size) {
    if (!p) return;
    m->live -= size;
    if (m->arena) arena_free(m->arena, p, size);
    else free(p);
}
