/* SPDX-License-Identifier: MIT */
/* The doors of single engines that stand beside the contract, for `call`
 * blocks. A row per door; questions take the expected answer as an argument
 * and fail with RW_EINVAL on another. Two are for every engine: `limit` sets a
 * limit, `feed`, the driver's, feeds the next piece now, before any event is
 * asked for. */
#include "proto/frame.h"
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
CALL(call_line_left) { return expect(str_eq(line_engine.left(e), args[0].str)); }

CALL(call_netstring_left) {
    return expect(str_eq(netstring_engine.left(e), args[0].str));
}

/* width < 0: little endian; fixed: the header, '?' for what may be anything */
CALL(call_frame_format) {
    int64_t width = args[2].num < 0 ? -args[2].num : args[2].num;
    struct frame_format f = {
        .header = (uint8_t)args[0].num, .offset = (uint8_t)args[1].num,
        .width = (uint8_t)width, .little = args[2].num < 0,
        .adjust = (int32_t)args[3].num, .trailer = (uint8_t)args[4].num};
    struct str fixed = args[5].str;
    for (size_t i = 0; i < fixed.n && i < FRAME_MAX_HEADER; i++) {
        f.fixed[i] = fixed.p[i];
        f.mask[i] = fixed.p[i] == '?' ? 0 : (char)0xff;
    }
    f.plain = f.header == f.width && f.trailer == 0 && f.adjust == 0;
    return frame_configure(e, &f);
}
CALL(call_frame_max) {
    struct frame_format f = ((struct frame *)e)->format;
    f.max = (uint64_t)args[0].num;
    return frame_configure(e, &f);
}
CALL(call_frame_left) { return expect(str_eq(frame_engine.left(e), args[0].str)); }

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

/* The driver may exchange them between two calls. */
CALL(call_limit) {
    static struct limits changed;
    struct engine_env *env = e; /* its first member */
    changed = *env->limits;
    env->limits = &changed;
    return limits_set(&changed, args[0].str, (uint64_t)args[1].num);
}

static const struct call calls[] = {
    {NULL, "feed", "", NULL},
    {NULL, "limit", "str:name int:value", call_limit},
    {&line_engine, "raw", "int:bytes", call_line_raw}, /* -1: for ever */
    {&line_engine, "lines", "", call_line_lines},
    {&line_engine, "ending", "str:name", call_line_ending},
    {&line_engine, "delimiter", "str:bytes", call_line_delimiter},
    {&line_engine, "left", "str:bytes", call_line_left},
    {&netstring_engine, "left", "str:bytes", call_netstring_left},
    {&frame_engine, "format", "int:header int:offset int:width int:adjust int:trailer str:fixed",
     call_frame_format},
    {&frame_engine, "max", "int:bytes", call_frame_max},
    {&frame_engine, "left", "str:bytes", call_frame_left},
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
