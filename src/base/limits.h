/* SPDX-License-Identifier: MIT */
/* The one table of limits; limits.def says what each is for. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct limits {
#define LIMIT(name, value, unit, comment) uint64_t name;
#include "base/limits.def"
#undef LIMIT
};

enum {
    LIMIT_COUNT = 0
#define LIMIT(name, value, unit, comment) + 1
#include "base/limits.def"
#undef LIMIT
};

struct limit_def {
    const char *name, *unit, *comment;
    uint64_t value;  /* default */
    size_t offset;   /* in struct limits */
};

extern const struct limit_def limit_defs[LIMIT_COUNT];
extern const struct limits limits_default;

/* NULL when there is no limit of that name. */
const struct limit_def *limit_find(struct str name);

/* 0; RW_ENONAME when there is no such limit; RW_EINVAL for 0, which would
 * mean "none" elsewhere: a limit can be large, never absent. */
int limits_set(struct limits *l, struct str name, uint64_t value);
uint64_t limits_get(const struct limits *l, const struct limit_def *def);

#endif
