/* SPDX-License-Identifier: MIT */
/* The traffic log that a factory asks for: traffic_log = {path, format,
 * max_bytes, max_record}. */
#include "bind/port.h"

static lua_Integer trace_field(lua_State *L, const char *name, lua_Integer otherwise) {
    lua_getfield(L, -1, name);
    lua_Integer n = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return n > 0 ? n : otherwise;
}

int server_open_trace(lua_State *L, int factory, struct trace **out) {
    static const char *const formats[] = {"hex", "text", "raw"};
    struct rw *rw = generation_of(L)->rw;
    int top = lua_gettop(L);
    *out = NULL;
    if (lua_getfield(L, factory, "traffic_log") != LUA_TTABLE) {
        lua_settop(L, top);
        return 0;
    }
    struct trace_options o = {
        .log = &rw->log,
        .max_bytes = (uint64_t)trace_field(L, "max_bytes", 64 << 20),
        .max_record = (size_t)trace_field(L, "max_record", 1024),
    };
    lua_getfield(L, top + 1, "path");
    lua_getfield(L, top + 1, "format");
    o.path = lua_tostring(L, top + 2);
    const char *format = lua_tostring(L, top + 3);
    for (unsigned i = 0; format && i < 3; i++)
        if (strcmp(format, formats[i]) == 0) o.format = (enum trace_format)i;
    int rc = trace_open(rw->loop, &o, out);
    lua_settop(L, top);
    return rc;
}

int server_trace_stream(lua_State *L, int factory, struct stream *s) {
    struct trace *t;
    int rc = server_open_trace(L, factory, &t);
    if (rc < 0 || !t) return rc;
    rc = trace_push(s, t);
    trace_leave(t);
    return rc;
}
