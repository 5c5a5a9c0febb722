/* SPDX-License-Identifier: MIT */
#include "io/accel.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef ACCEL_BY_crypto
#include <openssl/crypto.h>
#endif

static struct accel *const all[] = {
#ifdef ACCEL_BY_cpu
    &accel_gcm,
#endif
#ifdef ACCEL_BY_crypto
    &accel_chacha, &accel_p256, &accel_p384, &accel_x25519, &accel_rsa, &accel_sha256,
#endif
    NULL,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char in_use[128], failed[128];

static void add(char list[128], const char *name) {
    size_t n = strlen(list);
    snprintf(list + n, 128 - n, "%s%s", n ? " " : "", name);
}

/* libcrypto as a collection of functions: no file of the system's changes what
 * they do, nothing of it is left to be done when the process ends. */
static void start_libraries(void) {
#ifdef ACCEL_BY_crypto
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
#endif
}

/* Without the variable all are, else those that are in its list. */
static bool asked_for(const char *name) {
    const char *list = getenv("ROPEWALK_ACCEL");
    size_t n = strlen(name);
    for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',')
        if (strncmp(p, name, n) == 0 && (p[n] == ',' || !p[n])) return true;
    return !list;
}

static void start(void) {
    start_libraries();
    for (struct accel *const *a = all; *a; a++) {
        if (!asked_for((*a)->name) || ((*a)->usable && !(*a)->usable())) continue;
        (*a)->on = (*a)->check();
        add((*a)->on ? in_use : failed, (*a)->name);
    }
    if (!*in_use) add(in_use, "none");
}

void accel_start(void) { pthread_once(&once, start); }

void accel_forget(void) {
    for (struct accel *const *a = all; *a; a++)
        if ((*a)->forget) (*a)->forget();
}

void accel_step_ended(void) {
    for (struct accel *const *a = all; *a; a++)
        if ((*a)->step_ended) (*a)->step_ended();
}

const char *accel_in_use(void) {
    accel_start();
    return in_use;
}

const char *accel_failed(void) {
    accel_start();
    return failed;
}

struct accel *accel_find(const char *name) {
    for (struct accel *const *a = all; *a; a++)
        if (strcmp((*a)->name, name) == 0) return *a;
    return NULL;
}

static bool has(const char *name) {
    accel_start();
    const struct accel *a = accel_find(name);
    return a && a->on;
}

bool accel_has_p256(void) { return has("p256"); }
bool accel_has_gcm(void) { return has("aes-gcm"); }
