/* SPDX-License-Identifier: MIT */
/* The request's methods that read the body and write the answer. Each waits by
 * parking its task: chunk() until input comes, write() until the peer reads. */
#include "bind/port.h"
#include "bind/proto.h"
#include "bind/dir.h"
#include "bind/http.h"

#include <fcntl.h>

enum { MAX_RESPONSE_FIELDS = 128, MAX_UNREAD = 65536 };

static struct http_conn *live(struct request *r) { /* NULL: over, or gone */
    return r->conn && r->conn->base.stream && !r->conn->base.lost_due ? r->conn : NULL;
}

/* ── the body ─────────────────────────────────────────────────────────────*/

static int chunk_again(lua_State *L, int status, lua_KContext ctx);

static int request_chunk(lua_State *L) {
    struct request *r = request_check(L, 1);
    lua_settop(L, 1);
    struct http_conn *h = r->conn;
    if (!h) return push_failure(L, RW_ESTATE);
    if (r->body_ended) return 0;
    struct str data;
    int rc = http_pull_body(h, &data);
    if (rc == 1) {
        lua_pushlstring(L, data.p, data.n);
        return 1;
    }
    if (rc == 0) {
        r->body_ended = true;
        return 0;
    }
    if (rc != RW_EAGAIN || !live(r)) return push_failure(L, rc == RW_EAGAIN ? RW_ECLOSED : rc);
    if (h->readers.first) return luaL_error(L, "chunk: another task is reading this body");
    task_may_park(L);
    http1_send_continue(&h->engine);
    conn_flush(&h->base);
    h->base.busy = false; /* now it is the peer's turn */
    conn_update_reading(&h->base);
    http_update_deadline(h);
    return task_wait(L, &h->readers, chunk_again);
}

static int chunk_again(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return request_chunk(L);
}

/* ── headers from Lua ─────────────────────────────────────────────────────*/

struct collected {
    struct field fields[MAX_RESPONSE_FIELDS];
    size_t count;
};

static void expect_table(lua_State *L, int index, const char *what) {
    if (!lua_istable(L, index))
        luaL_error(L, "%s: a table is expected, not a %s", what, luaL_typename(L, index));
}

static void add_field(lua_State *L, struct collected *c, int name, int value) {
    if (c->count == MAX_RESPONSE_FIELDS) luaL_error(L, "too many response headers");
    struct field *f = &c->fields[c->count++];
    if (lua_type(L, name) != LUA_TSTRING) luaL_error(L, "header names must be strings");
    f->name.p = lua_tolstring(L, name, &f->name.n);
    if (!lua_isstring(L, value))
        luaL_error(L, "header %s: a string is expected, not a %s", f->name.p,
                   luaL_typename(L, value));
    f->value.p = lua_tolstring(L, value, &f->value.n);
}

/* Values must stay on the stack while the slices live: each is left there. */
static void collect_values(lua_State *L, struct collected *c, int name, int value) {
    if (lua_type(L, value) != LUA_TTABLE) {
        add_field(L, c, name, value);
        return;
    }
    lua_Integer n = luaL_len(L, value);
    for (lua_Integer i = 1; i <= n; i++) {
        luaL_checkstack(L, 4, "too many headers");
        lua_rawgeti(L, value, i);
        add_field(L, c, name, lua_gettop(L));
    }
}

static void collect_headers(lua_State *L, int index, struct collected *c) {
    c->count = 0;
    if (lua_isnoneornil(L, index)) return;
    expect_table(L, index, "headers");
    lua_Integer pairs = luaL_len(L, index);
    for (lua_Integer i = 1; i <= pairs; i++) { /* a list of {name, value} */
        luaL_checkstack(L, 8, "too many headers");
        lua_rawgeti(L, index, i);
        expect_table(L, -1, "a header in a list, {name, value}");
        int pair = lua_gettop(L);
        lua_rawgeti(L, pair, 1);
        lua_rawgeti(L, pair, 2);
        collect_values(L, c, pair + 1, pair + 2);
    }
    if (pairs) return;
    lua_pushnil(L);
    while (lua_next(L, index)) { /* name → value or list */
        luaL_checkstack(L, 8, "too many headers");
        int value = lua_gettop(L), name = value - 1;
        collect_values(L, c, name, value);
        lua_pushvalue(L, name); /* the values below stay anchored */
    }
}

static int check_status(lua_State *L, int index) {
    lua_Integer status = luaL_checkinteger(L, index);
    luaL_argcheck(L, status >= 100 && status <= 999, index, "a status from 100 to 999");
    return (int)status;
}

/* ── the answer ───────────────────────────────────────────────────────────*/

static int raise_misuse(lua_State *L, int code, const char *what) {
    if (code == RW_EINVAL)
        return luaL_error(L, "%s: not allowed in a response (a header with a control "
                          "character, or one that is the engine's; or a wrong length)", what);
    if (code == RW_ESTATE)
        return luaL_error(L, "%s: no response is due at this point", what);
    return push_failure(L, code);
}

