/* SPDX-License-Identifier: MIT */
/* Small files that must survive a crash and are nobody else's to read: keys,
 * certificates, state. A file is there as a whole or not at all, by writing
 * another one that gets its name; and its owner alone may read it, unless it is
 * for all. Names are one component beneath the directory; those with a dot in
 * front are ours. */
#include "io/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_SIZE = 256, CREATE_FLAGS = O_CLOEXEC | O_CREAT | O_NOFOLLOW | O_NOCTTY };

int dir_make(const char *path) {
    return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int copy_name(struct str name, char out[NAME_SIZE]) {
    if (name.n == 0 || *name.p == '.' || memchr(name.p, '/', name.n)) return -EINVAL;
    if (memchr(name.p, 0, name.n)) return -EINVAL;
    if (name.n > NAME_SIZE - 32) return -ENAMETOOLONG;
    memcpy(out, name.p, name.n);
    out[name.n] = 0;
    return 0;
}

static int write_all(int fd, struct str bytes) {
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -errno;
        bytes = str_skip(bytes, (size_t)n);
    }
    return fsync(fd) < 0 ? -errno : 0;
}

/* Gives the file its name. A file that must be new gets it by a link: that fails
 * when there is one. */
static int take_name(int dir, const char *fresh, const char *final, unsigned how) {
    if (!(how & FILE_NEW)) return renameat(dir, fresh, dir, final) < 0 ? -errno : 0;
    if (linkat(dir, fresh, dir, final, 0) < 0) return -errno;
    unlinkat(dir, fresh, 0);
    return 0;
}

int dir_write_file(int dir, struct str name, struct str bytes, unsigned how) {
    char final[NAME_SIZE], fresh[NAME_SIZE + 32];
    uint64_t number; /* nobody else's, not in another container either, whose ids are ours */
    int rc = copy_name(name, final);
    if (rc < 0) return rc;
    if (getrandom(&number, sizeof number, 0) != sizeof number) return -EIO;
    snprintf(fresh, sizeof fresh, ".%s.%016llx", final, (unsigned long long)number);
    mode_t mode = how & FILE_FOR_ALL ? 0666 : 0600;
    int fd = openat(dir, fresh, O_WRONLY | O_EXCL | CREATE_FLAGS, mode);
    if (fd < 0) return -errno;
    rc = write_all(fd, bytes);
    if (close(fd) < 0 && rc == 0) rc = -errno;
    if (rc == 0) rc = take_name(dir, fresh, final, how);
    if (rc < 0) {
        unlinkat(dir, fresh, 0);
        return rc;
    }
    return fsync(dir) < 0 && errno != EINVAL ? -errno : 0;
}

int dir_make_beneath(int dir, struct str name, bool for_all) {
    char path[NAME_SIZE];
    int rc = copy_name(name, path);
    if (rc < 0) return rc;
    return mkdirat(dir, path, for_all ? 0777 : 0700) < 0 ? -errno : 0;
}

int dir_remove_file(int dir, struct str name) {
    char path[NAME_SIZE];
    int rc = copy_name(name, path);
    if (rc < 0) return rc;
    return unlinkat(dir, path, 0) < 0 ? -errno : 0;
}

int dir_lock_file(int dir, struct str name) {
    char path[NAME_SIZE];
    int rc = copy_name(name, path);
    if (rc < 0) return rc;
    int fd = openat(dir, path, O_RDWR | CREATE_FLAGS, 0600);
    if (fd < 0) return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    rc = errno == EWOULDBLOCK ? RW_EAGAIN : -errno;
    close(fd);
    return rc;
}
