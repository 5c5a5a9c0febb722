/* SPDX-License-Identifier: MIT */
#include "base/stat.h"

#include <inttypes.h>

const struct stat_def stat_defs[] = {
#define STAT(name, kind, comment) \
    {#name, comment, STAT_##kind, offsetof(struct stats, name)},
#include "base/stat.def"
#undef STAT
};
const size_t stat_def_count = sizeof stat_defs / sizeof *stat_defs;

const struct stat_def *stat_find(struct str name) {
    for (size_t i = 0; i < stat_def_count; i++)
        if (str_eq(name, str_c(stat_defs[i].name))) return &stat_defs[i];
    return NULL;
}

uint64_t stat_get(const struct stats *s, const struct stat_def *def) {
    uint64_t value;
    memcpy(&value, (const char *)s + def->offset, sizeof value);
    return value;
}

void stats_add(struct stats *total, const struct stats *one) {
#define STAT(name, kind, comment) total->name += one->name;
#include "base/stat.def"
#undef STAT
}

int stats_print(const struct stats *s, struct buf *out) {
    int rc = 0;
    for (size_t i = 0; i < stat_def_count && rc == 0; i++)
        rc = buf_addf(out, "%s %" PRIu64 "\n", stat_defs[i].name,
                      stat_get(s, &stat_defs[i]));
    return rc;
}

int stats_print_prometheus(const struct stats *s, struct buf *out) {
    int rc = 0;
    for (size_t i = 0; i < stat_def_count && rc == 0; i++) {
        const struct stat_def *def = &stat_defs[i];
        bool counter = def->kind == STAT_COUNTER;
        const char *suffix = counter ? "_total" : "", *kind = counter ? "counter" : "gauge";
        rc = buf_addf(out,
                      "# HELP ropewalk_%s%s %s\n# TYPE ropewalk_%s%s %s\n"
                      "ropewalk_%s%s %" PRIu64 "\n",
                      def->name, suffix, def->comment, def->name, suffix, kind,
                      def->name, suffix, stat_get(s, def));
    }
    return rc;
}
