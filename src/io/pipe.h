/* SPDX-License-Identifier: MIT */
/* Two streams joined: what comes from one goes to the other. */
#ifndef IO_PIPE_H
#define IO_PIPE_H

#include "io/stream.h"

/* Embedded in its owner, who stays the owner of both streams and passes on what
 * their hooks are told. Side 0 and side 1 are the streams given to pipe_begin. */
struct pipe {
    struct stream *side[2]; /* NULL: gone */
    struct loop *loop;
    void (*on_end)(struct pipe *p, int reason); /* once, from the loop */
    uint64_t moved[2];      /* bytes that came from this side */
    uint64_t idle;          /* ms without a byte in either direction; 0: any */
    uint64_t last;          /* loop_now() when there was one */
    uint64_t taken;         /* bytes that had gone out when it was looked */
    struct timer timer;
    int reason;             /* why it fails; 0 */
    bool one_way;           /* side 0 to side 1; what 1 says is its owner's */
    bool keeps_end;         /* the end of one side is not said to the other */
    bool ended[2];          /* nothing more comes from this side */
    bool over;
};

/* one_way, keeps_end and idle are set by the owner. From here on the hooks are
 * passed on; once it has begun, the streams are read: both, or the source. */
void pipe_init(struct pipe *p, struct stream *a, struct stream *b,
               void (*on_end)(struct pipe *p, int reason));
void pipe_begin(struct pipe *p);

/* From the hooks of side `from`; also what was read before the pipe began. */
void pipe_data(struct pipe *p, int from, struct str bytes);
void pipe_eof(struct pipe *p, int from);
void pipe_drain(struct pipe *p, int from);
void pipe_closed(struct pipe *p, int from, int reason);

/* Ends both; on_end follows when they are closed. */
void pipe_abort(struct pipe *p, int reason);

#endif
