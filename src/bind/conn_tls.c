/* SPDX-License-Identifier: MIT */
/* What connections do with TLS. The filter's hooks find the connection by its
 * stream, since one stream may serve several in turn (an upgrade).
 *
 * A server's certificate is the one that its context has for the name, or what
 * the context's hook says, which may wait for it: a task of the connection. */
#include "bind/conn.h"
#include "bind/port.h"
#include "bind/proto.h"
#include "bind/tls.h"

/* ── choosing a certificate ───────────────────────────────────────────────*/

struct choice {
    struct scope_item item;
    struct conn *conn;              /* NULL: gone, nobody waits for the answer */
    struct rw *rw;
    struct stream *stream;
    const struct client_hello *hello; /* borrowed; for the beginning of the body */
    struct tls_context *challenge;    /* owned; to go by, or NULL: the usual one */
    struct tls_identity *identity;  /* owned; NULL: refused */
};

static void answer(struct stream *s, struct tls_context *challenge, struct tls_identity *id) {
    struct tls_filter *f = tls_filter_of(s);
    if (!f) return;
    if (id && (!challenge || tls_filter_change(f, challenge) == 0)) tls_filter_use(f, id);
    else tls_filter_refuse(f, "there is no certificate for this name");
}

/* A client that validates a name offers this protocol and no other (RFC 8737 §3). */
static bool is_challenge(const struct client_hello *hello) {
    struct str rest = hello->alpn, name;
    return client_hello_next_alpn(&rest, &name) && str_eq(name, STR(TLS_ALPN_ACME)) &&
           !client_hello_next_alpn(&rest, &name);
}

static void choice_cancel(struct scope_item *item) {
    struct choice *w = CONTAINER(item, struct choice, item);
    w->conn = NULL;
}

static int chosen(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    struct choice *w = (struct choice *)ctx;
    if (!lua_isnil(L, -1)) w->identity = tls_identity_ref(tls_check_identity(L, -1));
    return 0;
}

static void push_hello(lua_State *L, const struct client_hello *hello) {
    struct str rest = hello->alpn, name;
    lua_createtable(L, 0, 3);
    lua_pushlstring(L, hello->server_name.n ? hello->server_name.p : "", hello->server_name.n);
    lua_setfield(L, -2, "server_name");
    lua_newtable(L);
    for (lua_Integer i = 1; client_hello_next_alpn(&rest, &name); i++) {
        lua_pushlstring(L, name.p, name.n);
        lua_rawseti(L, -2, i);
    }
    lua_setfield(L, -2, "alpn");
    lua_pushstring(L, hello->tls13 ? "1.3" : "1.2");
    lua_setfield(L, -2, "version");
}

/* The hook of the context. */
static int choose_body(lua_State *L) {
    struct choice *w = lua_touserdata(L, 1);
    bool own = w->conn->tls; /* of the transport, else of the server */
    lua_rawgetp(L, LUA_REGISTRYINDEX, own ? (void *)w->conn : (void *)w->conn->server);
    lua_getiuservalue(L, -1, own ? TRANSPORT_TLS : BOX_TLS);
    lua_getiuservalue(L, -1, 1);
    push_hello(L, w->hello);
    lua_callk(L, 1, 1, (lua_KContext)w, chosen);
    return chosen(L, LUA_OK, (lua_KContext)w);
}

static void choice_done(struct task *t, int status) {
    struct choice *w = t->owner;
    scope_remove(&w->item);
    if (w->conn) answer(w->stream, w->challenge, status < 0 ? NULL : w->identity);
    tls_identity_unref(&w->identity);
    tls_context_unref(&w->challenge);
    mem_free(&w->rw->mem, w, sizeof *w);
}

static void choose(struct conn *c, const struct client_hello *hello,
                   struct tls_context *challenge) {
    struct choice *w = mem_alloc(&c->rw->mem, sizeof *w);
    if (!w) {
        conn_abort(c, RW_ENOMEM);
        return;
    }
    *w = (struct choice){.item.cancel = choice_cancel, .conn = c, .rw = c->rw,
                         .stream = c->stream, .hello = hello};
    if (challenge) w->challenge = tls_context_ref(challenge);
    scope_add(&c->scope, &w->item);
    door_enter(c->gen, &(struct door_call){
        .body = choose_body, .arg = w, .scope = &c->scope, .owner = w, .done = choice_done});
}

/* ── the filter's hooks ───────────────────────────────────────────────────*/

static void on_hello(void *owner, struct tls_filter *f, const struct client_hello *hello) {
    struct stream *s = owner;
    struct conn *c = s->owner;
    const struct bind_tls *t = c->tls ? c->tls : c->server ? c->server->tls : NULL;
    if (t) tls_filter_change(f, t->context); /* whom to trust may have changed since it came */
    if (t && t->challenge && is_challenge(hello)) {
        choose(c, hello, t->challenge);
        return;
    }
    struct tls_identity *id = t ? tls_find_identity(t, hello->server_name) : NULL;
    if (!id && t && t->has_hook) choose(c, hello, NULL);
    else answer(s, NULL, id);
}

/* Nothing is said after a challenge's handshake. */
static bool was_challenge(const struct conn *c, struct tls_filter *f) {
    struct tls_info info;
    if (!c->server || !c->server->tls || !c->server->tls->challenge) return false;
    tls_describe(tls_filter_session(f), &info);
    return info.alpn && strcmp(info.alpn, TLS_ALPN_ACME) == 0;
}

static void count_handshake(struct stats *stats, struct tls_filter *f) {
    struct tls_info info;
    tls_describe(tls_filter_session(f), &info);
    if (info.client) {
        stats->tls_client_handshakes++;
        stats->tls_client_resumed += info.resumed;
    } else {
        stats->tls_handshakes++;
        stats->tls_resumed += info.resumed;
    }
}

