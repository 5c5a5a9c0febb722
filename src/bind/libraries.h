/* SPDX-License-Identifier: MIT */
/* What makes up ropewalk.core: each of these expects its table on top of the
 * stack and adds to it. state.c calls them. */
#ifndef BIND_LIBRARIES_H
#define BIND_LIBRARIES_H

#include <lua.h>

void port_open(lua_State *L); /* core.listen, core.connect */
void process_open(lua_State *L);
void address_open(lua_State *L);
void transport_open(lua_State *L);
void dgram_transport_open(lua_State *L);
void pipe_open(lua_State *L); /* core.pipe */
void notify_open(lua_State *L); /* core.notifier */
void request_open(lua_State *L);
void timer_open(lua_State *L);
void deferred_open(lua_State *L);
void core_open(lua_State *L);  /* log, config, limits, … */
void backtrace_open(lua_State *L); /* core.frames */
void router_open(lua_State *L);
void json_open(lua_State *L);
void embedded_open(lua_State *L); /* the library; expects nothing */
void simulator_open(lua_State *L);
void text_open(lua_State *L);
void dir_open_lib(lua_State *L);
void digest_open(lua_State *L); /* core.sha256, … */
void names_open_lib(lua_State *L);
void host_open(lua_State *L);          /* core.host, core.exports */
void thread_open(lua_State *L);        /* core.thread_pool … */
void thread_open_inside(lua_State *L); /* … and what there is within a thread */

#endif
