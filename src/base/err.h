/* SPDX-License-Identifier: MIT */
/* Errors: every function that can fail returns 0 (or a count) or a negative
 * code. The space is errno's, negated, plus errors.def. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <errno.h>

enum rw_error {
#define X(name, code, text) name = code,
#include "base/errors.def"
#undef X
    RW_ENOMEM = -ENOMEM,
    RW_EINVAL = -EINVAL,
    RW_ETIMEDOUT = -ETIMEDOUT,
    RW_EAGAIN = -EAGAIN,
    RW_ECANCELED = -ECANCELED,
};

/* "RW_EPROTO", "ECONNRESET", … ; never NULL. */
const char *err_name(int code);

/* One line for people; never NULL. */
const char *err_text(int code);

#endif
