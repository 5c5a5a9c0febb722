/* SPDX-License-Identifier: MIT */
/* Functions that run in threads, seen from the loop: pools and calls. What
 * happens on the thread itself is thread_inside.c.
 *
 *      pool:call ─→ WAITING ─→ on a thread ─→ delivered: done(ok, shipment)
 *                      │            │
 *      cancel: ─→ taken back     given up: ends soon, its result is dropped
 *
 * A call belongs to the scope of the task that made it. While it is wanted, its
 * handle is anchored in the registry by its address; the thread sees only the
 * call, never the handle, the generation or the worker. */
#include "bind/thread.h"

#include "bind/leftover.h"

static const char pool_class[] = "ropewalk.thread_pool", call_class[] = "ropewalk.thread_call";

/* ── calls ────────────────────────────────────────────────────────────────*/

static struct thread_call *call_new(void) {
    struct mem account; /* it may end on a thread: no shared account */
    mem_init(&account, 0);
    struct thread_call *c = mem_zalloc(&account, sizeof *c);
    if (c) c->mem = account;
    return c;
}

void thread_call_free(struct thread_call *c) {
    shipment_release(&c->in);
    shipment_release(&c->out);
    struct mem account = c->mem;
    mem_free(&account, c, sizeof *c);
}

/* Nobody waits for it any more. */
static void call_detach(struct thread_call *c) {
    struct pool_box *box = c->box;
    c->unwanted = true;
    if (c->ask) thread_ask_end(c->ask);
    scope_remove(&c->item);
    *c->prev = c->next;
    if (c->next) c->next->prev = c->prev;
    c->handle->call = NULL;
    thread_pool_unref(box->pool);
}

static void call_cancel(struct thread_call *c) {
    struct generation *g = c->box->gen;
    struct thread_pool *pool = c->box->pool;
    atomic_store(&c->given_up, true);
    call_detach(c);
    if (g->state != GENERATION_DEAD) door_protect(g, registry_forget, c->handle);
    if (thread_pool_take_back(pool, &c->job)) thread_call_free(c);
}

static void scope_closed(struct scope_item *item) {
    call_cancel(CONTAINER(item, struct thread_call, item));
}

/* Pushes function `which` of the call's handle. */
static void push_function(lua_State *L, struct thread_call *c, int which) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, c->handle);
    lua_getiuservalue(L, -1, which);
    lua_remove(L, -2);
}

/* The shipment stays with the handle until its function has been told. */
static int deliver_body(lua_State *L) {
    struct thread_call *c = CONTAINER(lua_touserdata(L, 1), struct thread_call, debt);
    lua_rawgetp(L, LUA_REGISTRYINDEX, c->handle);
    if (lua_getiuservalue(L, -1, 3) == LUA_TNIL) {
        lua_pop(L, 1);
        shipment_push(L, &c->out);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, -3, 3);
    }
    push_function(L, c, 1);
    lua_pushboolean(L, c->ok);
    lua_pushvalue(L, -3);
    lua_callk(L, 2, 0, 0, no_results);
    return 0;
}

static void delivered(struct debt *d) {
    struct thread_call *c = CONTAINER(d, struct thread_call, debt);
    if (d->gen->state != GENERATION_DEAD) door_protect(d->gen, registry_forget, c->handle);
    thread_call_free(c);
}

/* Its thread has done with it. */
static void end_call(struct thread_call *c) {
    if (c->unwanted) {
        thread_call_free(c);
        return;
    }
    struct generation *g = c->box->gen;
    call_detach(c);
    c->debt = (struct debt){.body = deliver_body, .over = delivered};
    debt_owe(&c->debt, g, c->scope);
}

/* Its messages came before. */
static void deliver(struct thread_note *n) {
    struct thread_call *c = CONTAINER(n, struct thread_call, note);
    c->ended = true;
    if (!c->owing) end_call(c);
}

static void drop(struct thread_note *n) {
    thread_call_free(CONTAINER(n, struct thread_call, note));
}

static void drop_job(struct thread_job *job) {
    thread_call_free(CONTAINER(job, struct thread_call, job));
}

static void tell_messages(struct thread_call *c);

/* ── messages from a call ─────────────────────────────────────────────────*/

