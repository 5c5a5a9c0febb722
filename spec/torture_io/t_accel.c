/* SPDX-License-Identifier: MIT */
/* The accelerators beside mbedTLS's own: each call is made with the accelerator
 * on and off, and has to end alike, in what it gives as in what it refuses. */
#include <psa/crypto.h>

#include "io/accel.h"
#include "torture.h"

enum { LENGTH_MAX = 20000, TAG = 16 };

static uint8_t text[LENGTH_MAX + 64];

static void fill(uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(test_random() >> 9);
}

/* Mostly short, at times long, often around a multiple of 16 or 128. */
static size_t some_length(void) {
    uint32_t r = test_random();
    switch (r % 4) {
    case 0: return (r >> 8) % 40;
    case 1: return (r >> 8) % 600;
    case 2: return (r >> 8) % 12 * 128 + (r >> 20) % 5;
    default: return (r >> 8) % 20 ? (r >> 8) % 2100 : (r >> 8) % LENGTH_MAX;
    }
}

/* NULL, and the test is skipped, when this build or machine has none. */
static struct accel *accelerator(const char *name) {
    psa_crypto_init();
    accel_start();
    struct accel *a = accel_find(name);
    if (!a || !a->on) test_skip(name);
    return a && a->on ? a : NULL;
}

static psa_key_id_t import(psa_key_type_t type, size_t bits, psa_algorithm_t alg,
                           psa_key_usage_t usage, const void *bytes, size_t n) {
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    psa_key_id_t key = 0;
    psa_set_key_type(&attributes, type);
    psa_set_key_bits(&attributes, bits);
    psa_set_key_algorithm(&attributes, alg);
    psa_set_key_usage_flags(&attributes, usage);
    return psa_import_key(&attributes, bytes, n, &key) == PSA_SUCCESS ? key : 0;
}

/* ── AEAD ─────────────────────────────────────────────────────────────────*/

struct message {
    psa_key_id_t key;
    psa_algorithm_t alg;
    uint8_t nonce[16], ad[700];
    size_t nonce_n, ad_n, n;
};

static psa_status_t seal(const struct message *m, const uint8_t *in, uint8_t *out, size_t room) {
    size_t n = 0;
    psa_status_t status = psa_aead_encrypt(m->key, m->alg, m->nonce, m->nonce_n, m->ad, m->ad_n,
                                           in, m->n, out, room, &n);
    if (status == PSA_SUCCESS)
        CHECK_EQ(n, m->n + PSA_ALG_AEAD_GET_TAG_LENGTH(m->alg));
    return status;
}

static psa_status_t unseal(const struct message *m, const uint8_t *in, size_t n, uint8_t *out,
                           size_t room) {
    size_t got = 0;
    psa_status_t status = psa_aead_decrypt(m->key, m->alg, m->nonce, m->nonce_n, m->ad, m->ad_n,
                                           in, n, out, room, &got);
    if (status == PSA_SUCCESS) CHECK_EQ(got, m->n);
    return status;
}

/* One bit of it is wrong: refused, and no plain text is left. */
static void spoil(struct message *m, uint8_t *sealed, size_t n, uint8_t *out) {
    uint8_t *at;
    uint32_t r = test_random();
    switch (r % 3) {
    case 0: at = sealed + (r >> 8) % n; break;
    case 1: at = m->ad_n ? m->ad + (r >> 8) % m->ad_n : sealed + n - 1; break;
    default: at = m->nonce + (r >> 8) % m->nonce_n;
    }
    *at ^= (uint8_t)(1u << r % 8);
    memset(out, 0xee, m->n);
    CHECK_EQ(unseal(m, sealed, n, out, LENGTH_MAX), PSA_ERROR_INVALID_SIGNATURE);
    bool came_out = false; /* plain text that is not authentic */
    for (size_t i = 0; i < m->n; i++) came_out = came_out || (out[i] && out[i] != 0xee);
    CHECK(!came_out);
    *at ^= (uint8_t)(1u << r % 8);
}

