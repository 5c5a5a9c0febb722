/* SPDX-License-Identifier: MIT */
/* Netstrings under libFuzzer. Input: max_frame, how to cut, bytes. Besides
 * what splits.h checks: there is one spelling, so what was read and is sent
 * again is the input, byte for byte. */
#include "proto/netstring.h"
#include "splits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct splits *now;

static void hook(void *e, const struct event *ev, struct str fed) {
    size_t before = buf_len(now->out);
    if (netstring_engine.send(e, ev) < 0)
        splits_assert(buf_len(now->out) == before, "a refused string was sent in part");
    else if (now->out->mem->failures == 0)
        splits_assert(str_starts(fed, buf_str(now->out)), "a second spelling");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct str in = str_of((const char *)data, n);
    struct splits s = {.engine = &netstring_engine, .limits = limits_default, .hook = hook};
    s.limits.max_frame = 1u << splits_byte(&in) % 20;
    now = &s;
    splits_check(&s, in);
    return 0;
}
