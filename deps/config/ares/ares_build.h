/* SPDX-License-Identifier: MIT */
/* What c-ares' own configure writes for Linux: the types of its interface. */
#ifndef __CARES_BUILD_H
#define __CARES_BUILD_H

#define CARES_TYPEOF_ARES_SOCKLEN_T socklen_t
#define CARES_TYPEOF_ARES_SSIZE_T ssize_t
#define CARES_HAVE_SYS_TYPES_H 1
#define CARES_HAVE_SYS_SOCKET_H 1
#define CARES_HAVE_SYS_SELECT_H 1
#define CARES_HAVE_ARPA_NAMESER_H 1
#define CARES_HAVE_ARPA_NAMESER_COMPAT_H 1

#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>

#endif