static void one_message(struct accel *a, struct message *m) {
    static uint8_t ours[LENGTH_MAX + TAG], theirs[LENGTH_MAX + TAG], out[LENGTH_MAX + TAG];
    size_t sealed = m->n + PSA_ALG_AEAD_GET_TAG_LENGTH(m->alg);
    const uint8_t *in = text + test_random() % 33;
    if (test_random() % 2) { /* in place */
        memcpy(ours, in, m->n);
        CHECK_EQ(seal(m, ours, ours, sealed), PSA_SUCCESS);
    } else {
        CHECK_EQ(seal(m, in, ours, sealed), PSA_SUCCESS);
    }
    a->on = false;
    CHECK_EQ(seal(m, in, theirs, sealed), PSA_SUCCESS);
    a->on = true;
    CHECK(memcmp(ours, theirs, sealed) == 0);
    CHECK_EQ(unseal(m, theirs, sealed, out, m->n), PSA_SUCCESS);
    CHECK(memcmp(out, in, m->n) == 0);
    CHECK_EQ(unseal(m, theirs, sealed, theirs, sealed), PSA_SUCCESS);
    CHECK(memcmp(theirs, in, m->n) == 0);
    spoil(m, ours, sealed, out);
    CHECK_EQ(unseal(m, ours, sealed, out, m->n), PSA_SUCCESS);
    CHECK_EQ(seal(m, in, out, sealed - 1), PSA_ERROR_BUFFER_TOO_SMALL);
    if (m->n) CHECK_EQ(unseal(m, ours, sealed, out, m->n - 1), PSA_ERROR_BUFFER_TOO_SMALL);
    CHECK(unseal(m, ours, sealed - m->n - 1, out, LENGTH_MAX) != PSA_SUCCESS);
}

static void aead(const char *name, psa_key_type_t type, psa_algorithm_t alg, size_t key_n) {
    struct accel *a = accelerator(name);
    uint8_t bytes[32];
    if (!a) return;
    fill(text, sizeof text);
    for (int i = 0; i < 400; i++) {
        struct message m = {.alg = alg, .nonce_n = 12, .ad_n = test_random() % 40, .n = some_length()};
        if (i % 16 == 0) m.ad_n = test_random() % sizeof m.ad;
        if (i % 16 == 1 && type == PSA_KEY_TYPE_AES) m.nonce_n = 16; /* mbedTLS's in the end */
        if (i % 16 == 2 && type == PSA_KEY_TYPE_AES)
            m.alg = PSA_ALG_AEAD_WITH_SHORTENED_TAG(alg, 13);
        fill(bytes, sizeof bytes);
        fill(m.nonce, sizeof m.nonce);
        fill(m.ad, sizeof m.ad);
        m.key = import(type, key_n * 8, m.alg, PSA_KEY_USAGE_ENCRYPT | PSA_KEY_USAGE_DECRYPT, bytes,
                       key_n);
        one_message(a, &m);
        psa_destroy_key(m.key);
    }
}

static void aes_gcm(void) {
    for (size_t n = 16; n <= 32; n += 8) aead("aes-gcm", PSA_KEY_TYPE_AES, PSA_ALG_GCM, n);
}

static void chacha(void) {
    aead("chacha20-poly1305", PSA_KEY_TYPE_CHACHA20, PSA_ALG_CHACHA20_POLY1305, 32);
}

