/* SPDX-License-Identifier: MIT */
/* Allocations that fail when they are told to. The linker sends those of all
 * accounts (base/mem.h) here first: the worker's, those of Lua states that are
 * not there yet when the net is armed. Other threads' are counted and left alone. */
#ifndef TORTURE_ALLOCATIONS_H
#define TORTURE_ALLOCATIONS_H

#include <stdint.h>

/* This thread's nth allocation (1: the next) fails, and `burst` - 1 more behind it.
 * Lua collects its garbage and tries again: that fails, too. */
void allocations_arm(uint64_t nth, unsigned burst);
/* How many were made to fail; from here on none is. */
unsigned allocations_disarm(void);

/* Prints where the first of them was made, if AddressSanitizer is there to know. */
void allocations_blame(void);

/* Bytes of all accounts. */
int64_t allocations_live(void);

#endif
