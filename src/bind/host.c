/* SPDX-License-Identifier: MIT */
/* The host and its scripts call each other with plain values: rw_register and
 * rw.host one way, rw_call and rw.exports the other. A host never sees Lua, and
 * nothing of Lua's unwinds through it: arguments are checked before its
 * function is called, and errors are raised after it has returned. */
#include "bind/bind.h"
#include "ropewalk.h"

struct host_function {
    struct host_function *next; /* list: rw->host_functions */
    rw_function call;
    void *owner;                /* the host's */
    size_t size;                /* of this block */
    char name[];
};

static bool to_value(lua_State *L, int index, struct rw_value *v) {
    *v = (struct rw_value){.type = RW_NIL};
    switch (lua_type(L, index)) {
    case LUA_TNIL: return true;
    case LUA_TBOOLEAN: *v = rw_boolean(lua_toboolean(L, index)); return true;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) *v = rw_integer(lua_tointeger(L, index));
        else *v = rw_number(lua_tonumber(L, index));
        return true;
    case LUA_TSTRING:
        v->type = RW_STRING;
        v->string = lua_tolstring(L, index, &v->length);
        return true;
    default: return false;
    }
}

static void push_value(lua_State *L, const struct rw_value *v) {
    switch (v->type) {
    case RW_NIL: lua_pushnil(L); break;
    case RW_BOOLEAN: lua_pushboolean(L, v->boolean); break;
    case RW_INTEGER: lua_pushinteger(L, v->integer); break;
    case RW_NUMBER: lua_pushnumber(L, v->number); break;
    case RW_STRING: lua_pushlstring(L, v->string ? v->string : "", v->length); break;
    }
}

/* ── scripts call the host ────────────────────────────────────────────────*/

static int call_host(lua_State *L) {
    const struct host_function *f = lua_touserdata(L, lua_upvalueindex(1));
    struct rw_value args[RW_MAX_ARGS], result = {.type = RW_NIL};
    int n = lua_gettop(L);
    if (n > RW_MAX_ARGS)
        return luaL_error(L, "rw.host.%s: at most %d arguments", f->name, RW_MAX_ARGS);
    for (int i = 0; i < n; i++)
        if (!to_value(L, i + 1, &args[i]))
            return luaL_error(L, "rw.host.%s: argument %d is a %s; a host takes nil, booleans, "
                              "numbers and strings", f->name, i + 1, luaL_typename(L, i + 1));
    int rc = f->call(f->owner, args, (size_t)n, &result);
    if (rc == 0) {
        push_value(L, &result);
        return 1;
    }
    if (result.type == RW_STRING) push_value(L, &result);
    else lua_pushstring(L, err_text(rc));
    return luaL_error(L, "rw.host.%s: %s", f->name, lua_tostring(L, -1));
}

static int no_such_function(lua_State *L) {
    return luaL_error(L, "the host has no function '%s'", luaL_tolstring(L, 2, NULL));
}

void host_open(lua_State *L) {
    lua_newtable(L);
    for (struct host_function *f = generation_of(L)->rw->host_functions; f; f = f->next) {
        lua_pushlightuserdata(L, f);
        lua_pushcclosure(L, call_host, 1);
        lua_setfield(L, -2, f->name);
    }
    lua_newtable(L);
    lua_pushcfunction(L, no_such_function);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "host");
    lua_newtable(L);
    lua_setfield(L, -2, "exports");
}

int rw_register(struct rw *rw, const char *name, rw_function call, void *owner) {
    if (rw->generations) return RW_ESTATE;
    for (struct host_function *f = rw->host_functions; f; f = f->next)
        if (strcmp(f->name, name) == 0) return -EEXIST;
    size_t n = strlen(name) + 1;
    struct host_function *f = mem_alloc(&rw->mem, sizeof *f + n);
    if (!f) return RW_ENOMEM;
    *f = (struct host_function){
        .next = rw->host_functions, .call = call, .owner = owner, .size = sizeof *f + n};
    memcpy(f->name, name, n);
    rw->host_functions = f;
    return 0;
}

