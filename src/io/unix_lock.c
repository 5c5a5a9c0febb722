/* SPDX-License-Identifier: MIT */
/* The lock beside a UNIX socket: PATH.lock. The process that serves PATH holds it
 * (flock, exclusive) from before it binds until the socket is closed. The system
 * lets go of it when the process ends, however that dies, so it tells what a
 * socket file cannot: whether the owner lives. The file is empty and stays, as
 * that of lua/ropewalk/filelock.lua, with which it goes together.
 *
 * Who only asks takes it shared, for a moment. An owner-to-be that meets such a
 * one tries again; another owner refuses it at once.
 *
 * A file that is there already is not changed: in a directory that others may
 * write to it could be a link to anything.
 */
#include "io/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    TRIES = 100, /* of 5 ms, while others ask */
    PATH_SIZE = sizeof ((struct endpoint *)0)->host + sizeof ".lock",
};

static const char *path_of(const char *socket, char out[PATH_SIZE]) {
    snprintf(out, PATH_SIZE, "%s.lock", socket);
    return out;
}

/* 0, RW_EAGAIN (others have it) or < 0 */
static int try(int fd, int how) {
    if (flock(fd, how | LOCK_NB) == 0) return 0;
    return errno == EWOULDBLOCK ? RW_EAGAIN : -errno;
}

/* Who may connect may ask. */
static int give_away(int fd, const struct endpoint *e) {
    uid_t user;
    gid_t group;
    int rc = unix_owner(e, &user, &group);
    if (rc < 0) return rc;
    mode_t mode = 0600 | (mode_t)(e->mode & 0222) << 1;
    if (fchown(fd, user, group) < 0 || fchmod(fd, mode) < 0) return -errno;
    return 0;
}

static int open_file(const struct endpoint *e) {
    enum { FLAGS = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };
    char path[PATH_SIZE];
    struct stat st;
    int rc = 0, fd = open(path_of(e->host, path), FLAGS | O_CREAT | O_EXCL, 0600);
    if (fd >= 0 && (rc = give_away(fd, e)) < 0) unlink(path);
    else if (fd < 0 && errno == EEXIST) fd = open(path, FLAGS);
    if (fd < 0) return -errno;
    if (rc == 0 && fstat(fd, &st) < 0) rc = -errno;
    if (rc == 0 && !S_ISREG(st.st_mode)) rc = -EEXIST;
    if (rc == 0) return fd;
    close(fd);
    return rc;
}

int unix_lock_take(const struct endpoint *e) {
    int fd = open_file(e), rc = RW_EAGAIN;
    if (fd < 0) return fd;
    for (int i = 0; i < TRIES && (rc = try(fd, LOCK_EX)) == RW_EAGAIN; i++) {
        if (try(fd, LOCK_SH) < 0) break; /* an owner */
        flock(fd, LOCK_UN);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    if (rc == 0) return fd;
    close(fd);
    return rc == RW_EAGAIN ? RW_ELOCKED : rc;
}

int unix_lock_check(const char *socket) {
    char path[PATH_SIZE];
    int fd = open(path_of(socket, path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? RW_EUNLOCKED : -errno;
    int rc = try(fd, LOCK_SH);
    close(fd);
    return rc == 0 ? RW_EUNLOCKED : rc == RW_EAGAIN ? 0 : rc;
}
