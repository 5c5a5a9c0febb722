/* SPDX-License-Identifier: MIT */
/* core.names_…: lookups on behalf of a script. A lookup is a userdata, anchored
 * in the registry by its address while it is under way, in the scope of the
 * task that asked: closed with it, and forgotten then. Its uservalue is `done`,
 * which is told at once, or later and again if memory fails: then the records are gone.
 *
 * A generation has one resolver, opened when first needed; those with the same
 * configuration share it, so that a reload finds a warm cache. */
#include "bind/bind.h"
#include "bind/leftover.h"

#include <stdio.h>

static const char lookup_class[] = "ropewalk.lookup";

enum { ADDRESSES_MAX = 64 };

struct lookup {
    struct scope_item item;
    struct debt debt; /* its outcome */
    struct generation *gen;
    struct scope *scope;
    bool active, by_host;
    union {
        struct name_query query;
        struct host_query host;
    };
    int status;               /* the outcome; by_host: the graver one of both */
    const struct name_answer *answer; /* borrowed for the first try */
    bool half;                /* by_host: one family has come */
    unsigned count;
    struct ip ips[]; /* by_host: ADDRESSES_MAX */
};

/* ── the resolver ─────────────────────────────────────────────────────────*/

int generation_names(struct generation *g, struct names **out) {
    if (!g->names) {
        struct names_config c;
        names_config_init(&c);
        c.limits = g->limits;
        int rc = names_open(g->rw->loop, &c, &g->names);
        if (rc < 0) return rc;
    }
    *out = g->names;
    return 0;
}

static void text_field(lua_State *L, const char *name, char *out, size_t size) {
    size_t n;
    lua_getfield(L, 1, name);
    const char *text = luaL_optlstring(L, -1, NULL, &n);
    if (text && n >= size) script_error(L, "configure: %s: at most %d bytes", name, (int)size - 1);
    if (text && strlen(text) != n) script_error(L, "configure: %s: no zero byte is possible", name);
    if (text) snprintf(out, size, "%s", text);
    lua_pop(L, 1);
}

/* core.names_configure{servers=, search=, hosts_file=, resolv_file=} → true */
static int core_names_configure(lua_State *L) {
    struct generation *g = generation_of(L);
    struct names_config c;
    struct names *names;
    luaL_checktype(L, 1, LUA_TTABLE);
    names_config_init(&c);
    c.limits = g->limits;
    text_field(L, "servers", c.servers, sizeof c.servers);
    text_field(L, "search", c.search, sizeof c.search);
    text_field(L, "hosts_file", c.hosts_file, sizeof c.hosts_file);
    text_field(L, "resolv_file", c.resolv_file, sizeof c.resolv_file);
    lua_getfield(L, 1, "limits");
    limits_override(L, lua_gettop(L), &c.limits);
    int rc = names_open(g->rw->loop, &c, &names);
    if (rc < 0) return push_failure(L, rc);
    names_close(&g->names); /* what is under way there ends there */
    g->names = names;
    lua_pushboolean(L, true);
    return 1;
}

static void set_count(lua_State *L, const char *name, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static int core_names_state(lua_State *L) {
    struct names *names;
    struct names_state s;
    int rc = generation_names(generation_of(L), &names);
    if (rc < 0) return push_failure(L, rc);
    names_state(names, &s);
    lua_createtable(L, 0, 9);
    set_count(L, "asking", s.asking);
    set_count(L, "waiting", s.waiting);
    set_count(L, "sockets", s.sockets);
    set_count(L, "cached", s.cached);
    set_count(L, "cached_bytes", s.bytes);
    set_count(L, "asked", s.asked);
    set_count(L, "hits", s.hits);
    set_count(L, "failed", s.failed);
    lua_pushstring(L, s.servers);
    lua_setfield(L, -2, "servers");
    return 1;
}

/* ── records ──────────────────────────────────────────────────────────────*/

static void push_field(lua_State *L, const struct name_field *f) {
    switch (f->kind) {
    case NAME_NUMBER: lua_pushinteger(L, (lua_Integer)f->number); return;
    case NAME_TEXT: lua_pushlstring(L, f->text.n ? f->text.p : "", f->text.n); return;
    case NAME_LIST: case NAME_PAIRS: break;
    }
    lua_createtable(L, f->kind == NAME_LIST ? (int)f->count : 0, 0);
    for (size_t i = 0; i < f->count; i++) {
        unsigned key;
        struct str item = name_field_item(f, i, &key);
        lua_pushlstring(L, item.p, item.n);
        lua_rawseti(L, -2, key);
    }
}

static void push_record(lua_State *L, const struct name_record *r) {
    lua_createtable(L, 0, (int)r->count + 3);
    lua_pushlstring(L, r->name.p, r->name.n);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, r->type);
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, r->ttl);
    lua_setfield(L, -2, "ttl");
    for (unsigned i = 0; i < r->count; i++) {
        push_field(L, &r->fields[i]);
        lua_setfield(L, -2, r->fields[i].key);
    }
}

