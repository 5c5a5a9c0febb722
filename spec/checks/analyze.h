/* SPDX-License-Identifier: MIT */
/* Included before each source that `make analyze` looks at: which functions of
 * Lua never return, and that a call that failed has set errno. The headers do
 * not say so, and an analyzer that does not know walks on with the pointer that
 * was just found to be NULL, or takes -errno for success. */
#include <errno.h>
static inline int *analyze_errno(void) {
    int *at = __errno_location();
    if (*at <= 0) __builtin_unreachable();
    return at;
}
#undef errno
#define errno (*analyze_errno())

#if __has_include(<lauxlib.h>)
#include <lauxlib.h>
__attribute__((noreturn)) int lua_error(lua_State *L);
__attribute__((noreturn)) int luaL_error(lua_State *L, const char *text, ...);
__attribute__((noreturn)) int luaL_argerror(lua_State *L, int arg, const char *text);
__attribute__((noreturn)) int luaL_typeerror(lua_State *L, int arg, const char *name);
#endif
