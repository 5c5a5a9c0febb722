/* SPDX-License-Identifier: MIT */
/* A call, seen from its thread: a worker without a loop and a generation of its
 * own, so that all which makes scripts harmless (the door, budgets, the memory
 * account, the sandbox) holds here as it does there. The state is made for the
 * first call, stays for the next ones, and is thrown away after a call that had
 * to be stopped or ran out of memory: who knows what it left half done. */
#include "bind/thread.h"

struct thread_state {
    struct mem mem;               /* this block */
    struct rw rw;
    struct generation *gen;       /* NULL: to be made */
    struct thread_pool *pool;
    struct thread_call *call;     /* the running one */
    char *script, *path, *cpath;  /* owned; NULL: none */
    bool watched, spoiled;
    atomic_bool never;            /* what given_up points to between calls */
    struct rw *outer;             /* only to be given back to the loop's thread */
};

static struct thread_state *state_of(lua_State *L) {
    return CONTAINER(generation_of(L)->rw, struct thread_state, rw);
}

/* ── its log, when the host wants the lines: on the host's thread ─────────*/

struct log_note {
    struct mem mem; /* this block */
    struct thread_note note;
    struct rw *rw;
    enum log_level level;
    size_t n;
    char line[];
};

static void log_drop(struct thread_note *n) {
    struct log_note *l = CONTAINER(n, struct log_note, note);
    struct mem account = l->mem;
    mem_free(&account, l, sizeof *l + l->n);
}

static void log_deliver(struct thread_note *n) {
    struct log_note *l = CONTAINER(n, struct log_note, note);
    struct log *log = &l->rw->log;
    log->sink(log->context, l->level, str_of(l->line, l->n));
    log_drop(n);
}

static void log_in_loop(void *context, enum log_level level, struct str line) {
    struct thread_state *t = context;
    struct mem account;
    mem_init(&account, 0);
    struct log_note *l = mem_alloc(&account, sizeof *l + line.n);
    if (!l) return;
    *l = (struct log_note){.mem = account, .rw = t->outer, .level = level, .n = line.n,
                           .note = {.deliver = log_deliver, .drop = log_drop}};
    memcpy(l->line, line.p, line.n);
    if (!thread_pool_post(t->pool, &l->note, false)) log_drop(&l->note);
}

/* ── birth and death ──────────────────────────────────────────────────────*/

static bool copy_option(struct thread_state *t, char **to, const char *text) {
    if (!text) return true;
    size_t n = strlen(text) + 1;
    *to = mem_alloc(&t->rw.mem, n);
    if (*to) memcpy(*to, text, n);
    return *to;
}

static void free_option(struct thread_state *t, char *text) {
    if (text) mem_free(&t->rw.mem, text, strlen(text) + 1);
}

void *thread_state_new(const struct pool_box *box, struct thread_pool *pool) {
    const struct rw *outer = box->gen->rw;
    struct mem account;
    mem_init(&account, 0);
    struct thread_state *t = mem_zalloc(&account, sizeof *t);
    if (!t) return NULL;
    t->mem = account;
    t->pool = pool;
    bool ok = worker_copy(&t->rw, outer) == 0 && copy_option(t, &t->script, box->script) &&
              copy_option(t, &t->path, box->path) && copy_option(t, &t->cpath, box->cpath);
    t->rw.limits = box->limits;
    t->rw.generation_count = box->gen->id;
    t->rw.given_up = &t->never;
    t->outer = box->gen->rw;
    if (outer->log.sink) {
        t->rw.log.sink = log_in_loop;
        t->rw.log.context = t;
    }
    if (ok) return t;
    thread_state_free(t);
    return NULL;
}

static void close_state(struct thread_state *t) {
    t->rw.current = NULL;
    generation_free(&t->gen);
}

void thread_state_free(void *thread) {
    struct thread_state *t = thread;
    close_state(t);
    if (t->watched) door_unwatch();
    worker_copy_free(&t->rw);
    free_option(t, t->script);
    free_option(t, t->path);
    free_option(t, t->cpath);
    struct mem account = t->mem;
    mem_free(&account, t, sizeof *t);
}

static int enter_body(lua_State *L) { /* thread.enter(script, path, cpath) */
    const struct thread_state *t = lua_touserdata(L, 1);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "ropewalk.thread");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "enter");
    lua_pushstring(L, t->script);
    lua_pushstring(L, t->path);
    lua_pushstring(L, t->cpath);
    lua_call(L, 3, 0);
    return 0;
}

static void spoil(struct task *task, int status) {
    struct thread_state *t = CONTAINER(task->gen->rw, struct thread_state, rw);
    if (status == 0) return;
    t->spoiled = true;
    t->call->ok = false;
    buf_clear(&t->call->out.bytes);
}

static bool open_state(struct thread_state *t) {
    if (!t->watched) t->watched = door_watch(&t->rw) == 0;
    if (!t->watched) return false;
    t->rw.generation_count--; /* it has the number of the outer one */
    t->gen = generation_new(&t->rw);
    if (!t->gen) return false;
    t->gen->state = GENERATION_CURRENT;
    t->rw.current = t->gen;
    door_enter(t->gen, &(struct door_call){.body = enter_body, .arg = t, .done = spoil});
    return !t->spoiled;
}

/* ── a call ───────────────────────────────────────────────────────────────*/