static void push_records(lua_State *L, const struct name_answer *a) {
    struct name_record record;
    size_t cursor = 0;
    lua_newtable(L);
    for (lua_Integer i = 1; name_answer_next(a, &cursor, &record); i++) {
        push_record(L, &record);
        lua_rawseti(L, -2, i);
    }
}

static void push_addresses(lua_State *L, const struct ip *ips, unsigned n) {
    char text[IP_TEXT_MAX];
    lua_createtable(L, (int)n, 0);
    for (unsigned i = 0; i < n; i++) {
        struct str s = ip_format(&ips[i], text);
        lua_pushlstring(L, s.p, s.n);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* ── lookups ──────────────────────────────────────────────────────────────*/

static int done_body(lua_State *L) {
    struct lookup *k = CONTAINER(lua_touserdata(L, 1), struct lookup, debt);
    bool lost = k->debt.again && !k->by_host;
    int status = k->status == 0 && lost ? RW_ENOMEM : k->status;
    lua_rawgetp(L, LUA_REGISTRYINDEX, k);
    lua_getiuservalue(L, -1, 1);
    if (status < 0) push_failure(L, status);
    else if (k->by_host) push_addresses(L, k->ips, k->count);
    else push_records(L, k->answer);
    lua_callk(L, status < 0 ? 3 : 1, 0, 0, no_results);
    return 0;
}

static void lookup_told(struct debt *d) {
    struct lookup *k = CONTAINER(d, struct lookup, debt);
    if (d->gen->state != GENERATION_DEAD) door_protect(d->gen, registry_forget, k);
}

static void lookup_done(struct lookup *k, int status, const struct name_answer *a) {
    k->active = false;
    k->status = status;
    k->answer = a;
    scope_remove(&k->item);
    k->debt = (struct debt){.body = done_body, .over = lookup_told};
    debt_owe(&k->debt, k->gen, k->scope);
}

static void on_records(struct name_query *q, int status, const struct name_answer *a) {
    lookup_done(CONTAINER(q, struct lookup, query), status, a);
}

/* Of two failures the one that says less about the name. */
static int graver(int a, int b) {
    bool known = a == RW_ENONAME || a == RW_ENODATA;
    if (!a) return b;
    return known && b < 0 && b != RW_ENONAME ? b : a;
}

static void on_host(struct host_query *h, int family, int status, const struct ip *ips,
                    unsigned n) {
    struct lookup *k = CONTAINER(h, struct lookup, host);
    (void)family;
    for (unsigned i = 0; i < n && k->count < ADDRESSES_MAX; i++) k->ips[k->count++] = ips[i];
    if (status < 0) k->status = graver(k->status, status);
    if (!k->half) {
        k->half = true;
        return;
    }
    ip_sort(k->ips, k->count);
    lookup_done(k, k->count ? 0 : k->status ? k->status : RW_ENODATA, NULL);
}

static void lookup_drop(struct lookup *k) {
    if (k->by_host) host_forget(&k->host);
    else names_forget(&k->query);
    k->active = false;
}

static void lookup_closed(struct scope_item *item) {
    struct lookup *k = CONTAINER(item, struct lookup, item);
    lookup_drop(k);
    if (k->gen->state != GENERATION_DEAD) door_protect(k->gen, registry_forget, k);
}

/* Stack: …, done at `done`; the lookup on top. */
static struct lookup *lookup_new(lua_State *L, bool by_host, int done) {
    size_t size = sizeof(struct lookup) + (by_host ? ADDRESSES_MAX * sizeof(struct ip) : 0);
    luaL_checktype(L, done, LUA_TFUNCTION);
    struct lookup *k = lua_newuserdatauv(L, size, 1);
    memset(k, 0, size);
    k->gen = generation_of(L);
    k->item.cancel = lookup_closed;
    k->by_host = by_host;
    luaL_setmetatable(L, lookup_class);
    lua_pushvalue(L, done);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, k);
    return k;
}

static int lookup_begun(lua_State *L, struct lookup *k, int rc) {
    if (rc < 0) {
        lua_pushnil(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, k);
        if (rc == RW_ELIMIT)
            limit_fired(k->gen->rw, NULL, "too many lookups are waiting", "names_waiting");
        return push_failure(L, rc);
    }
    struct task *t = task_running(k->gen->rw);
    k->active = true;
    k->scope = t ? t->scope : &k->gen->scope;
    scope_add(k->scope, &k->item);
    leftover_note(L, &k->item, "lookup");
    return 1;
}

/* core.names_lookup(name, type, done) → lookup; nil, code, message */
static int core_names_lookup(lua_State *L) {
    struct str name = check_str(L, 1), type = check_str(L, 2);
    struct hostname host;
    struct names *names;
    int number = name_type_parse(type);
    luaL_argcheck(L, number > 0, 2, "a record type is expected: \"A\", \"MX\", \"TYPE65\" …");
    struct lookup *k = lookup_new(L, false, 3);
    int rc = hostname_read(name, &host);
    if (rc == 0) rc = generation_names(k->gen, &names);
    k->query.done = on_records;
    if (rc == 0) rc = names_ask(names, &k->query, str_of(host.text, host.n), number);
    return lookup_begun(L, k, rc);
}

/* core.names_resolve(host, done) → lookup; nil, code, message */
static int core_names_resolve(lua_State *L) {
    struct str host = check_str(L, 1);
    struct names *names;
    struct lookup *k = lookup_new(L, true, 2);
    int rc = generation_names(k->gen, &names);
    k->host.found = on_host;
    if (rc == 0) rc = host_ask(names, &k->host, host);
    return lookup_begun(L, k, rc);
}

static int lookup_cancel(lua_State *L) {
    struct lookup *k = luaL_checkudata(L, 1, lookup_class);
    lua_pushboolean(L, k->active);
    if (!k->active) return 1;
    scope_remove(&k->item);
    lookup_drop(k);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, k);
    return 1;
}

