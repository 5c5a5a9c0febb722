/* SPDX-License-Identifier: MIT */
/* The transport: what a protocol writes to. The userdata is anchored in the
 * registry, by the connection's address, as long as the connection lives; its
 * uservalues (proto.h) are there longer: both addresses are asked for when it is
 * over. */
#include <fcntl.h>
#include <math.h>

#include "bind/address.h"
#include "bind/dir.h"
#include "bind/proto.h"
#include "bind/tls.h"
#include "proto/line.h"

static const char transport_class[] = "ropewalk.transport";

/* ── the object ───────────────────────────────────────────────────────────*/

static void keep_addresses(lua_State *L, struct stream *s) {
    struct address a = {0};
    push_peer(L, s);
    lua_setiuservalue(L, -2, TRANSPORT_PEER);
    stream_host(s, &a);
    push_address(L, &a);
    lua_setiuservalue(L, -2, TRANSPORT_HOST);
}

struct transport_box *transport_new(lua_State *L, struct proto_conn *p) {
    struct transport_box *box = lua_newuserdatauv(L, sizeof *box, TRANSPORT_VALUES);
    *box = (struct transport_box){0};
    luaL_setmetatable(L, transport_class);
    keep_addresses(L, p->base.stream);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, p);
    box->conn = p;
    return box;
}

void transport_push(lua_State *L, struct proto_conn *p) {
    if (p->box) lua_rawgetp(L, LUA_REGISTRYINDEX, p);
    else p->box = transport_new(L, p);
}

void transport_detach(struct proto_conn *p) {
    p->box->conn = NULL;
    p->box = NULL;
    if (p->base.gen->state != GENERATION_DEAD) door_protect(p->base.gen, registry_forget, p);
}

struct proto_conn *transport_check(lua_State *L, int index) {
    struct transport_box *box = class_check(L, index, CLASS_TRANSPORT, transport_class);
    return box->conn;
}

static bool is_open(const struct proto_conn *p) {
    return p && p->base.stream && !p->base.closing;
}

/* A producer goes on until it is unregistered. */
static bool may_write(const struct proto_conn *p) {
    return p && p->base.stream && (!p->base.closing || p->producing);
}

/* ── writing ──────────────────────────────────────────────────────────────*/

enum { OUT_FLUSH_AT = 65536 };

static void add_output(lua_State *L, struct conn *c, const char *bytes, size_t n) {
    struct rw *rw = c->rw;
    conn_begin_output(c);
    if (n >= OUT_FLUSH_AT) { /* not through the buffer */
        conn_flush(c);
        if (stream_write(c->stream, str_of(bytes, n)) >= 0) rw->stats.bytes_out += n;
        return;
    }
    if (buf_add(&rw->out, bytes, n) < 0) luaL_error(L, "not enough memory");
    if (buf_len(&rw->out) >= OUT_FLUSH_AT) conn_flush(c);
}

/* Of a table either all pieces are sent or none. */
static void check_pieces(lua_State *L, int index, int depth) {
    if (depth > 8) luaL_error(L, "write: tables are nested too deeply");
    lua_Integer count = luaL_len(L, index);
    for (lua_Integer i = 1; i <= count; i++) {
        int type = lua_rawgeti(L, index, i);
        if (type == LUA_TTABLE) check_pieces(L, lua_gettop(L), depth + 1);
        else if (type != LUA_TSTRING && type != LUA_TNUMBER)
            luaL_error(L, "write: the pieces in a table are strings, not a %s", luaL_typename(L, -1));
        lua_pop(L, 1);
    }
}

static void write_value(lua_State *L, struct conn *c, int index) {
    size_t n;
    if (lua_type(L, index) == LUA_TTABLE) {
        lua_Integer count = luaL_len(L, index);
        for (lua_Integer i = 1; i <= count && c->stream; i++) {
            lua_rawgeti(L, index, i);
            write_value(L, c, lua_gettop(L));
            lua_pop(L, 1);
        }
        return;
    }
    const char *bytes = lua_tolstring(L, index, &n);
    if (!bytes) luaL_checkstring(L, index);
    if (c->stream) add_output(L, c, bytes, n);
}

/* After a write: what it told, and the producer if there is one. */
static int push_pressure(lua_State *L, struct proto_conn *p) {
    struct conn *c = &p->base;
    if (p->producing) conn_flush(c);
    bool full = c->stream && c->stream->told_to_pause;
    if (full && p->producing && !p->filled) {
        p->filled = true;
        lua_getiuservalue(L, 1, TRANSPORT_PROTOCOL);
        if (lua_getfield(L, -1, "write_filled") == LUA_TFUNCTION) {
            lua_insert(L, -2);
            lua_call(L, 1, 0);
        }
    }
    lua_pushboolean(L, !full);
    return 1;
}

