/* SPDX-License-Identifier: MIT */
/* The Lua library, built into the binary; the table is generated. */
#ifndef BIND_EMBEDDED_H
#define BIND_EMBEDDED_H

struct embedded_module {
    const char *name; /* as in require: "ropewalk.web.site" */
    const char *start, *end;
};

extern const struct embedded_module embedded_modules[];
extern const unsigned embedded_module_count;

#endif
