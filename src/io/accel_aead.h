/* SPDX-License-Identifier: MIT */
/* Between accel_aead.c, which stands in for mbedTLS, and the ciphers. */
#ifndef IO_ACCEL_AEAD_H
#define IO_ACCEL_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AEAD_NONCE = 12, AEAD_TAG = 16 };

/* One message under one key. `out` may be `in`, and is otherwise apart from it. */
struct aead {
    const uint8_t *key;
    size_t key_n;          /* AES: 16 or 32; ChaCha20: 32 */
    const uint8_t *nonce;  /* AEAD_NONCE bytes */
    const uint8_t *ad;     /* authenticated, not encrypted */
    size_t ad_n;
    const uint8_t *in;
    size_t n;              /* without the tag */
    uint8_t *out;
};

void accel_gcm_seal(const struct aead *m, uint8_t tag[AEAD_TAG]);
/* false: not authentic, and `out` is wiped. */
bool accel_gcm_open(const struct aead *m, const uint8_t tag[AEAD_TAG]);

/* false: libcrypto could not, nothing is in `out`. */
bool accel_chacha_seal(const struct aead *m, uint8_t tag[AEAD_TAG]);
/* 1 authentic, 0 not (`out` is wiped), < 0 libcrypto could not. */
int accel_chacha_open(const struct aead *m, const uint8_t tag[AEAD_TAG]);

#endif
