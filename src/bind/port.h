/* SPDX-License-Identifier: MIT */
/* Between port.c (who owns a listener) and listen.c (its Lua face). */
#ifndef BIND_PORT_H
#define BIND_PORT_H

#include "bind/bind.h"

struct server_box { /* userdata; uservalue 1 is the factory */
    struct server *server; /* NULL: closed */
};

/* A further claim on the port of that name; opened if it is new. */
int port_claim(struct rw *rw, const char *key, const struct endpoint *e,
               struct port **out);
/* Takes the port now, or at the commit if its generation is being staged. */
void server_start(struct server *s);
void server_close(struct server *s);

#endif