static int transport_write(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    luaL_checkany(L, 2);
    if (!may_write(p)) return 0;
    if (lua_type(L, 2) == LUA_TTABLE) check_pieces(L, 2, 0);
    write_value(L, &p->base, 2);
    return push_pressure(L, p);
}

static void read_args(lua_State *L, const struct event_def *def, struct event *ev) {
    char kind;
    struct str name;
    const char *types = def->args;
    for (int i = 0; event_arg_next(&types, &kind, &name); i++) {
        if (kind == 's') {
            ev->args[i].str.p = lua_tolstring(L, i + 3, &ev->args[i].str.n);
            if (!ev->args[i].str.p)
                script_error(L, "a %s to send must be a string, not %s", def->name,
                             luaL_typename(L, i + 3));
        } else if (kind == 'i') ev->args[i].num = luaL_checkinteger(L, i + 3);
        else luaL_error(L, "send: fields cannot be sent from Lua through this engine");
    }
}

/* transport:send(event, …): through the engine, which adds the syntax. */
static int transport_send(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    size_t n;
    const char *name = luaL_checklstring(L, 2, &n);
    if (!may_write(p)) return 0;
    const struct engine *engine = p->class->engine;
    int type = engine_event(engine, str_of(name, n));
    if (type < 0 || !(engine->events[type].way & EVENT_OUT))
        return luaL_error(L, "%s has no event '%s' to send", engine->name, name);
    struct event ev = {.type = (unsigned)type};
    read_args(L, &engine->events[type], &ev);
    conn_begin_output(&p->base);
    int rc = engine->send(p->engine, &ev);
    if (rc == RW_EINVAL)
        return script_error(L, "this %s cannot be sent: it would be read as something else "
                            "(its own end is in it)", name);
    if (rc < 0) return push_failure(L, rc);
    if (buf_len(&p->base.rw->out) >= OUT_FLUSH_AT) conn_flush(&p->base);
    return push_pressure(L, p);
}

/* transport:send_file(file, offset, n): as write; RW_ESTATE where there is no
 * sendfile, RW_EOF when the file is shorter. */
static int transport_send_file(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    struct bind_file *file = file_check(L, 2);
    lua_Integer offset = luaL_checkinteger(L, 3), n = luaL_checkinteger(L, 4);
    luaL_argcheck(L, offset >= 0, 3, "negative");
    luaL_argcheck(L, n > 0 && offset <= INT64_MAX - n, 4, "out of range");
    if (!may_write(p)) return push_failure(L, RW_ECLOSED);
    struct conn *c = &p->base;
    char last;
    int rc = file_read(file->fd, (uint64_t)(offset + n - 1), &last, 1);
    if (rc <= 0) return push_failure(L, rc < 0 ? rc : RW_EOF);
    conn_flush(c);
    if (!c->stream || !stream_can_send_file(c->stream)) return push_failure(L, RW_ESTATE);
    int fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return push_failure(L, -errno);
    rc = stream_send_file(c->stream, fd, (uint64_t)offset, (uint64_t)n);
    if (rc < 0) return push_failure(L, rc);
    c->rw->stats.bytes_out += (uint64_t)n;
    return push_pressure(L, p);
}

static int drained(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    const struct proto_conn *p = transport_check(L, 1);
    lua_pushboolean(L, p && p->base.stream);
    return 1;
}

static int transport_drained(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    lua_settop(L, 1);
    if (p) conn_flush(&p->base);
    if (!may_write(p) || !p->base.stream->told_to_pause) {
        lua_pushboolean(L, may_write(p));
        return 1;
    }
    return task_wait(L, &p->writers, drained);
}

/* ── closing, pausing ─────────────────────────────────────────────────────*/

static int transport_lose_connection(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    if (!is_open(p)) return 0;
    p->base.closing = true;
    if (!p->producing) conn_close(&p->base);
    return 0;
}

static int transport_abort_connection(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    if (!p || !p->base.stream) return 0;
    conn_abort(&p->base, RW_EABORTED);
    return 0;
}

static int transport_lose_write(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    if (!is_open(p)) return 0;
    conn_flush(&p->base);
    if (p->base.stream) stream_shutdown(p->base.stream);
    return 0;
}

static int transport_pause(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    if (!p) return 0;
    p->base.paused = true;
    conn_update_reading(&p->base);
    return 0;
}

