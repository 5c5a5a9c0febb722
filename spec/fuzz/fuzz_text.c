/* SPDX-License-Identifier: MIT */
/* base/str and base/codec under libFuzzer: the first byte chooses what is
 * read. Each input and each output has a block of exactly its size, so that
 * the sanitizer sees every byte too much; what is encoded is decoded again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/log.h"
#include "splits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define CHECK(what) splits_assert(what, #what)

/* Blocks of one input, freed together. */
static char *blocks[64];
static size_t block_count;

static char *block(size_t n) {
    CHECK(block_count < sizeof blocks / sizeof *blocks);
    char *p = malloc(n ? n : 1);
    CHECK(p != NULL);
    return blocks[block_count++] = p;
}

static struct str copy(struct str s) {
    char *p = block(s.n);
    if (s.n) memcpy(p, s.p, s.n);
    return str_of(p, s.n);
}

static void free_blocks(void) {
    while (block_count) free(blocks[--block_count]);
}

/* ---- encodings: decode(encode(x)) = x, encode(decode(x)) = x where there is
 * one spelling ---- */

static void check_percent(struct str in) {
    for (int flavour = PERCENT_PATH; flavour <= PERCENT_QUERY; flavour++) {
        char *text = block(PERCENT_ENCODE_MAX(in.n)), *back = block(PERCENT_DECODE_MAX(3 * in.n));
        int64_t n = percent_encode(in, (enum percent)flavour, text);
        CHECK(n >= (int64_t)in.n && n <= (int64_t)PERCENT_ENCODE_MAX(in.n));
        int64_t m = percent_decode(str_of(text, (size_t)n), (enum percent)flavour, back);
        CHECK(m == (int64_t)in.n && str_eq(in, str_of(back, in.n)));
        char *plain = block(PERCENT_DECODE_MAX(in.n));
        CHECK(percent_decode(in, (enum percent)flavour, plain) <= (int64_t)in.n);
    }
    struct str place = copy(in);
    (void)percent_decode(place, PERCENT_QUERY, (char *)place.p);
}

static void check_base64(struct str in) {
    for (int flavour = BASE64_STD; flavour <= BASE64_URL; flavour++) {
        size_t most = BASE64_ENCODE_MAX(in.n);
        char *text = block(most), *back = block(BASE64_DECODE_MAX(most));
        int64_t n = base64_encode(in, (enum base64)flavour, text);
        CHECK(n >= 0 && n <= (int64_t)most);
        int64_t m = base64_decode(str_of(text, (size_t)n), (enum base64)flavour, back);
        CHECK(m == (int64_t)in.n && str_eq(in, str_of(back, in.n)));
        char *bytes = block(BASE64_DECODE_MAX(in.n));
        if ((m = base64_decode(in, (enum base64)flavour, bytes)) < 0) continue;
        char *again = block(BASE64_ENCODE_MAX((size_t)m));
        n = base64_encode(str_of(bytes, (size_t)m), (enum base64)flavour, again);
        CHECK(str_eq(in, str_of(again, (size_t)n)));
    }
}

static void check_hex(struct str in) {
    char *text = block(HEX_ENCODE_MAX(in.n)), *back = block(in.n), *bytes = block(HEX_DECODE_MAX(in.n));
    int64_t n = hex_encode(in, text);
    CHECK(n == (int64_t)(2 * in.n));
    CHECK(hex_decode(str_of(text, 2 * in.n), back) == (int64_t)in.n);
    CHECK(str_eq(in, str_of(back, in.n)));
    (void)hex_decode(in, bytes);
}

/* ---- UTF-8 and JSON: three readers agree ---- */

static void check_utf8(struct str in) {
    size_t cut = in.n ? (unsigned char)in.p[0] % in.n : 0;
    struct utf8 u = {0};
    bool pieces = utf8_add(&u, copy(str_of(in.p, cut))) &&
                  utf8_add(&u, copy(str_of(in.p + cut, in.n - cut))) && !utf8_open(&u);
    bool characters = true;
    for (struct str rest = in; rest.n;) {
        uint32_t code;
        size_t before = rest.n;
        if (!utf8_next(&rest, &code)) {
            characters = false;
            CHECK(before - rest.n == 1);
        }
        CHECK(rest.n < before && code <= 0x10ffff);
    }
    CHECK(utf8_valid(in) == pieces && pieces == characters);
    char *text = block(JSON_ESCAPE_MAX(in.n));
    int64_t n = json_escape(in, text);
    CHECK(n >= 0 && n <= (int64_t)JSON_ESCAPE_MAX(in.n));
    CHECK(utf8_valid(str_of(text, (size_t)n)));
    for (int64_t i = 0; i < n; i++) {
        CHECK((unsigned char)text[i] >= 0x20 && text[i] != '"');
        if (text[i] == '\\') i++;
    }
}

