/* SPDX-License-Identifier: MIT */
/* core.tls_identity, tls_trust, tls_context, and the making of certificates. */
#include "bind/tls.h"

#include "io/digest.h"

#include <stdatomic.h>

#include "io/accel.h"
#include "io/tls_issue.h"

static const char identity_class[] = "ropewalk.tls_identity";
static const char trust_class[] = "ropewalk.tls_trust";
static const char context_class[] = "ropewalk.tls_context";
static const char made_class[] = "ropewalk.tls_made";

enum { NAME_MAX_LENGTH = 255, NAMES_MAX = 1 << 20 };

static struct str opt_str(lua_State *L, int index) {
    size_t n;
    const char *p = luaL_optlstring(L, index, "", &n);
    return str_of(p, n);
}

/* Of a table, which keeps it: the text of a number would die with the stack. */
static struct str held_str(lua_State *L, int index, const char *what) {
    if (lua_type(L, index) != LUA_TSTRING)
        luaL_error(L, "%s: a string is expected, not a %s", what, luaL_typename(L, index));
    return check_str(L, index);
}

/* The same of what goes on as a C string: a name that is cut short is another one. */
static const char *held_text(lua_State *L, int index, const char *what) {
    struct str s = held_str(L, index, what);
    if (strlen(s.p) != s.n) luaL_error(L, "%s: a zero byte is not possible", what);
    return s.p;
}

static struct str str_field(lua_State *L, const char *name) {
    struct str s = str_of("", 0);
    if (lua_getfield(L, 1, name) != LUA_TNIL) s = held_str(L, -1, name);
    lua_pop(L, 1);
    return s;
}

/* NULL: absent, or empty. */
static const char *text_field(lua_State *L, const char *name) {
    const char *text = NULL;
    if (lua_getfield(L, 1, name) != LUA_TNIL) text = held_text(L, -1, name);
    lua_pop(L, 1);
    return text && *text ? text : NULL;
}

/* nil, code name, why */
static int refuse(lua_State *L, int code, const struct tls_why *why) {
    lua_pushnil(L);
    lua_pushstring(L, err_name(code));
    lua_pushstring(L, *why->text ? why->text : err_text(code));
    return 3;
}

/* In a simulation a run would not repeat: keys and nonces are the system's random
 * numbers, and TLS has memory and threads of its own. Returns the results, or 0. */
static int refuse_simulated(lua_State *L) {
    const struct tls_why why = {"TLS is not possible in a simulation: take the plain protocol"};
    return generation_of(L)->rw->simulated ? refuse(L, RW_ESIMULATED, &why) : 0;
}

/* What a finalizer of a script gets hold of may have been collected before it. */
static void *check_live(lua_State *L, int index, void *object) {
    luaL_argcheck(L, object, index, "it has been collected");
    return object;
}

/* ── identities ───────────────────────────────────────────────────────────*/

struct tls_identity *tls_check_identity(lua_State *L, int index) {
    return check_live(L, index, *(void **)luaL_checkudata(L, index, identity_class));
}

/* core.tls_identity(chain, key[, password]) */
static int core_tls_identity(lua_State *L) {
    struct str chain = check_str(L, 1), key = check_str(L, 2), password = opt_str(L, 3);
    struct tls_why why = {""};
    int refused = refuse_simulated(L);
    if (refused) return refused;
    struct tls_identity **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, identity_class);
    int rc = tls_identity_new(chain, key, password, box, &why);
    return rc < 0 ? refuse(L, rc, &why) : 1;
}

static int identity_gc(lua_State *L) {
    tls_identity_unref(luaL_checkudata(L, 1, identity_class));
    return 0;
}

static int identity_describe(lua_State *L) {
    struct tls_certificate c;
    tls_identity_describe(tls_check_identity(L, 1), &c);
    tls_push_certificate(L, &c);
    return 1;
}

static int identity_serves(lua_State *L) {
    lua_pushboolean(L, tls_identity_serves(tls_check_identity(L, 1), check_str(L, 2)));
    return 1;
}

/* ── trust ────────────────────────────────────────────────────────────────*/

