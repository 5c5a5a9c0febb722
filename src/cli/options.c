/* SPDX-License-Identifier: MIT */
#include "cli/options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int wrong(const char *command, const char *what, const char *arg) {
    fprintf(stderr, "ropewalk %s: %s '%s' (see ropewalk help %s)\n", command, what, arg,
            command);
    return 2;
}

static int add_pair(const char *command, const char *option, const char *form,
                    struct rw_setting *list, size_t *count, char *text) {
    char what[64], *equals = strchr(text, '=');
    if (!equals || equals == text) {
        snprintf(what, sizeof what, "%s wants %s, not", option, form);
        return wrong(command, what, text);
    }
    if (*count == MAX_SETTINGS) {
        snprintf(what, sizeof what, "%d of %s at most, not also", MAX_SETTINGS, option);
        return wrong(command, what, text);
    }
    *equals = 0;
    list[(*count)++] = (struct rw_setting){text, equals + 1};
    return 0;
}

/* The value of "--name value" or "--name=value"; NULL: it is another option. */
static char *value_of(const char *name, int argc, char **argv, int *i) {
    size_t n = strlen(name);
    if (strncmp(argv[*i], name, n) != 0) return NULL;
    if (argv[*i][n] == '=') return argv[*i] + n + 1;
    if (argv[*i][n] || *i + 1 >= argc) return NULL;
    return argv[++*i];
}

static bool wants_value(const char *name) {
    static const char *const names[] = {"--set", "--limit", "--log-level", "--log-format",
                                        "--log-file", "--log-rotate", "--log-keep"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

bool options_library(const char *command, const char **path) {
    char file[PATH_MAX];
    *path = getenv("ROPEWALK_LUA_PATH");
    if (!*path) return true;
    int n = snprintf(file, sizeof file, "%s/ropewalk/init.lua", *path);
    if (n >= (int)sizeof file) errno = ENAMETOOLONG;
    else if (access(file, R_OK) == 0) return true;
    fprintf(stderr, "ropewalk %s: ROPEWALK_LUA_PATH: cannot read %s: %s\n", command, file,
            strerror(errno));
    return false;
}

int options_parse(struct options *o, int argc, char **argv) {
    memset(o, 0, sizeof *o);
    o->rw.settings = o->settings;
    o->rw.limits = o->limits;
    if (!options_library(argv[0], &o->rw.lua_path)) return 2;
    for (int i = 1; i < argc; i++) {
        char *value;
        if (strcmp(argv[i], "--") == 0) {
            o->rw.args = (const char *const *)argv + i + 1;
            o->rw.arg_count = (size_t)(argc - i - 1);
            break;
        }
        if (argv[i][0] != '-') {
            if (o->rw.app) return wrong(argv[0], "one script is expected, not also", argv[i]);
            o->rw.app = argv[i];
        } else if (strcmp(argv[i], "--watch") == 0) {
            o->rw.watch = true;
        } else if ((value = value_of("--set", argc, argv, &i))) {
            if (add_pair(argv[0], "--set", "KEY=VALUE", o->settings, &o->rw.setting_count, value))
                return 2;
        } else if ((value = value_of("--limit", argc, argv, &i))) {
            if (add_pair(argv[0], "--limit", "NAME=NUMBER", o->limits, &o->rw.limit_count, value))
                return 2;
        } else if ((value = value_of("--log-level", argc, argv, &i))) {
            o->rw.log_level = value;
        } else if ((value = value_of("--log-format", argc, argv, &i))) {
            o->rw.log_format = value;
        } else if ((value = value_of("--log-file", argc, argv, &i))) {
            o->rw.log_file = value;
        } else if ((value = value_of("--log-rotate", argc, argv, &i))) {
            o->rw.log_rotate = value;
        } else if ((value = value_of("--log-keep", argc, argv, &i))) {
            o->rw.log_keep = value;
        } else if (wants_value(argv[i])) {
            return wrong(argv[0], "a value is missing behind", argv[i]);
        } else {
            return wrong(argv[0], "unknown option", argv[i]);
        }
    }
    if (o->rw.app && *o->rw.app) return 0;
    fprintf(stderr, "ropewalk %s: which script? (see ropewalk help %s)\n", argv[0], argv[0]);
    return 2;
}
