/* SPDX-License-Identifier: MIT */
/* One socket that connects to one address. */
#ifndef IO_ATTEMPT_H
#define IO_ATTEMPT_H

#include "io/internal.h"

struct attempt {
    uv_poll_t poll;
    struct loop *loop;
    struct attempt *next, **prev; /* list: of its owner */
    void *owner;
    void (*ended)(struct attempt *a, int status, int fd); /* it is off the list */
    int fd;
    struct ip ip; /* what is tried, for its owner */
};

/* Connects. 1: at once, *fd_out is it; 0: under way, it is on the list and
 * `ended` comes from the loop, with the descriptor or < 0; or < 0. `from` may
 * be NULL. */
int attempt_start(struct loop *l, const struct sockaddr *to, unsigned size,
                  const struct endpoint *from, struct attempt **list,
                  const struct attempt *like, int *fd_out);
/* Closes its socket at once; `ended` does not come. */
void attempt_cancel(struct attempt *a);

#endif
