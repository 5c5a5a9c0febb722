/* SPDX-License-Identifier: MIT */
/* Responses. Whatever the caller says, what goes out is one well-formed message
 * per request: the framing fields (Content-Length, Transfer-Encoding,
 * Connection) are written here and nowhere else, and no name or value passes
 * that could end its line (response splitting).
 *
 * How the body is framed (RFC 9112 §6.3):
 *
 *      HEAD, 204, 205, 304  no body, whatever is sent
 *      length known         Content-Length, and exactly that much
 *      not known, HTTP/1.1  chunked
 *      not known, HTTP/1.0  until close
 *
 * Every call first makes room for all it will write, then writes: it happens
 * whole or not at all. */
#include "proto/http1_inner.h"
#include "proto/scan.h"

enum { HEAD_ROOM = 160 }; /* status line, framing: all but the caller's bytes */

/* --- writing ------------------------------------------------------------- */

static inline char *put(char *at, struct str s) {
    if (s.n) memcpy(at, s.p, s.n);
    return at + s.n;
}
#define PUT(at, literal) put(at, STR(literal))

static inline char *put_number(char *at, uint64_t n, unsigned base) {
    unsigned digits = 1;
    for (uint64_t rest = n; rest >= base; rest /= base) digits++;
    for (char *p = at + digits; p > at; n /= base)
        *--p = "0123456789abcdef"[n % base];
    return at + digits;
}

static inline char *put_field(char *at, struct str name, struct str value) {
    at = PUT(put(at, name), ": ");
    return PUT(put(at, value), "\r\n");
}

static int room(struct http1 *e, size_t n, char **at) {
    struct buf *out = e->env.out;
    *at = buf_reserve(out, n);
    if (*at) return 0;
    return buf_fits(out, n) ? RW_ENOMEM : RW_ELIMIT;
}

static void wrote(struct http1 *e, const char *end) {
    struct buf *out = e->env.out;
    buf_commit(out, (size_t)(end - (out->data + out->tail)));
}

/* --- what a caller may say ----------------------------------------------- */

static bool value_ok(struct str s) {
    return s.n == 0 || scan_all_value(s.p, s.n);
}

static bool name_ok(struct str s) {
    if (s.n == 0 || scan_token(s.p, s.p + s.n) != s.p + s.n) return false;
    switch (s.n) {
    case 10: return !str_eq_nocase(s, STR("connection"));
    case 14: return !str_eq_nocase(s, STR("content-length"));
    case 17: return !str_eq_nocase(s, STR("transfer-encoding"));
    default: return true;
    }
}

/* Bytes that the fields will need, or RW_EINVAL. */
static int64_t fields_size(struct fields headers) {
    size_t n = 0;
    for (size_t i = 0; i < headers.count; i++) {
        const struct field *f = &headers.at[i];
        if (!name_ok(f->name) || !value_ok(f->value)) return RW_EINVAL;
        n += f->name.n + f->value.n + 4;
    }
    return (int64_t)n;
}

static bool has_field(struct fields headers, struct str name) {
    for (size_t i = 0; i < headers.count; i++)
        if (str_eq_nocase(headers.at[i].name, name)) return true;
    return false;
}

/* --- heads --------------------------------------------------------------- */

static inline char *put_status(char *at, int status, struct str reason) {
    struct str line = http1_status_line(status);
    if (line.n && reason.n == 0) return put(at, line);
    at = put_number(PUT(at, "HTTP/1.1 "), (unsigned)status, 10);
    return PUT(put(PUT(at, " "), reason), "\r\n");
}

static char *put_fields(char *at, struct fields headers) {
    for (size_t i = 0; i < headers.count; i++)
        at = put_field(at, headers.at[i].name, headers.at[i].value);
    return at;
}

static inline char *put_length(char *at, uint64_t n) {
    at = put_number(PUT(at, "Content-Length: "), n, 10);
    return PUT(at, "\r\n");
}

static char *put_connection(const struct http1 *e, char *at) {
    if (e->close_after || !e->request.keep_alive)
        return PUT(at, "Connection: close\r\n");
    if (e->request.version == 10) return PUT(at, "Connection: keep-alive\r\n");
    return at;
}

static bool bodyless(const struct http1 *e, int status) {
    return e->request.verb == HTTP1_HEAD || status == 204 || status == 205 ||
           status == 304;
}

