/* SPDX-License-Identifier: MIT */
/* Numeric addresses, and in which order to try several of them. */
#ifndef IO_IP_H
#define IO_IP_H

#include "base/str.h"

struct ip {
    uint8_t family; /* 4, 6; 0: none */
    uint8_t bytes[16];
    uint32_t zone;  /* IPv6: the interface's index; 0: none */
};

enum { IP_TEXT_MAX = 64, IP_ARPA_MAX = 80 };

/* "192.0.2.1", "2001:db8::1", "fe80::1%eth0": 0, or RW_ESYNTAX, or RW_ENODEV
 * when there is no such interface. */
int ip_parse(struct str text, struct ip *out);
struct str ip_format(const struct ip *ip, char out[IP_TEXT_MAX]);

/* The name of its PTR record: "1.2.0.192.in-addr.arpa". */
struct str ip_arpa(const struct ip *ip, char out[IP_ARPA_MAX]);

bool ip_eq(const struct ip *a, const struct ip *b);

/* Best first, as RFC 6724 §6 has it: rules 1, 2, 5, 6, 8 and 9; else the order
 * stays. Asks the kernel from where each would be reached; sends nothing. */
void ip_sort(struct ip *ips, unsigned n);

#endif