static int transport_resume(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    if (!p || !p->base.paused) return 0;
    p->base.paused = false;
    conn_update_reading(&p->base);
    if (!p->base.busy) proto_continue(p);
    return 0;
}

/* A registered producer (transport.lua keeps it) holds the closing back. */
static int transport_set_producing(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    if (!p) return 0;
    p->producing = lua_toboolean(L, 2);
    if (!p->producing && p->base.closing && p->base.stream) conn_close(&p->base);
    return 0;
}

/* transport:begin_tls(context, name or nil): what comes and goes from now on is
 * TLS. Plain text that the peer has sent ahead would pass for secured: a peer
 * that does so is turned away. */
static int transport_begin_tls(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    struct bind_tls *t = tls_check_context(L, 2);
    size_t n = 0;
    const char *name = luaL_optlstring(L, 3, NULL, &n);
    luaL_argcheck(L, !name || strlen(name) == n, 3, "a name has no zero bytes");
    if (!is_open(p)) return push_failure(L, RW_ECLOSED);
    struct conn *c = &p->base;
    if (conn_is_secure(c->stream)) return luaL_error(L, "start_tls: it speaks TLS already");
    int rc = RW_EPROTO;
    if (!proto_unread(p)) {
        conn_flush(c);
        rc = c->stream ? conn_tls_push(c->stream, t, name) : RW_ECLOSED;
    }
    if (rc == RW_EPROTO) {
        conn_note_failure(c, RW_EPROTO, NULL);
        conn_abort(c, RW_EPROTO);
        lua_pushnil(L);
        lua_pushstring(L, err_name(RW_EPROTO));
        lua_pushliteral(L, "start_tls: the peer sent plain text ahead of the handshake");
        return 3;
    }
    if (rc < 0) return push_failure(L, rc);
    c->tls = t;
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 1, TRANSPORT_TLS);
    lua_pushboolean(L, 1);
    return 1;
}

/* ── settings ─────────────────────────────────────────────────────────────*/

static int transport_set_timeout(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    lua_Number seconds = luaL_optnumber(L, 2, -1);
    luaL_argcheck(L, !isnan(seconds), 2, "seconds");
    if (!p) return 0;
    bool never = seconds < 0 || seconds >= 1e9;
    p->idle_limit = never ? UINT64_MAX : seconds > 0 ? (uint64_t)ceil(seconds * 1000) : 1;
    p->last_heard = conn_peer_clock(&p->base);
    if (!p->base.busy) proto_continue(p);
    return 0;
}

static int transport_set_option(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    const char *name = luaL_checkstring(L, 2);
    lua_Integer value = lua_isboolean(L, 3) ? lua_toboolean(L, 3) : luaL_checkinteger(L, 3);
    if (!p || !p->base.stream) return push_failure(L, RW_ECLOSED);
    int rc = stream_option(p->base.stream, name, value);
    if (rc == RW_ENONAME) return luaL_error(L, "set_option: no option '%s'", name);
    if (rc < 0) return push_failure(L, rc);
    lua_pushboolean(L, 1);
    return 1;
}

static struct line *check_line(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    if (!p || !p->engine) return NULL;
    if (p->class->engine != &line_engine)
        luaL_error(L, "this protocol's engine is '%s', not 'line'", p->class->engine->name);
    return p->engine;
}

static int transport_set_raw(lua_State *L) {
    lua_Integer n = luaL_optinteger(L, 2, -1);
    struct line *e = check_line(L);
    if (e) line_set_raw(e, n < 0 ? LINE_RAW_FOREVER : (uint64_t)n);
    return 0;
}

static int transport_set_lines(lua_State *L) {
    struct line *e = check_line(L);
    size_t n;
    const char *rest = luaL_optlstring(L, 2, "", &n);
    if (!e) return 0;
    if (n && proto_give_back(transport_check(L, 1), str_of(rest, n)) < 0)
        return luaL_error(L, "not enough memory");
    line_set_lines(e);
    return 0;
}

static int transport_set_delimiter(lua_State *L) {
    size_t n;
    const char *text = luaL_checklstring(L, 2, &n);
    struct line *e = check_line(L);
    struct str s = str_of(text, n);
    if (!e) return 0;
    enum line_ending ending = str_eq(s, STR("crlf"))  ? LINE_CRLF
                              : str_eq(s, STR("any")) ? LINE_LF_OR_CRLF
                                                      : LINE_CUSTOM;
    if (line_set_delimiter(e, ending, s) < 0)
        return luaL_error(L, "set_delimiter: 'crlf', 'any', or 1 to 8 bytes expected");
    return 0;
}

