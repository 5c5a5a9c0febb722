/* SPDX-License-Identifier: MIT */
/* http1 behind the generic contract (engine.h): a thin coat over the typed
 * calls. Two things are said there with a RESPONSE that have calls of their own
 * here: status 101, with the protocol as its Upgrade field, and 2xx for CONNECT
 * are http1_upgrade. */
#include "proto/http1_inner.h"

static const struct event_def http1_events[] = {
    [HTTP1_REQUEST] = {"request",
                       "str:method str:target int:version fields:headers "
                       "int:length", EVENT_IN},
    [HTTP1_BODY] = {"body", "str:bytes", EVENT_IN},
    [HTTP1_END] = {"end", "fields:trailers", EVENT_IN},
    [HTTP1_RESPONSE] = {"response",
                        "int:status str:reason fields:headers int:length",
                        EVENT_OUT},
    [HTTP1_DATA] = {"data", "str:bytes", EVENT_OUT},
    [HTTP1_FINISH] = {"finish", "", EVENT_OUT},
    [HTTP1_CONTINUE] = {"continue", "", EVENT_OUT},
    {NULL, NULL, 0},
};

static int engine_init(void *self, const struct engine_env *env) {
    return http1_init(self, env);
}

static int64_t engine_feed(void *self, struct str bytes) {
    return http1_feed(self, bytes);
}

static void engine_moved(void *self, const char *from, const char *to) {
    http1_moved(self, from, to);
}

static int engine_next(void *self, struct event *out) {
    struct http1 *e = self;
    struct str data = STR_NONE;
    int rc = http1_next(e, &data);
    if (rc <= 0) return rc;
    out->type = (unsigned)rc - 1;
    switch (out->type) {
    case HTTP1_REQUEST:
        out->args[0].str = e->request.method;
        out->args[1].str = e->request.target;
        out->args[2].num = e->request.version;
        out->args[3].fields = e->request.headers;
        out->args[4].num = e->request.length;
        break;
    case HTTP1_BODY:
        out->args[0].str = data;
        break;
    default:
        out->args[0].fields = http1_trailers(e);
    }
    return 1;
}

static int send_response(struct http1 *e, const union event_arg *args) {
    int64_t status = args[0].num;
    struct fields headers = args[2].fields;
    if (status < 100 || status > 999) return RW_EINVAL;
    if (status == 101) {
        struct str protocol = STR_NONE;
        for (size_t i = 0; i < headers.count; i++)
            if (str_eq_nocase(headers.at[i].name, STR("Upgrade")))
                protocol = headers.at[i].value;
        return http1_upgrade(e, protocol, headers);
    }
    if (e->request.verb == HTTP1_CONNECT && status >= 200 && status < 300)
        return http1_upgrade(e, STR_NONE, headers);
    return http1_send_head(e, (int)status, args[1].str, headers, args[3].num,
                           STR_NONE);
}

static int engine_send(void *self, const struct event *ev) {
    struct http1 *e = self;
    switch (ev->type) {
    case HTTP1_RESPONSE: return send_response(e, ev->args);
    case HTTP1_DATA: return http1_send_data(e, ev->args[0].str);
    case HTTP1_FINISH: return http1_send_end(e);
    case HTTP1_CONTINUE: return http1_send_continue(e);
    default: return RW_EINVAL;
    }
}

static int engine_eof(void *self) { return http1_eof(self); }

static uint64_t engine_tick(void *self, uint64_t now) {
    return http1_tick(self, now);
}

static void engine_fini(void *self) { http1_fini(self); }

const struct engine http1_engine = {
    .name = "http1", .size = sizeof(struct http1), .events = http1_events,
    .init = engine_init, .feed = engine_feed, .next = engine_next,
    .moved = engine_moved, .send = engine_send, .eof = engine_eof,
    .tick = engine_tick, .fini = engine_fini,
};
