/* SPDX-License-Identifier: MIT */
#include "io/descriptors.h"

#include <stdbool.h>
#include <stddef.h>

static struct rlimit before; /* written once, by the first instance that asks */
static bool raised;

void descriptors_raise(void) {
    struct rlimit limit;
    if (raised || getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    before = limit;
    limit.rlim_cur = limit.rlim_max;
    raised = setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

const struct rlimit *descriptors_before(void) { return raised ? &before : NULL; }
