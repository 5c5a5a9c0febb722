/* SPDX-License-Identifier: MIT */
/* Digests, and signatures as JOSE has them (RFC 7518): ES256 over P-256. */
#ifndef IO_DIGEST_H
#define IO_DIGEST_H

#include "io/tls.h"

enum { DIGEST_SIZE = 32, P256_POINT_SIZE = 64, P256_SIGNATURE_SIZE = 64 };

/* All: 0 or < 0. SHA-256, and HMAC with it. */
int digest_sha256(struct str bytes, uint8_t out[DIGEST_SIZE]);
int digest_hmac(struct str key, struct str bytes, uint8_t out[DIGEST_SIZE]);

/* Of a P-256 key in PEM: x and y of its public half, 32 bytes each, and r and s
 * of its signature of bytes. RW_EINVAL: it is another kind of key. */
int p256_point(struct str key_pem, uint8_t out[P256_POINT_SIZE], struct tls_why *why);
int p256_sign(struct str key_pem, struct str bytes, uint8_t out[P256_SIGNATURE_SIZE],
              struct tls_why *why);

#endif