/* Test case 4 of the GCM submission, and RFC 8439, 2.8.2 (its tag). */
static void known_answers(void) {
    static const char key[] = "\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08";
    static const char nonce[] = "\xca\xfe\xba\xbe\xfa\xce\xdb\xad\xde\xca\xf8\x88";
    static const char ad[] = "\xfe\xed\xfa\xce\xde\xad\xbe\xef\xfe\xed\xfa\xce\xde\xad\xbe\xef"
                             "\xab\xad\xda\xd2";
    static const char plain[] =
        "\xd9\x31\x32\x25\xf8\x84\x06\xe5\xa5\x59\x09\xc5\xaf\xf5\x26\x9a\x86\xa7\xa9\x53"
        "\x15\x34\xf7\xda\x2e\x4c\x30\x3d\x8a\x31\x8a\x72\x1c\x3c\x0c\x95\x95\x68\x09\x53"
        "\x2f\xcf\x0e\x24\x49\xa6\xb5\x25\xb1\x6a\xed\xf5\xaa\x0d\xe6\x57\xba\x63\x7b\x39";
    static const char tag[] = "\x5b\xc9\x4f\xbc\x32\x21\xa5\xdb\x94\xfa\xe9\x5a\xe7\x12\x1a\x47";
    struct message m = {.alg = PSA_ALG_GCM, .nonce_n = 12, .ad_n = 20, .n = 60};
    uint8_t out[60 + TAG];
    psa_crypto_init();
    m.key = import(PSA_KEY_TYPE_AES, 128, PSA_ALG_GCM, PSA_KEY_USAGE_ENCRYPT, key, 16);
    memcpy(m.nonce, nonce, 12);
    memcpy(m.ad, ad, 20);
    CHECK_EQ(seal(&m, (const uint8_t *)plain, out, sizeof out), PSA_SUCCESS);
    CHECK(memcmp(out + 60, tag, TAG) == 0);
    psa_destroy_key(m.key);

    static const char sunscreen[] =
        "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
        "future, sunscreen would be it.";
    static const char seal_8439[] =
        "\x1a\xe1\x0b\x59\x4f\x09\xe2\x6a\x7e\x90\x2e\xcb\xd0\x60\x06\x91";
    struct message c = {.alg = PSA_ALG_CHACHA20_POLY1305, .nonce_n = 12, .ad_n = 12, .n = 114};
    uint8_t bytes[32], long_out[114 + TAG];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(0x80 + i);
    memcpy(c.nonce, "\x07\x00\x00\x00@ABCDEFG", 12);
    memcpy(c.ad, "PQRS\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7", 12);
    c.key = import(PSA_KEY_TYPE_CHACHA20, 256, c.alg, PSA_KEY_USAGE_ENCRYPT, bytes, 32);
    CHECK_EQ(seal(&c, (const uint8_t *)sunscreen, long_out, sizeof long_out), PSA_SUCCESS);
    CHECK(memcmp(long_out + 114, seal_8439, TAG) == 0);
    psa_destroy_key(c.key);
}

/* ── SHA-256 ──────────────────────────────────────────────────────────────*/

/* In pieces, by one and the other in turn. */
static void sha256(void) {
    struct accel *a = accelerator("sha256");
    uint8_t ours[32], theirs[32];
    size_t n, length;
    if (!a) return;
    fill(text, sizeof text);
    for (int i = 0; i < 2000; i++) {
        psa_hash_operation_t h = PSA_HASH_OPERATION_INIT;
        length = some_length();
        CHECK_EQ(psa_hash_setup(&h, PSA_ALG_SHA_256), PSA_SUCCESS);
        for (size_t at = 0, piece; at < length; at += piece) {
            piece = test_random() % 200;
            if (piece > length - at) piece = length - at;
            a->on = test_random() % 3 != 0;
            CHECK_EQ(psa_hash_update(&h, text + at, piece), PSA_SUCCESS);
        }
        a->on = i % 2;
        CHECK_EQ(psa_hash_finish(&h, ours, sizeof ours, &n), PSA_SUCCESS);
        a->on = false;
        psa_hash_compute(PSA_ALG_SHA_256, text, length, theirs, sizeof theirs, &n);
        CHECK(memcmp(ours, theirs, sizeof ours) == 0);
        a->on = true;
        psa_hash_compute(PSA_ALG_SHA_256, text, length, ours, sizeof ours, &n);
        CHECK(memcmp(ours, theirs, sizeof ours) == 0);
    }
}

/* ── curves ───────────────────────────────────────────────────────────────*/

struct curve {
    const char *name;
    psa_ecc_family_t family;
    size_t bits, bytes;
};
static const struct curve p256 = {"p256", PSA_ECC_FAMILY_SECP_R1, 256, 32};
static const struct curve p384 = {"p384", PSA_ECC_FAMILY_SECP_R1, 384, 48};
static const struct curve x25519 = {"x25519", PSA_ECC_FAMILY_MONTGOMERY, 255, 32};

enum { POINT_MAX = 97, SCALAR_MAX = 48 };

static psa_key_id_t private_key(const struct curve *c, psa_algorithm_t alg, const uint8_t *bytes) {
    return import(PSA_KEY_TYPE_ECC_KEY_PAIR(c->family), c->bits, alg,
                  PSA_KEY_USAGE_DERIVE | PSA_KEY_USAGE_SIGN_HASH | PSA_KEY_USAGE_EXPORT, bytes,
                  c->bytes);
}

static psa_key_id_t generate(const struct curve *c, psa_algorithm_t alg) {
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    psa_key_id_t key = 0;
    psa_set_key_type(&attributes, PSA_KEY_TYPE_ECC_KEY_PAIR(c->family));
    psa_set_key_bits(&attributes, c->bits);
    psa_set_key_algorithm(&attributes, alg);
    psa_set_key_usage_flags(&attributes, PSA_KEY_USAGE_DERIVE | PSA_KEY_USAGE_SIGN_HASH);
    CHECK_EQ(psa_generate_key(&attributes, &key), PSA_SUCCESS);
    return key;
}

