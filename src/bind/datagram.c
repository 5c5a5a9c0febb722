/* SPDX-License-Identifier: MIT */
/* Hooks of datagram protocols. Unlike a connection's they do not wait for each
 * other: a datagram is its own conversation. As many as max_datagram_tasks may
 * wait at a time; then the socket is not read.
 *
 *     stage: built ─→ commit: start_protocol ─→ datagram_received … ─→ retired or
 *     closed ─→ hooks that wait end ─→ stop_protocol ─→ freed
 */
#include "bind/address.h"
#include "bind/datagram.h"

#include "bind/port.h"

/* ── tasks ────────────────────────────────────────────────────────────────*/

static void check_end(struct dgram *d);

static void unpin(struct dgram *d) {
    const struct limits *l = &d->limits;
    if (--d->tasks == 0 && d->port) port_give_back(d->port);
    if (d->full && d->tasks < l->max_datagram_tasks && d->socket) {
        d->full = false;
        if (d->port) port_read(d->port, d);
        else dgram_start(d);
    }
    check_end(d);
}

static void pin(struct dgram *d) {
    if (d->tasks++ == 0 && d->port) port_borrow(d->port);
}

static void task_done(struct task *t, int status) {
    (void)status; /* reported */
    unpin(t->owner);
}

static void run(struct dgram *d, lua_CFunction body, void *arg,
                void (*done)(struct task *t, int status)) {
    pin(d);
    door_enter(d->gen, &(struct door_call){
        .body = body, .arg = arg, .scope = &d->scope, .owner = d, .done = done});
}

/* Pushes the protocol and its hook in front of it; false: it has none. */
static bool push_hook(lua_State *L, struct dgram *d, const char *name) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, d);
    lua_getiuservalue(L, -1, DGRAM_PROTOCOL);
    lua_replace(L, -2);
    bool is = lua_getfield(L, -1, name) == LUA_TFUNCTION;
    lua_insert(L, -2);
    return is;
}

/* ── start ────────────────────────────────────────────────────────────────*/

static int start_body(lua_State *L) {
    struct dgram *d = CONTAINER(lua_touserdata(L, 1), struct dgram, debt);
    if (d->ending) return 0;
    push_hook(L, d, "make_connection");
    dgram_push_transport(L, d);
    d->started = true;
    d->debt.state = DEBT_BEGUN;
    lua_callk(L, 2, 0, 0, no_results);
    return 0;
}

/* What does not start well serves all the same. */
static void start_told(struct debt *debt) {
    struct dgram *d = CONTAINER(debt, struct dgram, debt);
    if (d->port) port_read(d->port, d);
    unpin(d);
}

void dgram_activate(struct dgram *d, struct port *port) {
    d->port = port;
    d->socket = port->socket;
    pin(d);
    d->debt = (struct debt){.body = start_body, .over = start_told};
    debt_owe(&d->debt, d->gen, &d->scope);
}

/* ── datagrams ────────────────────────────────────────────────────────────*/

struct received {
    struct dgram *dgram;
    struct str bytes;
    const struct datagram_address *from;
};

/* The one before is often from the same peer. */
static void push_sender(lua_State *L, struct dgram *d, const struct datagram_address *from) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, d);
    lua_getiuservalue(L, -1, DGRAM_ADDRESS);
    if (!is_datagram_address(L, -1, from)) {
        lua_pop(L, 1);
        push_datagram_address(L, from);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, -3, DGRAM_ADDRESS);
    }
    lua_remove(L, -2);
}

static int received_body(lua_State *L) {
    const struct received *r = lua_touserdata(L, 1);
    if (!push_hook(L, r->dgram, "datagram_received")) return 0;
    lua_pushlstring(L, r->bytes.p, r->bytes.n);
    push_sender(L, r->dgram, r->from);
    lua_callk(L, 3, 0, 0, no_results);
    return 0;
}

static void count_oversized(struct dgram *d) {
    struct rw *rw = d->gen->rw;
    uint64_t n = datagram_oversized(d->socket);
    if (n == d->oversized) return;
    rw->stats.datagrams_dropped += n - d->oversized;
    d->oversized = n;
    limit_fired(rw, NULL, "datagrams were dropped", "max_datagram");
}

