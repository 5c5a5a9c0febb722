/* SPDX-License-Identifier: MIT */
/* Accelerators: stand-ins for mbedTLS's slowest functions, by instructions of
 * the processor or by OpenSSL's libcrypto. The linker puts them in (--wrap):
 * a call of mbedtls_x goes to __wrap_mbedtls_x here, which does what it can and
 * hands the rest to __real_mbedtls_x, mbedTLS's own.
 *
 * Which ones a build has is decided by the Makefile (ACCEL_BY). One is used
 * when the processor can do it and its check, made once per process against
 * mbedTLS or published values, is passed; else mbedTLS serves. The environment
 * variable ROPEWALK_ACCEL, if there is one, lists those that may be used; 0 is
 * none. */
#ifndef IO_ACCEL_H
#define IO_ACCEL_H

#include <stdbool.h>

struct accel {
    const char *name;
    bool (*usable)(void); /* NULL: everywhere */
    bool (*check)(void);  /* does it give the right results? */
    void (*forget)(void); /* NULL: it keeps no keys */
    void (*step_ended)(void); /* NULL: it keeps nothing from one call to the next */
    bool on;              /* set by accel_start; off: mbedTLS serves */
};

/* Read through accel_find: which of them are there depends on the build. */
extern struct accel accel_gcm, accel_chacha, accel_p256, accel_p384, accel_x25519, accel_rsa,
    accel_sha256;

/* Once per process. */
void accel_start(void);

/* A private key was destroyed: nothing that was made of keys stays. */
void accel_forget(void);

/* A session took a step of its handshake, on this thread: what was kept from one
 * call of it to the next goes. */
void accel_step_ended(void);

/* For people: "aes-gcm p256 …", "none". Starts them if nothing has. */
const char *accel_in_use(void);
/* Those that failed their check, the same way, or "". */
const char *accel_failed(void);

/* By its name; NULL: this build has none of that name. */
struct accel *accel_find(const char *name);

/* Is P-256 (faster than X25519 then) or AES-GCM accelerated? */
bool accel_has_p256(void);
bool accel_has_gcm(void);

#endif