static int message_body(lua_State *L) {
    struct thread_message *m = CONTAINER(lua_touserdata(L, 1), struct thread_message, debt);
    if (m->call->unwanted) return 0;
    push_function(L, m->call, 2);
    if (lua_isnil(L, -1)) return 0;
    int n = ship_unpack(L, &m->value);
    m->debt.state = DEBT_TOLD;
    lua_callk(L, n, 0, 0, no_results);
    return 0;
}

void thread_message_drop(struct thread_note *n) {
    struct thread_message *m = CONTAINER(n, struct thread_message, note);
    shipment_release(&m->value);
    struct mem account = m->mem;
    mem_free(&account, m, sizeof *m);
}

static void message_told(struct debt *d) {
    struct thread_message *m = CONTAINER(d, struct thread_message, debt);
    struct thread_call *c = m->call;
    c->messages = m->next;
    c->owing = false;
    thread_message_drop(&m->note);
    tell_messages(c);
}

/* One after the other: the next when it is told, though that may still wait. */
static void tell_messages(struct thread_call *c) {
    if (c->telling) return; /* by who has called this */
    c->telling = true;
    while (c->messages && !c->owing) {
        struct thread_message *m = c->messages;
        if (c->unwanted) {
            c->messages = m->next;
            thread_message_drop(&m->note);
            continue;
        }
        c->owing = true;
        m->debt = (struct debt){.body = message_body, .over = message_told};
        debt_owe(&m->debt, c->box->gen, c->scope);
    }
    c->telling = false;
    if (c->ended && !c->owing) end_call(c);
}

/* The call is still there: its own note comes after those of its messages. */
void thread_message_deliver(struct thread_note *n) {
    struct thread_message *m = CONTAINER(n, struct thread_message, note);
    struct thread_call *c = m->call;
    if (!c->messages) c->messages_end = &c->messages;
    *c->messages_end = m;
    c->messages_end = &m->next;
    tell_messages(c);
}

/* ── Lua: calls ───────────────────────────────────────────────────────────*/

static int handle_cancel(lua_State *L) {
    struct call_handle *h = luaL_checkudata(L, 1, call_class);
    lua_pushboolean(L, h->call != NULL);
    if (h->call) call_cancel(h->call);
    return 1;
}

static struct pool_box *check_pool(lua_State *L) {
    return luaL_checkudata(L, 1, pool_class);
}

static void call_attach(lua_State *L, struct thread_call *c, struct pool_box *box) {
    struct task *task = task_running(box->gen->rw);
    c->scope = task ? task->scope : &box->gen->scope;
    c->item.cancel = scope_closed;
    scope_add(c->scope, &c->item);
    c->next = box->calls;
    c->prev = &box->calls;
    if (c->next) c->next->prev = &c->next;
    box->calls = c;
    thread_pool_ref(box->pool);
    leftover_note(L, &c->item, "call in a thread");
}

/* Of the arguments of pool:call; anchored, so that nothing can fail later. */
static struct call_handle *push_handle(lua_State *L) {
    struct call_handle *h = lua_newuserdatauv(L, sizeof *h, 3);
    h->call = NULL;
    luaL_setmetatable(L, call_class);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, -2, 2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, h);
    return h;
}