static struct tls_trust *check_trust(lua_State *L, int index) {
    return check_live(L, index, *(void **)luaL_checkudata(L, index, trust_class));
}

static int core_tls_trust(lua_State *L) {
    int refused = refuse_simulated(L);
    if (refused) return refused;
    struct tls_trust **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, trust_class);
    int rc = tls_trust_new(box);
    return rc < 0 ? push_failure(L, rc) : 1;
}

static int trust_gc(lua_State *L) {
    tls_trust_unref(luaL_checkudata(L, 1, trust_class));
    return 0;
}

static int trust_result(lua_State *L, int rc, const struct tls_why *why) {
    if (rc < 0) return refuse(L, rc, why);
    lua_pushinteger(L, rc);
    return 1;
}

static int trust_add(lua_State *L) {
    struct tls_why why = {""};
    return trust_result(L, tls_trust_add(check_trust(L, 1), check_str(L, 2), &why), &why);
}

static int trust_add_system(lua_State *L) {
    struct tls_why why = {""};
    return trust_result(L, tls_trust_add_system(check_trust(L, 1), &why), &why);
}

static int trust_add_revoked(lua_State *L) {
    struct tls_why why = {""};
    return trust_result(L, tls_trust_add_revoked(check_trust(L, 1), check_str(L, 2), &why),
                        &why);
}

/* ── contexts ─────────────────────────────────────────────────────────────*/

struct bind_tls *tls_check_context(lua_State *L, int index) {
    struct bind_tls *t = luaL_checkudata(L, index, context_class);
    check_live(L, index, t->context);
    return t;
}

static void lower_name(struct str name, char *out, size_t *n) {
    *n = 0;
    for (size_t i = 0; i < name.n && i < NAME_MAX_LENGTH; i++)
        out[(*n)++] = ascii_lower(name.p[i]);
}

struct tls_identity *tls_find_identity(const struct bind_tls *t, struct str name) {
    char key[NAME_MAX_LENGTH + 1];
    size_t n;
    lower_name(name, key, &n);
    if (n == 0) return t->has_hook ? NULL : t->fallback;
    union map_value *value = map_find(&t->names, str_of(key, n));
    size_t dot = str_find(str_of(key, n), '.');
    if (!value && dot && dot < n)
        value = map_find(&t->names, str_of(key + dot, n - dot));
    return value ? value->ptr : t->has_hook ? NULL : t->fallback;
}

static void forget_names(struct map *names) {
    size_t cursor = 0;
    struct str key;
    union map_value *value;
    while (map_next(names, &cursor, &key, &value)) {
        struct tls_identity *id = value->ptr;
        tls_identity_unref(&id);
    }
    map_release(names);
}

static void init_names(lua_State *L, struct map *names) {
    static const uint64_t seed[2] = {1, 2}; /* names come from the operator */
    map_init(names, &generation_of(L)->rw->mem, seed, NAMES_MAX);
}

static int add_name(struct map *names, struct str name, struct tls_identity *id) {
    char key[NAME_MAX_LENGTH + 1];
    size_t n;
    union map_value *value;
    if (str_starts(name, STR("*."))) name = str_skip(name, 1);
    lower_name(name, key, &n);
    int rc = map_put(names, str_of(key, n), &value);
    if (rc < 0) return rc;
    struct tls_identity *old = value->ptr;
    value->ptr = tls_identity_ref(id);
    tls_identity_unref(&old);
    return 0;
}

/* context:set_names({name = identity}, fallback or nil): from now on, for new
 * connections; the old ones have what they have. */
static int context_set_names(lua_State *L) {
    struct bind_tls *t = tls_check_context(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 3);
    struct tls_identity *fallback = lua_isnil(L, 3) ? NULL : tls_check_identity(L, 3);
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) { /* raise before changing */
        luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING, 2, "names are strings");
        tls_check_identity(L, -1);
    }
    struct map names;
    init_names(L, &names);
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
        if (add_name(&names, check_str(L, -2), tls_check_identity(L, -1)) == 0) continue;
        forget_names(&names);
        return luaL_error(L, "not enough memory");
    }
    forget_names(&t->names);
    t->names = names;
    tls_identity_unref(&t->fallback);
    if (fallback) t->fallback = tls_identity_ref(fallback);
    return 0;
}

