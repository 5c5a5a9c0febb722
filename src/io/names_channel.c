/* SPDX-License-Identifier: MIT */
/* c-ares on the loop: its sockets are polled, its time-outs are one timer of
 * the wheel. It draws the ids and ports of queries, speaks EDNS with cookies,
 * goes over to TCP, tries the servers in turn and turns away what answers no
 * question of ours. Its own cache, search list and hosts file stay unused.
 *
 * A channel is never reconfigured: when resolv.conf has changed, a new one
 * takes the questions, and the old one goes when its last is answered.
 */
#include "io/names_private.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_TRY = 5000,        /* ms: later tries wait longer, but not longer than this */
    QUERIES_PER_PORT = 64, /* then another port is drawn */
    EDNS_SIZE = 1232,      /* what passes unfragmented */
    LOOK_EVERY = 1000,     /* ms: at the file */
    RESOLV_MAX = 16384,    /* bytes of resolv.conf that are looked at */
};

struct socket_poll {
    uv_poll_t poll;
    struct channel *channel;
    struct socket_poll *next, **prev; /* list: channel->polls */
    ares_socket_t fd;
};

/* ── files that may change ────────────────────────────────────────────────*/

struct file_stamp file_stamp(const char *path) {
    struct stat st;
    if (stat(path, &st) < 0) return (struct file_stamp){0};
    return (struct file_stamp){st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                               (uint64_t)st.st_size, st.st_ino};
}

bool file_stamp_eq(struct file_stamp a, struct file_stamp b) {
    return a.seconds == b.seconds && a.nanoseconds == b.nanoseconds &&
           a.size == b.size && a.inode == b.inode;
}

/* ── time and sockets ─────────────────────────────────────────────────────*/

static void on_time(struct timer *t);

static void give_up(struct timer *t) {
    ares_cancel(CONTAINER(t, struct channel, timer)->ares);
}

/* After anything that c-ares did. */
static void channel_rearm(struct channel *c) {
    struct loop *l = c->names->loop;
    struct timeval tv;
    if (c->deaf) {
        timer_start(l, &c->timer, 0, give_up);
        return;
    }
    if (!ares_timeout(c->ares, NULL, &tv)) {
        timer_stop(l, &c->timer);
        return;
    }
    uint64_t ms = (uint64_t)tv.tv_sec * 1000 + (uint64_t)(tv.tv_usec + 999) / 1000;
    timer_start(l, &c->timer, ms, on_time);
}

static void on_time(struct timer *t) {
    struct channel *c = CONTAINER(t, struct channel, timer);
    ares_process_fds(c->ares, NULL, 0, ARES_PROCESS_FLAG_NONE);
    channel_rearm(c);
}

static void on_ready(uv_poll_t *p, int status, int events) {
    struct socket_poll *s = CONTAINER(p, struct socket_poll, poll);
    struct channel *c = s->channel;
    ares_fd_events_t event = {.fd = s->fd};
    if (events & UV_READABLE || status < 0) event.events |= ARES_FD_EVENT_READ;
    if (events & UV_WRITABLE || status < 0) event.events |= ARES_FD_EVENT_WRITE;
    ares_process_fds(c->ares, &event, 1, ARES_PROCESS_FLAG_NONE);
    channel_rearm(c);
}

static void poll_gone(uv_handle_t *h) {
    struct socket_poll *s = CONTAINER(h, struct socket_poll, poll);
    struct loop *l = h->loop->data;
    l->closing--;
    mem_free(l->mem, s, sizeof *s);
}

static void poll_close(struct socket_poll *s) {
    struct names *n = s->channel->names;
    *s->prev = s->next;
    if (s->next) s->next->prev = s->prev;
    n->sockets--;
    n->loop->closing++;
    uv_close((uv_handle_t *)&s->poll, poll_gone);
}

static struct socket_poll *poll_open(struct channel *c, ares_socket_t fd) {
    struct loop *l = c->names->loop;
    struct socket_poll *s = mem_zalloc(l->mem, sizeof *s);
    if (!s) return NULL;
    if (uv_poll_init(&l->uv, &s->poll, fd) < 0) {
        mem_free(l->mem, s, sizeof *s);
        return NULL;
    }
    s->channel = c;
    s->fd = fd;
    s->next = c->polls;
    s->prev = &c->polls;
    if (s->next) s->next->prev = &s->next;
    c->polls = s;
    c->names->sockets++;
    return s;
}

/* With a socket that cannot be watched, what is asked fails; who asks next has another
 * channel. */
