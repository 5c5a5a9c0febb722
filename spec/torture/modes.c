/* SPDX-License-Identifier: MIT */
/* All the ways in which a behaviour is run. Long inputs are sampled: the
 * interesting cuts are near the ends, and a harness that takes minutes is not
 * run. */
#include <inttypes.h>

#include "torture.h"

enum {
    ALL_CUTS = 4096,     /* up to this length a cut is tried at every byte */
    END_CUTS = 1024,     /* beyond: at so many on each side … */
    MIDDLE_CUTS = 1000,  /* … and at so many between */
    MAX_PIECES = 65536,  /* byte by byte */
    STARVED_PIECES = 4096,
    MAX_STARVED = 2000,  /* allocations refused in turn */
};

struct torture_now torture_now;

struct rounds {
    const struct script *script;
    const struct behaviour *behaviour;
    struct guard guard;
    size_t input;
    struct plan *plan;
    struct verdict *verdict;
    uint64_t runs;
};

static bool run(struct rounds *r, struct plan plan) {
    *r->plan = plan;
    torture_now = (struct torture_now){r->script, r->behaviour, plan};
    buf_clear(&r->verdict->report);
    drive(r->script, r->behaviour, r->plan, &r->guard, r->verdict);
    r->runs++;
    return r->verdict->ok;
}

static size_t stride(size_t input, size_t pieces) { return input / pieces + 1; }

/* The cut after `at`. */
static size_t next_cut(size_t at, size_t input) {
    if (input <= ALL_CUTS || at < END_CUTS || at + END_CUTS >= input) return at + 1;
    at += stride(input - 2 * END_CUTS, MIDDLE_CUTS);
    return at + END_CUTS > input ? input - END_CUTS : at;
}

static bool run_cuts(struct rounds *r, enum role role, bool cut) {
    enum pieces pieces = cut ? PIECES_WHOLE : PIECES_SPLIT;
    for (size_t at = cut ? 0 : 1; at < r->input; at = next_cut(at, r->input))
        if (!run(r, (struct plan){role, pieces, at, cut, 0})) return false;
    return true;
}

static bool run_starved(struct rounds *r, enum role role, enum pieces pieces) {
    for (uint64_t n = 1; n <= MAX_STARVED; n++) {
        if (!run(r, (struct plan){role, pieces, stride(r->input, STARVED_PIECES), false, n}))
            return false;
        if (r->verdict->refused == 0) break;
    }
    return true;
}

static bool run_role(struct rounds *r, enum role role) {
    size_t small = stride(r->input, MAX_PIECES);
    return run(r, (struct plan){role, PIECES_WHOLE, 0, false, 0}) &&
           run(r, (struct plan){role, PIECES_BYTES, small, false, 0}) &&
           run_cuts(r, role, false) && run_cuts(r, role, true) &&
           run_starved(r, role, PIECES_WHOLE) && run_starved(r, role, PIECES_BYTES);
}

bool torture(const struct script *s, const struct behaviour *b,
             struct plan *plan_out, struct verdict *v, uint64_t *runs) {
    struct rounds r = {.script = s, .behaviour = b, .input = behaviour_input(b),
                       .plan = plan_out, .verdict = v};
    bool ok = guard_init(&r.guard, r.input);
    ok = ok && (!b->as_server || run_role(&r, ROLE_SERVER)) &&
         (!b->as_client || run_role(&r, ROLE_CLIENT));
    guard_fini(&r.guard);
    *runs += r.runs;
    torture_now = (struct torture_now){0};
    return ok;
}

void plan_print(FILE *to, const struct plan *plan) {
    fprintf(to, "%s", plan->role == ROLE_CLIENT ? "client, " : "");
    if (plan->cut) fprintf(to, "cut at %zu", plan->at);
    else if (plan->pieces == PIECES_WHOLE) fprintf(to, "whole");
    else if (plan->pieces == PIECES_SPLIT) fprintf(to, "split at %zu", plan->at);
    else if (plan->at == 1) fprintf(to, "byte by byte");
    else fprintf(to, "in pieces of %zu bytes", plan->at);
    if (plan->fail_in) fprintf(to, ", allocation %" PRIu64 " refused", plan->fail_in);
}
