/* SPDX-License-Identifier: MIT */
/* Addresses, from the system's form into ours and into text. An IPv4 peer of a
 * dual-stack socket is shown as what it is, not as ::ffff:a.b.c.d. */
#include "io/internal.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ── from the system ──────────────────────────────────────────────────────*/

static void of_inet6(const struct sockaddr_in6 *in6, struct address *out) {
    out->kind = ADDRESS_TCP;
    out->port = ntohs(in6->sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], out->host,
                  sizeof out->host);
        return;
    }
    inet_ntop(AF_INET6, &in6->sin6_addr, out->host, sizeof out->host);
    char zone[IF_NAMESIZE];
    if (in6->sin6_scope_id && if_indextoname(in6->sin6_scope_id, zone)) {
        size_t n = strlen(out->host);
        snprintf(out->host + n, sizeof out->host - n, "%%%s", zone);
    }
}

static void of_unix(const struct sockaddr_un *un, size_t size,
                    struct address *out) {
    size_t n = size - offsetof(struct sockaddr_un, sun_path);
    out->kind = ADDRESS_UNIX;
    if (size <= offsetof(struct sockaddr_un, sun_path)) return; /* unnamed */
    if (un->sun_path[0]) { /* a file "@x" must not pass for an abstract name */
        const char *here = un->sun_path[0] == '@' ? "./" : "";
        snprintf(out->host, sizeof out->host, "%s%.*s", here, (int)n, un->sun_path);
        return;
    }
    /* sun_path has 108 bytes, and so has host; each zero is shown as '@' */
    for (size_t i = 0; i < n; i++) out->host[i] = un->sun_path[i] ? un->sun_path[i] : '@';
    out->host[sizeof out->host - 1] = 0;
}

void address_of(const struct sockaddr *sa, size_t size, struct address *out) {
    *out = (struct address){0};
    if (size < sizeof sa->sa_family) return;
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        out->kind = ADDRESS_TCP;
        out->port = ntohs(in->sin_port);
        inet_ntop(AF_INET, &in->sin_addr, out->host, sizeof out->host);
    } else if (sa->sa_family == AF_INET6) {
        of_inet6((const void *)sa, out);
    } else if (sa->sa_family == AF_UNIX) {
        of_unix((const void *)sa, size, out);
    }
}

int address_of_socket(int fd, bool peer, struct address *out) {
    struct sockaddr_storage sa;
    socklen_t size = sizeof sa;
    int rc = peer ? getpeername(fd, (struct sockaddr *)&sa, &size)
                  : getsockname(fd, (struct sockaddr *)&sa, &size);
    if (rc < 0) return -errno;
    address_of((struct sockaddr *)&sa, size, out);
    return 0;
}

int address_unix(const char *path, struct sockaddr_un *out,
                 unsigned *size_out) {
    size_t n = strlen(path);
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (n == 0) return RW_EINVAL;
    if (n >= sizeof out->sun_path) return -ENAMETOOLONG;
    memcpy(out->sun_path, path, n + 1);
    *size_out = (unsigned)(offsetof(struct sockaddr_un, sun_path) + n);
    if (path[0] == '@') out->sun_path[0] = 0;
    else ++*size_out;
    return 0;
}

/* ── text ─────────────────────────────────────────────────────────────────*/

struct str address_format(const struct address *a, char *out, size_t size) {
    const char *format = "%s";
    int n = 0;
    switch (a->kind) {
    case ADDRESS_TCP:
    case ADDRESS_UDP:
        format = strchr(a->host, ':') ? "[%s]:%u" : "%s:%u";
        n = snprintf(out, size, format, a->host, (unsigned)a->port);
        break;
    case ADDRESS_UNIX: n = snprintf(out, size, "unix:%s", a->host); break;
    case ADDRESS_STDIO: n = snprintf(out, size, "stdio"); break;
    case ADDRESS_PAIR: n = snprintf(out, size, "pair"); break;
    case ADDRESS_PROCESS: n = snprintf(out, size, "process"); break;
    case ADDRESS_NONE: n = snprintf(out, size, "none"); break;
    }
    if (n < 0 || size == 0) return STR_NONE;
    return str_of(out, (size_t)n < size ? (size_t)n : size - 1);
}

static int take_host(struct address *a, struct str host) {
    if (host.n == 0 || host.n >= sizeof a->host) return RW_ESYNTAX;
    if (memchr(host.p, 0, host.n)) return RW_ESYNTAX;
    memcpy(a->host, host.p, host.n);
    return 0;
}

static bool is_numeric(const char *host, bool v6) {
    unsigned char binary[sizeof(struct in6_addr)];
    char plain[INET6_ADDRSTRLEN];
    size_t n = strcspn(host, "%"); /* a zone is the system's business */
    if (n >= sizeof plain) return false;
    memcpy(plain, host, n);
    plain[n] = 0;
    return inet_pton(v6 ? AF_INET6 : AF_INET, plain, binary) == 1;
}

int address_parse(struct str text, struct address *out) {
    *out = (struct address){0};
    if (str_starts(text, STR("unix:"))) {
        out->kind = ADDRESS_UNIX; /* clients have no name, mostly */
        return text.n == 5 ? 0 : take_host(out, str_skip(text, 5));
    }
    if (str_eq(text, STR("stdio")) || str_eq(text, STR("pair"))) {
        out->kind = text.p[0] == 's' ? ADDRESS_STDIO : ADDRESS_PAIR;
        return 0;
    }
    bool v6 = text.n && text.p[0] == '[';
    struct str host = v6 ? str_skip(text, 1) : text;
    size_t end = str_find(host, v6 ? ']' : ':');
    struct str port = str_skip(host, end < host.n ? end + 1 : host.n);
    host.n = end;
    if (v6) {
        if (port.n == 0 || port.p[0] != ':') return RW_ESYNTAX;
        port = str_skip(port, 1);
    }
    uint64_t n;
    if (str_to_u64(port, &n) < 0 || n > UINT16_MAX) return RW_ESYNTAX;
    out->kind = ADDRESS_TCP;
    out->port = (uint16_t)n;
    int rc = take_host(out, host);
    if (rc == 0 && !is_numeric(out->host, v6)) rc = RW_ESYNTAX;
    return rc;
}
