/* SPDX-License-Identifier: MIT */
#include "base/stat.h"

#include <string.h>

const struct stat_def stat_defs[] = {
#define STAT(name, kind, comment) {#name, offsetof(struct stats, name)},
#include "base/stat.def"
#undef STAT
};
const size_t stat_def_count = sizeof stat_defs / sizeof *stat_defs;

uint64_t stat_get(const struct stats *s, const struct stat_def *def) {
    uint64_t value;
    memcpy(&value, (const char *)s + def->offset, sizeof value);
    return value;
}