/* core.names_type(text) → number; nil: there is no such type */
static int core_names_type(lua_State *L) {
    int type = name_type_parse(check_str(L, 1));
    if (type < 0) return 0;
    lua_pushinteger(L, type);
    return 1;
}

/* ── text ─────────────────────────────────────────────────────────────────*/

/* core.host_to_ascii(text) → text or nil */
static int core_host_to_ascii(lua_State *L) {
    struct hostname host;
    if (hostname_read(check_str(L, 1), &host) < 0) return 0;
    lua_pushlstring(L, host.text, host.n);
    return 1;
}

/* core.address_parse(text) → canonical text, 4 or 6, PTR name; or nil */
static int core_address_parse(lua_State *L) {
    struct ip ip;
    char plain[IP_TEXT_MAX], arpa[IP_ARPA_MAX];
    if (ip_parse(check_str(L, 1), &ip) < 0) return 0;
    lua_pushstring(L, ip_format(&ip, plain).p);
    lua_pushinteger(L, ip.family);
    lua_pushstring(L, ip_arpa(&ip, arpa).p);
    return 3;
}

void names_open_lib(lua_State *L) {
    static const luaL_Reg methods[] = {{"cancel", lookup_cancel}, {NULL, NULL}};
    class_define(L, lookup_class, methods, NULL);
    static const luaL_Reg functions[] = {
        {"names_lookup", core_names_lookup},
        {"names_type", core_names_type},
        {"names_resolve", core_names_resolve},
        {"names_configure", core_names_configure},
        {"names_state", core_names_state},
        {"host_to_ascii", core_host_to_ascii},
        {"address_parse", core_address_parse},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