static void on_socket(void *arg, ares_socket_t fd, int readable, int writable) {
    struct channel *c = arg;
    struct socket_poll *s = c->polls;
    while (s && s->fd != fd) s = s->next;
    if (!readable && !writable) {
        if (s) poll_close(s);
        return;
    }
    if (!s) s = poll_open(c, fd);
    if (!s) c->deaf = true;
    else
        uv_poll_start(&s->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0),
                      on_ready);
}

/* ── channels ─────────────────────────────────────────────────────────────*/

void channel_free(struct channel *c) {
    struct names *n = c->names;
    struct channel **at = &n->channel;
    while (*at != c) at = &(*at)->next;
    *at = c->next;
    ares_destroy(c->ares); /* ends its queries and closes its sockets */
    while (c->polls) poll_close(c->polls);
    timer_stop(n->loop, &c->timer);
    loop_defer_cancel(&c->reap);
    mem_free(n->loop->mem, c, sizeof *c);
}

static void reap(struct deferral *d) {
    channel_free(CONTAINER(d, struct channel, reap));
}

/* Only what libraries do on the stack of a callback of theirs must wait. */
static void reap_if_idle(struct channel *c) {
    if (!c->retired || c->asking) return;
    c->reap.run = reap;
    loop_defer(c->names->loop, &c->reap);
}

/* The search list: ours, or that of the system. c-ares reads it as well, but
 * does not tell. */
static void read_search(struct names *n) {
    char text[RESOLV_MAX];
    int fd = open(n->config.resolv_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text);
    if (fd >= 0) close(fd);
    search_list_read(&n->search, str_of(text, got > 0 ? (size_t)got : 0));
    if (n->config.search[0]) search_list_set(&n->search, str_c(n->config.search));
}

static int channel_new(struct names *n) {
    const struct names_config *config = &n->config;
    struct channel *c = mem_zalloc(n->loop->mem, sizeof *c);
    if (!c) return RW_ENOMEM;
    struct ares_options o = {
        .flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH,
        .timeout = (int)config->limits.names_try_timeout,
        .maxtimeout = MAX_TRY,
        .tries = (int)config->limits.names_tries,
        .ednspsz = EDNS_SIZE,
        .udp_max_queries = QUERIES_PER_PORT,
        .sock_state_cb = on_socket,
        .sock_state_cb_data = c,
        .resolvconf_path = (char *)config->resolv_file,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_MAXTIMEOUTMS |
               ARES_OPT_TRIES | ARES_OPT_EDNSPSZ | ARES_OPT_UDP_MAX_QUERIES |
               ARES_OPT_SOCK_STATE_CB | ARES_OPT_RESOLVCONF | ARES_OPT_QUERY_CACHE;
    int rc = ares_init_options(&c->ares, &o, mask);
    if (rc == ARES_SUCCESS && config->servers[0]) {
        rc = ares_set_servers_ports_csv(c->ares, config->servers);
        if (rc != ARES_SUCCESS) ares_destroy(c->ares);
    }
    if (rc != ARES_SUCCESS) {
        mem_free(n->loop->mem, c, sizeof *c);
        return rc == ARES_ENOMEM ? RW_ENOMEM : RW_EINVAL;
    }
    c->names = n;
    struct channel *old = n->channel;
    c->next = old;
    n->channel = c;
    read_search(n);
    if (old) {
        old->retired = true;
        reap_if_idle(old);
    }
    return 0;
}

int channel_ready(struct names *n) {
    uint64_t now = loop_now(n->loop);
    bool fine = n->channel && !n->channel->deaf;
    if (fine && now < n->looked + LOOK_EVERY) return 0;
    struct file_stamp stamp = file_stamp(n->config.resolv_file);
    n->looked = now;
    if (fine && file_stamp_eq(stamp, n->stamp)) return 0;
    n->stamp = stamp;
    int rc = channel_new(n);
    return n->channel ? 0 : rc; /* the old one serves on */
}

static void on_answer(void *arg, ares_status_t status, size_t timeouts,
                      const ares_dns_record_t *rec) {
    struct name_entry *e = arg;
    struct channel *c = e->channel;
    (void)timeouts;
    e->channel = NULL;
    c->asking--;
    c->names->asking--;
    int error = c->deaf && status != ARES_SUCCESS ? RW_ENOMEM : answer_error((int)status);
    reap_if_idle(c);
    entry_answered(e, error, rec);
}

void channel_ask(struct name_entry *e) {
    struct channel *c = e->names->channel;
    e->channel = c;
    c->asking++;
    e->names->asking++;
    e->names->asked++;
    ares_query_dnsrec(c->ares, e->name, ARES_CLASS_IN, (ares_dns_rec_type_t)e->type,
                      on_answer, e, NULL);
    channel_rearm(c);
}
