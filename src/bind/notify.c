/* SPDX-License-Identifier: MIT */
/* core.notifier: what happens to files, for lua/ropewalk/inotify.lua, which has
 * one for all watches of its generation. It gets the notices of one look in one
 * task; the next look is taken when that has ended, so their order stays. Is there
 * no memory for that, it is told later; and that some are lost, if that was so when
 * it had begun. */
#include "bind/bind.h"
#include "bind/leftover.h"
#include "io/notify.h"

static const char notifier_class[] = "ropewalk.notifier";

/* A userdata, in the registry by its address while it is open, or its task
 * runs; uservalue 1: the function. */
struct notifier_box {
    struct notifier *notifier; /* NULL: closed */
    struct generation *gen;
    struct scope_item item;
    struct debt debt;          /* the notices, while there are some */
    struct str notices;        /* stay in their place until the function is done */
    bool busy;                 /* it is not yet */
    bool begun;                /* it was called: if memory failed then, some are lost */
};

static void box_close(struct notifier_box *b) {
    if (!b->notifier) return;
    notifier_free(&b->notifier);
    scope_remove(&b->item);
    if (!b->busy && b->gen->state != GENERATION_DEAD) door_protect(b->gen, registry_forget, b);
}

static void scope_closed(struct scope_item *item) {
    box_close(CONTAINER(item, struct notifier_box, item));
}

/* ── notices ──────────────────────────────────────────────────────────────*/

static void set_number(lua_State *L, int *at, lua_Integer n) {
    lua_pushinteger(L, n);
    lua_rawseti(L, -2, ++*at);
}

/* To the list on top. */
static void add_notice(lua_State *L, int *at, const struct notice *n) {
    set_number(L, at, n->watch);
    set_number(L, at, n->what);
    set_number(L, at, n->pair);
    lua_pushlstring(L, n->name.n ? n->name.p : "", n->name.n);
    lua_rawseti(L, -2, ++*at);
}

/* fn { watch, what, pair, name, watch, … } */
static int notices_body(lua_State *L) {
    struct notifier_box *b = CONTAINER(lua_touserdata(L, 1), struct notifier_box, debt);
    struct str rest = b->notices;
    struct notice n;
    int at = 0;
    if (!b->notifier) return 0;
    lua_rawgetp(L, LUA_REGISTRYINDEX, b);
    lua_getiuservalue(L, -1, 1);
    lua_newtable(L);
    if (b->begun) add_notice(L, &at, &notice_lost);
    else while (notice_next(&rest, &n)) add_notice(L, &at, &n);
    b->begun = true;
    lua_callk(L, 1, 0, 0, no_results);
    return 0;
}

static void notices_told(struct debt *d) {
    struct notifier_box *b = CONTAINER(d, struct notifier_box, debt);
    b->busy = false;
    if (b->notifier) notifier_next(b->notifier);
    else if (b->gen->state != GENERATION_DEAD) door_protect(b->gen, registry_forget, b);
}

static void on_notices(void *owner, struct str notices) {
    struct notifier_box *b = owner;
    b->busy = true;
    b->begun = false;
    b->notices = notices;
    b->debt = (struct debt){.body = notices_body, .over = notices_told};
    debt_owe(&b->debt, b->gen, NULL);
}

/* ── for Lua ──────────────────────────────────────────────────────────────*/

static struct notifier_box *check_box(lua_State *L) {
    struct notifier_box *b = luaL_checkudata(L, 1, notifier_class);
    if (!b->notifier) luaL_error(L, "notifier is closed");
    return b;
}

/* notifier:watch(path, what) → number; nil, code, message */
static int l_watch(lua_State *L) {
    struct notifier_box *b = check_box(L);
    size_t n;
    const char *path = luaL_checklstring(L, 2, &n);
    lua_Integer what = luaL_checkinteger(L, 3);
    if (strlen(path) != n) return push_failure(L, -ENOENT);
    int rc = notifier_watch(b->notifier, path, (uint32_t)what);
    if (rc < 0) return push_failure(L, rc);
    lua_pushinteger(L, rc);
    return 1;
}

/* notifier:unwatch(number) */
static int l_unwatch(lua_State *L) {
    notifier_unwatch(check_box(L)->notifier, (int)luaL_checkinteger(L, 2));
    return 0;
}

static int l_close(lua_State *L) {
    box_close(luaL_checkudata(L, 1, notifier_class));
    return 0;
}

/* core.notifier(fn) → notifier; nil, code, message */
static int core_notifier(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct generation *g = generation_of(L);
    struct notifier_box *b = lua_newuserdatauv(L, sizeof *b, 1);
    *b = (struct notifier_box){.gen = g, .item.cancel = scope_closed};
    luaL_setmetatable(L, notifier_class);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, b);
    int rc = notifier_new(g->rw->loop, on_notices, b, &b->notifier);
    if (rc < 0) {
        lua_pushnil(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, b);
        return push_failure(L, rc);
    }
    scope_add(&g->scope, &b->item);
    leftover_note(L, &b->item, "file watch");
    return 1;
}

void notify_open(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"watch", l_watch}, {"unwatch", l_unwatch}, {"close", l_close}, {NULL, NULL},
    };
    class_define(L, notifier_class, methods, NULL);
    lua_pushcfunction(L, core_notifier);
    lua_setfield(L, -2, "notifier");
    lua_newtable(L);
    for (const struct notice_bit *b = notice_bits; b->name; b++) {
        lua_pushinteger(L, b->bit);
        lua_setfield(L, -2, b->name);
    }
    lua_setfield(L, -2, "notice_bits");
}
