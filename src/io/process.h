/* SPDX-License-Identifier: MIT */
/* Child processes: starting them, their descriptors as streams, their end. */
#ifndef IO_PROCESS_H
#define IO_PROCESS_H

#include <sys/types.h>

#include "io/stream.h"

/* What a descriptor of the child is. The names are from our side of it. */
enum process_fd_kind {
    PROCESS_FD_NULL,  /* /dev/null; also what 0, 1 and 2 are when not named */
    PROCESS_FD_READ,  /* a pipe that we read */
    PROCESS_FD_WRITE, /* a pipe that we write */
    PROCESS_FD_BOTH,  /* a socket pair */
    PROCESS_FD_GIVEN, /* `source`, a descriptor of ours */
    PROCESS_FD_PTY,   /* a terminal: as 0, it is 1 and 2 as well */
};
struct process_fd {
    int fd; /* the child's: 0 … PROCESS_MAX_FD */
    enum process_fd_kind kind;
    int source;
    struct stream *stream; /* out: our end of READ, WRITE, BOTH, PTY */
};
enum { PROCESS_MAX_FD = 255, PROCESS_MAX_FDS = 64 };

/* How it ended. Not known: somebody else in this process has waited for it. */
struct process_status {
    bool known, core_dumped;
    int code;   /* exit status, if signal is 0 */
    int signal;
};

struct process_options {
    char *const *files; /* to execute, the first that can be; ends with NULL */
    char *const *argv, *const *env;
    const char *directory; /* NULL: ours */
    struct process_fd *fds; /* descriptors of ours that are not here stay ours */
    size_t fd_count;
    unsigned short rows, columns; /* of a terminal */
    bool own_group;         /* the leader of a new process group */
    bool set_ids;           /* then all three: */
    uid_t uid;
    gid_t gid;
    const gid_t *groups;    /* supplementary, and no others */
    size_t group_count;
    int death_signal;       /* when this thread ends; 0: none */
    const struct limits *limits; /* of the streams; borrowed */
    /* It has ended and was waited for. The pipes may stay open beyond that:
     * whoever inherited them can still write. */
    void (*on_exit)(void *owner, const struct process_status *status);
    void *owner;
};

struct process;

/* 0, or < 0: nothing was started, and *step says what failed: "execute", "enter
 * the directory", … The streams have no hooks yet and do not read. */
int process_spawn(struct loop *l, struct process_options *o, struct process **out,
                  const char **step);
pid_t process_pid(const struct process *p);
/* To it, or to its whole group (which may outlive it). RW_ESTATE: it has ended. */
int process_signal(struct process *p, int signum, bool group);
/* After on_exit; before it, the child is not waited for. */
void process_free(struct process **p);

#endif
