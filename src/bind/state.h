/* SPDX-License-Identifier: MIT */
#ifndef BIND_STATE_H
#define BIND_STATE_H

#include "bind/bind.h"

#define BOOT_KEY "ropewalk.boot" /* registry: the module that C calls */

int state_open(struct generation *g);
/* From time to time, outside of any collection: see state.c. */
void state_tune_gc(struct generation *g);
/* Whether we seed Lua's hashes: not where Lua is the system's. */
bool state_has_seed(void);
/* Pushes boot[function]. */
void state_push_boot(lua_State *L, const char *function);

#endif
