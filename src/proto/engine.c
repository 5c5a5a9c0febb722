/* SPDX-License-Identifier: MIT */
#include "proto/engine.h"

const struct engine *const engines[] = {
    &raw_engine, &line_engine, &netstring_engine, &frame_engine,
    &http1_engine, NULL,
};

const struct engine *engine_find(struct str name) {
    for (const struct engine *const *e = engines; *e; e++)
        if (str_eq(name, str_c((*e)->name))) return *e;
    return NULL;
}

int engine_event(const struct engine *engine, struct str name) {
    for (int i = 0; engine->events[i].name; i++)
        if (str_eq(name, str_c(engine->events[i].name))) return i;
    return -1;
}

bool event_arg_next(const char **args, char *kind, struct str *name) {
    const char *at = *args;
    while (*at == ' ') at++;
    if (!*at) return false;
    *kind = *at;
    while (*at != ':') at++;
    size_t n = strcspn(++at, " ");
    *name = str_of(at, n);
    *args = at + n;
    return true;
}
