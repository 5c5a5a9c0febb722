/* SPDX-License-Identifier: MIT */
/* usage: uv_echo PORT
 *
 * What a TCP echo costs on libuv and nothing else: one buffer for all reads, a
 * write tried at once, and a queued one only for what the socket did not take.
 * A peer in spec/bench/run: how much the layers above libuv add. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { CHUNK = 65536, BACKLOG = 4096 };

struct late {
    uv_write_t write;
    char bytes[];
};

static char chunk[CHUNK];

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf) {
    (void)handle, (void)hint;
    *buf = uv_buf_init(chunk, CHUNK);
}

static void on_closed(uv_handle_t *handle) { free(handle); }

static void drop(uv_stream_t *stream) {
    if (!uv_is_closing((uv_handle_t *)stream))
        uv_close((uv_handle_t *)stream, on_closed);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_written(uv_write_t *write, int status) {
    uv_stream_t *stream = write->handle;
    free(write);
    if (status < 0) drop(stream);
    else if (uv_stream_get_write_queue_size(stream) == 0)
        uv_read_start(stream, on_alloc, on_read);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    if (n < 0) drop(stream);
    if (n <= 0) return;
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);
    int sent = uv_try_write(stream, &out, 1);
    if (sent == n) return;
    if (sent < 0) sent = 0;
    size_t rest = (size_t)(n - sent);
    struct late *late = malloc(sizeof *late + rest);
    if (!late) {
        drop(stream);
        return;
    }
    memcpy(late->bytes, buf->base + sent, rest);
    out = uv_buf_init(late->bytes, (unsigned)rest);
    uv_read_stop(stream);
    if (uv_write(&late->write, stream, &out, 1, on_written) < 0) {
        free(late);
        drop(stream);
    }
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status < 0) return;
    uv_tcp_t *tcp = malloc(sizeof *tcp);
    if (!tcp) return;
    uv_tcp_init(listener->loop, tcp);
    if (uv_accept(listener, (uv_stream_t *)tcp) < 0) {
        drop((uv_stream_t *)tcp);
        return;
    }
    uv_tcp_nodelay(tcp, 1);
    uv_read_start((uv_stream_t *)tcp, on_alloc, on_read);
}

int main(int argc, char **argv) {
    struct sockaddr_in address;
    uv_tcp_t listener;
    uv_loop_t *loop = uv_default_loop();
    if (argc != 2 || uv_ip4_addr("127.0.0.1", atoi(argv[1]), &address) < 0) {
        fprintf(stderr, "usage: uv_echo PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    uv_tcp_init(loop, &listener);
    int rc = uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0);
    if (rc == 0) rc = uv_listen((uv_stream_t *)&listener, BACKLOG, on_connection);
    if (rc < 0) {
        fprintf(stderr, "uv_echo: %s\n", uv_strerror(rc));
        return 1;
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
