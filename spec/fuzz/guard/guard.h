/* SPDX-License-Identifier: MIT */
/* Between these, guard.c stands before the system calls. */
#ifndef FUZZ_GUARD_H
#define FUZZ_GUARD_H

#include <stdbool.h>

void guard_begin(void);
void guard_end(void);

#endif
