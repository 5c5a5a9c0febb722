/* SPDX-License-Identifier: MIT */
/* The server and its peers, all on one thread. */
#include "torture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bind/bind.h"
#include "bind/port.h"
#include "ropewalk.h"

int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ── the log ──────────────────────────────────────────────────────────────*/

enum { LOG_LINES = 24, LOG_LINE = 400 };
static char log_lines[LOG_LINES][LOG_LINE];
static unsigned logged;

static void keep_line(void *owner, int level, const char *line, size_t n) {
    (void)owner, (void)level;
    snprintf(log_lines[logged++ % LOG_LINES], LOG_LINE, "%.*s", (int)n, line);
}

void world_forget_log(void) { logged = 0; }

void world_print_log(void) {
    for (unsigned i = logged > LOG_LINES ? logged - LOG_LINES : 0; i < logged; i++)
        printf("    %s%s", log_lines[i % LOG_LINES], strchr(log_lines[i % LOG_LINES], '\n') ? "" : "\n");
}

/* ── its directory ────────────────────────────────────────────────────────*/

static char directory[] = "/tmp/torture_bind.XXXXXX";

static void fatal(const char *what) {
    printf("%s\n", what);
    world_print_log();
    exit(1);
}

void directory_make(void) {
    if (!mkdtemp(directory) || setenv("TORTURE_BIND", directory, 1) < 0) fatal("mkdtemp");
}

static int remove_entry(const char *path, const struct stat *s, int type, struct FTW *ftw) {
    (void)s, (void)type, (void)ftw;
    return remove(path);
}

void directory_remove(void) {
    enum { DESCRIPTORS = 8 };
    nftw(directory, remove_entry, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}

/* ── the server ───────────────────────────────────────────────────────────*/

/* Each port of the script has an address of its own. */
static bool find_ports(struct world *w) {
    for (const struct port *p = w->rw->ports; p; p = p->next) {
        struct address a;
        unsigned host;
        if (sscanf(p->key, "%*[a-z]:127.0.0.%u:", &host) != 1 || host > PORTS) continue;
        if (p->listener ? listener_address(p->listener, 0, &a) : port_address(p, &a)) continue;
        w->ports[host - 1] = a.port;
    }
    for (int i = 0; i < PORTS; i++)
        if (!w->ports[i]) return false;
    return true;
}

static unsigned items(const struct world *w) {
    unsigned n = 0;
    for (const struct scope_item *i = w->rw->current->scope.items; i; i = i->next) n++;
    return n;
}

bool world_try(struct world *w) {
    enum { STEPS = 20 }; /* of the commit */
    *w = (struct world){0};
    w->rw = rw_new(&(struct rw_options){.app = "spec/torture_bind/server.lua", .log_hook = keep_line,
                                        .log_level = "debug"}, NULL);
    if (!w->rw || rw_load(w->rw) != 0) return false;
    for (int i = 0; i < STEPS && !(w->rw->current && find_ports(w)); i++) world_step(w);
    return find_ports(w);
}

void world_begin(struct world *w) {
    enum { STEPS = 20 }; /* of what it begins by itself */
    if (!world_try(w)) fatal("the script does not load");
    for (int i = 0; i < STEPS; i++) world_step(w);
    w->tasks = w->rw->current->task_count;
    w->items = items(w);
}

void world_end(struct world *w) { rw_free(&w->rw); }

bool world_step(struct world *w) {
    enum { LONGEST = 2 };
    int wait = rw_timeout(w->rw);
    return rw_step(w->rw, wait < 0 || wait > LONGEST ? LONGEST : wait);
}

bool world_rests(const struct world *w) {
    const struct rw *rw = w->rw;
    const struct generation *g = rw->current;
    return !rw->stats.connections_open && !rw->arriving && !rw->staging && g &&
           rw->generations == g && !g->next && g->task_count == w->tasks && !g->connecting &&
           !g->child_count && !g->debts.items && items(w) == w->items;
}

size_t world_script_memory(struct world *w) {
    struct generation *g = w->rw->current;
    for (int i = 0; i < 3; i++) {
        lua_gc(g->L, LUA_GCCOLLECT);
        world_step(w);
    }
    return g->mem.live;
}

unsigned world_generation(const struct world *w) { return w->rw->current->id; }

enum outcome world_reload(struct world *w) {
    rw_reload(w->rw);
    world_step(w);
    for (int64_t end = now_ms() + PATIENCE_MS; w->rw->staging; world_step(w))
        if (now_ms() > end) return HUNG;
    return PERFECT;
}

/* ── peers ────────────────────────────────────────────────────────────────*/

bool peer_open(struct peer *p, const struct world *w, enum port_of port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(w->ports[port]),
                             .sin_addr.s_addr = htonl(0x7f000001u + (unsigned)port)};
    memset(p, 0, sizeof *p);
    int type = port == DATAGRAMS ? SOCK_DGRAM : SOCK_STREAM;
    p->fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&to, sizeof to) < 0) fatal("connect");
    return true;
}

void peer_say(struct peer *p, const char *text, size_t n) {
    if (send(p->fd, text, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EAGAIN)
        fatal("the peer's buffer is full");
}

static void peer_listen(struct peer *p) {
    ssize_t n = recv(p->fd, p->got + p->n, sizeof p->got - 1 - p->n, MSG_DONTWAIT);
    if (n > 0) p->n += (size_t)n;
    else if (n == 0 || errno != EAGAIN) p->over = true;
    p->got[p->n] = 0;
}

enum outcome peer_await(struct peer *p, struct world *w, const char *text) {
    for (int64_t end = now_ms() + PATIENCE_MS; now_ms() < end;) {
        peer_listen(p);
        if (strstr(p->got, text)) return PERFECT;
        if (p->over) return p->n ? OTHERWISE : CUT;
        if (strncmp(p->got, "HTTP/1.1 5", 10) == 0) return OTHERWISE; /* and stays open */
        world_step(w);
    }
    return HUNG;
}

/* It is heard at once: a reset. */
void peer_close(struct peer *p) {
    const struct linger none = {.l_onoff = 1};
    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    if (p->fd >= 0) close(p->fd);
    p->fd = -1;
}
