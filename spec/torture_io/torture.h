/* SPDX-License-Identifier: MIT */
/* What the torture tests of src/io share: a world (a loop with an account that
 * must be empty at the end), ends of streams that write down what happens to
 * them, and checks. A test that hangs is killed by its alarm. */
#ifndef TORTURE_IO_H
#define TORTURE_IO_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "io/io.h"

struct test {
    const char *name; /* a sentence */
    void (*run)(void);
};
extern const struct test loop_tests[], threads_tests[], stream_tests[], file_tests[],
    filter_tests[], proxy_tests[], flow_tests[], accel_tests[], tls_tests[],
    tls_resume_tests[], tls_store_tests[], listen_tests[], datagram_tests[], send_tests[], memory_tests[], chaos_tests[], names_tests[], process_tests[], sim_tests[],
    fault_tests[];

void check_failed(const char *file, int line, const char *what);
unsigned check_failures(void); /* in this test */
void test_skip(const char *why);
#define CHECK(x) ((x) ? (void)0 : check_failed(__FILE__, __LINE__, #x))
#define CHECK_EQ(a, b)                                                       \
    do {                                                                     \
        long long a_ = (long long)(a), b_ = (long long)(b);                  \
        if (a_ != b_) {                                                      \
            char t_[256];                                                    \
            snprintf(t_, sizeof t_, "%s is %lld, not %s (%lld)", #a, a_, #b, \
                     b_);                                                    \
            check_failed(__FILE__, __LINE__, t_);                            \
        }                                                                    \
    } while (0)

struct world {
    struct mem mem;
    struct loop *loop;
    struct limits limits;
};
void world_begin(struct world *w);
/* Its loop is a simulated one, with faults. */
void world_begin_simulated(struct world *w, uint64_t seed);
void world_end(struct world *w); /* everything must be closed */

/* Turns until *flag, for at most `ms`. */
void world_until(struct world *w, const bool *flag, int ms);
void world_pass(struct world *w, int ms); /* turns for that long */

uint32_t test_random(void); /* the same sequence in each run */

enum kind { KIND_TCP, KIND_UNIX, KIND_PAIR, KINDS };
extern const char *const kind_names[];

/* One end of a connection. */
struct end {
    struct world *w;
    struct stream *s;
    uint64_t got, hash, sent;
    unsigned drains, eofs, closes, datas, shutdowns;
    int reason;
    bool keep;        /* collect into `bytes` */
    bool anything;    /* the bytes are not the pattern */
    bool echo;        /* write back, pause while told to */
    bool close_on_data, abort_on_data, pause_on_data, close_on_eof;
    bool in_call;     /* no hook may come now */
    bool has_data, has_eof, closed, drained;
    struct end *peer; /* echo: whose reading is paused */
    struct buf bytes;
};
void end_begin(struct end *e, struct world *w, struct stream *s);
void end_end(struct end *e);
int end_write(struct end *e, const void *p, size_t n);
extern const struct stream_hooks end_hooks;

/* Connects over the given kind: a is the client, b was accepted. */
void connect_ends(struct world *w, enum kind kind, struct end *a,
                  struct end *b);

/* Byte i of a stream of test data; hashes of a run of them. */
static inline char pattern(uint64_t i) {
    return (char)((i * 2654435761u >> 13) ^ i);
}
void pattern_fill(char *out, uint64_t from, size_t n);
bool pattern_matches(const char *p, uint64_t from, size_t n);

size_t rss_kib(void);
size_t grew_kib(size_t since); /* 0 where a tool keeps what is freed */
double now_seconds(void);
bool under_valgrind(void);

#endif
