/* SPDX-License-Identifier: MIT */
/* What needs no server: the hosts file, looked at once a second at most and
 * read again when it has changed, and the special names. `localhost` is this
 * machine whatever anybody says (RFC 6761 §6.3), `invalid` and `onion` are
 * never asked for (RFC 6761 §6.4, RFC 7686).
 *
 * The file's answers are made into DNS records, so that all answers look the
 * same from above. Their TTL is 0: the file may change at any time. */
#include "io/names_private.h"

#include <fcntl.h>
#include <unistd.h>

enum {
    LOOK_EVERY = 1000, /* ms: at the file */
    LINE_NAMES = 64,   /* names of one line; more are not looked at */
    SAME_NAME = 64,    /* addresses of one name */
};

struct host_item {
    struct ip ip;     /* of a name; family 0: of an address … */
    size_t name;      /* … whose name is here in text */
    size_t next;      /* of the same name: index plus 1; 0: none */
};

/* ── the file ─────────────────────────────────────────────────────────────*/

static void hosts_clear(struct hosts *h, struct mem *mem) {
    map_release(&h->names);
    mem_free(mem, h->items, h->cap * sizeof *h->items);
    mem_free(mem, h->text, h->text_size);
    h->items = NULL;
    h->text = NULL;
    h->count = h->cap = h->text_size = 0;
}

void hosts_free(struct names *n) { hosts_clear(&n->hosts, n->loop->mem); }

static int hosts_room(struct hosts *h, struct mem *mem) {
    if (h->count < h->cap) return 0;
    size_t cap = h->cap ? 2 * h->cap : 16;
    void *items = mem_realloc(mem, h->items, h->cap * sizeof *h->items, cap * sizeof *h->items);
    if (!items) return RW_ENOMEM;
    h->items = items;
    h->cap = cap;
    return 0;
}

static int hosts_put(struct names *n, struct str key, struct host_item item) {
    struct hosts *h = &n->hosts;
    union map_value *first;
    int rc = hosts_room(h, n->loop->mem);
    if (rc < 0) return rc;
    rc = map_put(&h->names, key, &first);
    if (rc < 0) return rc;
    size_t *at = NULL;
    unsigned same = 0;
    for (size_t i = (size_t)first->num; i; i = h->items[i - 1].next) {
        if (++same == SAME_NAME || ip_eq(&h->items[i - 1].ip, &item.ip)) return 0;
        at = &h->items[i - 1].next;
    }
    h->items[h->count++] = item;
    if (at) *at = h->count;
    else first->num = h->count;
    return 0;
}

static int hosts_line(struct names *n, struct str address, struct str names) {
    struct ip ip;
    struct str text;
    char arpa[IP_ARPA_MAX];
    int rc = 0;
    if (ip_parse(address, &ip) < 0) return 0;
    for (int i = 0; i < LINE_NAMES && rc >= 0 && hosts_name_next(&names, &text); i++) {
        struct hostname name;
        if (hostname_read(text, &name) < 0) continue;
        rc = hosts_put(n, str_of(name.text, name.n), (struct host_item){.ip = ip});
        if (rc == 0 && i == 0) /* the first is its true name */
            rc = hosts_put(n, ip_arpa(&ip, arpa),
                           (struct host_item){.name = (size_t)(text.p - n->hosts.text)});
    }
    return rc;
}

static int hosts_read(struct names *n, int fd, size_t size) {
    struct hosts *h = &n->hosts;
    h->text = mem_alloc(n->loop->mem, size + 1);
    if (!h->text) return RW_ENOMEM;
    h->text_size = size + 1;
    ssize_t got = read(fd, h->text, size);
    if (got < 0) return -errno;
    struct str rest = str_of(h->text, (size_t)got), address, names;
    h->text[got] = 0;
    while (hosts_next(&rest, &address, &names)) {
        int rc = hosts_line(n, address, names);
        if (rc < 0) return rc;
    }
    return 0;
}

