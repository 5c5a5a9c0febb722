/* SPDX-License-Identifier: MIT */
/* The io layer: the only place that sees libuv. It moves bytes between file
 * descriptors and owners, and tells the time.
 *
 * Rules that every owner may rely on:
 *
 *   1. Hooks are called from the loop only, never from inside a call that the
 *      owner makes. A close asked for in a hook happens after it.
 *   2. on_close is the last hook of an object, comes exactly once for an
 *      object that was handed out, and the object is gone when it returns.
 *   3. Bytes given to a hook are borrowed until it returns.
 *   4. Every write has a result; every queue has a maximum.
 */
#ifndef IO_IO_H
#define IO_IO_H

#include "io/datagram.h"
#include "io/listen.h"
#include "io/loop.h"
#include "io/names.h"
#include "io/pipe.h"
#include "io/process.h"
#include "io/proxy.h"
#include "io/stream.h"
#include "io/threads.h"
#include "io/throttle.h"
#include "io/trace.h"

#endif
