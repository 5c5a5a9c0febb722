/* SPDX-License-Identifier: MIT */
/* Usage: tls_load -p PORT -t MS [-c CONNECTIONS] [-v 2|3] [-g GROUP] [-r] [-k] [-u PATH]
 *
 * TLS connections to 127.0.0.1, on OpenSSL, so that servers are measured with
 * a client that is neither's own. Each connection shakes hands, asks for PATH,
 * reads the whole answer and closes; the next takes its place. -r resumes the
 * sessions, -k keeps the connections and asks again. AES-128-GCM; P-256
 * or GROUP.
 * Prints one line of JSON: connections, how many of them resumed, bytes of the
 * answers, seconds. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

enum { CONNECTIONS_MAX = 1000, HEAD_MAX = 4096, PIECE = 65536 };

static struct {
    int port, ms, connections, version;
    bool resumes, keeps;
    const char *path, *group;
} options = {.ms = 1000, .connections = 16, .version = 3, .path = "/", .group = "P-256"};

struct connection {
    int fd;
    SSL *ssl;
    SSL_SESSION *session; /* of an earlier one in this place */
    bool asked;
    char head[HEAD_MAX];
    size_t head_n, left;  /* left: bytes of the body, when the head is whole */
    bool in_body;
};

static struct connection all[CONNECTIONS_MAX];
static int epoll;
static SSL_CTX *context;
static unsigned long done, resumed, answers, bytes;

static void die(const char *what) {
    fprintf(stderr, "tls_load: %s: %s\n", what, errno ? strerror(errno) : "");
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void begin(struct connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->ssl = SSL_new(context);
    if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1) die("SSL_new");
    SSL_set_connect_state(c->ssl);
    SSL_set_tlsext_host_name(c->ssl, "localhost");
    SSL_set_app_data(c->ssl, (char *)c);
    if (c->session && options.resumes) SSL_set_session(c->ssl, c->session);
    c->asked = c->in_body = false;
    c->head_n = c->left = 0;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e) < 0) die("epoll_ctl");
}

/* A reset instead of TIME_WAIT: ports would run out. */
static void end(struct connection *c) {
    resumed += (unsigned long)SSL_session_reused(c->ssl);
    done++;
    SSL_shutdown(c->ssl);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    SSL_free(c->ssl);
    close(c->fd);
}

static int keep_session(SSL *ssl, SSL_SESSION *session) {
    struct connection *c = (struct connection *)SSL_get_app_data(ssl);
    SSL_SESSION_free(c->session);
    c->session = session;
    return 1;
}

static void ask(struct connection *c) {
    char text[512];
    int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
                     options.path, options.keeps ? "" : "Connection: close\r\n");
    if (SSL_write(c->ssl, text, n) != n) die("SSL_write");
    c->asked = true;
}

static void take(struct connection *c, const char *p, size_t n) {
    bytes += n;
    if (!c->in_body) {
        size_t room = sizeof c->head - 1 - c->head_n, k = n < room ? n : room;
        memcpy(c->head + c->head_n, p, k);
        c->head[c->head_n += k] = 0;
        char *blank = strstr(c->head, "\r\n\r\n"), *length = strcasestr(c->head, "\ncontent-length:");
        if (!blank) return;
        if (strncmp(c->head, "HTTP/1.1 200", 12) != 0 || !length) die("not the answer expected");
        c->in_body = true;
        c->left = strtoul(length + 16, NULL, 10);
        n -= (size_t)(blank + 4 - c->head) - (c->head_n - k);
    }
    if (n > c->left) die("more than the answer");
    c->left -= n;
    if (c->left) return;
    answers++;
    c->in_body = false;
    c->head_n = 0;
    if (options.keeps) ask(c);
}

/* Until it would block; false when the connection has ended. */
static bool go_on(struct connection *c) {
    static char piece[PIECE];
    for (;;) {
        int n = c->asked ? SSL_read(c->ssl, piece, sizeof piece) : SSL_do_handshake(c->ssl);
        if (n > 0 && !c->asked) ask(c);
        else if (n > 0) {
            unsigned long before = answers;
            take(c, piece, (size_t)n);
            if (answers != before && !options.keeps) return false;
        } else {
            int why = SSL_get_error(c->ssl, n);
            if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
                die(c->asked ? "read" : "handshake");
            return true;
        }
    }
}

static void prepare(void) {
    context = SSL_CTX_new(TLS_client_method());
    int version = options.version == 3 ? TLS1_3_VERSION : TLS1_2_VERSION;
    if (!context || !SSL_CTX_set_min_proto_version(context, version) ||
        !SSL_CTX_set_max_proto_version(context, version) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:!AES256") ||
        !SSL_CTX_set1_groups_list(context, options.group))
        die("SSL_CTX");
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    if (!options.resumes && options.version == 2) SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
}

int main(int argc, char **argv) {
    for (int o; (o = getopt(argc, argv, "p:t:c:v:g:rku:")) != -1;)
        switch (o) {
        case 'p': options.port = atoi(optarg); break;
        case 't': options.ms = atoi(optarg); break;
        case 'c': options.connections = atoi(optarg); break;
        case 'v': options.version = atoi(optarg); break;
        case 'r': options.resumes = true; break;
        case 'k': options.keeps = true; break;
        case 'g': options.group = optarg; break;
        case 'u': options.path = optarg; break;
        default: return 2;
        }
    if (options.port <= 0 || options.connections < 1 || options.connections > CONNECTIONS_MAX)
        return 2;
    prepare();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < options.connections; i++) begin(&all[i]);
    double began = now(), end_at = began + options.ms / 1e3;
    while (now() < end_at) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, 100);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (go_on(c)) continue;
            end(c);
            begin(c);
        }
    }
    printf("{\"connections\": %lu, \"resumed\": %lu, \"answers\": %lu, \"bytes\": %lu, "
           "\"seconds\": %.6f}\n", done, resumed, answers, bytes, now() - began);
    return 0;
}
