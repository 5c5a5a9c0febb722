/* SPDX-License-Identifier: MIT */
/* The first flight of a TLS client, looked at before a TLS engine gets it: who
 * it wants to talk to decides which certificate is fetched, and fetching may
 * take its time (RFC 8446 §4.1.2, RFC 6066 §3, RFC 7301). */
#ifndef BASE_CLIENT_HELLO_H
#define BASE_CLIENT_HELLO_H

#include "base/str.h"

enum {
    CLIENT_HELLO_MAX = 16 * 1024, /* bytes of the message, more is refused */
    CLIENT_HELLO_RECORDS = 32,    /* that it may come in */
};

struct client_hello {
    struct str server_name; /* "" without one; as sent, a valid host name */
    struct str alpn;        /* ProtocolNameList: (length byte, name)… */
    bool tls13;             /* it offers 1.3 */
};

/* To be asked with all bytes so far whenever more have come; which is why the
 * records are counted: who sends a byte in each would make us walk over
 * thousands of them at each of his bytes.
 *
 * 1: it is whole, *out borrows from `bytes` or, when it came in several
 * records, from `scratch` (CLIENT_HELLO_MAX bytes). 0: more bytes are needed.
 * RW_ESYNTAX: this is no ClientHello; RW_ELIMIT: it is longer, or in more records, than
 * we read. */
int client_hello_parse(struct str bytes, char *scratch, struct client_hello *out);

/* The next name of out->alpn; false at the end. */
bool client_hello_next_alpn(struct str *rest, struct str *name);

#endif
