/* SPDX-License-Identifier: MIT */
/* TCP streams. Nagle's algorithm is off: the listening socket has TCP_NODELAY
 * and what it accepts inherits it, so that costs no call per connection. */
#include "io/stream_private.h"

#include <string.h>

static void tcp_close(struct stream *s) {
    struct uvstream *u = uvstream_of(s);
    if (u->f.reset && uv_tcp_close_reset(&u->uv.tcp, uvstream_gone) == 0)
        return;
    uv_close(&u->uv.handle, uvstream_gone);
}

static int tcp_option(struct stream *s, const char *name, int64_t value) {
    uv_tcp_t *h = &uvstream_of(s)->uv.tcp;
    if (strcmp(name, "nodelay") == 0) return uv_tcp_nodelay(h, value != 0);
    if (strcmp(name, "keepalive") != 0)
        return uvstream_buffer_option(s, name, value);
    uv_os_fd_t fd;
    if (value < 0 || value > TCP_KEEP_ALIVE_MAX) return RW_EINVAL;
    int rc = uv_fileno((uv_handle_t *)h, &fd);
    return rc < 0 ? rc : tcp_keep_alive(fd, (int)value);
}

static const struct transport_ops tcp_ops = {
    .name = "tcp",
    .lingers = true,
    .write = uvstream_write,
    .queue = uvstream_queue,
    .unsent = uvstream_unsent,
    .sendfile = uvstream_sendfile,
    .read = uvstream_read,
    .shutdown = uvstream_shutdown,
    .close = tcp_close,
    .peer = uvstream_peer,
    .host = uvstream_host,
    .option = tcp_option,
};

int tcp_adopt(struct loop *l, int fd, const struct limits *limits,
              struct stream **out) {
    struct uvstream *u = mem_zalloc(l->mem, sizeof *u);
    if (!u) return RW_ENOMEM;
    uv_tcp_init(&l->uv, &u->uv.tcp);
    return uvstream_begin(u, uv_tcp_open(&u->uv.tcp, fd), l, limits, &tcp_ops, LEDGER_TCP, out);
}
