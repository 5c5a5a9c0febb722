/* SPDX-License-Identifier: MIT */
/* What a script is owed: a call that somebody waits for. While there is no memory
 * for it, it is made again a little later; its generation stays that long. */
#ifndef BIND_DEBT_H
#define BIND_DEBT_H

#include <lua.h>

#include "bind/scope.h"
#include "io/io.h"

struct generation;

struct debt { /* embedded in what it is about */
    /* Gets the debt. It may run again when memory fails behind the call, so what it
     * calls has to know whether it was told already; or it says how far it is. */
    lua_CFunction body;
    /* The script was told, or never will be: the debt is nobody's any more. */
    void (*over)(struct debt *d);
    bool again; /* this is not the first try */
    bool no_room; /* the body was not called */
    /* Set by the body. BEGUN: what follows is the script's, and not done again. TOLD:
     * nor does anybody wait for its end; it is over, though the task may wait. */
    enum { DEBT_OWED, DEBT_BEGUN, DEBT_TOLD } state;
    struct generation *gen;
    struct scope_item item; /* of gen->debts */
    struct timer timer;
};

/* Tries at once, as work of `scope` (NULL: the generation's), later as the generation's. */
void debt_owe(struct debt *d, struct generation *g, struct scope *scope);

#endif