/* ---- dates: what is read and written is read as the same ---- */

static void check_date(struct str in) {
    int64_t seconds, again;
    char text[HTTP_DATE_LEN + 1];
    if (http_date_parse(in, 1700000000, &seconds) == 0) {
        http_date_format(seconds, text);
        CHECK(http_date_parse(str_c(text), 0, &again) == 0 && again == seconds);
    }
    if (in.n < sizeof seconds) return;
    memcpy(&seconds, in.p, sizeof seconds);
    seconds /= 4; /* years fit */
    struct civil c = civil_from_seconds(seconds);
    CHECK(civil_to_seconds(&c) == seconds);
    CHECK(c.month >= 1 && c.month <= 12 && c.day >= 1 && c.day <= 31 && c.weekday >= 0 &&
          c.weekday <= 6 && c.hour >= 0 && c.hour <= 23);
    http_date_format(seconds, text);
    CHECK(strlen(text) == HTTP_DATE_LEN && http_date_parse(str_c(text), 0, &again) == 0);
}

/* ---- lists ---- */

static void inside(struct str all, struct str part) {
    CHECK(part.n <= all.n && part.p >= all.p && part.p + part.n <= all.p + all.n);
}

static void check_fields(struct str in) {
    struct str name, value, params;
    for (struct str rest = in; form_next(&rest, &name, &value);)
        inside(in, name), inside(in, value);
    for (struct str rest = in; cookie_next(&rest, &name, &value);)
        inside(in, name), inside(in, value), CHECK(name.n > 0);
    for (struct str rest = in; str_list_next(&rest, &name);)
        inside(in, name), CHECK(name.n > 0);
    if (media_type(in, &name, &value, &params) < 0) return;
    CHECK(is_token(name) && is_token(value));
    int rc;
    for (size_t before = params.n + 1; (rc = param_next(&params, &name, &value)) == 1;) {
        CHECK(params.n < before && is_token(name));
        before = params.n;
        inside(in, value);
        char *text = block(QUOTED_DECODE_MAX(value.n));
        CHECK(quoted_decode(value, text) >= 0);
        free(blocks[--block_count]);
    }
    CHECK(rc < 0 || params.n == 0);
}

static void check_strings(struct str in) {
    struct str a = in, b = str_cut(&a, ',');
    inside(in, b);
    inside(in, str_trim(in));
    uint64_t number;
    char text[24];
    if (str_to_u64(in, &number) == 0) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)number);
        while (in.n > 1 && in.p[0] == '0') in = str_skip(in, 1);
        CHECK(str_eq(in, str_c(text)));
    }
}

/* ---- log lines: one line, bounded, no control byte ---- */

static void check_line(void *context, enum log_level level, struct str line) {
    bool block = *(bool *)context;
    (void)level;
    CHECK(line.n > 0 && line.n < LOG_LINE_MAX && line.p[line.n - 1] == '\n');
    CHECK(utf8_valid(line));
    for (size_t i = 0; i + 1 < line.n; i++) {
        if (block && line.p[i] == '\n') CHECK(strncmp(line.p + i, "\n    ", 5) == 0);
        else if (line.p[i] != '\t') CHECK((unsigned char)line.p[i] >= 0x20 && line.p[i] != 0x7f);
    }
}

static void check_log(struct str in) {
    bool block = in.n % 2;
    struct str value = in, message = str_cut(&value, ' '), key = str_cut(&value, ' ');
    char *z = block_count < 60 ? memcpy(calloc(1, key.n + 1), key.p, key.n) : NULL;
    CHECK(z != NULL);
    blocks[block_count++] = z;
    const struct log_field fields[] = {
        LF_STR("value", value), LF_INT(z, (int64_t)in.n), LF_STR(z, key), LF_STR("all", in),
        block ? LF_BLOCK("block", value) : LF_ERR("error", -(int)in.n),
    };
    struct log l = {.level = LOG_DEBUG, .sink = check_line, .context = &block};
    log_write(&l, LOG_INFO, message, fields, 5);
    l.format = LOG_JSON;
    block = false;
    log_write(&l, LOG_ERROR, message, fields, 5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static void (*const checks[])(struct str) = {
        check_percent, check_base64, check_hex, check_utf8,
        check_date, check_fields, check_strings, check_log,
    };
    struct str in = str_of((const char *)data, n);
    unsigned which = splits_byte(&in) % (sizeof checks / sizeof *checks);
    checks[which](copy(in));
    free_blocks();
    return 0;
}
