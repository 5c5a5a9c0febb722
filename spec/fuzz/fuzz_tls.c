/* SPDX-License-Identifier: MIT */
/* TLS with somebody in between. Two of our filters, a client's and a server's,
 * talk through a carrier who follows the input: he passes records on as they are,
 * flips and cuts bytes, puts in others, holds back, doubles and swaps. Whatever he
 * does, nobody reads a byte that the other side has not written, both ends come
 * to an end, and the account of the memory is even. With the carrier's first
 * byte odd there is no client: the input itself goes to the server. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/io.h"
#include "io/tls_filter.h"
#include "io/tls_issue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { TURNS = 400, RECORD = 5 + 16384 + 256, TEXT = 40000 };

static void must(bool ok) {
    if (!ok) abort();
}

/* ── what both sides have, made once ──────────────────────────────────────*/

static struct mem pki_mem;
static struct tls_identity *identity;
static struct tls_trust *trust;
static struct tls_context *client_contexts[2], *server_contexts[2]; /* by version */
static char text[TEXT];

static struct tls_context *context_of(bool client, unsigned version) {
    struct tls_context *c;
    struct tls_why why = {""};
    struct tls_settings s = {
        .client = client, .min_version = version, .trust = client ? trust : NULL,
        .verify = client ? TLS_VERIFY_REQUIRED : TLS_VERIFY_NONE, .tickets = !client,
        .alpn = {"h2", "http/1.1", NULL},
    };
    must(tls_context_new(&s, &c, &why) == 0);
    return c;
}

static void prepare(void) {
    struct buf key, pem;
    struct tls_why why = {""};
    const char *names[] = {"localhost", NULL};
    int64_t now = (int64_t)time(NULL);
    mem_init(&pki_mem, 0);
    buf_init(&key, &pki_mem, 1 << 20);
    buf_init(&pem, &pki_mem, 1 << 20);
    must(tls_make_key(TLS_KEY_P256, &key) == 0);
    struct tls_wish wish = {.subject = "CN=localhost", .names = names,
                            .not_before = now - 86400, .not_after = now + 86400 * 30};
    must(tls_make_certificate(&wish, buf_str(&key), &pem, &why) == 0);
    must(tls_identity_new(buf_str(&pem), buf_str(&key), STR(""), &identity, &why) == 0);
    must(tls_trust_new(&trust) == 0);
    must(tls_trust_add(trust, buf_str(&pem), &why) == 1);
    for (unsigned i = 0; i < 2; i++) {
        client_contexts[i] = context_of(true, i ? TLS_13 : TLS_12);
        server_contexts[i] = context_of(false, i ? TLS_13 : TLS_12);
    }
    for (size_t i = 0; i < TEXT; i++) text[i] = (char)('a' + i % 23);
    buf_release(&key);
    buf_release(&pem);
}

/* ── an end: a filter and its owner ───────────────────────────────────────*/

struct end {
    struct stream *s;
    struct buf raw;      /* the carrier's ends: what came */
    size_t got;          /* the owners': so many bytes of `text` */
    bool secure, closed;
};

static void on_hello(void *owner, struct tls_filter *f, const struct client_hello *hello) {
    (void)owner;
    if (hello->server_name.n % 7 == 3) tls_filter_refuse(f, "not this one");
    else tls_filter_use(f, identity);
}
static void on_established(void *owner, struct tls_filter *f) {
    struct end *e = owner;
    struct tls_info info;
    tls_describe(tls_filter_session(f), &info);
    must(info.version == TLS_12 || info.version == TLS_13);
    e->secure = true;
}
static void on_failed(void *owner, int code, const char *why) {
    (void)owner;
    must(code < 0 && why);
}
static const struct tls_filter_hooks tls_hooks = {on_hello, on_established, on_failed};

static void plain_data(struct stream *s, struct str bytes) {
    struct end *e = s->owner;
    must(e->secure && e->got + bytes.n <= TEXT);
    must(memcmp(text + e->got, bytes.p, bytes.n) == 0);
    e->got += bytes.n;
}
static void raw_data(struct stream *s, struct str bytes) {
    struct end *e = s->owner;
    buf_add_str(&e->raw, bytes);
}
static void on_drain(struct stream *s) { (void)s; }
static void on_close(struct stream *s, int reason) {
    struct end *e = s->owner;
    (void)reason;
    e->s = NULL;
    e->closed = true;
}
static const struct stream_hooks plain_hooks = {plain_data, NULL, on_drain, on_close, NULL};
static const struct stream_hooks raw_hooks = {raw_data, NULL, on_drain, on_close, NULL};

static void own(struct end *e, struct stream *s, struct mem *mem, bool raw) {
    *e = (struct end){.s = s};
    buf_init(&e->raw, mem, 1 << 24);
    s->owner = e;
    s->hooks = raw ? &raw_hooks : &plain_hooks;
}

/* ── the carrier ──────────────────────────────────────────────────────────*/

struct orders {
    const uint8_t *p;
    size_t n;
};

static uint8_t order(struct orders *o) {
    if (o->n == 0) return 0;
    o->n--;
    return *o->p++;
}

static void pass(struct end *to, struct str bytes) {
    if (to->s && to->s->state == STREAM_OPEN) stream_write(to->s, bytes);
}

