/* SPDX-License-Identifier: MIT */
/* Reading answers. Which records answer the question is decided here: those of
 * the type asked for that belong to the name, or to what it is an alias of,
 * over at most NAME_ALIASES steps within the answer. Whatever else a server
 * puts into its answer is not looked at. */
#include "io/names_private.h"

#include <stdio.h>

int answer_error(int status) {
    switch (status) {
    case ARES_SUCCESS: return 0;
    case ARES_ENODATA: return RW_ENODATA;
    case ARES_ENOTFOUND: return RW_ENONAME;
    case ARES_ESERVFAIL: return RW_ESERVFAIL;
    case ARES_EREFUSED: case ARES_ENOTIMP: return RW_EREFUSED;
    case ARES_EFORMERR: case ARES_EBADRESP: case ARES_EBADSTR: return RW_EBADANSWER;
    case ARES_EBADNAME: case ARES_EBADQUERY: return RW_ESYNTAX;
    case ARES_ECONNREFUSED: case ARES_ENOSERVER: return RW_ENOSERVER;
    case ARES_ETIMEOUT: return RW_ETIMEDOUT;
    case ARES_ENOMEM: return RW_ENOMEM;
    case ARES_EDESTRUCTION: case ARES_ECANCELLED: case ARES_ESERVICE: return RW_ECANCELED;
    default: return RW_EUNKNOWN;
    }
}

int name_type_parse(struct str text) {
    char name[16];
    uint64_t number;
    ares_dns_rec_type_t type;
    if (text.n == 0 || text.n >= sizeof name) return RW_ESYNTAX;
    for (size_t i = 0; i < text.n; i++)
        name[i] = (char)(text.p[i] >= 'a' && text.p[i] <= 'z' ? text.p[i] - 32 : text.p[i]);
    name[text.n] = 0;
    struct str upper = str_of(name, text.n);
    if (str_starts(upper, STR("TYPE"))) {
        if (str_to_u64(str_skip(upper, 4), &number) < 0 || number == 0 || number > UINT16_MAX)
            return RW_ESYNTAX;
        return (int)number;
    }
    if (!ares_dns_rec_type_fromstr(&type, name) || type == ARES_REC_TYPE_OPT ||
        type > UINT16_MAX)
        return RW_ESYNTAX;
    return (int)type;
}

/* ── the answer as a whole ────────────────────────────────────────────────*/

static size_t answer_count(const struct name_answer *a) {
    return ares_dns_record_rr_cnt(a->rec, ARES_SECTION_ANSWER);
}

static const ares_dns_rr_t *answer_at(const struct name_answer *a, size_t i) {
    return ares_dns_record_rr_get_const(a->rec, ARES_SECTION_ANSWER, i);
}

static struct str owner_of(const ares_dns_rr_t *rr) {
    struct str name = str_c(ares_dns_rr_get_name(rr));
    if (name.n && name.p[name.n - 1] == '.') name.n--;
    return name;
}

static const char *alias_of(const struct name_answer *a, struct str name) {
    for (size_t i = 0; i < answer_count(a); i++) {
        const ares_dns_rr_t *rr = answer_at(a, i);
        if (ares_dns_rr_get_type(rr) == ARES_REC_TYPE_CNAME &&
            str_eq_nocase(owner_of(rr), name))
            return ares_dns_rr_get_str(rr, ARES_RR_CNAME_CNAME);
    }
    return NULL;
}

void answer_init(struct name_answer *a, const ares_dns_record_t *rec,
                 struct str name, int type, uint32_t age) {
    *a = (struct name_answer){.rec = rec, .canonical = name, .type = type, .age = age};
    if (type == ARES_REC_TYPE_CNAME || type == ARES_REC_TYPE_ANY) return;
    for (int step = 0; step < NAME_ALIASES; step++) {
        const char *next = alias_of(a, a->canonical);
        if (!next) return;
        a->canonical = str_c(next);
    }
}

