/* SPDX-License-Identifier: MIT */
/* The doors of single engines that stand beside the contract, for `call`
 * blocks. A row per door; questions take the expected answer as an argument
 * and fail with RW_EINVAL on another. `feed`, for every engine, is the
 * driver's: it feeds the next piece now, before any event is asked for. */
#include "proto/http1.h"
#include "proto/line.h"
#include "torture.h"

#define CALL(name) static int name(void *e, const union event_arg *args)

static int expect(bool as_said) { return as_said ? 0 : RW_EINVAL; }

CALL(call_line_raw) {
    uint64_t bytes = args[0].num < 0 ? LINE_RAW_FOREVER : (uint64_t)args[0].num;
    line_set_raw(e, bytes);
    return 0;
}
CALL(call_line_lines) {
    (void)args;
    line_set_lines(e);
    return 0;
}
CALL(call_line_ending) {
    struct str name = args[0].str;
    if (str_eq(name, STR("crlf"))) return line_set_delimiter(e, LINE_CRLF, STR_NONE);
    if (str_eq(name, STR("lf-or-crlf")))
        return line_set_delimiter(e, LINE_LF_OR_CRLF, STR_NONE);
    return RW_EINVAL;
}
CALL(call_line_delimiter) {
    return line_set_delimiter(e, LINE_CUSTOM, args[0].str);
}
CALL(call_line_leftover) {
    return expect(str_eq(line_leftover(e), args[0].str));
}

CALL(call_http1_respond) {
    return http1_respond(e, (int)args[0].num, args[1].str, args[2].str, STR_NONE);
}
CALL(call_http1_head) {
    return http1_send_head(e, (int)args[0].num, args[1].str, args[2].fields,
                           args[3].num, args[4].str);
}
CALL(call_http1_elsewhere) {
    return http1_send_elsewhere(e, (uint64_t)args[0].num);
}
CALL(call_http1_upgrade) {
    return http1_upgrade(e, args[0].str, args[1].fields);
}
CALL(call_http1_close_after) {
    (void)args;
    http1_close_after(e);
    return 0;
}
CALL(call_http1_idle) { return expect(http1_idle(e) == (args[0].num != 0)); }
CALL(call_http1_finished) {
    return expect(http1_finished(e) == (args[0].num != 0));
}

static const struct call calls[] = {
    {NULL, "feed", "", NULL},
    {&line_engine, "raw", "int:bytes", call_line_raw}, /* -1: for ever */
    {&line_engine, "lines", "", call_line_lines},
    {&line_engine, "ending", "str:name", call_line_ending},
    {&line_engine, "delimiter", "str:bytes", call_line_delimiter},
    {&line_engine, "leftover", "str:bytes", call_line_leftover},
    {&http1_engine, "respond", "int:status str:type str:body", call_http1_respond},
    {&http1_engine, "head", "int:status str:reason fields:headers int:length str:date",
     call_http1_head},
    {&http1_engine, "elsewhere", "int:bytes", call_http1_elsewhere},
    {&http1_engine, "upgrade", "str:protocol fields:headers", call_http1_upgrade},
    {&http1_engine, "close_after", "", call_http1_close_after},
    {&http1_engine, "idle", "int:yes", call_http1_idle},
    {&http1_engine, "finished", "int:yes", call_http1_finished},
};

const struct call *call_find(const struct engine *engine, struct str name) {
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if ((!calls[i].engine || calls[i].engine == engine) && str_eq(name, str_c(calls[i].name)))
            return &calls[i];
    return NULL;
}
