/* SPDX-License-Identifier: MIT */
/* usage: uv_http PORT
 *
 * The ceiling for a server of this kind: libuv, one call of a Lua function per
 * request, and a toy in place of an HTTP parser (it looks for the blank line).
 * No limits, no deadlines, no routes, no protection: nobody should run this.
 * A peer in spec/bench/run: what all the rest of Ropewalk costs together. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

enum { HEAD = 4096, OUT = 65536, BACKLOG = 4096 };

struct client {
    uv_tcp_t tcp;
    size_t have;
    char in[HEAD];
};

static const char script[] = "return function() return 'Hello from Ropewalk\\n' end";
static lua_State *lua;
static char date[64];

static void on_closed(uv_handle_t *handle) { free(handle); }

static void drop(struct client *c) {
    if (!uv_is_closing((uv_handle_t *)&c->tcp))
        uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf) {
    struct client *c = (struct client *)handle;
    (void)hint;
    *buf = uv_buf_init(c->in + c->have, (unsigned)(HEAD - c->have));
}

static void on_tick(uv_timer_t *timer) {
    time_t now = time(NULL);
    struct tm tm;
    (void)timer;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
}

/* Bytes written to out, or 0 when there is no room or no answer. */
static size_t answer(const char *head, char *out, size_t room) {
    size_t size;
    if (memcmp(head, "GET / ", 6) != 0) return 0;
    lua_pushvalue(lua, 1);
    if (lua_pcall(lua, 0, 1, 0) != LUA_OK) return 0;
    const char *body = lua_tolstring(lua, -1, &size);
    int n = snprintf(out, room,
                     "HTTP/1.1 200 OK\r\nDate: %s\r\n"
                     "Content-Type: text/plain; charset=utf-8\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     date, size, body);
    lua_settop(lua, 1);
    return n > 0 && (size_t)n < room ? (size_t)n : 0;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    static char out[OUT];
    struct client *c = (struct client *)stream;
    size_t used = 0, head = 0;
    char *end;
    (void)buf;
    if (n < 0) drop(c);
    if (n <= 0) return;
    c->have += (size_t)n;
    while ((end = memmem(c->in + head, c->have - head, "\r\n\r\n", 4))) {
        size_t wrote = answer(c->in + head, out + used, OUT - used);
        if (!wrote) {
            drop(c);
            return;
        }
        used += wrote;
        head = (size_t)(end + 4 - c->in);
    }
    c->have -= head;
    memmove(c->in, c->in + head, c->have);
    uv_buf_t all = uv_buf_init(out, (unsigned)used);
    if (c->have == HEAD || (used && uv_try_write(stream, &all, 1) != (int)used))
        drop(c);
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status < 0) return;
    struct client *c = calloc(1, sizeof *c);
    if (!c) return;
    uv_tcp_init(listener->loop, &c->tcp);
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) < 0) {
        drop(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

int main(int argc, char **argv) {
    struct sockaddr_in address;
    uv_tcp_t listener;
    uv_timer_t timer;
    uv_loop_t *loop = uv_default_loop();
    if (argc != 2 || uv_ip4_addr("127.0.0.1", atoi(argv[1]), &address) < 0) {
        fprintf(stderr, "usage: uv_http PORT\n");
        return 2;
    }
    lua = luaL_newstate();
    if (!lua) return 1;
    luaL_openlibs(lua);
    if (luaL_dostring(lua, script)) return 1;
    on_tick(NULL);
    uv_timer_init(loop, &timer);
    uv_timer_start(&timer, on_tick, 1000, 1000);
    signal(SIGPIPE, SIG_IGN);
    uv_tcp_init(loop, &listener);
    int rc = uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0);
    if (rc == 0) rc = uv_listen((uv_stream_t *)&listener, BACKLOG, on_connection);
    if (rc < 0) {
        fprintf(stderr, "uv_http: %s\n", uv_strerror(rc));
        return 1;
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
