/* SPDX-License-Identifier: MIT */
#include "allocations.h"

#include <execinfo.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void *__real_mem_realloc(struct mem *m, void *p, size_t old, size_t size);
void __real_mem_free(struct mem *m, void *p, size_t size);
void *__wrap_mem_alloc(struct mem *m, size_t size);
void *__wrap_mem_zalloc(struct mem *m, size_t size);
void *__wrap_mem_realloc(struct mem *m, void *p, size_t old, size_t size);
void __wrap_mem_free(struct mem *m, void *p, size_t size);

static atomic_llong live;

static _Thread_local struct {
    uint64_t left; /* until one fails; 0: none does */
    unsigned burst, failed;
    struct attempt {
        const struct mem *m;
        const void *p;
        size_t size;
    } last; /* that failed, and was the last one */
} armed;

void allocations_arm(uint64_t nth, unsigned burst) {
    memset(&armed, 0, sizeof armed);
    armed.left = nth;
    armed.burst = burst;
}

unsigned allocations_disarm(void) {
    unsigned failed = armed.failed;
    memset(&armed, 0, sizeof armed);
    return failed;
}

int64_t allocations_live(void) { return live; }

/* ── whose it was ─────────────────────────────────────────────────────────*/

/* The sanitizer's, if there is one. */
__attribute__((weak)) void __sanitizer_symbolize_pc(void *pc, const char *format, char *out,
                                                    size_t size);
enum { FRAMES = 60 };
static void *frames[FRAMES];
static int frame_count;

void allocations_blame(void) {
    char text[200];
    for (int i = 2; i < frame_count && &__sanitizer_symbolize_pc; i++) {
        __sanitizer_symbolize_pc(frames[i], "%f %s:%l", text, sizeof text);
        if (strstr(text, "src/bind/")) printf("        %s\n", text);
    }
}

/* ── failing ──────────────────────────────────────────────────────────────*/

static bool is_again(struct attempt a) {
    return armed.last.m && a.m == armed.last.m && a.p == armed.last.p && a.size == armed.last.size;
}

static bool fails(struct mem *m, const void *p, size_t size) {
    const struct attempt now = {m, p, size};
    bool again = is_again(now);
    armed.last = (struct attempt){0};
    if (!again) {
        if (!armed.left || --armed.left) return false;
        if (--armed.burst) armed.left = 1;
        armed.last = now;
    }
    if (!armed.failed++) frame_count = backtrace(frames, FRAMES);
    m->failures++;
    return true;
}

void *__wrap_mem_realloc(struct mem *m, void *p, size_t old, size_t size) {
    if (size > old && fails(m, p, size)) return NULL;
    void *q = __real_mem_realloc(m, p, old, size);
    if (q) live += (long long)size - (long long)old;
    return q;
}

void *__wrap_mem_alloc(struct mem *m, size_t size) { return __wrap_mem_realloc(m, NULL, 0, size); }

void *__wrap_mem_zalloc(struct mem *m, size_t size) {
    void *p = __wrap_mem_alloc(m, size);
    if (p) memset(p, 0, size);
    return p;
}

void __wrap_mem_free(struct mem *m, void *p, size_t size) {
    if (p) live -= (long long)size;
    __real_mem_free(m, p, size);
}
