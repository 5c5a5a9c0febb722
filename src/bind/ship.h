/* SPDX-License-Identifier: MIT */
/* Values, functions among them, from one lua_State to another, by way of
 * bytes: the two states may be in two threads, and need not live at the same
 * time. What goes how:
 *
 *      nil, booleans, numbers, strings     copied
 *      tables, with their metatables       copied; cycles and sharing stay
 *      Lua functions                       code with debug information, and upvalues;
 *                                          those that functions share stay shared
 *      the global table, an _ENV with a    the other state's global table
 *      metatable
 *      what package.loaded holds           required there by its name
 *      a named field of such a module      looked up there: string.format, util.parse
 *      (functions, objects, files)
 *      everything else                     refused: userdata, coroutines, …
 *
 * The bytes hold bytecode: they are only ever made and read in one process. */
#ifndef BIND_SHIP_H
#define BIND_SHIP_H

#include <lua.h>

#include "base/buf.h"

enum { SHIP_MAX = 16 << 20 }; /* a bound for who has no better one */

struct shipment { /* on its own: may go to another thread; not moved in memory */
    struct mem mem; /* its account */
    struct buf bytes;
};

void shipment_init(struct shipment *s, size_t max);
void shipment_release(struct shipment *s);
/* `to` has it from now on, `from` is empty. */
void shipment_move(struct shipment *to, struct shipment *from);
/* Pushes a userdata that ends with what is in it; moved from `s`, if that is
 * not NULL. What core.unship takes. */
struct shipment *shipment_push(lua_State *L, struct shipment *s);

/* Adds the n values from `index` on. 0; RW_EINVAL or RW_ELIMIT: the values
 * cannot go, and ship_refused says why; RW_ENOMEM. May raise (memory); runs no
 * script code but finalizers. */
int ship_pack(lua_State *L, int index, int n, struct shipment *s);
/* "upvalue 'conn' is a userdata"; of the last failure in this thread. The first
 * value is not named, the others are "argument 1", "argument 2", … */
const char *ship_refused(void);

/* Pushes the values and tells how many. May raise, and may run code: modules
 * that are not loaded yet are required (they cannot wait). */
int ship_unpack(lua_State *L, const struct shipment *s);

/* From one state to the top of another in one go, as transfer() does it: 0 or
 * what ship_pack returns. Both protected by the caller. */
int ship_value(lua_State *from, int index, lua_State *to);

/* core.ship(…) → shipment, core.unship(shipment) → … */
void ship_open(lua_State *L);

#endif
