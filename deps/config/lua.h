/* SPDX-License-Identifier: MIT */
/* Included before each file of Lua: the seed of its string hashes is ours. It
 * has to be unforeseeable for peers, and always the same in a simulation. */
extern unsigned bind_lua_seed(void) __attribute__((weak));
#define luai_makeseed(L) (bind_lua_seed ? bind_lua_seed() : (unsigned)(size_t)(L))
