/* SPDX-License-Identifier: MIT */
/* A function that a thread has the loop run, and may wait for: what of that
 * happens on the loop. Three hold an ask, the last one frees it: the note on its
 * way, the Lua object that is answered, the thread that waits.
 *
 *      thread: posts, waits at the gate ─────────────────────────→ goes on
 *      loop:          delivered ─→ threadcall.answer(ask, …) ─→ opens it
 *
 * The gate opens without an answer when nobody will give one: the call was
 * cancelled, its pool closed, or the function's task was ended. A thread that
 * goes on early (cancelled, limit thread_answer) does not stop the function. */
#include "bind/thread.h"

static const char ask_class[] = "ropewalk.thread_ask";

struct ask_box { /* userdata */
    struct thread_ask *ask; /* NULL: answered */
};

void thread_ask_release(struct thread_ask *a) {
    if (atomic_fetch_sub(&a->holders, 1) > 1) return;
    shipment_release(&a->in);
    shipment_release(&a->out);
    thread_gate_free(&a->gate);
    struct mem account = a->mem;
    mem_free(&account, a, sizeof *a);
}

void thread_ask_end(struct thread_ask *a) {
    if (a->call) a->call->ask = NULL;
    a->call = NULL;
    if (a->gate) thread_gate_open(a->gate);
}

/* ── on the loop ──────────────────────────────────────────────────────────*/

static void box_end(struct ask_box *b) {
    struct thread_ask *a = b->ask;
    b->ask = NULL;
    if (!a) return;
    thread_ask_end(a);
    thread_ask_release(a);
}

static int box_gc(lua_State *L) {
    box_end(luaL_checkudata(L, 1, ask_class));
    return 0;
}

/* ask:answer(ok, value) → true; nil, why the value cannot go */
static int box_answer(lua_State *L) {
    struct ask_box *b = luaL_checkudata(L, 1, ask_class);
    lua_settop(L, 3);
    struct thread_ask *a = b->ask;
    if (a && a->call) { /* else the thread has gone on, and may be reading it */
        buf_clear(&a->out.bytes);
        int rc = ship_pack(L, 3, 1, &a->out);
        if (rc < 0) {
            lua_pushnil(L);
            lua_pushstring(L, rc == RW_ENOMEM ? "needs too much memory" : ship_refused());
            return 2;
        }
        a->ok = lua_toboolean(L, 2);
        a->answered = true;
    }
    box_end(b);
    lua_pushboolean(L, true);
    return 1;
}

/* threadcall.answer(ask, shipment, does it wait) */
static int answer_body(lua_State *L) {
    struct thread_ask *a = lua_touserdata(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "ropewalk.threadcall");
    lua_getfield(L, -1, "answer");
    struct ask_box *b = lua_newuserdatauv(L, sizeof *b, 0);
    b->ask = NULL;
    luaL_setmetatable(L, ask_class);
    shipment_push(L, &a->in);
    lua_pushboolean(L, a->gate != NULL);
    atomic_fetch_add(&a->holders, 1);
    b->ask = a;
    a->taken = true;
    lua_callk(L, 3, 0, 0, no_results);
    return 0;
}

static void ask_drop(struct thread_note *n) {
    struct thread_ask *a = CONTAINER(n, struct thread_ask, note);
    a->call = NULL;
    if (a->gate) thread_gate_open(a->gate);
    thread_ask_release(a);
}

/* The call is still there: its own note comes after this one. */
static void ask_deliver(struct thread_note *n) {
    struct thread_ask *a = CONTAINER(n, struct thread_ask, note);
    struct thread_call *c = a->call;
    a->call = NULL;
    if (c->unwanted) {
        ask_drop(n);
        return;
    }
    if (a->gate) {
        if (c->ask) c->ask->call = NULL; /* its thread did not wait to the end */
        c->ask = a;
        a->call = c;
    }
    door_enter(c->box->gen, &(struct door_call){
        .body = answer_body, .arg = a, .scope = c->scope});
    if (!a->taken) thread_ask_end(a);
    thread_ask_release(a);
}

/* ── on the thread ────────────────────────────────────────────────────────*/

struct thread_ask *thread_ask_new(struct thread_call *c, bool waits) {
    struct mem account;
    mem_init(&account, 0);
    struct thread_ask *a = mem_zalloc(&account, sizeof *a);
    if (!a) return NULL;
    a->mem = account;
    a->note = (struct thread_note){.deliver = ask_deliver, .drop = ask_drop};
    a->call = c;
    atomic_init(&a->holders, waits ? 2 : 1);
    shipment_init(&a->in, SHIP_MAX);
    shipment_init(&a->out, SHIP_MAX);
    if (!waits || (a->gate = thread_gate_new())) return a;
    atomic_store(&a->holders, 1);
    thread_ask_release(a);
    return NULL;
}

void thread_ask_open(lua_State *L) {
    static const luaL_Reg methods[] = {{"answer", box_answer}, {NULL, NULL}};
    class_define(L, ask_class, methods, box_gc);
}