/* The same call twice, and both ways alike. */
static psa_status_t agree_twice(struct accel *a, psa_key_id_t key, const uint8_t *peer, size_t n) {
    uint8_t ours[SCALAR_MAX] = {0}, theirs[SCALAR_MAX] = {0};
    size_t ours_n = 0, theirs_n = 0;
    psa_status_t rc = psa_raw_key_agreement(PSA_ALG_ECDH, key, peer, n, ours, sizeof ours, &ours_n);
    a->on = false;
    CHECK_EQ(psa_raw_key_agreement(PSA_ALG_ECDH, key, peer, n, theirs, sizeof theirs, &theirs_n),
             rc);
    a->on = true;
    if (rc != PSA_SUCCESS) return rc; /* PSA leaves random bytes there */
    CHECK_EQ(ours_n, theirs_n);
    CHECK(memcmp(ours, theirs, sizeof ours) == 0);
    return rc;
}

static void public_twice(struct accel *a, psa_key_id_t key, uint8_t *ours, size_t *n) {
    uint8_t theirs[POINT_MAX];
    size_t theirs_n = 0;
    CHECK_EQ(psa_export_public_key(key, ours, POINT_MAX, n), PSA_SUCCESS);
    a->on = false;
    CHECK_EQ(psa_export_public_key(key, theirs, POINT_MAX, &theirs_n), PSA_SUCCESS);
    a->on = true;
    CHECK_EQ(*n, theirs_n);
    CHECK(memcmp(ours, theirs, *n) == 0);
}

static void exchange(const struct curve *c, int times) {
    struct accel *a = accelerator(c->name);
    uint8_t point[POINT_MAX], other[POINT_MAX];
    size_t n, other_n;
    for (int i = 0; a && i < times; i++) {
        psa_key_id_t one = generate(c, PSA_ALG_ECDH), two = generate(c, PSA_ALG_ECDH);
        public_twice(a, one, point, &n);
        public_twice(a, two, other, &other_n);
        CHECK_EQ(agree_twice(a, one, other, other_n), PSA_SUCCESS);
        CHECK_EQ(agree_twice(a, two, point, n), PSA_SUCCESS);
        other[test_random() % other_n] ^= (uint8_t)(1u << test_random() % 8);
        agree_twice(a, one, other, other_n); /* X25519 may even take it */
        CHECK(agree_twice(a, one, other, other_n - 1) != PSA_SUCCESS);
        psa_destroy_key(one);
        psa_destroy_key(two);
    }
}

static void sign_and_verify(const struct curve *c, int times) {
    static const struct { psa_algorithm_t alg; size_t n; } hashes[] = {
        {PSA_ALG_SHA_1, 20}, {PSA_ALG_SHA_256, 32}, {PSA_ALG_SHA_384, 48}, {PSA_ALG_SHA_512, 64}};
    struct accel *a = accelerator(c->name);
    for (int i = 0; a && i < times; i++) {
        psa_algorithm_t alg = PSA_ALG_ECDSA(hashes[i % 4].alg);
        uint8_t point[POINT_MAX], hash[64], signature[2 * SCALAR_MAX];
        size_t n, signature_n = 0, hash_n = hashes[i % 4].n;
        psa_key_id_t key = generate(c, alg);
        fill(hash, sizeof hash);
        if (i % 9 == 8) memset(hash, 0, sizeof hash);
        CHECK_EQ(psa_export_public_key(key, point, sizeof point, &n), PSA_SUCCESS);
        psa_key_id_t public = import(PSA_KEY_TYPE_ECC_PUBLIC_KEY(c->family), c->bits, alg,
                                     PSA_KEY_USAGE_VERIFY_HASH, point, n);
        for (int by = 0; by < 2; by++) { /* signed by one, verified by both */
            a->on = by;
            CHECK_EQ(psa_sign_hash(key, alg, hash, hash_n, signature, sizeof signature,
                                   &signature_n), PSA_SUCCESS);
            CHECK_EQ(signature_n, 2 * c->bytes);
            size_t at = test_random() % signature_n;
            for (int with = 0; with < 2; with++) {
                a->on = with;
                CHECK_EQ(psa_verify_hash(public, alg, hash, hash_n, signature, signature_n),
                         PSA_SUCCESS);
                CHECK_EQ(psa_verify_hash(public, alg, hash, hash_n, signature, signature_n - 1),
                         PSA_ERROR_INVALID_SIGNATURE);
                signature[at] ^= 0x10;
                CHECK_EQ(psa_verify_hash(public, alg, hash, hash_n, signature, signature_n),
                         PSA_ERROR_INVALID_SIGNATURE);
                signature[at] ^= 0x10;
            }
        }
        a->on = true;
        memset(signature, 0, sizeof signature);
        CHECK_EQ(psa_verify_hash(public, alg, hash, hash_n, signature, 2 * c->bytes),
                 PSA_ERROR_INVALID_SIGNATURE);
        memset(signature, 0xff, sizeof signature);
        CHECK_EQ(psa_verify_hash(public, alg, hash, hash_n, signature, 2 * c->bytes),
                 PSA_ERROR_INVALID_SIGNATURE);
        psa_destroy_key(key);
        psa_destroy_key(public);
    }
}