/* A final response is about to begin. */
static int may_begin(const struct http1 *e, int status) {
    if (e->out == HTTP1_OUT_CLOSED) return e->error ? e->error : RW_ECLOSED;
    if (e->out != HTTP1_OUT_WAITING) return RW_ESTATE;
    if (status < 200 || status > 999) return RW_EINVAL;
    if (e->request.verb == HTTP1_CONNECT && status < 300)
        return RW_EINVAL; /* that is what http1_upgrade is for */
    return 0;
}

/* Does this final response leave the connection in doubt? A peer that was
 * never told to continue may send the body or not (RFC 9110 §10.1.1), and a
 * large body that nobody reads is not worth its connection. */
static bool doubtful(const struct http1 *e, bool whole) {
    if (!http1_body_due(e)) return false;
    if (e->request.expects_continue && !e->sent_continue && e->body_seen == 0)
        return true;
    return whole && e->chunk == CHUNK_NONE && e->body_left > HTTP1_MAX_DISCARD;
}

/* 102, 103: a head that leaves the final one due. Not for 1.0 peers. */
static int send_interim(struct http1 *e, int status, struct str reason,
                        struct fields headers, size_t size) {
    if (e->out == HTTP1_OUT_CLOSED) return e->error ? e->error : RW_ECLOSED;
    if (e->out != HTTP1_OUT_WAITING) return RW_ESTATE;
    if (status < 102) return status == 100 ? http1_send_continue(e) : RW_EINVAL;
    if (e->request.version == 10) return 0;
    char *at;
    int rc = room(e, HEAD_ROOM + reason.n + size, &at);
    if (rc < 0) return rc;
    at = put_fields(put_status(at, status, reason), headers);
    wrote(e, PUT(at, "\r\n"));
    return 0;
}

int http1_send_head(struct http1 *e, int status, struct str reason,
                    struct fields headers, int64_t length, struct str date) {
    int64_t size = fields_size(headers);
    if (size < 0) return (int)size;
    if (!value_ok(reason) || !value_ok(date) || length < -1) return RW_EINVAL;
    if (status >= 100 && status < 200)
        return send_interim(e, status, reason, headers, (size_t)size);
    int rc = may_begin(e, status);
    if (rc < 0) return rc;
    if (date.n && has_field(headers, STR("Date"))) date = STR_NONE;

    if (status == 205) length = 0; /* RFC 9110 §15.3.6 */

    char *at;
    rc = room(e, HEAD_ROOM + reason.n + (size_t)size + date.n, &at);
    if (rc < 0) return rc;
    bool old = e->request.version == 10;
    e->out_no_body = bodyless(e, status);
    e->out_length_known = length >= 0;
    e->out_left = length > 0 ? (uint64_t)length : 0;
    e->out_chunked = !e->out_no_body && length < 0 && !old;
    if (doubtful(e, false) || (!e->out_no_body && length < 0 && old))
        e->close_after = true;

    at = put_status(at, status, reason);
    if (date.n) at = put_field(at, STR("Date"), date);
    at = put_fields(at, headers);
    if (e->out_chunked) at = PUT(at, "Transfer-Encoding: chunked\r\n");
    else if (length >= 0 && status != 204 && (status != 304 || length > 0))
        at = put_length(at, e->out_left);
    wrote(e, PUT(put_connection(e, at), "\r\n"));
    e->out = HTTP1_OUT_BODY;
    return 0;
}

int http1_respond(struct http1 *e, int status, struct str type, struct str body,
                  struct str date) {
    int rc = may_begin(e, status);
    if (rc < 0) return rc;
    if (!value_ok(type) || !value_ok(date)) return RW_EINVAL;
    if (status == 205) body = STR_NONE;
    char *at;
    rc = room(e, HEAD_ROOM + type.n + date.n + body.n, &at);
    if (rc < 0) return rc;
    if (doubtful(e, true)) e->close_after = true;

    at = put_status(at, status, STR_NONE);
    if (date.n) at = put_field(at, STR("Date"), date);
    if (type.n) at = put_field(at, STR("Content-Type"), type);
    if (status != 204 && status != 304) at = put_length(at, body.n);
    at = PUT(put_connection(e, at), "\r\n");
    if (!bodyless(e, status)) at = put(at, body);
    wrote(e, at);
    http1_answered(e);
    return 0;
}

/* --- bodies -------------------------------------------------------------- */

