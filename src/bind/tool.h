/* SPDX-License-Identifier: MIT */
/* Commands that are written in Lua: a module's run(arguments), as one task of an
 * ordinary generation, so it may wait and connect like any script. */
#ifndef BIND_TOOL_H
#define BIND_TOOL_H

#include "bind/bind.h"

enum { ENDED_BY = 128 }; /* the exit status of what a signal has ended: and its number */

/* Runs it to its end. The exit status is what it returns. `prepare`: for the
 * state, first, or NULL. */
int tool_run(struct rw *rw, const char *module, lua_CFunction prepare, int argc,
             const char *const *argv);

#endif
