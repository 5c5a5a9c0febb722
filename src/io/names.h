/* SPDX-License-Identifier: MIT */
/* Names and what the Domain Name System knows of them. A resolver asks on its
 * loop and never waits: each question has a bound in time, tries, sockets and
 * memory, equal ones are asked once, answers are kept as long as they say. */
#ifndef IO_NAMES_H
#define IO_NAMES_H

#include "base/hostname.h"
#include "base/limits.h"
#include "io/ip.h"
#include "io/loop.h"

/* ── resolvers ────────────────────────────────────────────────────────────*/

struct names_config {
    char servers[512];     /* "192.0.2.1,[2001:db8::1]:5353"; "": the system's */
    char search[512];      /* domains, commas between; "": the system's */
    char hosts_file[108];  /* "": /etc/hosts */
    char resolv_file[108]; /* "": /etc/resolv.conf */
    struct limits limits;  /* names_… of these */
};
/* As the system has it. */
void names_config_init(struct names_config *c);

struct names;
/* The loop's resolver with this configuration: an existing one is shared. */
int names_open(struct loop *l, const struct names_config *c, struct names **out);
void names_close(struct names **n); /* goes with the last of its users */

struct names_state {
    unsigned asking, sockets;          /* questions sent */
    size_t waiting;                    /* lookups behind them, those of the same included */
    size_t cached, bytes;              /* answers kept, what they take */
    uint64_t asked, hits, failed;
    char servers[512];
};
void names_state(const struct names *n, struct names_state *out);

/* ── questions ────────────────────────────────────────────────────────────*/

struct name_answer;

/* Embedded by who asks. `done` comes once, from the loop, unless it is
 * forgotten; `a` is there until it returns, and not NULL when status is 0. */
struct name_query {
    struct name_query *next, **prev; /* list: of who waits for the same */
    struct names *names;             /* NULL: not asking */
    struct name_entry *entry;
    void (*done)(struct name_query *q, int status, const struct name_answer *a);
};

/* "A", "MX", "TYPE65280", …: a number, or RW_ESYNTAX. */
int name_type_parse(struct str text);

/* Asks for the records of a name as hostname_read has left it; `done` is set.
 * 0, RW_ENOMEM, or RW_ELIMIT: names_waiting are waiting already, for that or others. */
int names_ask(struct names *n, struct name_query *q, struct str name, int type);
void names_forget(struct name_query *q);

/* ── answers ──────────────────────────────────────────────────────────────*/

enum { NAME_FIELDS_MAX = 10 };
struct name_field {
    char key[20]; /* "preference" */
    enum { NAME_TEXT, NAME_NUMBER, NAME_LIST, NAME_PAIRS } kind;
    char address[IP_TEXT_MAX]; /* where the text of an address is */
    struct str text;
    uint64_t number;
    const void *list; /* of a list or of pairs: for name_field_item … */
    int list_key;
    size_t count;     /* … with so many */
};
struct name_record {
    struct str name;
    char type[16];    /* "MX"; "TYPE65280" has its bytes as `data` */
    uint32_t ttl;     /* seconds, less those it lay in the cache */
    unsigned count;
    struct name_field fields[NAME_FIELDS_MAX];
};
/* The records that answer the question; aliases (CNAME) have been followed. */
bool name_answer_next(const struct name_answer *a, size_t *cursor, struct name_record *out);
struct str name_field_item(const struct name_field *f, size_t i, unsigned *key_out);
/* Those of A and AAAA records: how many. */
unsigned name_answer_addresses(const struct name_answer *a, struct ip *out, unsigned max);

/* ── hosts ────────────────────────────────────────────────────────────────*/

/* The addresses of a host: numeric text, names of the hosts file, and of the
 * DNS with the search list. `found` comes twice, once for each family, in the
 * order of the answers; the embedding object may go in any of them, after
 * host_forget. */
struct host_query {
    struct names *names; /* held; NULL: not asking */
    void (*found)(struct host_query *h, int family, int status,
                  const struct ip *ips, unsigned n);
    struct name_query query[2]; /* IPv6, IPv4 */
    int status[2];
    uint8_t awaited;            /* bits: found is still to come */
    uint8_t asking;             /* bits: of this candidate, not answered */
    bool settled;               /* this candidate it is */
    uint8_t step;               /* which candidate */
    struct hostname host;
    struct ip numeric;
    struct deferral later;
};
/* 0; RW_ESYNTAX: that is no host; RW_ELIMIT; RW_ENOMEM. */
int host_ask(struct names *n, struct host_query *h, struct str host);
void host_forget(struct host_query *h);

#endif
