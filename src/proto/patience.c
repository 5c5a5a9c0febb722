/* SPDX-License-Identifier: MIT */
#include "proto/patience.h"

uint64_t patience_with_body(const struct limits *l, uint64_t seen) {
    uint64_t rest = seen % l->min_rate;
    return l->body_timeout + seen / l->min_rate * 1000 + rest * 1000 / l->min_rate;
}

static uint64_t span(const struct engine_env *env, enum patience_for what, uint64_t seen) {
    const struct limits *l = env->limits;
    switch (what) {
    case PATIENCE_HEAD: return l->head_timeout;
    case PATIENCE_BODY: return patience_with_body(l, seen);
    default: return env->idle ? env->idle : l->idle_timeout;
    }
}

static const char *limit_name(enum patience_for what) {
    switch (what) {
    case PATIENCE_HEAD: return "head_timeout";
    case PATIENCE_BODY: return "body_timeout";
    default: return "idle_timeout";
    }
}

uint64_t patience_tick(struct patience *p, struct engine_env *env, int *error,
                       enum patience_for what, uint64_t seen, uint64_t now) {
    if (what != p->what || p->restart) *p = (struct patience){.since = now, .what = what};
    uint64_t deadline = p->since + span(env, what, seen);
    if (deadline < p->since) deadline = UINT64_MAX;
    if (deadline <= now && !*error) {
        *error = RW_ETIMEDOUT;
        env->limit = limit_name(what);
    }
    return deadline;
}
