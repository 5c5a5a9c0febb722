/* SPDX-License-Identifier: MIT */
/* usage: tls_idle -p PORT [-n CONNECTIONS] [-r REQUESTS] [-a N]
 *
 * What idle.c does, over TLS 1.3: handshakes on OpenSSL, REQUESTS HTTP requests on
 * each connection (one unless asked), "ready", and the connections are held until
 * standard input ends. Of each only the socket is kept: the memory that is to be
 * measured is the server's. */
#include "blocking.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

const char program[] = "tls_idle";

static _Noreturn void fail_tls(const char *what) {
    ERR_print_errors_fp(stderr);
    fail(what);
}

static void ask(SSL *ssl, const char *request, size_t size) {
    static char in[ROOM + 1];
    size_t have = 0, whole = 0, n;
    if (SSL_write_ex(ssl, request, size, &n) != 1) fail_tls("SSL_write");
    while (!whole) {
        if (SSL_read_ex(ssl, in + have, ROOM - have, &n) != 1) fail_tls("no answer");
        have += n;
        in[have] = 0;
        whole = http_answer(in, have);
    }
    if (whole != have) fail("bytes after the answer");
}

static void open_one(SSL_CTX *context, int port, uint32_t from, int requests) {
    char request[64];
    size_t size = http_request(request, sizeof request, port);
    int fd = dial(port, from);
    SSL *ssl = SSL_new(context);
    if (!ssl || SSL_set_fd(ssl, fd) != 1 || SSL_set_tlsext_host_name(ssl, "localhost") != 1)
        fail_tls("SSL_new");
    if (SSL_connect(ssl) != 1) fail_tls("handshake");
    while (requests--) ask(ssl, request, size);
    SSL_free(ssl); /* the socket stays open */
    errno = 0;
}

int main(int argc, char **argv) {
    int option, port = 0, count = 1, requests = 1, share = 5000;
    while ((option = getopt(argc, argv, "p:n:r:a:")) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'n': count = atoi(optarg); break;
        case 'r': requests = atoi(optarg); break;
        case 'a': share = atoi(optarg); break;
        default: return 2;
        }
    }
    if (port <= 0 || count <= 0 || share <= 0 || requests < 0 || optind != argc) return 2;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set1_groups_list(context, "P-256"))
        fail_tls("SSL_CTX");
    for (int i = 0; i < count; i++) open_one(context, port, 1 + (uint32_t)(i / share), requests);
    printf("ready\n");
    fflush(stdout);
    char c;
    while (read(0, &c, 1) > 0) {}
    return 0;
}
