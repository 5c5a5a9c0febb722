/* SPDX-License-Identifier: MIT */
#ifndef IO_CHILDPIPE_H
#define IO_CHILDPIPE_H

#include "io/internal.h"

/* Takes the descriptor over unless it fails; the kind says what it is. */
int childpipe_adopt(struct loop *l, int fd, enum process_fd_kind kind,
                    const struct limits *limits, struct stream **out);
/* The child has its end now: a pipe without readers is an error from here on. */
void childpipe_start(struct stream *s);

#endif
