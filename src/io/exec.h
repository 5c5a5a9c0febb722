/* SPDX-License-Identifier: MIT */
/* The way of a child from clone to exec. */
#ifndef IO_EXEC_H
#define IO_EXEC_H

#include "io/process.h"

struct exec_fd {
    int target, source; /* the child changes `source` */
};

/* Everything is made by the parent: the child allocates nothing. */
struct exec_plan {
    const struct process_options *options;
    struct exec_fd fds[PROCESS_MAX_FDS + 3];
    size_t fd_count;
    int terminal; /* its controlling terminal; -1: none */
    pid_t parent;
    int report;   /* the writing end of a pipe, close-on-exec */
};

/* The child's pid, and a descriptor that is readable once it has ended; or < 0,
 * with the step that failed. Returns when the child executes its program. */
int exec_start(struct exec_plan *plan, int *pidfd_out, const char **step);

#endif
