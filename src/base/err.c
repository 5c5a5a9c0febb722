/* SPDX-License-Identifier: MIT */
#include "base/err.h"

#include <string.h>

const char *err_name(int code) {
    switch (code) {
    case 0: return "RW_OK";
#define X(name, value, text) case value: return #name;
#include "base/errors.def"
#undef X
    default: break;
    }
    const char *name = strerrorname_np(-code);
    return name ? name : "RW_EUNKNOWN";
}

const char *err_text(int code) {
    switch (code) {
    case 0: return "no error";
#define X(name, value, text) case value: return text;
#include "base/errors.def"
#undef X
    default: break;
    }
    const char *text = strerrordesc_np(-code);
    return text ? text : "unknown error";
}
