/* SPDX-License-Identifier: MIT */
/* HTTP connections: http.c drives the engine and runs handlers, request.c and
 * response.c are what handlers hold. */
#ifndef BIND_HTTP_H
#define BIND_HTTP_H

#include "bind/conn.h"
#include "bind/router.h"
#include "proto/http1.h"

/* The request object: a userdata with the head's bytes behind it, so that it
 * stays readable for as long as somebody holds it. Its uservalue is the fields
 * that scripts assign and those computed once. */
struct request {
    struct http_conn *conn; /* NULL: the exchange is over */
    struct str method, target, host; /* into bytes */
    int version;
    int64_t length;         /* -1: chunked */
    bool keep_alive, secure, started, finished, body_ended;
    int route;              /* id in the router, 0: none */
    size_t field_count;
    struct field *fields;   /* behind the struct; then the bytes */
};

/* What on_finish has said: a userdata, in the registry until all is told. Uservalues:
 * 1 the functions, 2 the request. */
struct finish {
    struct debt debt;
    lua_Integer count; /* of the functions that were told */
    int reason;        /* why the answer is not complete; 0: it is */
    bool held, over;   /* the exchange still needs the request; all are told */
};
enum { FINISH_FUNCTIONS = 1, FINISH_REQUEST };

struct http_conn {
    struct conn base;
    struct http1 engine;
    struct request *request; /* of the handler that runs, else NULL */
    struct str unread;       /* fed in this round, not yet taken; borrowed */
    struct wait_list readers; /* waits for a piece of the body: one at most */
    struct wait_list writers; /* wait for the peer to read */
    struct finish *finish;   /* of the request; NULL: nobody wants to know */
    int body_failed;         /* why the body of this request ended too soon; 0: it did not */
    bool active;             /* a handler runs or waits */
    bool pumping;
};

static inline struct http_conn *http_of(struct conn *c) {
    return (struct http_conn *)c;
}

/* Pushes a request made from the engine's current one. */
struct request *request_push(lua_State *L, struct http_conn *h);
/* The table on top becomes request.params; popped. */
void request_set_params(lua_State *L, int index);
struct request *request_check(lua_State *L, int index);
void response_methods(lua_State *L); /* added to the table on top */

struct str http_date(struct rw *rw); /* value for the Date field */

/* Bytes that are here already: BODY (1, borrowed until the next call), END
 * (0), RW_EAGAIN, or an error. */
int http_pull_body(struct http_conn *h, struct str *data);

/* Encoding begins: `out` is this connection's. Large output is sent. */
void http_begin_output(struct http_conn *h);
void http_sent(struct http_conn *h);

/* After 101. Stack: …, factory at 4. The stream is a protocol's from now on: 0 or RW_ENOMEM. */
int http_hand_over(lua_State *L, struct http_conn *h);

void http_update_deadline(struct http_conn *h);

/* ── finish.c ─────────────────────────────────────────────────────────────*/

/* Pushes that of the exchange, whose request is at `index`. */
struct finish *finish_push(lua_State *L, struct http_conn *h, int index);
/* The exchange is over. */
void finish_owe(struct http_conn *h, struct generation *g);
/* It needs its request no more. */
void finish_release(struct http_conn *h, struct generation *g);

/* The exchange failed: closes after what is in `out`. */
void http_fail(struct http_conn *h, int code);

/* The class' uservalue positions of a server's box for HTTP. */
enum { BOX_FACTORY = 1, BOX_HTTP, BOX_ROUTER };

#endif