/* A file that cannot be read is an empty one. */
static void hosts_look(struct names *n) {
    struct hosts *h = &n->hosts;
    uint64_t now = loop_now(n->loop);
    if (h->looked && now < h->looked + LOOK_EVERY) return;
    struct file_stamp stamp = file_stamp(n->config.hosts_file);
    h->looked = now;
    if (file_stamp_eq(stamp, h->stamp)) return;
    h->stamp = stamp;
    hosts_clear(h, n->loop->mem);
    int fd = open(n->config.hosts_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return;
    size_t size = stamp.size < n->config.limits.names_hosts ? (size_t)stamp.size
                                                          : (size_t)n->config.limits.names_hosts;
    if (hosts_read(n, fd, size) == RW_ENOMEM) hosts_clear(h, n->loop->mem);
    close(fd);
}

static const struct host_item *hosts_find(struct names *n, struct str name) {
    hosts_look(n);
    union map_value *first = map_find(&n->hosts.names, name);
    return first ? &n->hosts.items[first->num - 1] : NULL;
}

/* ── records of our own ───────────────────────────────────────────────────*/

static ares_dns_record_t *record_new(struct str name, int type) {
    ares_dns_record_t *rec = NULL;
    if (ares_dns_record_create(&rec, 0, ARES_FLAG_QR, ARES_OPCODE_QUERY,
                               ARES_RCODE_NOERROR) != ARES_SUCCESS)
        return NULL;
    if (ares_dns_record_query_add(rec, name.p, (ares_dns_rec_type_t)type, ARES_CLASS_IN) ==
        ARES_SUCCESS)
        return rec;
    ares_dns_record_destroy(rec);
    return NULL;
}

static ares_dns_rr_t *record_add(ares_dns_record_t *rec, struct str name, int type) {
    ares_dns_rr_t *rr = NULL;
    return ares_dns_record_rr_add(&rr, rec, ARES_SECTION_ANSWER, name.p,
                                  (ares_dns_rec_type_t)type, ARES_CLASS_IN, 0) == ARES_SUCCESS
               ? rr
               : NULL;
}

static bool add_address(ares_dns_record_t *rec, struct str name, const struct ip *ip) {
    ares_dns_rr_t *rr = record_add(rec, name, ip->family == 6 ? ARES_REC_TYPE_AAAA : ARES_REC_TYPE_A);
    struct in_addr v4;
    struct ares_in6_addr v6;
    memcpy(&v4, ip->bytes, sizeof v4);
    memcpy(&v6, ip->bytes, sizeof v6);
    if (!rr) return false;
    return (ip->family == 6 ? ares_dns_rr_set_addr6(rr, ARES_RR_AAAA_ADDR, &v6)
                            : ares_dns_rr_set_addr(rr, ARES_RR_A_ADDR, &v4)) == ARES_SUCCESS;
}

static bool add_name(ares_dns_record_t *rec, struct str name, struct str target) {
    struct hostname host;
    ares_dns_rr_t *rr = record_add(rec, name, ARES_REC_TYPE_PTR);
    if (!rr || hostname_read(target, &host) < 0) return false;
    return ares_dns_rr_set_str(rr, ARES_RR_PTR_DNAME, host.text) == ARES_SUCCESS;
}

/* ── answers ──────────────────────────────────────────────────────────────*/

static bool is_localhost(struct str name) { return hostname_within(name, STR("localhost")); }

bool names_is_local(struct names *n, struct str name) {
    return is_localhost(name) || hostname_within(name, STR("invalid")) ||
           hostname_within(name, STR("onion")) || hosts_find(n, name);
}

static int answer_localhost(struct str name, int type, ares_dns_record_t *rec) {
    if (type == ARES_REC_TYPE_A)
        return add_address(rec, name, &(struct ip){.family = 4, .bytes = {127, 0, 0, 1}});
    if (type == ARES_REC_TYPE_AAAA)
        return add_address(rec, name, &(struct ip){.family = 6, .bytes = {[15] = 1}});
    return true;
}

static struct str word_at(const struct hosts *h, size_t at) {
    struct str rest = str_of(h->text + at, h->text_size - 1 - at), word;
    rest.n = str_find(rest, '\n');
    rest.n = str_find(rest, '#');
    return hosts_name_next(&rest, &word) ? word : STR_NONE;
}

static bool answer_hosts(struct names *n, const struct host_item *item, struct str name,
                         int type, ares_dns_record_t *rec) {
    int family = type == ARES_REC_TYPE_AAAA ? 6 : type == ARES_REC_TYPE_A ? 4 : 0;
    for (;; item = &n->hosts.items[item->next - 1]) {
        bool ok = true;
        if (family && item->ip.family == family) ok = add_address(rec, name, &item->ip);
        if (type == ARES_REC_TYPE_PTR && !item->ip.family)
            ok = add_name(rec, name, word_at(&n->hosts, item->name));
        if (!ok) return false;
        if (!item->next) return true;
    }
}

int names_local(struct names *n, struct str name, int type, int *status,
                ares_dns_record_t **rec) {
    *rec = NULL;
    *status = RW_ENONAME;
    if (hostname_within(name, STR("invalid")) || hostname_within(name, STR("onion")))
        return 1;
    const struct host_item *item = NULL;
    bool own = is_localhost(name);
    if (!own && (type == ARES_REC_TYPE_A || type == ARES_REC_TYPE_AAAA ||
                 type == ARES_REC_TYPE_PTR))
        item = hosts_find(n, name);
    if (!own && !item) return 0;
    *status = RW_ENOMEM;
    *rec = record_new(name, type);
    if (!*rec) return 1;
    if (own ? answer_localhost(name, type, *rec) : answer_hosts(n, item, name, type, *rec)) {
        *status = ares_dns_record_rr_cnt(*rec, ARES_SECTION_ANSWER) ? 0 : RW_ENODATA;
    } else {
        ares_dns_record_destroy(*rec);
        *rec = NULL;
    }
    return 1;
}