static int start(lua_State *L, struct http_conn *h, int status, int headers,
                 int64_t length) {
    struct collected c;
    collect_headers(L, headers, &c);
    http_begin_output(h);
    return http1_send_head(&h->engine, status, STR_NONE,
                           (struct fields){c.fields, c.count}, length,
                           http_date(h->base.rw));
}

static int request_start(lua_State *L) {
    struct request *r = request_check(L, 1);
    int status = check_status(L, 2);
    int64_t length = luaL_optinteger(L, 4, -1);
    struct http_conn *h = live(r);
    if (!h) return push_failure(L, RW_ECLOSED);
    int rc = start(L, h, status, 3, length);
    if (rc < 0) return raise_misuse(L, rc, "start");
    if (status >= 200) r->started = true;
    lua_pushboolean(L, 1);
    return 1;
}

static int written(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    struct request *r = request_check(L, 1);
    if (!live(r)) return push_failure(L, RW_ECLOSED);
    lua_pushboolean(L, 1);
    return 1;
}

/* Waits while the peer is behind. */
static int wait_writable(lua_State *L, struct http_conn *h) {
    if (!h->base.stream || !h->base.stream->told_to_pause) return written(L, LUA_OK, 0);
    return task_wait(L, &h->writers, written);
}

enum { DIRECT_AT = 16384, SLICE_MAX = 65536 };

/* A large piece of known length goes to the stream without a further copy. */
static int send_body(struct http_conn *h, struct str bytes) {
    if (bytes.n >= DIRECT_AT && http1_send_elsewhere(&h->engine, bytes.n) == 0) {
        conn_flush(&h->base);
        if (!h->base.stream) return RW_ECLOSED;
        int rc = stream_write(h->base.stream, bytes);
        if (rc >= 0) h->base.rw->stats.bytes_out += bytes.n;
        return rc < 0 ? rc : 0;
    }
    http_begin_output(h);
    int rc = http1_send_data(&h->engine, bytes);
    http_sent(h);
    return rc;
}

static int request_write(lua_State *L) {
    struct request *r = request_check(L, 1);
    struct str bytes = check_str(L, 2);
    struct http_conn *h = live(r);
    if (!h) return push_failure(L, RW_ECLOSED);
    int rc = send_body(h, bytes);
    if (rc < 0) return raise_misuse(L, rc, "write");
    return wait_writable(L, h);
}

/* What is written so far goes out now, not at the next wait. */
static int request_flush(lua_State *L) {
    struct http_conn *h = live(request_check(L, 1));
    if (h) conn_flush(&h->base);
    return 0;
}

static int request_finish(lua_State *L) {
    struct request *r = request_check(L, 1);
    struct http_conn *h = live(r);
    if (!h) return push_failure(L, RW_ECLOSED);
    if (r->finished) return luaL_error(L, "finish: the response has ended already");
    http_begin_output(h);
    int rc = http1_send_end(&h->engine);
    if (rc < 0) {
        conn_abort(&h->base, rc);
        return raise_misuse(L, rc, "finish");
    }
    r->finished = true;
    http_sent(h);
    lua_pushboolean(L, 1);
    return 1;
}

static int request_respond(lua_State *L) {
    struct request *r = request_check(L, 1);
    int status = check_status(L, 2);
    struct str body;
    body.p = luaL_optlstring(L, 4, "", &body.n);
    struct http_conn *h = live(r);
    if (!h) return push_failure(L, RW_ECLOSED);
    /* The rest of a large body nobody reads: better said now than by a close. */
    bool unread = h->engine.in == HTTP1_IN_BODY && !r->body_ended;
    if (unread && (r->length < 0 || r->length > MAX_UNREAD)) http1_close_after(&h->engine);
    int rc = start(L, h, status, 3, (int64_t)body.n);
    if (rc < 0) return raise_misuse(L, rc, "respond");
    r->started = true;
    if (body.n) rc = send_body(h, body);
    http_begin_output(h);
    if (rc == 0) rc = http1_send_end(&h->engine);
    r->finished = true;
    if (rc < 0) { /* half an answer */
        conn_abort(&h->base, rc);
        return push_failure(L, rc);
    }
    http_sent(h);
    lua_pushboolean(L, 1);
    return 1;
}

static int request_send_file(lua_State *L) {
    struct request *r = request_check(L, 1);
    struct bind_file *file = file_check(L, 2);
    lua_Integer offset = luaL_checkinteger(L, 3), length = luaL_checkinteger(L, 4);
    luaL_argcheck(L, offset >= 0, 3, "not negative");
    luaL_argcheck(L, length >= 0, 4, "not negative");
    struct http_conn *h = live(r);
    if (!h) return push_failure(L, RW_ECLOSED);
    if (length == 0 || h->engine.out_no_body) return written(L, LUA_OK, 0);
    if (!stream_can_send_file(h->base.stream)) return push_failure(L, RW_ESTATE);
    int rc = http1_send_elsewhere(&h->engine, (uint64_t)length);
    if (rc < 0) return raise_misuse(L, rc, "send_file");
    conn_flush(&h->base);
    if (!h->base.stream) return push_failure(L, RW_ECLOSED);
    int fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return push_failure(L, -errno);
    rc = stream_send_file(h->base.stream, fd, (uint64_t)offset, (uint64_t)length);
    if (rc < 0) return push_failure(L, rc);
    h->base.rw->stats.bytes_out += (uint64_t)length;
    return wait_writable(L, h);
}

