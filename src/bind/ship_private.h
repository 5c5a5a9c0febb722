/* SPDX-License-Identifier: MIT */
/* The form of a shipment: a value is a tag and what belongs to it. Objects are
 * numbered in the order in which they begin; a later mention is the number.
 * Numbers and lengths are eight bytes, as they lie in memory. */
#ifndef BIND_SHIP_PRIVATE_H
#define BIND_SHIP_PRIVATE_H

#include "bind/bind.h"
#include "bind/ship.h"

enum tag {
    TAG_NIL, TAG_FALSE, TAG_TRUE, TAG_INTEGER, TAG_NUMBER, TAG_STRING,
    TAG_AGAIN,    /* number of an object */
    TAG_GLOBALS,
    TAG_MODULE,   /* its name */
    TAG_FIELD,    /* a module's name, the field's */
    TAG_TABLE,    /* key, value, …, nil, metatable or nil */
    TAG_FUNCTION, /* code, count of upvalues, for each: */
    TAG_JOIN,     /* … an upvalue that came before, or */
    TAG_OWN,      /* … a value */
};

enum {
    SHIP_STACK = 12,   /* slots of Lua's stack that one level needs */
    SHIP_PLACES = 256, /* an upvalue is named by function number * SHIP_PLACES + place */
};

#endif
