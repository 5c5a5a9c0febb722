/* SPDX-License-Identifier: MIT */
/* How many descriptors this process may have: a matter of the process, not of
 * an instance, so whoever owns the process has to ask for more. */
#ifndef IO_DESCRIPTORS_H
#define IO_DESCRIPTORS_H

#include <sys/resource.h>

/* The soft limit becomes the hard one. The soft one is often 1024, for the sake
 * of programs that call select(): the children of ours get it back. */
void descriptors_raise(void);

/* The limit from before, for a child; NULL: it was not raised. */
const struct rlimit *descriptors_before(void);

#endif
