/* SPDX-License-Identifier: MIT */
#include "base/limits.h"

#include "base/err.h"

const struct limit_def limit_defs[LIMIT_COUNT] = {
#define LIMIT(name, value, unit, comment) \
    {#name, unit, comment, value, offsetof(struct limits, name)},
#include "base/limits.def"
#undef LIMIT
};

const struct limits limits_default = {
#define LIMIT(name, value, unit, comment) .name = value,
#include "base/limits.def"
#undef LIMIT
};

const struct limit_def *limit_find(struct str name) {
    for (size_t i = 0; i < LIMIT_COUNT; i++)
        if (str_eq(name, str_c(limit_defs[i].name))) return &limit_defs[i];
    return NULL;
}

uint64_t limits_get(const struct limits *l, const struct limit_def *def) {
    uint64_t value;
    memcpy(&value, (const char *)l + def->offset, sizeof value);
    return value;
}

int limits_set(struct limits *l, struct str name, uint64_t value) {
    const struct limit_def *def = limit_find(name);
    if (!def) return RW_ENONAME;
    if (value == 0) return RW_EINVAL;
    memcpy((char *)l + def->offset, &value, sizeof value);
    return 0;
}
