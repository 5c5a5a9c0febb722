/* SPDX-License-Identifier: MIT */
/* What a resolver reads: answers of name servers, as c-ares has taken them
 * apart, the hosts file, numeric addresses. The first byte chooses. Kept as
 * bytes and read again, an answer says the same. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/names_private.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { LONGEST_NAME = 64 };

static struct mem mem;
static struct loop *loop;
static struct names *names;
static int hosts_fd;

static void must(bool ok) {
    if (!ok) abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    struct names_config config;
    (void)argc, (void)argv;
    mem_init(&mem, 0);
    loop = loop_new(&mem);
    hosts_fd = memfd_create("hosts", MFD_CLOEXEC);
    names_config_init(&config);
    snprintf(config.servers, sizeof config.servers, "127.0.0.1:1");
    snprintf(config.resolv_file, sizeof config.resolv_file, "/dev/null");
    snprintf(config.hosts_file, sizeof config.hosts_file, "/proc/self/fd/%d", hosts_fd);
    must(loop && hosts_fd >= 0 && names_open(loop, &config, &names) == 0);
    return 0;
}

static uint8_t take(struct str *in) {
    uint8_t byte = in->n ? (uint8_t)in->p[0] : 0;
    if (in->n) *in = str_skip(*in, 1);
    return byte;
}

/* Up to a length that is a byte in front; with a NUL behind. */
static struct str take_name(struct str *in, char out[LONGEST_NAME + 1]) {
    size_t n = take(in) % LONGEST_NAME;
    if (n > in->n) n = in->n;
    memcpy(out, in->p, n);
    out[n] = 0;
    *in = str_skip(*in, n);
    return str_of(out, strlen(out));
}

/* ── answers ──────────────────────────────────────────────────────────────*/

/* What stands in a text is read, so that the sanitizer sees it. */
static uint64_t sum(struct str s) {
    uint64_t all = s.n;
    for (size_t i = 0; i < s.n; i++) all = all * 31 + (uint8_t)s.p[i];
    return all;
}

static uint64_t sum_field(const struct name_field *f) {
    uint64_t all = sum(str_c(f->key)) + f->number;
    must(strlen(f->key) < sizeof f->key);
    if (f->kind == NAME_TEXT) all += sum(f->text);
    for (size_t i = 0; i < f->count; i++) {
        unsigned key = 0;
        all = all * 31 + sum(name_field_item(f, i, &key)) + key;
    }
    return all;
}

/* All that can be said of an answer, as a number. */
static uint64_t sum_answer(const ares_dns_record_t *rec, struct str name, int type) {
    struct name_answer a;
    struct name_record record;
    struct ip ips[8];
    uint64_t all = 0;
    size_t cursor = 0, count = 0;
    answer_init(&a, rec, name, type, 1);
    while (name_answer_next(&a, &cursor, &record)) {
        must(record.count <= NAME_FIELDS_MAX && strlen(record.type) < sizeof record.type);
        all = all * 31 + sum(record.name) + record.ttl + sum(str_c(record.type));
        for (unsigned i = 0; i < record.count; i++) all = all * 31 + sum_field(&record.fields[i]);
        count++;
    }
    must(answer_is_empty(&a) == (count == 0));
    unsigned addresses = name_answer_addresses(&a, ips, 8);
    must(addresses <= 8 && addresses <= count);
    for (unsigned i = 0; i < addresses; i++) {
        char text[IP_TEXT_MAX];
        must(ips[i].family == 4 || ips[i].family == 6);
        all = all * 31 + sum(ip_format(&ips[i], text));
    }
    uint64_t ttl = answer_ttl(&a, count ? 0 : RW_ENODATA, &limits_default);
    must(ttl <= limits_default.names_max_ttl);
    return all * 31 + ttl;
}

static void check_answer(struct str in) {
    char text[LONGEST_NAME + 1];
    ares_dns_record_t *rec = NULL, *again = NULL;
    unsigned char *wire = NULL;
    size_t size = 0;
    int type = take(&in) << 8;
    type |= take(&in);
    struct str name = take_name(&in, text);
    if (ares_dns_parse((const unsigned char *)in.p, in.n, 0, &rec) != ARES_SUCCESS) return;
    uint64_t first = sum_answer(rec, name, type);
    if (ares_dns_write(rec, &wire, &size) == ARES_SUCCESS) {
        must(ares_dns_parse(wire, size, 0, &again) == ARES_SUCCESS);
        must(sum_answer(again, name, type) == first);
    }
    ares_free_string(wire);
    ares_dns_record_destroy(again);
    ares_dns_record_destroy(rec);
}

/* ── the hosts file ───────────────────────────────────────────────────────*/

static void check_hosts(struct str in) {
    static const int types[] = {ARES_REC_TYPE_A, ARES_REC_TYPE_AAAA, ARES_REC_TYPE_PTR};
    char text[LONGEST_NAME + 1];
    struct hostname host;
    int type = types[take(&in) % 3], status;
    struct str name = take_name(&in, text);
    if (hostname_read(name, &host) < 0) return;
    must(ftruncate(hosts_fd, 0) == 0 && pwrite(hosts_fd, in.p, in.n, 0) == (ssize_t)in.n);
    names->hosts.looked = 0; /* whatever the clock says */
    names->hosts.stamp = (struct file_stamp){0};
    ares_dns_record_t *rec = NULL;
    name = str_of(host.text, host.n);
    bool local = names_local(names, name, type, &status, &rec);
    must(!local || names_is_local(names, name));
    must((status == 0) <= (rec != NULL) || !local);
    if (rec) sum_answer(rec, name, type);
    ares_dns_record_destroy(rec);
    must(mem.failures == 0);
}

/* ── addresses, types ─────────────────────────────────────────────────────*/

static void check_address(struct str in) {
    char text[LONGEST_NAME + 1], plain[IP_TEXT_MAX], arpa[IP_ARPA_MAX];
    unsigned char bytes[16];
    struct ip ip, again;
    struct str word = take_name(&in, text);
    int rc = ip_parse(word, &ip);
    if (!strchr(text, '%')) {
        bool v4 = inet_pton(AF_INET, text, bytes) == 1;
        bool v6 = !v4 && inet_pton(AF_INET6, text, bytes) == 1;
        must((rc == 0) == (v4 || v6));
        must(rc < 0 || (ip.family == (v4 ? 4 : 6) && memcmp(ip.bytes, bytes, v4 ? 4 : 16) == 0));
    }
    if (rc == 0) {
        must(ip_parse(ip_format(&ip, plain), &again) == 0 && ip_eq(&ip, &again));
        must(ip_arpa(&ip, arpa).n < IP_ARPA_MAX);
    }
    rc = name_type_parse(word);
    must(rc < 0 || (rc > 0 && rc <= UINT16_MAX));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static void (*const checks[])(struct str) = {check_answer, check_hosts, check_address};
    if (n == 0) return 0;
    char *copy = malloc(n); /* its own block: a byte too many shows */
    must(copy != NULL);
    memcpy(copy, data, n);
    checks[data[0] % 3](str_of(copy + 1, n - 1));
    free(copy);
    return 0;
}
