/* SPDX-License-Identifier: MIT */
/* Directories that exist for the length of a test. */
#include "io/internal.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { WALK_DESCRIPTORS = 16 };

int dir_make_temporary(char *out, size_t size) {
    const char *root = getenv("TMPDIR");
    if (!root || !*root) root = "/tmp";
    if ((size_t)snprintf(out, size, "%s/ropewalk-XXXXXX", root) >= size) return -ENAMETOOLONG;
    return mkdtemp(out) ? 0 : -errno;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

int dir_remove_tree(const char *path) {
    /* links are removed, not followed; another file system is left alone */
    int rc = nftw(path, remove_one, WALK_DESCRIPTORS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    return rc < 0 && errno != ENOENT ? -errno : 0;
}