/* transport.limits: those of this connection; setting one makes a copy. */
static int own_limits_index(lua_State *L) {
    struct transport_box *box = lua_touserdata(L, lua_upvalueindex(1));
    limits_push(L, 2, box->conn ? box->conn->base.limits : &limits_default);
    return 1;
}

static int own_limits_newindex(lua_State *L) {
    struct transport_box *box = lua_touserdata(L, lua_upvalueindex(1));
    struct proto_conn *p = box->conn;
    if (!p) return 0;
    struct limits changed = *p->base.limits;
    limits_assign(L, 2, 3, &changed);
    if (!p->own_limits) {
        p->own_limits = mem_alloc(&p->base.rw->mem, sizeof changed);
        if (!p->own_limits) return luaL_error(L, "not enough memory");
    }
    *p->own_limits = changed;
    p->base.limits = p->own_limits;
    if (p->base.stream) p->base.stream->limits = p->own_limits;
    if (p->engine) ((struct engine_env *)p->engine)->limits = p->own_limits;
    conn_throttle(&p->base);
    return 0;
}

static void push_own_limits(lua_State *L) {
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, own_limits_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, own_limits_newindex, 1);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
}

/* ── fields ───────────────────────────────────────────────────────────────*/

static int transport_index(lua_State *L) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1; /* methods see for themselves */
    struct proto_conn *p = transport_check(L, 1);
    if (lua_getiuservalue(L, 1, TRANSPORT_FIELDS) == LUA_TTABLE) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, -2) != LUA_TNIL) return 1;
    }
    const char *key = lua_tostring(L, 2);
    if (!key) return 0;
    if (strcmp(key, "connected") == 0) {
        lua_pushboolean(L, is_open(p));
    } else if (strcmp(key, "buffered") == 0) {
        lua_pushinteger(L, p && p->base.stream ? (lua_Integer)p->base.stream->queued : 0);
    } else if (strcmp(key, "peer") == 0) {
        lua_getiuservalue(L, 1, TRANSPORT_PEER);
    } else if (strcmp(key, "host") == 0) {
        lua_getiuservalue(L, 1, TRANSPORT_HOST);
    } else if (strcmp(key, "tls") == 0) {
        push_tls(L, p ? p->base.stream : NULL);
    } else if (strcmp(key, "limits") == 0) {
        push_own_limits(L);
    } else if (strcmp(key, "protocol") == 0) {
        lua_getiuservalue(L, 1, TRANSPORT_PROTOCOL);
    } else {
        return 0;
    }
    return 1;
}

static int transport_newindex(lua_State *L) {
    luaL_checkudata(L, 1, transport_class);
    if (lua_getiuservalue(L, 1, TRANSPORT_FIELDS) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, TRANSPORT_FIELDS);
    }
    lua_insert(L, 2);
    lua_rawset(L, 2);
    return 0;
}

static int transport_tostring(lua_State *L) {
    struct proto_conn *p = transport_check(L, 1);
    if (!p || !p->base.stream) {
        lua_pushliteral(L, "transport (closed)");
        return 1;
    }
    char text[160];
    struct address a = {0};
    stream_peer(p->base.stream, &a);
    struct str peer = address_format(&a, text, sizeof text);
    lua_pushliteral(L, "transport to ");
    lua_pushlstring(L, peer.p, peer.n);
    lua_concat(L, 2);
    return 1;
}

void transport_open(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"write", transport_write}, {"write_sequence", transport_write},
        {"send", transport_send},
        {"drained", transport_drained}, {"send_file", transport_send_file},
        {"lose_connection", transport_lose_connection},
        {"abort_connection", transport_abort_connection},
        {"lose_write", transport_lose_write},
        {"stop_producing", transport_lose_connection},
        {"pause_producing", transport_pause},
        {"resume_producing", transport_resume},
        {"set_producing", transport_set_producing},
        {"begin_tls", transport_begin_tls},
        {"set_timeout", transport_set_timeout},
        {"set_option", transport_set_option},
        {"set_raw", transport_set_raw},
        {"set_lines", transport_set_lines},
        {"set_delimiter", transport_set_delimiter},
        {NULL, NULL},
    };
    luaL_newmetatable(L, transport_class);
    class_register(L, CLASS_TRANSPORT);
    luaL_newlib(L, methods);
    switch_open(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, "transport_methods"); /* of core */
    lua_pushcclosure(L, transport_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, transport_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, transport_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
}