void host_functions_free(struct rw *rw) {
    for (struct host_function *f; (f = rw->host_functions);) {
        rw->host_functions = f->next;
        mem_free(&rw->mem, f, f->size);
    }
}

/* ── the host calls scripts ───────────────────────────────────────────────*/

struct host_call { /* owned by its task */
    struct host_call *next, **prev; /* list: rw->host_calls */
    struct generation *gen;
    rw_done done;
    void *owner;
    const char *name;            /* borrowed until the first wait … */
    const struct rw_value *args; /* … as are these */
    size_t n;
    bool told;
};

static void tell(struct host_call *c, int status, const struct rw_value *result) {
    if (c->told) return;
    c->told = true;
    if (c->done) c->done(c->owner, status, result);
}

static void tell_text(struct host_call *c, int status, const char *text) {
    const struct rw_value v = rw_string(text);
    tell(c, status, &v);
}

/* Stack: the call, the function's result or what it raised. */
static int call_ended(lua_State *L, int status, lua_KContext ctx) {
    struct host_call *c = (struct host_call *)ctx;
    struct rw_value result;
    bool failed = status != LUA_OK && status != LUA_YIELD;
    if (failed && task_running(generation_of(L)->rw)->killed) return lua_error(L);
    if (failed)
        tell_text(c, RW_ESCRIPT, luaL_tolstring(L, -1, NULL));
    else if (to_value(L, -1, &result))
        tell(c, 0, &result);
    else
        tell_text(c, RW_ESCRIPT, lua_pushfstring(L, "the result is a %s; a host takes nil, "
                                                 "booleans, numbers and strings",
                                                 luaL_typename(L, -1)));
    return 0;
}

static int call_body(lua_State *L) {
    struct host_call *c = lua_touserdata(L, 1);
    luaL_checkstack(L, RW_MAX_ARGS + 4, NULL);
    lua_pushcfunction(L, door_traceback);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "ropewalk.core");
    lua_getfield(L, -1, "exports");
    lua_getfield(L, -1, c->name);
    if (!lua_isfunction(L, -1)) {
        tell_text(c, RW_ENONAME, lua_pushfstring(L, "the script exports no function '%s'", c->name));
        return 0;
    }
    for (size_t i = 0; i < c->n; i++) push_value(L, &c->args[i]);
    int status = lua_pcallk(L, (int)c->n, 1, 2, (lua_KContext)c, call_ended);
    return call_ended(L, status, (lua_KContext)c);
}

static void call_free(struct host_call *c, int status) {
    if (status == 0) status = RW_ECANCELED;
    tell_text(c, status, err_text(status)); /* unless it is told already */
    *c->prev = c->next;
    if (c->next) c->next->prev = c->prev;
    mem_free(&c->gen->rw->mem, c, sizeof *c);
}

static void call_done(struct task *t, int status) { call_free(t->owner, status); }

void host_calls_end(struct generation *g) {
    for (struct host_call *c = g->rw->host_calls, *next; c; c = next) {
        next = c->next;
        if (c->gen == g) call_free(c, RW_ECANCELED);
    }
}

int rw_call(struct rw *rw, const char *name, const struct rw_value *args, size_t n,
            rw_done done, void *owner) {
    if (n > RW_MAX_ARGS) return RW_EINVAL;
    if (!rw->current) return RW_ESTATE;
    struct host_call *c = mem_alloc(&rw->mem, sizeof *c);
    if (!c) return RW_ENOMEM;
    *c = (struct host_call){
        .next = rw->host_calls, .prev = &rw->host_calls, .gen = rw->current,
        .done = done, .owner = owner, .name = name, .args = args, .n = n};
    if (c->next) c->next->prev = &c->next;
    rw->host_calls = c;
    door_enter(rw->current, &(struct door_call){
        .body = call_body, .arg = c, .owner = c, .done = call_done});
    return 0;
}
