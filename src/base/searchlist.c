/* SPDX-License-Identifier: MIT */
#include "base/searchlist.h"

enum { NDOTS = 1, NDOTS_MAX = 15 };

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == ','; }

static struct str next_word(struct str *rest) {
    while (rest->n && is_blank(rest->p[0])) *rest = str_skip(*rest, 1);
    size_t n = 0;
    while (n < rest->n && !is_blank(rest->p[n])) n++;
    struct str word = str_of(rest->p, n);
    *rest = str_skip(*rest, n);
    return word;
}

void search_list_set(struct search_list *s, struct str domains) {
    struct str word;
    size_t at = 0;
    s->count = 0;
    while (s->count < SEARCH_MAX && (word = next_word(&domains)).n) {
        struct hostname name;
        if (hostname_read(word, &name) < 0) continue;
        if (at + name.n + 1u > sizeof s->text) return;
        memcpy(s->text + at, name.text, name.n + 1u);
        s->at[s->count++] = (uint16_t)at;
        at += name.n + 1u;
    }
}

static void read_options(struct search_list *s, struct str options) {
    struct str word;
    uint64_t n;
    while ((word = next_word(&options)).n)
        if (str_starts(word, STR("ndots:")) && str_to_u64(str_skip(word, 6), &n) == 0)
            s->ndots = n < NDOTS_MAX ? (uint8_t)n : NDOTS_MAX;
}

/* Of several lines the last one holds. */
void search_list_read(struct search_list *s, struct str rest) {
    s->count = 0;
    s->ndots = NDOTS;
    while (rest.n) {
        struct str line = str_cut(&rest, '\n');
        struct str word = next_word(&line);
        if (str_eq(word, STR("search")) || str_eq(word, STR("domain"))) search_list_set(s, line);
        else if (str_eq(word, STR("options"))) read_options(s, line);
    }
}