/* context:adopt(other): what the other one shakes hands by, from now on; the names and
 * the hook stay, and so do connections that there are. */
static int context_adopt(lua_State *L) {
    struct bind_tls *t = tls_check_context(L, 1), *other = tls_check_context(L, 2);
    luaL_argcheck(L, tls_context_is_server(t->context) == tls_context_is_server(other->context),
                  2, "one is a server's, the other a client's");
    struct tls_context *old = t->context;
    t->context = tls_context_ref(other->context);
    tls_context_unref(&old);
    return 0;
}

static int context_gc(lua_State *L) {
    struct bind_tls *t = luaL_checkudata(L, 1, context_class);
    forget_names(&t->names);
    tls_identity_unref(&t->fallback);
    tls_context_unref(&t->context);
    tls_context_unref(&t->challenge);
    return 0;
}

static void read_alpn(lua_State *L, struct tls_settings *s) {
    if (lua_getfield(L, 1, "alpn") != LUA_TNIL) {
        luaL_argcheck(L, lua_istable(L, -1), 1, "alpn: a list is expected");
        lua_Integer n = luaL_len(L, -1);
        luaL_argcheck(L, n <= TLS_ALPN_MAX, 1, "alpn: too many names");
        for (lua_Integer i = 1; i <= n; i++) {
            lua_rawgeti(L, -1, i);
            s->alpn[i - 1] = held_text(L, -1, "alpn");
            luaL_argcheck(L, *s->alpn[i - 1] && strlen(s->alpn[i - 1]) < 256, 1,
                          "alpn: names have 1 to 255 bytes");
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

static int option_field(lua_State *L, const char *name, const char *otherwise,
                        const char *const *list) {
    lua_getfield(L, 1, name);
    int value = luaL_checkoption(L, -1, otherwise, list);
    lua_pop(L, 1);
    return value;
}

static bool bool_field(lua_State *L, const char *name) {
    lua_getfield(L, 1, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* core.tls_ticket_secret(label) → 32 bytes, the same for the same label as long as
 * the process lives: what one generation sealed, the next one opens. */
static int core_tls_ticket_secret(lua_State *L) {
    struct rw *rw = generation_of(L)->rw;
    uint8_t out[DIGEST_SIZE];
    if (!rw->has_ticket_secret &&
        !(rw->has_ticket_secret = random_bytes(rw, rw->ticket_secret, sizeof rw->ticket_secret)))
        return luaL_error(L, "the system gives no random bytes");
    int rc = digest_hmac(str_of((const char *)rw->ticket_secret, sizeof rw->ticket_secret),
                         check_str(L, 1), out);
    if (rc < 0) return luaL_error(L, "%s", err_text(rc));
    lua_pushlstring(L, (const char *)out, sizeof out);
    return 1;
}

/* The store of the process, by this generation's limits. A thread has none: it does not
 * connect. */
static struct tls_store *client_sessions(lua_State *L) {
    struct generation *g = generation_of(L);
    struct rw *rw = g->rw;
    uint64_t seed[2];
    if (!rw->loop) return NULL;
    if (!rw->tls_sessions && (!random_bytes(rw, seed, sizeof seed) ||
                              tls_store_new(&rw->mem, seed, &rw->tls_sessions) < 0))
        return NULL;
    tls_store_bound(rw->tls_sessions, &g->limits);
    return rw->tls_sessions;
}

/* core.tls_expiry(seconds since 1970): of the first certificate that expires. */
static int core_tls_expiry(lua_State *L) {
    lua_Integer when = luaL_checkinteger(L, 1);
    generation_of(L)->rw->stats.tls_certificate_expiry = when > 0 ? (uint64_t)when : 0;
    return 0;
}

static void read_settings(lua_State *L, struct tls_settings *s) {
    static const char *const verify[] = {"none", "optional", "required", NULL};
    static const char *const versions[] = {"1.2", "1.3", NULL};
    s->client = bool_field(L, "client");
    s->tickets = bool_field(L, "tickets");
    if (s->client && s->tickets) s->sessions = client_sessions(L);
    s->verify = (enum tls_verify)option_field(L, "verify", s->client ? "required" : "none",
                                              verify);
    s->min_version = option_field(L, "min_version", "1.2", versions) ? TLS_13 : TLS_12;
    if (lua_getfield(L, 1, "trust") != LUA_TNIL) s->trust = check_trust(L, -1);
    if (lua_getfield(L, 1, "identity") != LUA_TNIL) s->identity = tls_check_identity(L, -1);
    lua_pop(L, 2);
    luaL_argcheck(L, s->trust || s->verify == TLS_VERIFY_NONE, 1,
                  "verify needs trust: the authorities to check against");
    if (lua_getfield(L, 1, "ticket_secret") != LUA_TNIL) {
        struct str secret = check_str(L, -1);
        luaL_argcheck(L, secret.n == sizeof s->ticket_secret, 1, "ticket_secret: 32 bytes");
        memcpy(s->ticket_secret, secret.p, secret.n);
    } else if (s->tickets && !s->client) {
        luaL_argerror(L, 1, "tickets need a ticket_secret");
    }
    lua_pop(L, 1);
    s->keylog = text_field(L, "keylog");
    read_alpn(L, s);
}

/* Who validates a name for an authority is served apart: it speaks no protocol
 * but this one, and nobody else may get at a challenge's certificate. */
static int make_challenge_context(struct bind_tls *t, struct tls_why *why) {
    const struct tls_settings settings = {.alpn = {TLS_ALPN_ACME}};
    return tls_context_new(&settings, &t->challenge, why);
}

/* Once per process: TLS works, but is slower than this machine could be. */
static void report_accelerators(struct log *log) {
    static atomic_flag reported = ATOMIC_FLAG_INIT;
    if (*accel_failed() && !atomic_flag_test_and_set(&reported))
        log_warn(log, "TLS accelerators failed their check and are not used",
                 LF_Z("failed", accel_failed()), LF_Z("in_use", accel_in_use()));
}

/* core.tls_context{client=, verify=, trust=, identity=, min_version=, alpn=,
 * tickets=, ticket_secret=, choose=, challenge=, keylog=} */
static int core_tls_context(lua_State *L) {
    struct tls_settings settings = {0};
    struct tls_why why = {""};
    luaL_checktype(L, 1, LUA_TTABLE);
    int refused = refuse_simulated(L);
    if (refused) return refused;
    lua_settop(L, 1);
    read_settings(L, &settings);
    if (generation_of(L)->rw->checking) settings.keylog = NULL; /* a check creates nothing */
    struct bind_tls *t = lua_newuserdatauv(L, sizeof *t, 1);
    *t = (struct bind_tls){0};
    init_names(L, &t->names);
    luaL_setmetatable(L, context_class);
    report_accelerators(&generation_of(L)->rw->log);
    t->has_hook = lua_getfield(L, 1, "choose") == LUA_TFUNCTION;
    lua_setiuservalue(L, -2, 1);
    bool challenge = bool_field(L, "challenge");
    luaL_argcheck(L, !challenge || t->has_hook, 1, "challenge needs choose");
    int rc = tls_context_new(&settings, &t->context, &why);
    if (rc == 0 && challenge) rc = make_challenge_context(t, &why);
    return rc < 0 ? refuse(L, rc, &why) : 1;
}

/* ── making ───────────────────────────────────────────────────────────────*/

enum { ISSUE_MAX = 1 << 20, WISH_NAMES_MAX = 100 };

/* Pushes a box for what is made: it is freed even if there is no memory to push that. */
static struct buf *new_made(lua_State *L) {
    struct buf *b = lua_newuserdatauv(L, sizeof *b, 0);
    buf_init(b, &generation_of(L)->rw->mem, ISSUE_MAX);
    luaL_setmetatable(L, made_class);
    return b;
}

static int made_gc(lua_State *L) {
    buf_release(luaL_checkudata(L, 1, made_class));
    return 0;
}

static int push_made(lua_State *L, int rc, struct buf *b, const struct tls_why *why) {
    struct str made = buf_str(b);
    if (rc < 0) return refuse(L, rc, why);
    lua_pushlstring(L, made.p ? made.p : "", made.n);
    buf_release(b);
    return 1;
}

/* core.tls_make_key("p256" | "p384" | "rsa2048" | "rsa4096") → PEM */
static int core_tls_make_key(lua_State *L) {
    static const char *const kinds[] = {"p256", "p384", "rsa2048", "rsa4096", NULL};
    int kind = luaL_checkoption(L, 1, "p256", kinds);
    struct tls_why why = {""};
    struct buf *pem = new_made(L);
    return push_made(L, tls_make_key((enum tls_key_kind)kind, pem), pem, &why);
}

static void read_names(lua_State *L, int index, const char **names) {
    luaL_checktype(L, index, LUA_TTABLE);
    lua_Integer n = luaL_len(L, index);
    luaL_argcheck(L, n >= 0 && n <= WISH_NAMES_MAX, index, "too many names");
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, index, i);
        names[i - 1] = held_text(L, -1, "names");
        lua_pop(L, 1);
    }
    names[n] = NULL;
}

/* core.tls_make_certificate{key=, names=, subject=, not_before=, not_after=,
 * authority=, client=, issuer=, issuer_key=, acme=} → PEM */
static int core_tls_make_certificate(lua_State *L) {
    const char *names[WISH_NAMES_MAX + 1] = {NULL};
    struct tls_why why = {""};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (lua_getfield(L, 1, "names") != LUA_TNIL) read_names(L, lua_gettop(L), names);
    lua_getfield(L, 1, "not_before");
    lua_getfield(L, 1, "not_after");
    const char *subject = text_field(L, "subject");
    struct tls_wish wish = {
        .subject = subject, .names = names,
        .not_before = luaL_checkinteger(L, -2), .not_after = luaL_checkinteger(L, -1),
        .authority = bool_field(L, "authority"), .client = bool_field(L, "client"),
        .issuer = str_field(L, "issuer"), .issuer_key = str_field(L, "issuer_key"),
        .acme = str_field(L, "acme"),
    };
    struct str key = str_field(L, "key");
    struct buf *pem = new_made(L);
    return push_made(L, tls_make_certificate(&wish, key, pem, &why), pem, &why);
}

/* core.tls_make_request(names, key) → DER */
static int core_tls_make_request(lua_State *L) {
    const char *names[WISH_NAMES_MAX + 1];
    struct tls_why why = {""};
    read_names(L, 1, names);
    struct str key = check_str(L, 2);
    struct buf *der = new_made(L);
    return push_made(L, tls_make_request(names, key, der, &why), der, &why);
}

/* ── the library ──────────────────────────────────────────────────────────*/

void tls_open(lua_State *L) {
    static const luaL_Reg identity[] = {
        {"describe", identity_describe}, {"serves", identity_serves}, {NULL, NULL},
    };
    static const luaL_Reg trust[] = {
        {"add", trust_add}, {"add_system", trust_add_system},
        {"add_revoked", trust_add_revoked}, {NULL, NULL},
    };
    static const luaL_Reg context[] = {{"set_names", context_set_names}, {"adopt", context_adopt},
                                       {NULL, NULL}};
    static const luaL_Reg none[] = {{NULL, NULL}};
    class_define(L, identity_class, identity, identity_gc);
    class_define(L, trust_class, trust, trust_gc);
    class_define(L, context_class, context, context_gc);
    class_define(L, made_class, none, made_gc);
    static const luaL_Reg functions[] = {
        {"tls_identity", core_tls_identity}, {"tls_certificate", core_tls_certificate},
        {"tls_certificate_serves", core_tls_certificate_serves},
        {"tls_trust", core_tls_trust}, {"tls_context", core_tls_context},
        {"tls_ticket_secret", core_tls_ticket_secret}, {"tls_expiry", core_tls_expiry},
        {"tls_make_key", core_tls_make_key},
        {"tls_make_certificate", core_tls_make_certificate},
        {"tls_make_request", core_tls_make_request}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
