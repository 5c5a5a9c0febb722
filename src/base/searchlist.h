/* SPDX-License-Identifier: MIT */
/* The domains in which short names are looked for, as resolv.conf has them
 * ("search a.example b.example", "domain", "options ndots:2"). */
#ifndef BASE_SEARCHLIST_H
#define BASE_SEARCHLIST_H

#include "base/hostname.h"

enum { SEARCH_MAX = 8 };

struct search_list {
    char text[1024]; /* NULs between the domains */
    uint16_t at[SEARCH_MAX];
    uint8_t count;
    uint8_t ndots;   /* names with fewer dots are looked for there first */
};

/* Lines that say something else, or what cannot be, are passed over. */
void search_list_read(struct search_list *s, struct str resolv_conf);
/* Instead of those: names with blanks or commas between. */
void search_list_set(struct search_list *s, struct str domains);

static inline struct str search_list_at(const struct search_list *s, unsigned i) {
    return str_c(s->text + s->at[i]);
}

#endif
