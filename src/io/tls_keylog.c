/* SPDX-License-Identifier: MIT */
/* The key log (the format of NSS, which Wireshark and others read): whoever has
 * the file can decrypt what was recorded. For debugging only. A line is one
 * write to a file opened for appending, since a handshake may be in a thread. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "io/tls_internal.h"

int tls_keylog_open(struct tls_context *c, struct tls_why *why) {
    uv_fs_t request;
    int file = uv_fs_open(NULL, &request, c->settings.keylog,
                          UV_FS_O_WRONLY | UV_FS_O_CREAT | UV_FS_O_APPEND, 0600, NULL);
    uv_fs_req_cleanup(&request);
    if (file < 0) {
        snprintf(why->text, sizeof why->text, "the key log %.200s cannot be opened: %s",
                 c->settings.keylog, err_text(file));
        return file;
    }
    c->keylog = file;
    c->settings.keylog = NULL; /* was borrowed */
    return 0;
}

void tls_keylog_close(struct tls_context *c) {
    uv_fs_t request;
    if (c->keylog < 0) return;
    uv_fs_close(NULL, &request, c->keylog, NULL);
    uv_fs_req_cleanup(&request);
}

void tls_keylog_write(void *p, mbedtls_ssl_key_export_type type, const unsigned char *secret,
                      size_t n, const unsigned char client_random[32],
                      const unsigned char server_random[32], mbedtls_tls_prf_types prf) {
    (void)server_random, (void)prf;
    const struct tls *t = p;
    const char *label;
    switch (type) {
    case MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET: label = "CLIENT_RANDOM"; break;
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_HANDSHAKE_TRAFFIC_SECRET:
        label = "CLIENT_HANDSHAKE_TRAFFIC_SECRET"; break;
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_HANDSHAKE_TRAFFIC_SECRET:
        label = "SERVER_HANDSHAKE_TRAFFIC_SECRET"; break;
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_APPLICATION_TRAFFIC_SECRET:
        label = "CLIENT_TRAFFIC_SECRET_0"; break;
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET:
        label = "SERVER_TRAFFIC_SECRET_0"; break;
    default: return;
    }
    char line[256];
    size_t at = (size_t)snprintf(line, sizeof line, "%s ", label);
    for (size_t i = 0; i < 32; i++)
        at += (size_t)snprintf(line + at, sizeof line - at, "%02x", client_random[i]);
    line[at++] = ' ';
    for (size_t i = 0; i < n && at + 4 < sizeof line; i++)
        at += (size_t)snprintf(line + at, sizeof line - at, "%02x", secret[i]);
    line[at++] = '\n';
    uv_fs_t request;
    uv_buf_t text = uv_buf_init(line, (unsigned)at);
    uv_fs_write(NULL, &request, t->context->keylog, &text, 1, -1, NULL);
    uv_fs_req_cleanup(&request);
    mbedtls_platform_zeroize(line, sizeof line);
}