/* Scalars that are none, points that are on no curve or at infinity. */
static void invalid(const struct curve *c) {
    struct accel *a = accelerator(c->name);
    uint8_t bytes[POINT_MAX], good[POINT_MAX];
    size_t n;
    if (!a) return;
    static const uint8_t fills[] = {0x00, 0xff};
    for (size_t i = 0; i < sizeof fills; i++) {
        memset(bytes, fills[i], sizeof bytes);
        for (int on = 0; on < 2; on++) {
            a->on = on;
            CHECK_EQ(private_key(c, PSA_ALG_ECDH, bytes), 0);
        }
    }
    memset(bytes, 0, sizeof bytes);
    bytes[c->bytes - 1] = 1; /* the least there is */
    psa_key_id_t key = private_key(c, PSA_ALG_ECDH, bytes);
    public_twice(a, key, good, &n);
    CHECK_EQ(agree_twice(a, key, good, n), PSA_SUCCESS);
    for (int kind = 0; kind < 7; kind++) {
        size_t length = n;
        memcpy(bytes, good, n);
        switch (kind) {
        case 0: bytes[n - 1] ^= 1; break;                       /* beside the curve */
        case 1: memset(bytes + 1, 0, n - 1); break;             /* (0, 0) */
        case 2: memset(bytes + 1, 0xff, c->bytes); break;       /* x ≥ p */
        case 3: bytes[0] = 0, length = 1; break;                /* infinity */
        case 4: bytes[0] = 3, length = c->bytes + 1; break;     /* compressed */
        case 5: bytes[0] = 6 + (bytes[n - 1] & 1); break;       /* hybrid */
        default: length = n + 1;
        }
        CHECK(agree_twice(a, key, bytes, length) != PSA_SUCCESS);
        for (int on = 0; on < 2; on++) {
            a->on = on;
            CHECK_EQ(import(PSA_KEY_TYPE_ECC_PUBLIC_KEY(c->family), c->bits, PSA_ALG_ECDH, 0, bytes,
                            length), 0);
        }
    }
    psa_destroy_key(key);
}

/* The points of small order (RFC 7748, 6.1: the secret would be zero), values
 * above the prime, the bit that does not count. */
static void x25519_points(void) {
    struct accel *a = accelerator("x25519");
    uint8_t point[32] = {0};
    if (!a) return;
    psa_key_id_t key = generate(&x25519, PSA_ALG_ECDH);
    for (unsigned first = 0; first < 256; first += first == 31 ? 192 : 1)
        for (int high = 0; high < 4; high++) {
            memset(point, high & 1 ? 0xff : 0, sizeof point);
            point[0] = (uint8_t)first;
            point[31] = (uint8_t)((high & 1 ? 0x7f : 0) | (high & 2 ? 0x80 : 0));
            psa_status_t status = agree_twice(a, key, point, sizeof point);
            if (!(high & 1) && first < 2) CHECK(status != PSA_SUCCESS);
        }
    psa_destroy_key(key);
}

static void curve_p256(void) { exchange(&p256, 40), sign_and_verify(&p256, 40), invalid(&p256); }
static void curve_p384(void) { exchange(&p384, 10), sign_and_verify(&p384, 12), invalid(&p384); }
static void curve_x25519(void) { exchange(&x25519, 60), x25519_points(); }

