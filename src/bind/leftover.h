/* SPDX-License-Identifier: MIT */
/* What a test leaves behind, by name and by the line that made it. Under
 * `ropewalk test` every object that lives on its own is noted here when it is
 * made; everywhere else these calls do nothing. */
#ifndef BIND_LEFTOVER_H
#define BIND_LEFTOVER_H

#include <lua.h>

struct rw;

int leftover_init(struct rw *rw);
void leftover_free(struct rw *rw);

/* The running code makes `object`, a "timer", "task", "listener", … */
void leftover_note(lua_State *L, const void *object, const char *kind);
/* This one does not count; another may have been noted at its address before. */
void leftover_forget(lua_State *L, const void *object);
/* What `from` stood for goes on as `to`: a connector becomes a connection. */
void leftover_pass(struct rw *rw, const void *from, const void *to, const char *kind);

void leftover_open(lua_State *L); /* adds mark and leftovers to the table on top */

#endif
