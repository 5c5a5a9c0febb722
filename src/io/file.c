/* SPDX-License-Identifier: MIT */
/* Files beneath a directory. The kernel resolves the path (openat2), so that
 * neither "..", nor an absolute path, nor a link, nor a race with somebody who
 * moves directories about leads out. Where openat2 is not to be had (an old
 * kernel, a sandbox), the path is walked by component and links are refused
 * altogether.
 *
 * Only regular files and directories are opened: what has side effects when it
 * is read (fifos, devices) is not for serving.
 */
#include "io/internal.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    OPEN_FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
    OPEN_TRIES = 4, /* openat2 says EAGAIN when it lost a race with a rename */
};

int dir_open(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int open_beneath(int dir, const char *path) {
    struct open_how how = {
        .flags = OPEN_FLAGS,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    long fd = -1;
    for (int i = 0; i < OPEN_TRIES; i++) {
        fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
    }
    return fd < 0 ? -errno : (int)fd;
}

/* `path` is cut into pieces. */
static int walk(int dir, char *path) {
    int at = dir;
    if (path[0] == '/') return -EXDEV;
    for (char *name = path;;) {
        char *rest = strchr(name, '/');
        if (rest) *rest++ = 0;
        if (strcmp(name, "..") == 0) {
            if (at != dir) close(at);
            return -EXDEV;
        }
        bool here = !*name || strcmp(name, ".") == 0;
        int flags = rest ? O_PATH | O_DIRECTORY | O_CLOEXEC : OPEN_FLAGS;
        int fd = openat(at, here ? "." : name, flags | O_NOFOLLOW);
        int rc = fd < 0 ? -errno : fd;
        if (at != dir) close(at);
        if (rc < 0 || !rest) return rc;
        at = fd;
        name = rest;
    }
}

/* Refuses what is neither a file nor a directory. */
static int describe(int fd, struct file_info *out) {
    struct stat st;
    if (fstat(fd, &st) < 0) return -errno;
    *out = (struct file_info){
        .size = (uint64_t)st.st_size,
        .mtime = st.st_mtim.tv_sec,
        .mtime_ns = (uint64_t)st.st_mtim.tv_nsec,
        .inode = st.st_ino,
        .is_directory = S_ISDIR(st.st_mode),
        .is_regular = S_ISREG(st.st_mode),
    };
    return out->is_directory || out->is_regular ? 0 : -EACCES;
}

int dir_open_file(int dir, struct str path, struct file_info *info) {
    char name[PATH_MAX];
    if (path.n == 0) return -ENOENT;
    if (path.n >= sizeof name) return -ENAMETOOLONG;
    if (memchr(path.p, 0, path.n)) return -ENOENT;
    memcpy(name, path.p, path.n);
    name[path.n] = 0;
    int fd = open_beneath(dir, name);
    if (fd == -ENOSYS || fd == -EPERM) fd = walk(dir, name);
    if (fd < 0) return fd;
    int rc = describe(fd, info);
    if (rc == 0) return fd;
    close(fd);
    return rc;
}

int file_read(int fd, uint64_t offset, char *out, size_t n) {
    if (n > INT_MAX) n = INT_MAX;
    ssize_t got;
    do got = pread(fd, out, n, (off_t)offset);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : (int)got;
}

void file_close(int fd) { close(fd); }
