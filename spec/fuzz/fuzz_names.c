/* SPDX-License-Identifier: MIT */
/* What is read of names below any network: hosts and their punycode, the
 * hosts file, the search list. The first byte chooses. What a name is read as
 * is read as the same again. */
#include <stdlib.h>
#include <string.h>

#include "base/hostname.h"
#include "base/searchlist.h"
#include "splits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define CHECK(what) splits_assert(what, #what)

static bool is_ldh(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

static void check_read(const struct hostname *h) {
    size_t label = 0;
    CHECK(h->n > 0 && h->n <= HOSTNAME_MAX && h->text[h->n] == 0);
    for (size_t i = 0; i < h->n; i++) {
        CHECK(is_ldh(h->text[i]));
        CHECK(h->text[i] != '.' || label > 0);
        label = h->text[i] == '.' ? 0 : label + 1;
        CHECK(label <= HOSTNAME_LABEL);
    }
    CHECK(label > 0);
}

static void check_hostname(struct str text) {
    struct hostname h, again;
    if (hostname_read(text, &h) < 0) return;
    check_read(&h);
    CHECK(hostname_read(str_of(h.text, h.n), &again) == 0);
    CHECK(str_eq(str_of(h.text, h.n), str_of(again.text, again.n)) && h.dots == again.dots);
    CHECK(hostname_within(str_of(h.text, h.n), str_of(h.text, h.n)));
}

static void check_punycode(struct str bytes) {
    uint32_t code[HOSTNAME_LABEL];
    char out[HOSTNAME_LABEL];
    size_t n = bytes.n / 3 < HOSTNAME_LABEL ? bytes.n / 3 : HOSTNAME_LABEL;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *p = (const unsigned char *)bytes.p + 3 * i;
        code[i] = ((uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2]) % 0x110000;
    }
    for (size_t room = 0; room <= sizeof out; room += 7) {
        int64_t got = punycode_encode(code, n, out, room);
        CHECK(got < 0 || got <= (int64_t)room);
    }
}

static void check_hosts(struct str rest) {
    struct str address, names, name;
    const char *end = rest.p + rest.n;
    while (hosts_next(&rest, &address, &names)) {
        CHECK(address.n && address.p + address.n <= end);
        unsigned count = 0;
        while (hosts_name_next(&names, &name)) {
            CHECK(name.n && name.p + name.n <= end && ++count);
            CHECK(str_find(name, '#') == name.n && str_find(name, '\n') == name.n);
        }
        CHECK(count);
    }
}

static void check_search(struct str text) {
    struct search_list s = {0};
    search_list_read(&s, text);
    CHECK(s.count <= SEARCH_MAX && s.ndots <= 15);
    for (unsigned i = 0; i < s.count; i++) {
        struct str domain = search_list_at(&s, i);
        struct hostname h;
        CHECK(hostname_read(domain, &h) == 0 && str_eq(domain, str_of(h.text, h.n)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static void (*const checks[])(struct str) = {
        check_hostname, check_punycode, check_hosts, check_search,
    };
    if (n == 0) return 0;
    char *copy = malloc(n - 1 ? n - 1 : 1); /* its own block: a byte too many shows */
    CHECK(copy != NULL);
    memcpy(copy, data + 1, n - 1);
    checks[data[0] % 4](str_of(copy, n - 1));
    free(copy);
    return 0;
}
