/* SPDX-License-Identifier: MIT */
#include "support/descriptors.h"

#include <ctype.h>
#include <dirent.h>

unsigned open_descriptors(void) {
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (!d) return 0;
    for (const struct dirent *e; (e = readdir(d));) n += isdigit((unsigned char)*e->d_name) != 0;
    closedir(d);
    return n - 1; /* the one that was counted with */
}
