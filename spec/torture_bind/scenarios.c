/* SPDX-License-Identifier: MIT */
/* What is played while memory fails. */
#include "torture.h"

#include <string.h>

/* A peer says something, and gets an answer. */
static enum outcome exchange(struct world *w, const struct scenario *s) {
    struct peer p;
    peer_open(&p, w, s->port);
    peer_say(&p, s->say, strlen(s->say));
    enum outcome o = peer_await(&p, w, s->expect);
    peer_close(&p);
    return o;
}

/* A server of its own begins, serves and ends. */
static enum outcome start(struct world *w, const struct scenario *s) {
    struct world other;
    enum outcome o = world_try(&other) ? exchange(&other, s) : CUT;
    (void)w;
    world_end(&other);
    return o;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
#define POST(path, length, body)                                                  \
    "POST " path " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: " length \
    "\r\n\r\n" body

/* The peer goes while a handler waits. */
static enum outcome leave(struct world *w, const struct scenario *s) {
    enum { A_WHILE = 8 };
    struct peer p;
    peer_open(&p, w, s->port);
    peer_say(&p, s->say, strlen(s->say));
    for (int i = 0; i < A_WHILE; i++) world_step(w);
    peer_close(&p);
    return PERFECT;
}

/* Whoever is connected stays, whether the new code comes or not. */
static enum outcome reload(struct world *w, const struct scenario *s) {
    struct peer p;
    peer_open(&p, w, s->port);
    peer_say(&p, s->say, strlen(s->say));
    enum outcome before = peer_await(&p, w, s->expect);
    unsigned generation = world_generation(w);
    enum outcome o = world_reload(w);
    bool stayed = generation == world_generation(w);
    if (o == PERFECT && stayed) o = OTHERWISE;
    p.n = 0;
    peer_say(&p, s->say, strlen(s->say));
    enum outcome after = peer_await(&p, w, s->expect);
    peer_close(&p);
    if (before == HUNG || after == HUNG) return HUNG;
    return before > after ? before > o ? before : o : after > o ? after : o;
}

const struct scenario scenarios[] = {
    {"echo", exchange, ECHO, "hello", "hello", EACH},
    {"a line", exchange, LINES, "hello\r\n", "HELLO\r\n", EACH},
    {"a line that waits, and one behind it", exchange, LINES, "wait\r\nmore\r\n", "WAIT\r\nMORE\r\n", EACH},
    {"a request", exchange, HTTP, GET("/plain/you"), "\r\n\r\nhello you", EACH},
    {"a handler that waits", exchange, HTTP, GET("/wait"), "\r\n\r\nwaited", EACH},
    {"json", exchange, HTTP, GET("/json?q=1"), "\"list\":[1,2,3]", EACH},
    {"no such path", exchange, HTTP, GET("/missing"), "HTTP/1.1 404 ", EACH},
    {"a streamed answer", exchange, HTTP, GET("/stream"), "the end\r\n0\r\n\r\n", EACH},
    {"a body that is read", exchange, HTTP, POST("/read", "5", "abcde"), "\r\n\r\nedcba", EACH},
    {"a body by pieces", exchange, HTTP, POST("/upload", "5", "abcde"), "\r\n\r\n5 bytes", EACH},
    {"on_finish", exchange, HTTP, GET("/finish"), "\r\n\r\nfinishing", EACH},
    {"an upgrade", exchange, HTTP,
     "GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: lines\r\n\r\nhello\r\n",
     "\r\n\r\nHELLO\r\n", EACH},
    {"connecting", exchange, HTTP, GET("/connect"), "\r\n\r\nQUESTION", EACH},
    {"connecting to nobody", exchange, HTTP, GET("/refused"), "ECONNREFUSED", EACH},
    {"datagrams", exchange, HTTP, GET("/datagram"), "\r\n\r\nping", EACH},
    {"a chain of Deferreds", exchange, HTTP, GET("/chain"), "\r\n\r\nnumber 2", EACH},
    {"a failure that nobody takes", exchange, HTTP, GET("/unhandled"), "\r\n\r\nleft", EACH},
    {"delayed calls", exchange, HTTP, GET("/later"), "\r\n\r\nlater", EACH},
    {"a looping call", exchange, HTTP, GET("/loop"), "\r\n\r\n3 turns", EACH},
    {"tasks", exchange, HTTP, GET("/gather"), "\r\n\r\n1 2 0", EACH},
    {"a call in a thread", exchange, HTTP, GET("/thread"), "\r\n\r\nababab", EACH},
    {"a child", exchange, HTTP, GET("/child"), "\r\n\r\noutput\n", EACH},
    {"a child with a protocol", exchange, HTTP, GET("/spawn"), "\r\n\r\nstatus 3", EACH},
    {"messages of a thread", exchange, HTTP, GET("/post"), "\r\n\r\n2 messages", EACH},
    {"tls", exchange, HTTP, GET("/tls"), "\r\n\r\nQUESTION", THINLY},
    {"tls, and a hook that chooses", exchange, HTTP, GET("/choose"), "\r\n\r\nQUESTION", THINLY},
    {"start_tls", exchange, HTTP, GET("/start_tls"), "\r\n\r\nQUESTION", THINLY},
    {"a PROXY header", exchange, PROXIED, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello\r\n", "HELLO\r\n", EACH},
    {"a PROXY header that is sent", exchange, HTTP, GET("/introduce"), "\r\n\r\nQUESTION", EACH},
    {"a pipe", exchange, FORWARDED, "hello\r\n", "HELLO\r\n", ONE},
    {"a pair in memory", exchange, HTTP, GET("/pair"), "\r\n\r\nQUESTION", EACH},
    {"a file", exchange, HTTP, GET("/send_file"), "\r\n\r\n200000 bytes", EACH},
    {"a file, in slices", exchange, HTTP, GET("/send_slices"), "\r\n\r\n200000 bytes", EACH},
    {"a file that changes", exchange, HTTP, GET("/change"), "\r\n\r\nchanged", EACH},
    {"unix datagrams", exchange, HTTP, GET("/unixgram"), "\r\n\r\nping", EACH},
    {"a lookup", exchange, HTTP, GET("/lookup"), "\r\n\r\n192.0.2.1", EACH},
    {"addresses of a host", exchange, HTTP, GET("/resolve"), "\r\n\r\n192.0.2.1", THINLY},
    {"a peer that leaves a line's hook", leave, LINES, "forever\r\n", "", EACH},
    {"a peer that leaves a handler", leave, HTTP, GET("/forever"), "", EACH},
    {"a reload, with a line before and behind it", reload, LINES, "hello\r\n", "HELLO\r\n", THINLY},
    {"a reload, and a protocol that goes over", reload, ECHO, "hello", "hello", THINLY},
    {"a reload, between two requests", reload, HTTP,
     "GET /plain/you HTTP/1.1\r\nHost: localhost\r\n\r\n", "hello you", THINLY},
    {"a start", start, LINES, "hello\r\n", "HELLO\r\n", THINLY},
    {0},
};
