/* SPDX-License-Identifier: MIT */
/* The hosts of a simulation, by name and by number. A test may say which
 * addresses a name has; a name of which nothing was said is a host of its own,
 * and gets an address when somebody asks for one, for good. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/hostname.h"
#include "io/sim.h"

enum {
    HOSTS_MOST = 4096,
    NAMES_MOST = 4096,
};

struct sim_host {
    struct sim_host *next;
    bool alive;
    char address[IP_TEXT_MAX]; /* a name's own one: 198.18.0.1 (RFC 2544) and on */
    char text[SIM_HOST];
};

struct sim_name {
    struct sim_name *next;
    char address[IP_TEXT_MAX];
    char name[SIM_HOST];
};

/* ── names ────────────────────────────────────────────────────────────────*/

/* As DNS has it, if it can be that. */
static const char *plain_name(const char *name, struct hostname *space) {
    return hostname_read(str_c(name), space) == 0 ? space->text : name;
}

const char *sim_name_address(const struct sim *s, const char *name, unsigned n) {
    struct hostname space;
    if (!s->names) return NULL;
    name = plain_name(name, &space);
    for (const struct sim_name *each = s->names; each; each = each->next)
        if (strcmp(each->name, name) == 0 && n-- == 0) return each->address;
    return NULL;
}

int simulation_name(struct loop *l, const char *name, const char *address) {
    struct sim *s = l->sim;
    struct ip ip;
    struct sim_name **end = &s->names;
    if (ip_parse(str_c(address), &ip) < 0) return RW_ESYNTAX;
    if (sim_host_is_long(name) || s->name_count == NAMES_MOST) return RW_ELIMIT;
    struct sim_name *n = mem_zalloc(l->mem, sizeof *n);
    if (!n) return RW_ENOMEM;
    ip_format(&ip, n->address);
    snprintf(n->name, sizeof n->name, "%s", name);
    while (*end) end = &(*end)->next;
    *end = n;
    s->name_count++;
    return 0;
}

static void forget_names(struct loop *l) {
    struct sim *s = l->sim;
    while (s->names) {
        struct sim_name *n = s->names;
        s->names = n->next;
        mem_free(l->mem, n, sizeof *n);
    }
    s->name_count = 0;
}

void simulation_say_names(struct loop *l) {
    forget_names(l);
    l->sim->names_said = true;
}

static void answered(struct sim_event *e) {
    struct simulation_lookup *k = CONTAINER(e, struct simulation_lookup, event);
    k->answered(k, k->status);
}

void simulation_lookup_start(struct loop *l, struct simulation_lookup *k, struct str text,
                             uint64_t timeout,
                             void (*done)(struct simulation_lookup *k, int status)) {
    struct sim *s = l->sim;
    const struct simulation_faults *f = &s->faults;
    uint64_t delay = random_between(&s->chance, f->name_delay[0], f->name_delay[1]);
    const char *what = "lookup";
    k->answered = done;
    k->status = 0;
    if (random_chance(&s->chance, f->name_timeout) || delay >= timeout) {
        what = "lookup without an answer";
        delay = timeout;
        k->status = -ETIMEDOUT;
    } else if (random_chance(&s->chance, f->name_failure)) {
        what = "lookup that fails";
        k->status = RW_ESERVFAIL;
    }
    simulation_trace(l, what, 0, text);
    sim_schedule(l, &k->event, delay, answered);
}

void simulation_lookup_stop(struct simulation_lookup *k) {
    if (k->event.loop) sim_unschedule(k->event.loop, &k->event);
}

/* ── hosts ────────────────────────────────────────────────────────────────*/

bool sim_host_is_any(const char *host) {
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static struct sim_host *find(const struct sim *s, const char *text) {
    for (struct sim_host *h = s->hosts; h; h = h->next)
        if (strcmp(h->text, text) == 0 || strcmp(h->address, text) == 0) return h;
    return NULL;
}

static bool is_here(const char *host) { return !host[0] || strcasecmp(host, "localhost") == 0; }

bool sim_host_is_name(const char *host) {
    struct ip ip;
    return !is_here(host) && ip_parse(str_c(host), &ip) < 0;
}

void sim_host_text(const struct sim *s, const char *host, char out[SIM_HOST]) {
    char plain[IP_TEXT_MAX];
    struct hostname name;
    struct ip ip;
    const char *said = NULL;
    if (is_here(host)) host = "127.0.0.1";
    else if (ip_parse(str_c(host), &ip) == 0) host = ip_format(&ip, plain).p;
    else if ((said = sim_name_address(s, host, 0))) host = said;
    else host = plain_name(host, &name);
    const struct sim_host *known = find(s, host);
    if (known) host = known->text;
    if (host != out) snprintf(out, SIM_HOST, "%.*s", SIM_HOST - 1, host);
}

/* One that nobody has. */
static void own_address(struct sim *s, char out[IP_TEXT_MAX]) {
    struct ip ip = {.family = 4, .bytes = {198, 18}};
    do {
        s->host_number++;
        ip.bytes[2] = (uint8_t)(s->host_number >> 8);
        ip.bytes[3] = (uint8_t)s->host_number;
        ip_format(&ip, out);
    } while (find(s, out));
}

/* The host of that text, which is new perhaps; NULL: no memory, or too many. */
static struct sim_host *host_of(struct loop *l, const char *text) {
    struct sim *s = l->sim;
    struct sim_host *h = find(s, text);
    if (h || s->host_count == HOSTS_MOST) return h;
    h = mem_zalloc(l->mem, sizeof *h);
    if (!h) return NULL;
    snprintf(h->text, sizeof h->text, "%s", text);
    s->host_count++;
    struct ip ip;
    if (ip_parse(str_c(text), &ip) == 0) ip_format(&ip, h->address);
    else own_address(s, h->address);
    h->next = s->hosts;
    return s->hosts = h;
}

int simulation_address(struct loop *l, const char *host, char out[IP_TEXT_MAX]) {
    char text[SIM_HOST];
    if (sim_host_is_long(host)) return RW_ELIMIT;
    sim_host_text(l->sim, host, text);
    const struct sim_host *h = host_of(l, text);
    if (!h) return l->sim->host_count == HOSTS_MOST ? RW_ELIMIT : RW_ENOMEM;
    memcpy(out, h->address, sizeof h->address);
    return 0;
}

void sim_host_lives(struct loop *l, const char *host) {
    struct sim_host *h = host_of(l, host);
    if (h) h->alive = true;
}

bool sim_host_is_alive(const struct sim *s, const char *host) {
    const struct sim_host *h = find(s, host);
    return strcmp(host, "127.0.0.1") == 0 || (h && h->alive);
}

void sim_hosts_free(struct loop *l) {
    forget_names(l);
    while (l->sim->hosts) {
        struct sim_host *h = l->sim->hosts;
        l->sim->hosts = h->next;
        mem_free(l->mem, h, sizeof *h);
    }
}