/* pool:call(done, on_message or nil, fn, …) → call; or nil, code, message */
static int pool_call(lua_State *L) {
    struct pool_box *box = check_pool(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    luaL_checktype(L, 4, LUA_TFUNCTION);
    if (!box->pool) return push_failure(L, RW_ECLOSED);
    int n = lua_gettop(L) - 3;
    struct shipment *in = shipment_push(L, NULL); /* a Lua error frees it */
    int rc = ship_pack(L, 4, n, in);
    if (rc < 0) {
        push_failure(L, rc);
        if (rc == RW_EINVAL || rc == RW_ELIMIT) {
            lua_pushstring(L, ship_refused());
            lua_replace(L, -2);
            lua_pushliteral(L, "refused");
            lua_replace(L, -3);
        }
        return 3;
    }
    struct call_handle *h = push_handle(L);
    struct thread_call *c = call_new();
    rc = c ? 0 : RW_ENOMEM;
    if (c) {
        c->box = box;
        c->handle = h;
        c->note = (struct thread_note){.deliver = deliver, .drop = drop};
        shipment_move(&c->in, in);
        shipment_init(&c->out, SHIP_MAX);
        rc = thread_pool_add(box->pool, &c->job);
    }
    if (rc < 0) {
        if (c) thread_call_free(c);
        lua_pushnil(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, h);
        return push_failure(L, rc);
    }
    h->call = c;
    call_attach(L, c, box);
    return 1;
}

/* ── Lua: pools ───────────────────────────────────────────────────────────*/

static void *begin_thread(void *owner, struct thread_pool *pool) {
    const struct pool_box *box = owner;
    return thread_state_new(box, pool);
}

static const struct thread_ops ops = {
    .begin = begin_thread, .run = thread_state_run, .end = thread_state_free, .drop = drop_job,
};

static void pool_close(struct pool_box *box) {
    if (!box->pool) return;
    while (box->calls) call_cancel(box->calls);
    thread_pool_close(&box->pool);
    box->gen->threads -= box->max;
}

static int l_pool_close(lua_State *L) {
    pool_close(check_pool(L));
    return 0;
}

static int l_pool_count(lua_State *L) {
    struct pool_box *box = check_pool(L);
    struct thread_count c = {0};
    if (box->pool) c = thread_pool_count(box->pool);
    lua_pushinteger(L, c.threads);
    lua_pushinteger(L, c.idle);
    lua_pushinteger(L, (lua_Integer)c.queued);
    return 3;
}

static uint64_t option(lua_State *L, const char *name, uint64_t standard, uint64_t least) {
    lua_getfield(L, 1, name);
    lua_Number n = luaL_optnumber(L, -1, (lua_Number)standard);
    lua_pop(L, 1);
    if (!(n >= (lua_Number)least && n < 1e15))
        luaL_error(L, "a pool of threads: %s must be a number of at least %d", name, (int)least);
    return (uint64_t)n;
}

/* The text stays in the table, which stays with the pool. */
static const char *option_text(lua_State *L, const char *name) {
    lua_getfield(L, 1, name);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1);
    return text;
}

/* core.thread_pool{min=, max=, queue=, time=, memory=, script=, path=, cpath=} */
static int core_thread_pool(lua_State *L) {
    enum { USUAL = 10 };
    luaL_checktype(L, 1, LUA_TTABLE);
    struct generation *g = generation_of(L);
    const struct limits *l = &g->limits;
    uint64_t most = l->threads > g->threads ? l->threads - g->threads : 0;
    uint64_t max = option(L, "max", most < USUAL && most ? most : USUAL, 1);
    uint64_t min = option(L, "min", 0, 0);
    if (min > max) return script_error(L, "a pool of threads: min is larger than max");
    if (max > most)
        return script_error(L, "a pool of threads: %d more are too many, %d are left "
                            "(limit threads)", (int)max, (int)most);
    struct pool_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct pool_box){
        .gen = g, .max = (unsigned)max, .limits = *l, .script = option_text(L, "script"),
        .path = option_text(L, "path"), .cpath = option_text(L, "cpath"),
    };
    box->limits.script_budget = option(L, "time", l->thread_time, 1);
    box->limits.script_memory = option(L, "memory", l->thread_memory, 1);
    luaL_setmetatable(L, pool_class);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    if (g->rw->simulated) return script_error(L, "a pool of threads: %s", err_text(RW_ESIMULATED));
    box->pool = thread_pool_new(g->rw->loop, &(struct thread_pool_options){
        .min = (unsigned)min, .max = box->max, .queue = option(L, "queue", l->thread_queue, 1),
        .ops = &ops, .owner = box});
    if (!box->pool) return luaL_error(L, "not enough memory or descriptors for a pool of threads");
    g->threads += box->max;
    return 1;
}

void thread_open(lua_State *L) {
    static const luaL_Reg pool_methods[] = {
        {"call", pool_call}, {"close", l_pool_close}, {"count", l_pool_count}, {NULL, NULL},
    };
    static const luaL_Reg call_methods[] = {{"cancel", handle_cancel}, {NULL, NULL}};
    class_define(L, pool_class, pool_methods, l_pool_close);
    class_define(L, call_class, call_methods, NULL);
    thread_ask_open(L);
    lua_pushcfunction(L, core_thread_pool);
    lua_setfield(L, -2, "thread_pool");
}