void dgram_deliver(struct dgram *d, struct str bytes, const struct datagram_address *from) {
    struct rw *rw = d->gen->rw;
    rw->stats.datagrams_in++;
    rw->stats.bytes_in += bytes.n;
    pin(d);
    run(d, received_body, &(struct received){d, bytes, from}, task_done);
    if (d->socket) count_oversized(d);
    if (d->tasks > d->limits.max_datagram_tasks && d->socket && !d->full) {
        d->full = true;
        datagram_stop(d->socket);
        limit_fired(rw, NULL, "datagrams wait", "max_datagram_tasks");
    }
    unpin(d);
}

static int refused_body(lua_State *L) {
    if (push_hook(L, lua_touserdata(L, 1), "connection_refused")) lua_callk(L, 1, 0, 0, no_results);
    return 0;
}

void dgram_refused(struct dgram *d) { run(d, refused_body, d, task_done); }

/* ── the end ──────────────────────────────────────────────────────────────*/

static int stop_body(lua_State *L) {
    struct dgram *d = CONTAINER(lua_touserdata(L, 1), struct dgram, debt);
    if (!push_hook(L, d, "stop_protocol")) return 0;
    d->debt.state = DEBT_BEGUN;
    lua_callk(L, 1, 0, 0, no_results);
    return 0;
}

static void dgram_free(struct dgram *d) {
    struct generation *g = d->gen;
    scope_close(&d->scope);
    scope_remove(&d->item);
    if (d->box) d->box->dgram = NULL;
    if (g->state != GENERATION_DEAD) door_protect(g, registry_forget, d);
    *d->prev = d->next;
    if (d->next) d->next->prev = d->prev;
    mem_free(&g->rw->mem, d, sizeof *d);
    generation_check(g);
}

static void stop_told(struct debt *debt) { dgram_free(CONTAINER(debt, struct dgram, debt)); }

/* Its last hook, when no other one is left. */
static void check_end(struct dgram *d) {
    if (!d->ending || d->tasks || d->stopped) return;
    d->stopped = true;
    d->port = NULL;
    d->socket = NULL;
    if (!d->started || d->gen->state == GENERATION_DEAD) {
        dgram_free(d);
        return;
    }
    d->debt = (struct debt){.body = stop_body, .over = stop_told};
    debt_owe(&d->debt, d->gen, NULL);
}

void dgram_retire(struct dgram *d) {
    d->ending = true;
    check_end(d);
}

void dgram_close(struct dgram *d) {
    if (d->stopped) return;
    if (d->port && d->tasks) port_give_back(d->port);
    if (!d->port && d->socket) datagram_close(d->socket);
    d->port = NULL;
    d->socket = NULL;
    d->ending = true;
    d->tasks++; /* a pin: cancelled tasks end meanwhile */
    scope_close(&d->scope);
    unpin(d);
}

void dgrams_close(struct generation *g) {
    for (struct dgram *d = g->dgrams, *next; d; d = next) {
        next = d->next;
        dgram_close(d);
    }
}

/* ── making ───────────────────────────────────────────────────────────────*/

static void scope_closed(struct scope_item *item) {
    dgram_close(CONTAINER(item, struct dgram, item));
}

struct dgram *dgram_new(lua_State *L, int index, const struct limits *limits) {
    struct generation *g = generation_of(L);
    index = lua_absindex(L, index);
    struct dgram_box *box = lua_newuserdatauv(L, sizeof *box, DGRAM_FIELDS);
    box->dgram = NULL;
    luaL_setmetatable(L, "ropewalk.datagram_transport");
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, DGRAM_PROTOCOL);
    struct dgram *d = mem_zalloc(&g->rw->mem, sizeof *d);
    if (!d) luaL_error(L, "not enough memory");
    d->gen = g;
    d->limits = *limits;
    d->item.cancel = scope_closed;
    if (!registry_anchor(L, d)) {
        mem_free(&g->rw->mem, d, sizeof *d);
        lua_error(L);
    }
    d->next = g->dgrams;
    d->prev = &g->dgrams;
    if (d->next) d->next->prev = &d->next;
    g->dgrams = d;
    d->box = box;
    box->dgram = d;
    return d;
}

/* ── connected ones ───────────────────────────────────────────────────────*/

static void own_received(struct datagram *s, struct str bytes, const struct datagram_address *from) {
    dgram_deliver(datagram_owner(s), bytes, from);
}

static void own_refused(struct datagram *s) { dgram_refused(datagram_owner(s)); }

static const struct datagram_hooks own_hooks = {
    .on_datagram = own_received, .on_refused = own_refused,
};

void dgram_start(struct dgram *d) {
    d->started = true;
    if (d->socket) datagram_start(d->socket, &own_hooks, d, &d->limits);
}
