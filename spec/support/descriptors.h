/* SPDX-License-Identifier: MIT */
/* For the torture programs: did a descriptor stay open? */
#ifndef SUPPORT_DESCRIPTORS_H
#define SUPPORT_DESCRIPTORS_H

/* How many this process has. */
unsigned open_descriptors(void);

#endif