static int unpack_and_call(lua_State *L) {
    struct thread_state *t = lua_touserdata(L, 1);
    int n = ship_unpack(L, &t->call->in);
    shipment_release(&t->call->in);
    lua_call(L, n - 1, 1);
    return 1;
}

/* thread.describe(failure, code): as plain data. */
static void pack_failure(lua_State *L, struct thread_call *c, int index, const char *code) {
    c->ok = false;
    index = lua_absindex(L, index);
    buf_clear(&c->out.bytes);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "ropewalk.thread");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "describe");
    lua_pushvalue(L, index);
    lua_pushstring(L, code);
    lua_call(L, 2, 1);
    if (ship_pack(L, -1, 1, &c->out) < 0) buf_clear(&c->out.bytes);
}

static int call_body(lua_State *L) {
    struct thread_state *t = lua_touserdata(L, 1);
    struct thread_call *c = t->call;
    struct task *task = task_running(&t->rw);
    lua_pushcfunction(L, door_traceback);
    lua_pushcfunction(L, unpack_and_call);
    lua_pushlightuserdata(L, t);
    int status = lua_pcall(L, 1, 1, 2);
    const char *code = NULL;
    if (task->killed) { /* described, not passed on */
        task->killed = false;
        task->slices = 0;
        lua_sethook(L, NULL, 0, 0);
        code = "timeout";
    } else if (status == LUA_ERRMEM) {
        code = "memory";
    }
    t->spoiled = code;
    if (status != LUA_OK) {
        if (code) lua_gc(L, LUA_GCCOLLECT);
        pack_failure(L, c, -1, code);
        return 0;
    }
    c->ok = true;
    if (ship_pack(L, -1, 1, &c->out) < 0) {
        lua_pushfstring(L, "the result of a thread's function %s", ship_refused());
        pack_failure(L, c, -1, NULL);
    }
    return 0;
}

void thread_state_run(void *thread, struct thread_job *job) {
    struct thread_state *t = thread;
    struct thread_call *c = CONTAINER(job, struct thread_call, job);
    t->call = c;
    t->rw.given_up = &c->given_up;
    if (t->gen || open_state(t))
        door_enter(t->gen, &(struct door_call){.body = call_body, .arg = t, .done = spoil});
    t->call = NULL;
    t->rw.given_up = &t->never;
    thread_pool_post(t->pool, &c->note, true);
    if (t->spoiled) close_state(t);
    t->spoiled = false;
}

/* ── for Lua ──────────────────────────────────────────────────────────────*/

/* core.thread_post(value) → did it go */
static int core_thread_post(lua_State *L) {
    struct thread_state *t = state_of(L);
    luaL_checkany(L, 1);
    struct shipment *value = shipment_push(L, NULL);
    int rc = ship_pack(L, 1, 1, value);
    if (rc < 0)
        return script_error(L, "a message to the loop %s",
                            rc == RW_ENOMEM ? "needs too much memory" : ship_refused());
    struct mem account;
    mem_init(&account, 0);
    struct thread_message *m = mem_zalloc(&account, sizeof *m);
    if (!m) return luaL_error(L, "not enough memory");
    m->mem = account;
    m->call = t->call;
    m->note = (struct thread_note){
        .deliver = thread_message_deliver, .drop = thread_message_drop};
    shipment_move(&m->value, value);
    bool went = thread_pool_post(t->pool, &m->note, false);
    if (!went) thread_message_drop(&m->note);
    lua_pushboolean(L, went);
    return 1;
}

static int refuse_ask(lua_State *L, int rc) {
    return script_error(L, "a call from a thread %s",
                        rc == RW_ENOMEM ? "needs too much memory" : ship_refused());
}

/* core.thread_ask(wait, fn, …) → did it go; or, if it waits: ok and a shipment;
 * nil and why there is no answer. */
static int core_thread_ask(lua_State *L) {
    struct thread_state *t = state_of(L);
    bool waits = lua_toboolean(L, 1);
    int n = lua_gettop(L) - 1;
    struct shipment *in = shipment_push(L, NULL), *out = shipment_push(L, NULL);
    int rc = ship_pack(L, 2, n, in);
    if (rc < 0) return refuse_ask(L, rc);
    struct thread_ask *a = thread_ask_new(t->call, waits);
    if (!a) return refuse_ask(L, RW_ENOMEM);
    shipment_move(&a->in, in);
    bool went = thread_pool_post(t->pool, &a->note, waits);
    if (!waits) {
        if (!went) thread_ask_release(a);
        lua_pushboolean(L, went);
        return 1;
    }
    bool opened = thread_gate_wait(a->gate, t->rw.limits.thread_answer);
    bool answered = opened && a->answered, ok = answered && a->ok;
    if (answered) shipment_move(out, &a->out);
    thread_ask_release(a);
    if (atomic_load(&t->call->given_up)) return luaL_error(L, "cancelled");
    if (!answered) {
        lua_pushnil(L);
        lua_pushstring(L, opened ? "ended" : "timeout");
        return 2;
    }
    lua_pushboolean(L, ok);
    lua_pushvalue(L, -2); /* out */
    return 2;
}

void thread_open_inside(lua_State *L) {
    lua_pushcfunction(L, core_thread_ask);
    lua_setfield(L, -2, "thread_ask");
    lua_pushcfunction(L, core_thread_post);
    lua_setfield(L, -2, "thread_post");
}
