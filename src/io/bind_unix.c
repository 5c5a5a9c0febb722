/* SPDX-License-Identifier: MIT */
/* UNIX sockets that are bound, of streams or of datagrams: whose file they have,
 * with which mode, and what becomes of a file that is there already. One that
 * somebody serves stays, as does what is no socket; a leftover is replaced.
 */
#include "io/internal.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_TRIES = 100 /* of 5 ms, for the directory */ };

/* ── who else is there ────────────────────────────────────────────────────*/

/* A socket file that nobody listens behind is a leftover of a crash. */
static int remove_stale(const char *path, int type, const struct sockaddr_un *un, unsigned size) {
    struct stat st;
    if (lstat(path, &st) < 0) return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode)) return -EADDRINUSE;
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int rc = connect(fd, (const struct sockaddr *)un, size) < 0 ? -errno : 0;
    close(fd);
    if (rc == -ENOENT) return 0;
    if (rc != -ECONNREFUSED) return -EADDRINUSE;
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* Of two processes that find the same leftover, the slower one would unlink
 * the live socket of the other: they take turns. Where the directory cannot be
 * read or locked, it goes without. */
static int lock_directory(const char *path) {
    char directory[sizeof ((struct endpoint *)0)->host];
    snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    if (slash) slash[slash == directory] = 0;
    int fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) break;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return fd;
}

/* ── whose it is ──────────────────────────────────────────────────────────*/

/* What is nobody's name may be a number; the highest is none, it says "as it
 * is" to chown. */
static int find_number(const char *text, uint32_t *out) {
    int why = errno;
    uint64_t number;
    if (str_to_u64(str_c(text), &number) < 0 || number >= UINT32_MAX)
        return why && why != ENOENT ? -why : RW_ENONAME;
    *out = (uint32_t)number;
    return 0;
}

static int find_user(const char *name, uid_t *out) {
    errno = 0;
    const struct passwd *found = getpwnam(name);
    if (!found) return find_number(name, out);
    *out = found->pw_uid;
    return 0;
}

static int find_group(const char *name, gid_t *out) {
    errno = 0;
    const struct group *found = getgrnam(name);
    if (!found) return find_number(name, out);
    *out = found->gr_gid;
    return 0;
}

int unix_owner(const struct endpoint *e, uid_t *user, gid_t *group) {
    *user = (uid_t)-1;
    *group = (gid_t)-1;
    int rc = e->user[0] ? find_user(e->user, user) : 0;
    return rc == 0 && e->group[0] ? find_group(e->group, group) : rc;
}

static int set_owner(const struct endpoint *e) {
    uid_t user;
    gid_t group;
    int rc = unix_owner(e, &user, &group);
    if (rc < 0 || (!e->user[0] && !e->group[0])) return rc;
    return lchown(e->host, user, group) < 0 ? -errno : 0;
}

/* ── binding ──────────────────────────────────────────────────────────────*/

static int remember(struct socket_file *file, const struct sockaddr_un *un) {
    struct stat st;
    if (lstat(un->sun_path, &st) < 0) return -errno;
    file->device = st.st_dev;
    file->inode = st.st_ino;
    snprintf(file->path, sizeof file->path, "%.*s", (int)sizeof un->sun_path - 1, un->sun_path);
    return 0;
}

/* Before bind the file is never more open than asked for; after it the umask
 * is made up for. */
static int bind_path(const struct endpoint *e, int fd, const struct sockaddr_un *un,
                     unsigned size, struct socket_file *file) {
    mode_t mode = (mode_t)(e->mode & 07777);
    if (mode && fchmod(fd, mode) < 0) return -errno;
    if (bind(fd, (const struct sockaddr *)un, size) < 0) return -errno;
    int rc = remember(file, un);
    if (rc == 0) rc = set_owner(e);
    if (rc == 0 && mode && chmod(e->host, mode) < 0) rc = -errno;
    return rc;
}

static int bind_file(const struct endpoint *e, int fd, int type, const struct sockaddr_un *un,
                     unsigned size, struct socket_file *file) {
    int rc = e->lock ? unix_lock_take(e) : 0;
    if (rc < 0) return rc;
    if (e->lock) file->lock = rc;
    int directory = lock_directory(e->host);
    rc = remove_stale(e->host, type, un, size);
    if (rc == 0) rc = bind_path(e, fd, un, size, file);
    if (directory >= 0) close(directory);
    return rc;
}

int bind_unix(const struct endpoint *e, int type, struct socket_file *file) {
    struct sockaddr_un un;
    unsigned size;
    int rc = address_unix(e->host, &un, &size);
    *file = (struct socket_file){.lock = -1};
    if (rc < 0) return rc;
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (e->host[0] != '@') rc = bind_file(e, fd, type, &un, size, file);
    else if (bind(fd, (struct sockaddr *)&un, size) < 0) rc = -errno;
    if (rc == 0 && type == SOCK_STREAM && listen(fd, backlog_of(e)) < 0) rc = -errno;
    if (rc == 0) return fd;
    socket_file_leave(file);
    close(fd);
    return rc;
}

/* Another process may have put its own in the place. */
void socket_file_leave(struct socket_file *file) {
    struct stat now;
    if (file->path[0] && lstat(file->path, &now) == 0 && now.st_dev == file->device &&
        now.st_ino == file->inode)
        unlink(file->path);
    if (file->lock >= 0) close(file->lock);
    *file = (struct socket_file){.lock = -1};
}
