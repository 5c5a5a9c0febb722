/* SPDX-License-Identifier: MIT */
/* Addresses in Lua, of streams and of datagrams: userdata with the fields `kind`,
 * `host` and `port` (or `path`) and `text`, which nobody can change; == compares
 * them. That of a peer whom a proxy introduced has `via`, the proxy's. */
#ifndef BIND_ADDRESS_H
#define BIND_ADDRESS_H

#include <lua.h>

#include "io/datagram.h"

void push_address(lua_State *L, const struct address *a);
/* A table is on top, its fields become the address's own: pops it, pushes that. */
void push_address_with_fields(lua_State *L, const struct address *a);

/* The same from the system's form, read when a script asks. */
void push_datagram_address(lua_State *L, const struct datagram_address *a);
/* Is the value at `index` that one? */
bool is_datagram_address(lua_State *L, int index, const struct datagram_address *a);
/* Where to, as scripts say it: an address, "host:port", or a table with host and
 * port, all numeric; "unix:path", or a table with path. Else raises. */
const struct datagram_address *check_datagram_address(lua_State *L, int index,
                                                      struct datagram_address *space);

#endif
