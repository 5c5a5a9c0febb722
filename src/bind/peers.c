/* SPDX-License-Identifier: MIT */
/* How many connections each address has at each port: the limit
 * max_connections_per_peer. A peer is known by a keyed hash of its address and
 * the port, which is what a connection keeps of it. */
#include <stdio.h>

#include "bind/conn.h"
#include "bind/port.h"

static struct str key_of(const uint64_t *peer) {
    return str_of((const char *)peer, sizeof *peer);
}

bool peer_enter(struct port *p, struct stream *s, uint64_t limit, uint64_t *peer_out) {
    struct rw *rw = p->rw;
    struct address a;
    if (stream_peer(s, &a) < 0 || a.kind != ADDRESS_TCP) return true;
    char text[sizeof a.host + sizeof p->key + 2];
    int n = snprintf(text, sizeof text, "%s %s", a.host, p->key);
    uint64_t peer = siphash13(rw->peers.seed, str_of(text, (size_t)n));
    union map_value *count;
    if (map_put(&rw->peers, key_of(&peer), &count) < 0) return false;
    if (count->num >= limit) return false;
    count->num++;
    *peer_out = peer;
    return true;
}

void peer_leave(struct rw *rw, uint64_t peer) {
    union map_value *count = peer ? map_find(&rw->peers, key_of(&peer)) : NULL;
    if (count && --count->num == 0) map_remove(&rw->peers, key_of(&peer), NULL);
}