/* request:send_slice(file, offset, n): the same for at most SLICE_MAX bytes
 * through filters, by the worker's output buffer. Nil and a failure, also when
 * the file has become shorter. */
static int request_send_slice(lua_State *L) {
    struct request *r = request_check(L, 1);
    struct bind_file *file = file_check(L, 2);
    lua_Integer offset = luaL_checkinteger(L, 3), n = luaL_checkinteger(L, 4);
    luaL_argcheck(L, offset >= 0, 3, "not negative");
    luaL_argcheck(L, n > 0 && n <= SLICE_MAX, 4, "out of range");
    struct http_conn *h = live(r);
    if (!h) return push_failure(L, RW_ECLOSED);
    struct buf *out = &h->base.rw->out;
    conn_flush(&h->base);
    http_begin_output(h);
    char *room = buf_reserve(out, (size_t)n);
    if (!room) return push_failure(L, RW_ENOMEM);
    for (size_t done = 0; done < (size_t)n;) {
        int got = file_read(file->fd, (uint64_t)offset + done, room + done, (size_t)n - done);
        if (got <= 0) return push_failure(L, got < 0 ? got : RW_EOF);
        done += (size_t)got;
    }
    int rc = http1_send_elsewhere(&h->engine, (uint64_t)n);
    if (rc < 0) return raise_misuse(L, rc, "send_slice");
    buf_commit(out, (size_t)n);
    conn_flush(&h->base);
    return wait_writable(L, h);
}

static int request_can_send_file(lua_State *L) {
    struct http_conn *h = live(request_check(L, 1));
    lua_pushboolean(L, h && stream_can_send_file(h->base.stream));
    return 1;
}

static int request_close(lua_State *L) {
    struct http_conn *h = live(request_check(L, 1));
    if (h) conn_abort(&h->base, RW_EABORTED);
    return 0;
}

/* RFC 9110 §7.8: no other than those, which are words, or words and versions. */
static bool is_offered(const struct request *r, struct str protocol) {
    for (size_t i = 0; i < r->field_count; i++) {
        struct str offers = r->fields[i].value, offer;
        if (!str_eq_nocase(r->fields[i].name, STR("Upgrade"))) continue;
        while (str_list_next(&offers, &offer))
            if (str_eq_nocase(offer, protocol)) return true;
    }
    return false;
}

static void check_offered(lua_State *L, const struct request *r, struct str protocols) {
    struct str protocol;
    while (str_list_next(&protocols, &protocol))
        if (!is_offered(r, protocol)) {
            lua_pushlstring(L, protocol.p, protocol.n);
            luaL_error(L, "upgrade: the peer has not offered '%s'", lua_tostring(L, -1));
        }
}

/* 101: the connection goes to a protocol of the factory; what the peer has
 * sent ahead goes with it. */
static int request_upgrade(lua_State *L) {
    struct request *r = request_check(L, 1);
    struct str protocol = check_str(L, 2);
    luaL_checktype(L, 4, LUA_TTABLE);
    lua_settop(L, 4);
    struct http_conn *h = live(r);
    if (!h) return push_failure(L, RW_ECLOSED);
    check_offered(L, r, protocol);
    struct collected c;
    collect_headers(L, 3, &c);
    http_begin_output(h);
    int rc = http1_upgrade(&h->engine, protocol, (struct fields){c.fields, c.count});
    if (rc < 0) return raise_misuse(L, rc, "upgrade");
    conn_flush(&h->base);
    r->started = r->finished = true;
    lua_settop(L, 4);
    rc = http_hand_over(L, h);
    if (rc < 0) {
        conn_abort(&h->base, rc);
        return push_failure(L, rc);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int request_on_finish(lua_State *L) {
    struct request *r = request_check(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (!r->conn) return luaL_error(L, "on_finish: the exchange is over");
    lua_getfield(L, 1, "peer"); /* who it was, for the log, when the connection is gone */
    lua_pop(L, 1);
    finish_push(L, r->conn, 1);
    lua_getiuservalue(L, -1, FINISH_FUNCTIONS);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    return 0;
}

void response_methods(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"chunk", request_chunk}, {"start", request_start},
        {"write", request_write}, {"flush", request_flush},
        {"finish", request_finish},
        {"respond", request_respond}, {"send_file", request_send_file},
        {"send_slice", request_send_slice},
        {"can_send_file", request_can_send_file}, {"close", request_close},
        {"upgrade", request_upgrade}, {"on_finish", request_on_finish},
        {NULL, NULL},
    };
    luaL_setfuncs(L, methods, 0);
}
