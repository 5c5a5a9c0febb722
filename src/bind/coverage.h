/* SPDX-License-Identifier: MIT */
/* Which lines of which files ran: a line hook on every coroutine. Only when
 * asked for (`ropewalk test --coverage`). */
#ifndef BIND_COVERAGE_H
#define BIND_COVERAGE_H

#include <lua.h>

struct rw;

void coverage_free(struct rw *rw);
void coverage_hook(lua_State *L); /* sets it on one coroutine */
void coverage_open(lua_State *L); /* adds cover and covered to the table on top */

#endif
