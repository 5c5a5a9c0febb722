/* SPDX-License-Identifier: MIT */
/* Between these, guard.c stands before the system calls. */
#ifndef FUZZ_GUARD_H
#define FUZZ_GUARD_H

#include <stdbool.h>

/* Files whose names begin so are the fuzzer's: it writes them when it has found something,
 * from in between. */
void guard_spare(const char *prefix);
void guard_begin(void);
void guard_end(void);

#endif