static int type_of(const ares_dns_rr_t *rr) {
    ares_dns_rec_type_t type = ares_dns_rr_get_type(rr);
    if (type == ARES_REC_TYPE_RAW_RR) return ares_dns_rr_get_u16(rr, ARES_RR_RAW_RR_TYPE);
    return (int)type;
}

static bool answers(const struct name_answer *a, const ares_dns_rr_t *rr) {
    if (!str_eq_nocase(owner_of(rr), a->canonical)) return false;
    return a->type == ARES_REC_TYPE_ANY || type_of(rr) == a->type;
}

bool answer_is_empty(const struct name_answer *a) {
    for (size_t i = 0; i < answer_count(a); i++)
        if (answers(a, answer_at(a, i))) return false;
    return true;
}

/* RFC 2308 §5: that something is missing is kept as its SOA says, or not. */
static uint64_t negative_ttl(const struct name_answer *a, const struct limits *l) {
    size_t count = ares_dns_record_rr_cnt(a->rec, ARES_SECTION_AUTHORITY);
    for (size_t i = 0; i < count; i++) {
        const ares_dns_rr_t *rr = ares_dns_record_rr_get_const(a->rec, ARES_SECTION_AUTHORITY, i);
        if (ares_dns_rr_get_type(rr) != ARES_REC_TYPE_SOA) continue;
        uint64_t ttl = ares_dns_rr_get_ttl(rr);
        uint64_t minimum = ares_dns_rr_get_u32(rr, ARES_RR_SOA_MINIMUM);
        if (minimum < ttl) ttl = minimum;
        return ttl < l->names_negative_ttl ? ttl : l->names_negative_ttl;
    }
    return 0;
}

uint64_t answer_ttl(const struct name_answer *a, int status, const struct limits *l) {
    if (status == RW_ENONAME || status == RW_ENODATA) return negative_ttl(a, l);
    if (status < 0) return 0;
    uint64_t ttl = l->names_max_ttl;
    for (size_t i = 0; i < answer_count(a); i++)
        if (ares_dns_rr_get_ttl(answer_at(a, i)) < ttl) ttl = ares_dns_rr_get_ttl(answer_at(a, i));
    return ttl > l->names_min_ttl ? ttl : l->names_min_ttl;
}

/* ── records ──────────────────────────────────────────────────────────────*/

/* Twisted's and the RFCs' words where c-ares has others. */
static const struct {
    ares_dns_rr_key_t key;
    const char *name;
} key_names[] = {
    {ARES_RR_A_ADDR, "address"},    {ARES_RR_AAAA_ADDR, "address"},
    {ARES_RR_NS_NSDNAME, "target"}, {ARES_RR_CNAME_CNAME, "target"},
    {ARES_RR_PTR_DNAME, "target"},
};

static void name_key(ares_dns_rr_key_t key, struct name_field *f) {
    const char *name = ares_dns_rr_key_tostr(key);
    for (size_t i = 0; i < sizeof key_names / sizeof *key_names; i++)
        if (key_names[i].key == key) name = key_names[i].name;
    size_t n = 0;
    for (; name[n] && n + 1 < sizeof f->key; n++) f->key[n] = ascii_lower(name[n]);
    f->key[n] = 0;
}

static void read_address(const void *bytes, uint8_t family, struct name_field *f) {
    struct ip ip = {.family = family};
    if (!bytes) return;
    memcpy(ip.bytes, bytes, family == 6 ? 16 : 4);
    f->text = ip_format(&ip, f->address);
}

