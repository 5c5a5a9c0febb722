/* SPDX-License-Identifier: MIT */
/* Frames under libFuzzer. Input: the format, max_frame, how to cut, bytes.
 * Besides what splits.h checks: what was read and is sent again is the input,
 * and a rest is the rest. */
#include "proto/frame.h"
#include "splits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct splits *now;
static struct frame_format format;

static int init(void *e, const struct engine_env *env) {
    int rc = frame_engine.init(e, env);
    return rc < 0 ? rc : frame_configure(e, &format);
}

static void hook(void *e, const struct event *ev, struct str fed) {
    struct str rest = frame_engine.left(e);
    splits_assert(rest.n <= fed.n && str_eq(rest, str_skip(fed, fed.n - rest.n)),
                  "a rest that is not the end");
    size_t before = buf_len(now->out);
    if (frame_engine.send(e, ev) < 0)
        splits_assert(buf_len(now->out) == before, "a refused frame was sent in part");
    else if (now->out->mem->failures == 0)
        splits_assert(str_starts(fed, buf_str(now->out)), "sent otherwise than read");
}

/* The header's first bytes are fixed where the length is not. */
static void read_format(struct str *in) {
    unsigned shape = splits_byte(in), size = splits_byte(in), adjust = splits_byte(in);
    format = (struct frame_format){
        .width = (uint8_t)(1 + shape % 8), .little = shape & 8, .plain = shape & 16,
        .offset = (uint8_t)(size % 8), .adjust = (int32_t)(adjust % 16) - 8};
    format.header = (uint8_t)(format.offset + format.width + size / 8 % 8);
    format.trailer = format.plain ? 0 : (uint8_t)(size / 64);
    if (!(shape & 32)) return;
    for (unsigned i = 0; i < format.header; i++) {
        if (i >= format.offset && i < (unsigned)format.offset + format.width) continue;
        format.fixed[i] = (char)i;
        format.mask[i] = shape & 64 ? 1 : (char)0xff;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct str in = str_of((const char *)data, n);
    struct engine engine = frame_engine;
    struct splits s = {.engine = &engine, .limits = limits_default, .hook = hook};
    engine.init = init;
    read_format(&in);
    if (format.plain && format.header != format.width) format.plain = false;
    s.limits.max_frame = 1u << splits_byte(&in) % 20;
    now = &s;
    splits_check(&s, in);
    return 0;
}
