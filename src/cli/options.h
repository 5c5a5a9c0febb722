/* SPDX-License-Identifier: MIT */
/* What `run` and `check` are told on the command line. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "ropewalk.h"

enum { MAX_SETTINGS = 64 };

struct options {
    struct rw_options rw;
    struct rw_setting settings[MAX_SETTINGS], limits[MAX_SETTINGS];
};

/* 0, or 2 after saying on standard error what is wrong. argv[0] is the
 * command's name. The texts borrow from argv, where '=' signs become ends. */
int options_parse(struct options *o, int argc, char **argv);

/* ROPEWALK_LUA_PATH, or NULL: the library inside. False: there is none, which is said. */
bool options_library(const char *command, const char **path);

#endif
