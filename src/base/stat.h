/* SPDX-License-Identifier: MIT */
/* Counters: plain numbers of one worker, one writer, no atomics. A snapshot is
 * a copy of the struct. stat.def says what each one counts, and is where a new
 * one goes. */
#ifndef BASE_STAT_H
#define BASE_STAT_H

#include <stddef.h>
#include <stdint.h>

struct stats {
#define STAT(name, kind, comment) uint64_t name;
#include "base/stat.def"
#undef STAT
};

struct stat_def {
    const char *name;
    size_t offset; /* in struct stats */
};
extern const struct stat_def stat_defs[];
extern const size_t stat_def_count;

uint64_t stat_get(const struct stats *s, const struct stat_def *def);

#endif
