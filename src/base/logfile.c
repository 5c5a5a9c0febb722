/* SPDX-License-Identifier: MIT */
#include "base/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"

enum { PATH_ROOM = 4096, DAY = 86400, TRY_AGAIN = 60 /* seconds */ };

struct log_file {
    struct mem *mem;
    struct log_file_options options;
    int fd;
    int64_t day;   /* of what is in it */
    int64_t retry; /* not before; 0: now */
    size_t size;   /* of this block */
    char path[];
};

static int open_path(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
    return fd < 0 ? -errno : fd;
}

int log_file_open(struct mem *mem, const struct log_file_options *o, struct log_file **out) {
    size_t n = strlen(o->path) + 1, size = sizeof(struct log_file) + n;
    if (n + sizeof ".1000" > PATH_ROOM) return -ENAMETOOLONG;
    int fd = open_path(o->path);
    if (fd < 0) return fd;
    struct log_file *f = mem_zalloc(mem, size);
    if (!f) {
        close(fd);
        return RW_ENOMEM;
    }
    f->mem = mem;
    f->options = *o;
    f->fd = fd;
    f->size = size;
    memcpy(f->path, o->path, n);
    struct stat st;
    f->day = (fstat(fd, &st) == 0 && st.st_size ? st.st_mtime : time(NULL)) / DAY;
    *out = f;
    return 0;
}

int log_file_fd(const struct log_file *f) { return f->fd; }

int log_file_reopen(struct log_file *f) {
    int fd = open_path(f->path);
    if (fd < 0) return fd;
    int rc = dup3(fd, f->fd, O_CLOEXEC) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static void old_name(const struct log_file *f, unsigned i, char out[PATH_ROOM]) {
    if (i) snprintf(out, PATH_ROOM, "%s.%u", f->path, i);
    else snprintf(out, PATH_ROOM, "%s", f->path);
}

/* Each gets the next number, the last one's file is gone. */
static int shift(struct log_file *f) {
    char from[PATH_ROOM], to[PATH_ROOM];
    for (unsigned i = f->options.keep; i > 0; i--) {
        old_name(f, i - 1, from);
        old_name(f, i, to);
        if (rename(from, to) < 0 && errno != ENOENT) return -errno;
    }
    return 0;
}

/* Is the file of that name the one that is written to? */
static bool is_ours(const struct log_file *f, const struct stat *open_one) {
    struct stat named;
    return stat(f->path, &named) == 0 && named.st_ino == open_one->st_ino &&
           named.st_dev == open_one->st_dev;
}

int log_file_turn(struct log_file *f) {
    const struct log_file_options *o = &f->options;
    if (!o->daily && !o->max_size) return 0;
    int64_t now = time(NULL), today = now / DAY;
    struct stat st;
    if (now < f->retry || fstat(f->fd, &st) < 0) return 0;
    bool due = (o->max_size && (uint64_t)st.st_size >= o->max_size) ||
               (o->daily && today != f->day && st.st_size);
    if (!due) return 0;
    int rc = is_ours(f, &st) ? shift(f) : 0;
    if (rc == 0) rc = log_file_reopen(f);
    if (rc < 0) f->retry = now + TRY_AGAIN;
    else f->day = today;
    return rc;
}

void log_file_close(struct log_file **file) {
    struct log_file *f = *file;
    if (!f) return;
    *file = NULL;
    close(f->fd);
    mem_free(f->mem, f, f->size);
}

int log_rotation_parse(const char *text, struct log_file_options *out) {
    struct str s = str_c(text);
    if (strcmp(text, "daily") == 0) {
        out->daily = true;
        return 0;
    }
    static const char units[] = "KMG";
    const char *unit = s.n ? strchr(units, s.p[s.n - 1]) : NULL;
    int shift_by = unit ? 10 * (int)(unit - units + 1) : 0;
    if (unit) s.n--;
    uint64_t n;
    if (str_to_u64(s, &n) < 0 || n == 0 || n > UINT64_MAX >> shift_by) return RW_EINVAL;
    out->max_size = n << shift_by;
    return 0;
}
