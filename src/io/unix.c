/* SPDX-License-Identifier: MIT */
/* Streams over unix sockets. */
#include "io/stream_private.h"

static void unix_close(struct stream *s) {
    uv_close(&uvstream_of(s)->uv.handle, uvstream_gone);
}

static const struct transport_ops unix_ops = {
    .name = "unix",
    .lingers = true,
    .write = uvstream_write,
    .queue = uvstream_queue,
    .unsent = uvstream_unsent,
    .sendfile = uvstream_sendfile,
    .read = uvstream_read,
    .shutdown = uvstream_shutdown,
    .close = unix_close,
    .peer = uvstream_peer,
    .host = uvstream_host,
    .option = uvstream_buffer_option,
};

int unix_adopt(struct loop *l, int fd, const struct limits *limits,
               struct stream **out) {
    struct uvstream *u = mem_zalloc(l->mem, sizeof *u);
    if (!u) return RW_ENOMEM;
    uv_pipe_init(&l->uv, &u->uv.pipe, 0);
    return uvstream_begin(u, uv_pipe_open(&u->uv.pipe, fd), l, limits, &unix_ops, LEDGER_UNIX, out);
}
