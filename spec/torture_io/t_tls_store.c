/* SPDX-License-Identifier: MIT */
/* The store of sessions that TLS clients keep, by itself. */
#include "io/tls_resume.h"
#include "pki.h"

enum { CHAIN = 300, SESSION = 200 };

static struct tls_chain *some_chain(struct mem *mem) {
    static const char packed[17 + CHAIN] = "";
    struct tls_chain *c;
    CHECK_EQ(tls_chain_unpack(mem, str_of(packed, sizeof packed), &c), 0);
    return c;
}

/* Under a key of this number, marked with another one. */
static int put(struct tls_store *s, struct tls_chain *chain, uint8_t key, uint8_t mark,
               int64_t since, int64_t until) {
    const uint8_t k[DIGEST_SIZE] = {key};
    struct tls_saved *saved = tls_saved_new(s, k, SESSION, chain);
    if (!saved) return RW_ENOMEM;
    saved->session[0] = mark;
    saved->since = since;
    saved->until = until;
    int rc = tls_store_put(s, saved);
    if (rc < 0) tls_saved_free(&saved);
    return rc;
}

static int take(struct tls_store *s, uint8_t key, int64_t now) {
    const uint8_t k[DIGEST_SIZE] = {key};
    struct tls_saved *saved = tls_store_take(s, k, now);
    int mark = saved ? saved->session[0] : -1;
    tls_saved_free(&saved);
    return mark;
}

static void bounded(void) {
    struct pki p;
    struct limits l = limits_default;
    pki_begin(&p);
    struct tls_store *s = pki_store(&p);
    struct tls_chain *chain = some_chain(&p.mem);
    l.tls_sessions = 6;
    l.tls_sessions_per_server = 2;
    tls_store_bound(s, &l);
    for (uint8_t i = 1; i <= 3; i++) CHECK_EQ(put(s, chain, 1, i, 0, 100), 0);
    CHECK_EQ(tls_store_count(s), 2);
    CHECK_EQ(take(s, 1, 0), 3); /* the newest */
    CHECK_EQ(take(s, 1, 0), 2);
    CHECK_EQ(take(s, 1, 0), -1);
    for (uint8_t i = 1; i <= 9; i++) CHECK_EQ(put(s, chain, i, i, 0, 100), 0);
    CHECK_EQ(tls_store_count(s), 6);
    CHECK_EQ(take(s, 3, 0), -1); /* the oldest have gone */
    CHECK_EQ(take(s, 4, 0), 4);
    CHECK_EQ(take(s, 9, 100), -1); /* too late */
    CHECK_EQ(put(s, chain, 20, 1, 50, 60), 0);
    CHECK_EQ(take(s, 20, 49), -1); /* too early */
    CHECK_EQ(tls_store_count(s), 4);
    CHECK_EQ(put(s, chain, 20, 1, 200, 300), 0); /* by then the others are too old */
    CHECK_EQ(tls_store_count(s), 1);
    size_t one = tls_store_bytes(s);
    CHECK(one >= CHAIN + SESSION);
    l = limits_default;
    l.tls_sessions_bytes = 3 * one;
    tls_store_bound(s, &l);
    for (uint8_t i = 1; i <= 9; i++) CHECK_EQ(put(s, chain, i, i, 200, 300), 0);
    CHECK_EQ(tls_store_count(s), 3);
    l.tls_sessions_bytes = one - 1;
    tls_store_bound(s, &l);
    CHECK_EQ(tls_store_count(s), 0);
    CHECK_EQ(put(s, chain, 1, 1, 200, 300), RW_ELIMIT);
    CHECK_EQ(tls_store_bytes(s), 0);
    tls_chain_unref(&chain);
    tls_store_unref(&s);
    pki_end(&p);
}

/* The store against a list that says the same, at random. */
static void as_expected(void) {
    enum { KEYS = 5, MOST = 12, PER_KEY = 3, LENGTH = 40000 };
    struct { uint8_t key, mark; int64_t until; } model[MOST + 1];
    size_t n = 0;
    struct pki p;
    struct limits l = limits_default;
    pki_begin(&p);
    struct tls_store *s = pki_store(&p);
    struct tls_chain *chain = some_chain(&p.mem);
    l.tls_sessions = MOST;
    l.tls_sessions_per_server = PER_KEY;
    tls_store_bound(s, &l);
    for (int64_t now = 0; now < LENGTH && check_failures() == 0; now++) {
        uint8_t key = (uint8_t)(test_random() % KEYS), mark = (uint8_t)(test_random() % 200);
        if (test_random() % 3) {
            while (n && model[0].until <= now) memmove(model, model + 1, --n * sizeof *model);
            model[n].key = key, model[n].mark = mark;
            model[n++].until = now + 1 + test_random() % 30;
            CHECK_EQ(put(s, chain, key, mark, now, model[n - 1].until), 0);
            size_t of_key = 0;
            for (size_t i = n; i-- > 0;)
                if (model[i].key == key && ++of_key > PER_KEY) {
                    memmove(model + i, model + i + 1, (--n - i) * sizeof *model);
                    break;
                }
            if (n > MOST) memmove(model, model + 1, --n * sizeof *model);
        } else {
            int expected = -1;
            for (size_t i = n; i-- > 0 && expected < 0;)
                if (model[i].key == key) {
                    if (model[i].until > now) expected = model[i].mark;
                    memmove(model + i, model + i + 1, (--n - i) * sizeof *model);
                }
            CHECK_EQ(take(s, key, now), expected);
        }
        CHECK_EQ(tls_store_count(s), n);
    }
    tls_chain_unref(&chain);
    tls_store_unref(&s);
    pki_end(&p);
}

const struct test tls_store_tests[] = {
    {"the store of sessions keeps to its bounds", bounded},
    {"the store of sessions does as a plain list would", as_expected},
    {NULL, NULL},
};
