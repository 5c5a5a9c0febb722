/* SPDX-License-Identifier: MIT */
/* What the files of the http1 fuzzer share.
 *
 *      fuzz_http1.c      the runs, and what must hold of them
 *      http1_readback.c  reads the responses as a client would
 *      http1_oracle.c    asks llhttp about the requests, if it is there
 */
#ifndef FUZZ_HTTP1_FUZZ_H
#define FUZZ_HTTP1_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "proto/http1.h"

#define MUST(condition)                                                      \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__,    \
                    #condition);                                             \
            abort();                                                         \
        }                                                                    \
    } while (0)

enum { MAX_REQUESTS = 64 };

/* The requests to which the responses belong. */
struct asked {
    enum http1_method verbs[MAX_REQUESTS];
    size_t count;
    bool unfinished; /* the last one; its response may be cut short */
    bool short_body; /* the application sent less than it said */
};

/* Small, so that inputs reach them. */
extern const struct limits http1_fuzz_limits;

/* The bytes in b, also when there are none. */
static inline struct str text(const struct buf *b) {
    return buf_len(b) ? buf_str(b) : STR_NONE;
}

/* Reads the responses; appends status and body of each. */
void http1_read_back(struct str sent, const struct asked *asked, struct buf *to);

/* Shows all messages that the engine takes from `in` to llhttp. */
void http1_ask_oracle(struct str in);

#endif
