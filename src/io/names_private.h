/* SPDX-License-Identifier: MIT */
/* Inside a resolver: names.c (questions, their queue and what is kept of the
 * answers), names_channel.c (c-ares on the loop), names_answer.c (reading
 * answers), names_hosts.c (the hosts file and the names that need no server).
 *
 *      name_query ─┐
 *      name_query ─┴→ name_entry ──→ channel ──→ sockets
 *      name_query ──→ name_entry …
 *
 *      QUEUED ─→ ASKING ─→ TELLING ─→ KEPT ─→ TELLING …
 *         └─ time-out ─┴→ TELLING → gone (ASKING: once c-ares has let go of it)
 */
#ifndef IO_NAMES_PRIVATE_H
#define IO_NAMES_PRIVATE_H

#include <ares.h>

#include "base/map.h"
#include "base/searchlist.h"
#include "io/internal.h"

enum { NAME_ALIASES = 16 }; /* followed in one answer */

struct name_entry {
    struct names *names;
    struct name_entry *next, **prev; /* list: names->waiting or ->kept */
    struct name_query *queries, **queries_end; /* list: who waits … */
    unsigned query_count;                      /* … so many */
    struct channel *channel;         /* that asks; NULL: none */
    struct deferral tell;
    struct timer timeout;
    char *wire;                      /* owned: the answer, or NULL */
    size_t wire_size, name_size;
    int status;
    uint64_t made, expires;          /* loop_now() */
    uint16_t type;
    uint8_t state;
    bool listed;                     /* in names->entries */
    bool telling;                    /* tell is on the stack */
    char name[];                     /* ends in a NUL */
};
enum { ENTRY_QUEUED, ENTRY_ASKING, ENTRY_TELLING, ENTRY_KEPT };

struct entry_list { /* first in, first out */
    struct name_entry *first, **end;
    unsigned count;
};

struct hosts {
    struct map names;        /* name → its first item, plus 1; arpa name too */
    struct host_item *items; /* owned */
    size_t count, cap;
    char *text;              /* owned: the names of PTR items */
    size_t text_size;
    uint64_t looked;         /* loop_now() of the last look */
    struct file_stamp {
        int64_t seconds, nanoseconds;
        uint64_t size, inode;
    } stamp;
};

struct names {
    struct loop *loop;
    struct names *next, **prev; /* list: loop->names */
    struct names_config config;
    unsigned users;             /* names_open, queries, calls on the stack */
    struct map entries;         /* type and name → entry */
    struct entry_list waiting, kept;
    size_t kept_bytes;
    struct deferral pump;
    struct channel *channel;    /* the newest first; the others end */
    unsigned asking;            /* of all channels */
    size_t open_queries;        /* of entries that are queued or asking */
    unsigned sockets;
    uint64_t asked, hits, failed;
    struct hosts hosts;
    uint64_t looked;            /* at resolv.conf */
    struct file_stamp stamp;
    struct search_list search;
};

struct channel {
    struct names *names;
    struct channel *next; /* list: names->channel */
    ares_channel_t *ares;
    struct timer timer;
    struct deferral reap;
    struct socket_poll *polls; /* list */
    unsigned asking;
    bool retired;
    bool deaf; /* a socket of it is not watched */
};

/* ── names_channel.c ──────────────────────────────────────────────────────*/

/* Makes a channel if there is none, it is deaf, or resolv.conf has changed. */
int channel_ready(struct names *n);
void channel_ask(struct name_entry *e); /* then entry_answered, at any time */
void channel_free(struct channel *c);
/* What stat says of a file; zeroes: nothing. */
struct file_stamp file_stamp(const char *path);
bool file_stamp_eq(struct file_stamp a, struct file_stamp b);

/* ── names.c ──────────────────────────────────────────────────────────────*/

/* From c-ares; status is in our space, rec may be NULL. */
void entry_answered(struct name_entry *e, int status, const ares_dns_record_t *rec);

/* ── names_answer.c ───────────────────────────────────────────────────────*/

struct name_answer {
    const ares_dns_record_t *rec;
    struct str canonical;
    int type;
    uint32_t age; /* s */
};
void answer_init(struct name_answer *a, const ares_dns_record_t *rec,
                 struct str name, int type, uint32_t age);
bool answer_is_empty(const struct name_answer *a);
/* For how many seconds it may be kept; 0: not at all. */
uint64_t answer_ttl(const struct name_answer *a, int status, const struct limits *l);
int answer_error(int ares_status);

/* ── names_hosts.c ────────────────────────────────────────────────────────*/

void hosts_free(struct names *n);
/* Answers that need no server: 1 and *status (0: *rec, owned), 0: ask one. */
int names_local(struct names *n, struct str name, int type, int *status,
                ares_dns_record_t **rec);
/* Does the hosts file have it, or is it one of the special names? */
bool names_is_local(struct names *n, struct str name);

#endif
