/* SPDX-License-Identifier: MIT */
/* Networks, "10.0.0.0/8" or "fd00::/8", and which addresses lie in them. */
#ifndef BASE_CIDR_H
#define BASE_CIDR_H

#include "base/str.h"

struct cidr {
    uint8_t address[16];
    uint8_t bits;
    bool v6;
};

/* A network or one address: 0, or RW_ESYNTAX, also when bits behind the prefix
 * are set: "10.1.2.3/8" is a slip. */
int cidr_parse(struct str text, struct cidr *out);

/* Is the numeric address in it? A zone ("%eth0") is not looked at; an IPv4
 * address within IPv6 counts as IPv4, and "::ffff:10.0.0.0/104" is 10.0.0.0/8. */
bool cidr_has(const struct cidr *network, const char *address);

#endif