static void on_established(void *owner, struct tls_filter *f) {
    struct stream *s = owner;
    struct conn *c = s->owner;
    count_handshake(&c->rw->stats, f);
    if (was_challenge(c, f)) conn_close(c);
    else if (c->ops->secured) c->ops->secured(c);
}

/* Who scans for open ports shall not fill the log: one line a second is seen by
 * default. */
static void on_failed(void *owner, int code, const char *why) {
    struct stream *s = owner;
    struct conn *c = s->owner;
    struct rw *rw = c->rw;
    char text[160];
    struct address a = {0};
    rw->stats.tls_failures++;
    if (code == RW_ETIMEDOUT) {
        rw->stats.timeouts++;
        limit_fired(rw, s, "a limit ended a connection", "handshake_timeout");
        return;
    }
    if (code == RW_ELIMIT) {
        limit_fired(rw, s, "a limit ended a connection", "max_handshakes");
        return;
    }
    int64_t now = loop_unix_time(rw->loop);
    enum log_level level = now == rw->tls_second ? LOG_DEBUG : LOG_INFO;
    rw->tls_second = now;
    if (!log_wants(&rw->log, level)) return;
    stream_peer(s, &a);
    log_at(&rw->log, level, "TLS failed", LF_Z("reason", why), LF_ERR("error", code),
           LF_STR("peer", address_format(&a, text, sizeof text)));
}

static const struct tls_filter_hooks conn_tls_hooks = {on_hello, on_established, on_failed};

int conn_tls_push(struct stream *s, const struct bind_tls *t, const char *name) {
    struct tls_filter *f;
    return tls_filter_push(s, t->context, name, &conn_tls_hooks, s, &f);
}

/* ── a client's handshake, before there is a connection ───────────────────*/

struct securing {
    struct rw *rw;
    struct stream *stream;
    tls_secured *done;
    void *owner;
    struct tls_why why;
    int code;
};

static void securing_end(struct securing *w, int status, struct stream *s) {
    struct securing over = *w;
    mem_free(&over.rw->mem, w, sizeof *w);
    over.done(over.owner, status, over.why.text, s);
}

static void client_established(void *owner, struct tls_filter *f) {
    struct securing *w = owner;
    struct stream *s = w->stream;
    count_handshake(&w->rw->stats, f);
    tls_filter_own(f, &conn_tls_hooks, s);
    s->hooks = NULL;
    s->owner = NULL;
    securing_end(w, 0, s);
}

static void client_failed(void *owner, int code, const char *why) {
    struct securing *w = owner;
    size_t n = strnlen(why, sizeof w->why.text - 1);
    w->code = code;
    memcpy(w->why.text, why, n);
}

static const struct tls_filter_hooks client_hooks = {NULL, client_established, client_failed};

static void securing_data(struct stream *s, struct str bytes) { (void)s, (void)bytes; }

static void securing_drain(struct stream *s) { (void)s; }

static void securing_close(struct stream *s, int reason) {
    struct securing *w = s->owner;
    securing_end(w, w->code ? w->code : reason ? reason : RW_ETRUNCATED, NULL);
}

static const struct stream_hooks securing_hooks = {
    securing_data, NULL, securing_drain, securing_close, NULL,
};

int tls_secure(struct rw *rw, struct stream *s, const struct bind_tls *t, const char *name,
               tls_secured *done, void *owner) {
    struct securing *w = mem_alloc(&rw->mem, sizeof *w);
    struct tls_filter *f;
    if (!w) return RW_ENOMEM;
    *w = (struct securing){.rw = rw, .stream = s, .done = done, .owner = owner};
    int rc = tls_filter_push(s, t->context, name, &client_hooks, w, &f);
    if (rc < 0) {
        mem_free(&rw->mem, w, sizeof *w);
        return rc;
    }
    s->hooks = &securing_hooks;
    s->owner = w;
    stream_read(s, true);
    return 0;
}

/* ── what a connection says of it ─────────────────────────────────────────*/

bool conn_is_secure(const struct stream *s) { return s && tls_filter_of(s); }

bool conn_in_handshake(const struct stream *s) {
    const struct tls_filter *f = s ? tls_filter_of(s) : NULL;
    return f && !tls_filter_established(f);
}

/* Pushes a table, or nil: no TLS, or no handshake yet. */
void push_tls(lua_State *L, const struct stream *s) {
    struct tls_filter *f = s ? tls_filter_of(s) : NULL;
    struct tls *session = f && tls_filter_established(f) ? tls_filter_session(f) : NULL;
    struct tls_info info;
    struct tls_certificate peer;
    if (!session) {
        lua_pushnil(L);
        return;
    }
    tls_describe(session, &info);
    lua_createtable(L, 0, 6);
    lua_pushstring(L, info.version == TLS_13 ? "1.3" : "1.2");
    lua_setfield(L, -2, "version");
    lua_pushstring(L, info.cipher);
    lua_setfield(L, -2, "cipher");
    if (info.alpn && *info.alpn) {
        lua_pushstring(L, info.alpn);
        lua_setfield(L, -2, "alpn");
    }
    lua_pushboolean(L, info.resumed);
    lua_setfield(L, -2, "resumed");
    lua_pushboolean(L, info.peer_verified);
    lua_setfield(L, -2, "peer_verified");
    if (info.peer.n == 0 || tls_certificate_describe(info.peer, &peer) < 0) return;
    tls_push_certificate(L, &peer);
    lua_newtable(L);
    struct str der;
    for (size_t i = 0; (der = tls_peer_certificate(session, i)).n; i++) {
        lua_pushlstring(L, der.p, der.n);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "chain");
    lua_setfield(L, -2, "peer_certificate");
}
