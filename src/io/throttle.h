/* SPDX-License-Identifier: MIT */
/* A filter that keeps a stream to the rates of its limits. */
#ifndef IO_THROTTLE_H
#define IO_THROTTLE_H

#include "io/stream.h"

/* What streams share that have total rates in common. Counted: each throttle
 * holds it, and its maker until throttle_group_leave. NULL: out of memory. */
struct throttle_group;
struct throttle_group *throttle_group_new(struct loop *l);
void throttle_group_leave(struct throttle_group *g);

/* Does one of the rates say anything? */
bool throttle_wanted(const struct limits *l);

/* The stream keeps from now on to its limits' read_rate and write_rate and,
 * with a group, to total_read_rate and total_write_rate; to what they are at
 * the moment, should they change. 0, or RW_ENOMEM. */
int throttle_push(struct stream *s, struct throttle_group *g);
bool throttle_has(const struct stream *s);

#endif
