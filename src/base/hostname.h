/* SPDX-License-Identifier: MIT */
/* Names of hosts as people write them, made into what DNS has: lower-case
 * ASCII, U-labels as A-labels (IDNA 2008, RFC 5890 to 5895). And the lines of
 * a hosts file, where such names stand. */
#ifndef BASE_HOSTNAME_H
#define BASE_HOSTNAME_H

#include "base/str.h"

enum {
    HOSTNAME_MAX = 253, /* bytes, without the dot at the end */
    HOSTNAME_LABEL = 63,
};

struct hostname {
    char text[HOSTNAME_MAX + 1]; /* ends in a NUL */
    uint8_t n;
    uint8_t dots;
    bool absolute; /* there was a dot at the end */
};

/* 0, or RW_ESYNTAX: empty or overlong labels, not UTF-8, characters that a
 * name cannot have, or whose mapping is not ours to know (see the .c). */
int hostname_read(struct str text, struct hostname *out);

/* Is it `domain`, or below it? Both as hostname_read leaves them. */
bool hostname_within(struct str name, struct str domain);

/* RFC 3492. Bytes written into `out`, or RW_ESYNTAX: it does not fit. */
int64_t punycode_encode(const uint32_t *code, size_t n, char *out, size_t size);

/* The next line of a hosts file that says something: an address and one name
 * or more; false at the end. Then the names, one by one. */
bool hosts_next(struct str *rest, struct str *address, struct str *names);
bool hosts_name_next(struct str *names, struct str *name);

#endif
