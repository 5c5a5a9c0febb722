/* SPDX-License-Identifier: MIT */
/* Hosts to addresses. Both families are asked for at once and told as they
 * come. A name with too few dots is tried with each domain of the search list;
 * the candidate that has an address of either family is taken.
 *
 *     candidate: AAAA and A ──→ one has addresses ──→ found, found
 *         └── neither ──→ the next one … ──→ none left: found(error), twice
 */
#include "io/names_private.h"

enum { V6, V4, FAMILIES, ADDRESSES_MAX = 64 };

static const int families[FAMILIES] = {6, 4};
static const int types[FAMILIES] = {ARES_REC_TYPE_AAAA, ARES_REC_TYPE_A};

/* Nothing of `h` may be touched after the last one. */
static void tell(struct host_query *h, int i, int status, const struct ip *ips, unsigned n) {
    h->awaited &= (uint8_t)~(1u << i);
    if (!h->awaited) names_close(&h->names);
    h->found(h, families[i], status, ips, n);
}

/* ── candidates ───────────────────────────────────────────────────────────*/

/* The name of this step: 1; 0: there is none; < 0: this one is too long. */
static int candidate(const struct host_query *h, unsigned step, struct str *out,
                     char space[HOSTNAME_MAX + 1]) {
    const struct search_list *search = &h->names->search;
    struct str plain = str_of(h->host.text, h->host.n), domain;
    unsigned domains = h->host.absolute ? 0 : search->count;
    unsigned plain_step = h->host.dots >= search->ndots ? 0 : domains;
    *out = plain;
    if (step == plain_step) return 1;
    if (step > domains) return 0;
    domain = search_list_at(search, step - (plain_step == 0));
    if (plain.n + 1 + domain.n > HOSTNAME_MAX) return RW_ESYNTAX;
    memcpy(space, plain.p, plain.n);
    space[plain.n] = '.';
    memcpy(space + plain.n + 1, domain.p, domain.n);
    *out = str_of(space, plain.n + 1 + domain.n);
    return 1;
}

/* What weighs more: that a server could not say, or that there is nothing. */
static int weigh(int status) {
    if (status == RW_ENONAME) return 1;
    if (status == RW_ENODATA) return 2;
    return status < 0 ? 3 : 0;
}

static void on_v6(struct name_query *q, int status, const struct name_answer *a);
static void on_v4(struct name_query *q, int status, const struct name_answer *a);

/* Asks for the next candidate: 0, or why there is none (left). */
static int ask(struct host_query *h) {
    static void (*const done[])(struct name_query *, int, const struct name_answer *) = {
        on_v6, on_v4,
    };
    char space[HOSTNAME_MAX + 1];
    struct str name;
    int rc;
    do rc = candidate(h, h->step++, &name, space);
    while (rc < 0);
    if (rc == 0) return RW_ENONAME;
    for (int i = 0; i < FAMILIES; i++) {
        h->query[i].done = done[i];
        rc = names_ask(h->names, &h->query[i], name, types[i]);
        if (rc < 0) {
            names_forget(&h->query[V6]);
            return rc;
        }
    }
    h->asking = 1 << V6 | 1 << V4;
    return 0;
}

/* ── answers ──────────────────────────────────────────────────────────────*/

/* The family that is still to be told, or IPv6 and then IPv4. */
static void tell_rest(struct deferral *d) {
    struct host_query *h = CONTAINER(d, struct host_query, later);
    int i = h->awaited & 1 << V6 ? V6 : V4;
    if (h->awaited == (1 << V6 | 1 << V4)) loop_defer(h->names->loop, d);
    if (h->numeric.family == families[i]) tell(h, i, 0, &h->numeric, 1);
    else tell(h, i, h->status[i], NULL, 0);
}

static void tell_later(struct host_query *h) {
    h->later.run = tell_rest;
    loop_defer(h->names->loop, &h->later);
}

static void found(struct host_query *h, int i, const struct name_answer *a) {
    struct ip ips[ADDRESSES_MAX];
    unsigned n = name_answer_addresses(a, ips, ADDRESSES_MAX);
    h->settled = true;
    if (h->awaited == (1 << V6 | 1 << V4) && !h->asking) tell_later(h); /* the other has none */
    tell(h, i, 0, ips, n);
}

static void answered(struct host_query *h, int i, int status, const struct name_answer *a) {
    h->asking &= (uint8_t)~(1u << i);
    if (status == 0) {
        found(h, i, a);
        return;
    }
    if (weigh(status) >= weigh(h->status[i])) h->status[i] = status;
    if (h->settled) {
        tell(h, i, status, NULL, 0);
    } else if (!h->asking) {
        int rc = ask(h);
        if (rc == 0) return;
        if (rc != RW_ENONAME) h->status[V6] = h->status[V4] = rc;
        tell_later(h);
    }
}

static void on_v6(struct name_query *q, int status, const struct name_answer *a) {
    answered(CONTAINER(q, struct host_query, query[V6]), V6, status, a);
}

static void on_v4(struct name_query *q, int status, const struct name_answer *a) {
    answered(CONTAINER(q, struct host_query, query[V4]), V4, status, a);
}

/* ── public ───────────────────────────────────────────────────────────────*/

/* "1", "127.1", "0x7f.1": addresses to some, names to nobody. */
static bool looks_numeric(const struct hostname *host) {
    const char *last = strrchr(host->text, '.');
    last = last ? last + 1 : host->text;
    return last[strspn(last, "0123456789")] == 0 ||
           (last[0] == '0' && last[1] == 'x' && !last[2 + strspn(last + 2, "0123456789abcdef")]);
}

int host_ask(struct names *n, struct host_query *h, struct str host) {
    *h = (struct host_query){.found = h->found};
    h->awaited = 1 << V6 | 1 << V4;
    int rc = ip_parse(host, &h->numeric);
    if (rc == -ENODEV) return rc;
    if (rc == 0) {
        h->status[V6] = h->status[V4] = RW_ENODATA;
    } else {
        h->numeric = (struct ip){0};
        rc = hostname_read(host, &h->host);
        if (rc < 0) return rc;
        if (looks_numeric(&h->host)) return RW_ESYNTAX;
        rc = channel_ready(n); /* the search list as it is now */
        if (rc < 0) return rc;
        if (names_is_local(n, str_of(h->host.text, h->host.n))) h->host.absolute = true;
    }
    h->names = n;
    if (h->numeric.family) {
        tell_later(h);
    } else {
        rc = ask(h);
        if (rc < 0) {
            h->names = NULL;
            return rc;
        }
    }
    n->users++;
    return 0;
}

void host_forget(struct host_query *h) {
    if (!h->names) return;
    names_forget(&h->query[V6]);
    names_forget(&h->query[V4]);
    loop_defer_cancel(&h->later);
    names_close(&h->names);
}
