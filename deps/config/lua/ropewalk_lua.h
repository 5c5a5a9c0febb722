/* SPDX-License-Identifier: MIT */
/* Lua's files are compiled with this (LUA_USER_H, which lua.h includes). Ours, and
 * modules in C that scripts load, see Lua's headers as they are: the two must fit. */

/* A recursion without end has 65,000 calls and 8 MB, not 333,000 and 40 MB, when it
 * fails: whoever interrupts it has to walk all of them, and a walk of many
 * milliseconds each time that a slice ends leaves no time for anybody. The index
 * follows from the size for everybody else, so it stays. */
#undef LUA_REGISTRYINDEX
#define LUA_REGISTRYINDEX (-1000000 - 1000)
#undef LUAI_MAXSTACK
#define LUAI_MAXSTACK 200000

/* The seed of its string hashes is ours: it has to be unforeseeable for peers, and
 * always the same in a simulation. */
extern unsigned bind_lua_seed(void) __attribute__((weak));
#define luai_makeseed(L) (bind_lua_seed ? bind_lua_seed() : (unsigned)(size_t)(L))