/* A record that has come whole, changed as ordered. */
static void carry_record(struct end *to, struct str record, struct orders *o) {
    static char copy[2 * RECORD];
    size_t n = record.n, at;
    memcpy(copy, record.p, n);
    switch (order(o) % 10) {
    case 5: /* flip */
        at = ((size_t)order(o) << 8 | order(o)) % n;
        copy[at] = (char)(copy[at] ^ (1 << order(o) % 8));
        break;
    case 6: /* cut */
        n = ((size_t)order(o) << 8 | order(o)) % n;
        break;
    case 7: /* put in */
        at = ((size_t)order(o) << 8 | order(o)) % n;
        memmove(copy + at + 1, copy + at, n - at);
        copy[at] = (char)order(o);
        n++;
        break;
    case 8: /* twice */
        memcpy(copy + n, copy, n);
        n *= 2;
        break;
    case 9: /* another one in front: type, and a body of the input */
        at = order(o) % 64;
        if (n + 5 + at > sizeof copy) break;
        memmove(copy + 5 + at, copy, n);
        copy[0] = (char)(20 + order(o) % 5), copy[1] = 3, copy[2] = 3;
        copy[3] = 0, copy[4] = (char)at;
        for (size_t i = 0; i < at; i++) copy[5 + i] = (char)order(o);
        n += 5 + at;
        break;
    default: break;
    }
    if (n) pass(to, str_of(copy, n));
}

static void carry(struct end *from, struct end *to, struct orders *o) {
    while (buf_len(&from->raw) >= 5) {
        struct str raw = buf_str(&from->raw);
        size_t n = 5 + ((size_t)(uint8_t)raw.p[3] << 8 | (uint8_t)raw.p[4]);
        if (n > RECORD) n = raw.n;
        if (raw.n < n) break;
        carry_record(to, str_of(raw.p, n), o);
        buf_drop(&from->raw, n);
    }
    if (from->closed && to->s) stream_close(to->s);
}

/* ── a run ────────────────────────────────────────────────────────────────*/

static void finish(struct loop *l, struct end *ends, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (ends[i].s) stream_abort(ends[i].s, RW_ECANCELED);
    for (size_t i = 0; i < n; i++) {
        for (int turn = 0; turn < TURNS && !ends[i].closed; turn++) loop_turn(l, 0);
        must(ends[i].closed);
        buf_release(&ends[i].raw);
    }
}

static void secure(struct end *e, struct tls_context *c, const char *name) {
    struct tls_filter *f;
    must(tls_filter_push(e->s, c, name, &tls_hooks, e, &f) == 0);
    stream_read(e->s, true);
}

static void with_client(struct loop *l, struct orders *o, uint8_t shape) {
    struct end ends[4]; /* client, the carrier's two, server */
    struct stream *pair[2];
    struct limits limits = limits_default;
    must(stream_pair(l, &limits, pair) == 0);
    own(&ends[0], pair[0], loop_mem(l), false);
    own(&ends[1], pair[1], loop_mem(l), true);
    must(stream_pair(l, &limits, pair) == 0);
    own(&ends[2], pair[0], loop_mem(l), true);
    own(&ends[3], pair[1], loop_mem(l), false);
    secure(&ends[0], client_contexts[shape >> 1 & 1], "localhost");
    secure(&ends[3], server_contexts[shape >> 2 & 1], NULL);
    stream_read(ends[1].s, true);
    stream_read(ends[2].s, true);
    size_t sizes[2] = {shape & 8 ? TEXT : 100, shape & 16 ? TEXT : 10};
    stream_write(ends[0].s, str_of(text, sizes[0]));
    stream_write(ends[3].s, str_of(text, sizes[1]));
    if (shape & 32) stream_close(ends[0].s);
    bool honest = o->n == 0;
    for (int turn = 0; turn < TURNS && !(ends[0].closed && ends[3].closed); turn++) {
        loop_turn(l, 0);
        carry(&ends[1], &ends[2], o);
        carry(&ends[2], &ends[1], o);
        if (ends[0].got == sizes[1] && ends[3].got == sizes[0]) break;
    }
    if (honest && !(shape & 32)) must(ends[0].got == sizes[1] && ends[3].got == sizes[0]);
    finish(l, ends, 4);
}

static void without_client(struct loop *l, struct orders *o, uint8_t shape) {
    struct end ends[2];
    struct stream *pair[2];
    struct limits limits = limits_default;
    must(stream_pair(l, &limits, pair) == 0);
    own(&ends[0], pair[0], loop_mem(l), true);
    own(&ends[1], pair[1], loop_mem(l), false);
    bool client = shape & 8; /* what comes is a server's */
    struct tls_context *c = (client ? client_contexts : server_contexts)[shape >> 1 & 1];
    secure(&ends[1], c, client ? "localhost" : NULL);
    stream_read(ends[0].s, true);
    size_t half = shape & 4 ? o->n / 2 : o->n;
    pass(&ends[0], str_of((const char *)o->p, half));
    for (int turn = 0; turn < 10; turn++) loop_turn(l, 0);
    pass(&ends[0], str_of((const char *)o->p + half, o->n - half));
    for (int turn = 0; turn < 10; turn++) loop_turn(l, 0);
    must(ends[1].got == 0);
    finish(l, ends, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static bool prepared;
    if (!prepared) prepare();
    prepared = true;
    struct mem mem;
    mem_init(&mem, 0);
    struct loop *l = loop_new(&mem);
    must(l);
    struct orders o = {data, n};
    uint8_t shape = order(&o);
    if (shape & 1) without_client(l, &o, shape);
    else with_client(l, &o, shape);
    for (int turn = 0; turn < 5; turn++) loop_turn(l, 0);
    loop_free(&l);
    must(mem.live == 0);
    return 0;
}
