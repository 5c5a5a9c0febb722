/* SPDX-License-Identifier: MIT */
/* Counters: plain numbers of one worker, one writer, no atomics. A snapshot is
 * a copy of the struct; workers are added up by stats_add. stat.def says what
 * each one counts, and is where a new one goes. */
#ifndef BASE_STAT_H
#define BASE_STAT_H

#include "base/buf.h"

struct stats {
#define STAT(name, kind, comment) uint64_t name;
#include "base/stat.def"
#undef STAT
};

enum stat_kind { STAT_COUNTER, STAT_GAUGE };
struct stat_def {
    const char *name, *comment;
    enum stat_kind kind;
    size_t offset; /* in struct stats */
};
extern const struct stat_def stat_defs[];
extern const size_t stat_def_count;

/* NULL when there is no counter of that name. */
const struct stat_def *stat_find(struct str name);
uint64_t stat_get(const struct stats *s, const struct stat_def *def);

void stats_add(struct stats *total, const struct stats *one);

/* "name value\n" each, for people; in the text format of Prometheus (prefix
 * "ropewalk_") for scrapers. 0, RW_ENOMEM or RW_ELIMIT. */
int stats_print(const struct stats *s, struct buf *out);
int stats_print_prometheus(const struct stats *s, struct buf *out);

#endif
