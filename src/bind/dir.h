/* SPDX-License-Identifier: MIT */
/* core.dir(path): a directory, and the files beneath it. */
#ifndef BIND_DIR_H
#define BIND_DIR_H

#include <lua.h>

#include "io/io.h"

struct bind_file { /* the userdata "ropewalk.file" */
    int fd; /* owned; -1: closed */
    struct file_info info;
};

/* The file at `index`, open; or an error in Lua. */
struct bind_file *file_check(lua_State *L, int index);

#endif