/* ── RSA ──────────────────────────────────────────────────────────────────*/

static void rsa_alg(struct accel *a, psa_key_id_t key, psa_key_id_t public, psa_algorithm_t alg,
                    size_t hash_n) {
    uint8_t hash[64], signature[256];
    size_t n = 0;
    fill(hash, sizeof hash);
    for (int by = 0; by < 2; by++) {
        a->on = by;
        CHECK_EQ(psa_sign_hash(key, alg, hash, hash_n, signature, sizeof signature, &n),
                 PSA_SUCCESS);
        CHECK_EQ(n, sizeof signature);
        size_t at = test_random() % n;
        for (int with = 0; with < 2; with++) {
            a->on = with;
            CHECK_EQ(psa_verify_hash(public, alg, hash, hash_n, signature, n), PSA_SUCCESS);
            CHECK(psa_verify_hash(public, alg, hash, hash_n, signature, n - 1) != PSA_SUCCESS);
            signature[at] ^= 4;
            CHECK(psa_verify_hash(public, alg, hash, hash_n, signature, n) != PSA_SUCCESS);
            signature[at] ^= 4;
            hash[0] ^= 1;
            CHECK_EQ(psa_verify_hash(public, alg, hash, hash_n, signature, n),
                     PSA_ERROR_INVALID_SIGNATURE);
            hash[0] ^= 1;
        }
    }
    a->on = true;
    CHECK(psa_sign_hash(key, alg, hash, hash_n, signature, sizeof signature - 1, &n) !=
          PSA_SUCCESS);
}

static void rsa(void) {
    static const struct { psa_algorithm_t alg; size_t n; } hashes[] = {
        {PSA_ALG_SHA_1, 20}, {PSA_ALG_SHA_256, 32}, {PSA_ALG_SHA_384, 48}, {PSA_ALG_SHA_512, 64}};
    struct accel *a = accelerator("rsa");
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    psa_key_id_t pair = 0;
    uint8_t der[2048], public_der[512];
    size_t n = 0, public_n = 0;
    if (!a) return;
    psa_set_key_type(&attributes, PSA_KEY_TYPE_RSA_KEY_PAIR);
    psa_set_key_bits(&attributes, 2048);
    psa_set_key_usage_flags(&attributes, PSA_KEY_USAGE_EXPORT);
    CHECK_EQ(psa_generate_key(&attributes, &pair), PSA_SUCCESS);
    CHECK_EQ(psa_export_key(pair, der, sizeof der, &n), PSA_SUCCESS);
    CHECK_EQ(psa_export_public_key(pair, public_der, sizeof public_der, &public_n), PSA_SUCCESS);
    for (size_t i = 0; i < 12; i++) {
        psa_algorithm_t hash = hashes[i % 4].alg;
        psa_algorithm_t alg = i < 4 ? PSA_ALG_RSA_PKCS1V15_SIGN(hash)
                              : i < 8 ? PSA_ALG_RSA_PSS(hash) : PSA_ALG_RSA_PSS_ANY_SALT(hash);
        psa_key_id_t key = import(PSA_KEY_TYPE_RSA_KEY_PAIR, 2048, alg, PSA_KEY_USAGE_SIGN_HASH,
                                  der, n);
        psa_key_id_t public = import(PSA_KEY_TYPE_RSA_PUBLIC_KEY, 2048, alg,
                                     PSA_KEY_USAGE_VERIFY_HASH, public_der, public_n);
        rsa_alg(a, key, public, alg, hashes[i % 4].n);
        psa_destroy_key(key);
        psa_destroy_key(public);
    }
    psa_destroy_key(pair);
}

static void passed_their_checks(void) { CHECK(*accel_failed() == 0); }

const struct test accel_tests[] = {
    {"accelerators pass their checks", passed_their_checks},
    {"accelerated ciphers give published answers", known_answers},
    {"accelerated AES-GCM is mbedTLS's, whatever the lengths", aes_gcm},
    {"accelerated ChaCha20-Poly1305 is mbedTLS's", chacha},
    {"accelerated SHA-256 is mbedTLS's, in any pieces", sha256},
    {"accelerated P-256 agrees, signs, verifies and refuses as mbedTLS does", curve_p256},
    {"accelerated P-384 does", curve_p384},
    {"accelerated X25519 does", curve_x25519},
    {"accelerated RSA signs and verifies as mbedTLS does", rsa},
    {NULL, NULL},
};
