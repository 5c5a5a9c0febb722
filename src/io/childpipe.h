/* SPDX-License-Identifier: MIT */
#ifndef IO_CHILDPIPE_H
#define IO_CHILDPIPE_H

#include "io/internal.h"

/* Takes the descriptor over unless it fails; the kind says what it is. */
int childpipe_adopt(struct loop *l, int fd, enum process_fd_kind kind,
                    const struct limits *limits, struct stream **out);
/* The child has its end now: a pipe without readers is an error from here on. */
void childpipe_start(struct stream *s);

/* A terminal does not end before its child: that may close it and go on, and
 * our end's close would be the signal SIGHUP. *held is NULL once it is gone. */
void childpipe_hold(struct stream *s, struct stream **held);
void childpipe_let_go(struct stream **held);

#endif