static int may_send_data(const struct http1 *e) {
    if (e->out == HTTP1_OUT_BODY) return 0;
    if (e->out == HTTP1_OUT_CLOSED) return e->error ? e->error : RW_ECLOSED;
    return RW_ESTATE;
}

int http1_send_data(struct http1 *e, struct str bytes) {
    int rc = may_send_data(e);
    if (rc < 0) return rc;
    if (bytes.n == 0 || e->out_no_body) return 0;
    if (e->out_length_known && bytes.n > e->out_left) return RW_EINVAL;
    if (!e->out_chunked) {
        rc = buf_add_str(e->env.out, bytes);
        if (rc == 0 && e->out_length_known) e->out_left -= bytes.n;
        return rc;
    }
    char *at;
    rc = room(e, bytes.n + 20, &at); /* 16 digits, two line ends */
    if (rc < 0) return rc;
    at = PUT(put_number(at, bytes.n, 16), "\r\n");
    wrote(e, PUT(put(at, bytes), "\r\n"));
    return 0;
}

int http1_send_elsewhere(struct http1 *e, uint64_t n) {
    int rc = may_send_data(e);
    if (rc < 0) return rc;
    if (e->out_no_body) return RW_ESTATE;
    if (!e->out_length_known || n > e->out_left) return RW_EINVAL;
    e->out_left -= n;
    return 0;
}

int http1_send_end(struct http1 *e) {
    int rc = may_send_data(e);
    if (rc < 0) return rc;
    if (e->out_chunked) {
        rc = buf_add_str(e->env.out, STR("0\r\n\r\n"));
        if (rc < 0) return rc;
    } else if (e->out_length_known && !e->out_no_body && e->out_left > 0) {
        http1_shut(e);
        return e->error = RW_EINVAL;
    }
    http1_answered(e);
    return 0;
}

/* --- the rest ------------------------------------------------------------ */

int http1_send_continue(struct http1 *e) {
    if (!e->request.expects_continue || e->sent_continue ||
        e->out != HTTP1_OUT_WAITING || !http1_body_due(e) || e->body_seen > 0)
        return 0;
    int rc = buf_add_str(e->env.out, STR("HTTP/1.1 100 Continue\r\n\r\n"));
    if (rc == 0) e->sent_continue = true;
    return rc;
}

int http1_upgrade(struct http1 *e, struct str protocol, struct fields headers) {
    bool tunnel = e->request.verb == HTTP1_CONNECT;
    int64_t size = fields_size(headers);
    if (size < 0) return (int)size;
    if (!value_ok(protocol) || (protocol.n == 0) != tunnel) return RW_EINVAL;
    if (e->out == HTTP1_OUT_CLOSED) return e->error ? e->error : RW_ECLOSED;
    bool unread = http1_body_due(e) || e->ready == HTTP1_BODY + 1;
    if (e->out != HTTP1_OUT_WAITING || unread) return RW_ESTATE;
    unsigned both = SEEN_UPGRADE | SEEN_UPGRADE_OPTION;
    if (!tunnel && ((e->seen & both) != both || e->request.version == 10))
        return RW_ESTATE;

    char *at;
    int rc = room(e, HEAD_ROOM + (size_t)size + protocol.n, &at);
    if (rc < 0) return rc;
    at = put_status(at, tunnel ? 200 : 101, STR_NONE);
    if (!tunnel) {
        at = PUT(at, "Connection: Upgrade\r\n");
        at = put_field(at, STR("Upgrade"), protocol);
    }
    for (size_t i = 0; i < headers.count; i++)
        if (!str_eq_nocase(headers.at[i].name, STR("Upgrade")))
            at = put_field(at, headers.at[i].name, headers.at[i].value);
    wrote(e, PUT(at, "\r\n"));
    e->in = HTTP1_IN_UPGRADED;
    e->out = HTTP1_OUT_CLOSED;
    e->ready = 0;
    http1_settle(e);
    return 0;
}

int http1_send_refusal(struct http1 *e, int status) {
    struct str text = str_c(http1_reason(status));
    char *at;
    int rc = room(e, HEAD_ROOM + 2 * text.n, &at);
    if (rc < 0) return rc;
    at = PUT(put_status(at, status, STR_NONE), "Content-Type: text/plain\r\n");
    at = put_length(at, text.n + 1);
    at = PUT(at, "Connection: close\r\n\r\n");
    if (e->request.verb != HTTP1_HEAD) at = PUT(put(at, text), "\n");
    wrote(e, at);
    return 0;
}