static void read_field(const ares_dns_rr_t *rr, ares_dns_rr_key_t key,
                       struct name_field *f) {
    *f = (struct name_field){.kind = NAME_NUMBER, .list = rr, .list_key = (int)key};
    name_key(key, f);
    size_t n = 0;
    switch (ares_dns_rr_key_datatype(key)) {
    case ARES_DATATYPE_U8: f->number = ares_dns_rr_get_u8(rr, key); return;
    case ARES_DATATYPE_U16: f->number = ares_dns_rr_get_u16(rr, key); return;
    case ARES_DATATYPE_U32: f->number = ares_dns_rr_get_u32(rr, key); return;
    case ARES_DATATYPE_ABINP:
        f->kind = NAME_LIST;
        f->count = ares_dns_rr_get_abin_cnt(rr, key);
        return;
    case ARES_DATATYPE_OPT:
        f->kind = NAME_PAIRS;
        f->count = ares_dns_rr_get_opt_cnt(rr, key);
        return;
    default: break;
    }
    f->kind = NAME_TEXT;
    switch (ares_dns_rr_key_datatype(key)) {
    case ARES_DATATYPE_INADDR: read_address(ares_dns_rr_get_addr(rr, key), 4, f); return;
    case ARES_DATATYPE_INADDR6: read_address(ares_dns_rr_get_addr6(rr, key), 6, f); return;
    case ARES_DATATYPE_NAME: case ARES_DATATYPE_STR:
        f->text = str_c(ares_dns_rr_get_str(rr, key));
        return;
    default:
        f->text.p = (const char *)ares_dns_rr_get_bin(rr, key, &n);
        f->text.n = f->text.p ? n : 0;
    }
}

struct str name_field_item(const struct name_field *f, size_t i, unsigned *key_out) {
    const ares_dns_rr_key_t key = (ares_dns_rr_key_t)f->list_key;
    const unsigned char *bytes;
    size_t n = 0;
    *key_out = (unsigned)i + 1;
    if (f->kind == NAME_LIST) bytes = ares_dns_rr_get_abin(f->list, key, i, &n);
    else *key_out = ares_dns_rr_get_opt(f->list, key, i, &bytes, &n);
    return bytes ? str_of((const char *)bytes, n) : STR("");
}

static void read_record(const struct name_answer *a, const ares_dns_rr_t *rr,
                        struct name_record *out) {
    size_t count = 0;
    uint32_t ttl = ares_dns_rr_get_ttl(rr);
    *out = (struct name_record){.name = owner_of(rr), .ttl = ttl > a->age ? ttl - a->age : 0};
    ares_dns_rec_type_t type = ares_dns_rr_get_type(rr);
    const ares_dns_rr_key_t *keys = ares_dns_rr_get_keys(type, &count);
    if (type == ARES_REC_TYPE_RAW_RR) {
        snprintf(out->type, sizeof out->type, "TYPE%d", type_of(rr));
        read_field(rr, ARES_RR_RAW_RR_DATA, &out->fields[out->count++]);
        return;
    }
    snprintf(out->type, sizeof out->type, "%s", ares_dns_rec_type_tostr(type));
    for (size_t i = 0; i < count && i < NAME_FIELDS_MAX; i++)
        read_field(rr, keys[i], &out->fields[out->count++]);
}

bool name_answer_next(const struct name_answer *a, size_t *cursor, struct name_record *out) {
    while (*cursor < answer_count(a)) {
        const ares_dns_rr_t *rr = answer_at(a, (*cursor)++);
        if (!answers(a, rr)) continue;
        read_record(a, rr, out);
        return true;
    }
    return false;
}

unsigned name_answer_addresses(const struct name_answer *a, struct ip *out, unsigned max) {
    unsigned n = 0;
    for (size_t i = 0; i < answer_count(a) && n < max; i++) {
        const ares_dns_rr_t *rr = answer_at(a, i);
        if (!answers(a, rr)) continue;
        bool v6 = type_of(rr) == ARES_REC_TYPE_AAAA;
        const void *bytes = v6 ? (const void *)ares_dns_rr_get_addr6(rr, ARES_RR_AAAA_ADDR)
                               : (const void *)ares_dns_rr_get_addr(rr, ARES_RR_A_ADDR);
        if (!bytes || (!v6 && type_of(rr) != ARES_REC_TYPE_A)) continue;
        out[n] = (struct ip){.family = v6 ? 6 : 4};
        memcpy(out[n++].bytes, bytes, v6 ? 16 : 4);
    }
    return n;
}
