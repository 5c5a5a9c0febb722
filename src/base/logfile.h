/* SPDX-License-Identifier: MIT */
/* A log in a file that does not grow for ever: when it is large enough, or the
 * day (UTC) is over, FILE is renamed to FILE.1, that to FILE.2, …, and a new one
 * begins. The descriptor stays the same number, for others may write to it. */
#ifndef BASE_LOGFILE_H
#define BASE_LOGFILE_H

#include <stdbool.h>

#include "base/mem.h"

struct log_file_options {
    const char *path;  /* copied */
    uint64_t max_size; /* 0: any */
    bool daily;
    unsigned keep;     /* old ones, at least 1 */
};

struct log_file;
/* 0 or < 0. */
int log_file_open(struct mem *mem, const struct log_file_options *o, struct log_file **out);
int log_file_fd(const struct log_file *f);
/* Before a line: begins a new file if it is time. < 0: that failed; the old one
 * goes on, and it is tried again in a minute. */
int log_file_turn(struct log_file *f);
/* Somebody has renamed the file: one of that name is begun. */
int log_file_reopen(struct log_file *f);
void log_file_close(struct log_file **f);

/* "512", "100K", "10M", "1G": a size; "daily". 0 or RW_EINVAL. */
int log_rotation_parse(const char *text, struct log_file_options *out);

#endif
