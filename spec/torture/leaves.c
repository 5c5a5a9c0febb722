/* SPDX-License-Identifier: MIT */
/* What has no wire to be written down for: the leaves of src/base, checked
 * against vectors of their RFCs, against models, and against libc. */
#include <time.h>

#include "base/codec.h"
#include "base/log.h"
#include "base/map.h"
#include "torture.h"

bool leaf_fine;

/* ---- map: against an array, with memory refused now and then ---- */

enum { KEYS = 400, ROUNDS = 60000 };

static uint64_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Half of them longer than what fits into a slot. */
static struct str key_text(uint64_t i, char text[40]) {
    int n = snprintf(text, 40, i % 2 ? "%u" : "a key too long for a slot %u", (unsigned)i);
    return i == 7 ? STR("") : str_of(text, (size_t)n);
}

static void model_step(struct map *m, int64_t model[KEYS], uint64_t *random) {
    char text[40];
    uint64_t i = next_random(random) % KEYS, phase = next_random(random) >> 10 & 7;
    struct str key = key_text(i, text);
    union map_value *at = map_find(m, key), old = {0};
    CHECK((at != NULL) == (model[i] >= 0) && (!at || (int64_t)at->num == model[i]));
    if (phase < 4) {
        if (phase == 0) m->mem->fail_in = 1;
        int rc = map_put(m, key, &at);
        m->mem->fail_in = 0;
        CHECK(rc == RW_ENOMEM || rc == (model[i] < 0));
        if (rc >= 0) at->num = i + 1000, model[i] = (int64_t)at->num;
    } else {
        if (phase == 4) m->mem->fail_in = 1;
        CHECK(map_remove(m, key, &old) == (model[i] >= 0));
        CHECK(model[i] < 0 || (int64_t)old.num == model[i]);
        m->mem->fail_in = 0;
        model[i] = -1;
    }
}

static void check_map(void) {
    struct mem mem;
    struct map m;
    int64_t model[KEYS];
    uint64_t random = 1;
    mem_init(&mem, 0);
    map_init(&m, &mem, (const uint64_t[2]){1, 2}, KEYS);
    for (int i = 0; i < KEYS; i++) model[i] = -1;
    for (int i = 0; i < ROUNDS; i++) model_step(&m, model, &random);
    size_t cursor = 0, seen = 0, expected = 0;
    struct str key;
    union map_value *value;
    while (map_next(&m, &cursor, &key, &value)) {
        char text[40];
        CHECK(value->num >= 1000 && str_eq(key, key_text(value->num - 1000, text)));
        seen++;
    }
    for (int i = 0; i < KEYS; i++) expected += model[i] >= 0;
    CHECK(seen == expected && seen == m.count);
    for (uint64_t i = 0; i < KEYS; i++) {
        char text[40];
        map_remove(&m, key_text(i, text), NULL);
    }
    CHECK(m.count == 0 && m.cap <= 8);
    m.max = 1;
    CHECK(map_put(&m, STR("one"), &value) == 1 && value->num == 0);
    CHECK(map_put(&m, STR("one"), &value) == 0);
    CHECK(map_put(&m, STR("two"), &value) == RW_ELIMIT);
    map_release(&m);
    CHECK(mem.live == 0 && !map_find(&m, STR("one")));
}

static void check_siphash(void) { /* CPython 3.11 with PYTHONHASHSEED=0 */
    const uint64_t zero[2] = {0, 0}, one[2] = {0, 1};
    CHECK(siphash13(zero, STR("a")) == 0x407448d2b89b1813);
    CHECK(siphash13(zero, STR("1234567")) == 0xa33d651594fdae81);
    CHECK(siphash13(zero, STR("12345678")) == 0x3489982430560a87);
    CHECK(siphash13(zero, STR("hello, world. this is a key")) == 0xdf7443ff47519439);
    CHECK(siphash13(zero, STR("a")) != siphash13(one, STR("a")));
}

/* ---- codec ---- */

static struct str said(int64_t n, const char *out) {
    return n < 0 ? STR("(refused)") : str_of(out, (size_t)n);
}

static void check_base64(void) { /* RFC 4648 §10 */
    static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
    static const char *const coded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    static const char *const wrong[] = {"Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Z", "====", "=", "Zg==Zg==",
                                        "Zm 9", "Zm9v\n", "-_-_", "Zm9vZ"};
    char out[64];
    for (size_t i = 0; i < 7; i++) {
        CHECK(str_eq(said(base64_encode(str_c(plain[i]), BASE64_STD, out), out), str_c(coded[i])));
        CHECK(str_eq(said(base64_decode(str_c(coded[i]), BASE64_STD, out), out), str_c(plain[i])));
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(base64_decode(str_c(wrong[i]), BASE64_STD, out) == RW_ESYNTAX);
    CHECK(str_eq(said(base64_encode(STR("\xff\xef\xfe\xff"), BASE64_URL, out), out), STR("_-_-_w")));
    CHECK(base64_decode(STR("_-_-_w=="), BASE64_URL, out) == RW_ESYNTAX);
    CHECK(base64_decode(STR("+/+/"), BASE64_URL, out) == RW_ESYNTAX);
}

static void check_percent(void) {
    char out[64];
    struct str any = STR("a b/c+d&\xc3\xa9%~");
    CHECK(str_eq(said(percent_encode(any, PERCENT_PATH, out), out), STR("a%20b%2Fc+d&%C3%A9%25~")));
    CHECK(str_eq(said(percent_encode(any, PERCENT_QUERY, out), out), STR("a+b%2Fc%2Bd%26%C3%A9%25%7E")));
    CHECK(str_eq(said(percent_decode(STR("a+%2b%2B%00"), PERCENT_QUERY, out), out), STR("a ++\0")));
    CHECK(str_eq(said(percent_decode(STR("a+b"), PERCENT_PATH, out), out), STR("a+b")));
    CHECK(percent_decode(STR("%"), PERCENT_PATH, out) == RW_ESYNTAX);
    CHECK(percent_decode(STR("%4"), PERCENT_PATH, out) == RW_ESYNTAX);
    CHECK(percent_decode(STR("%4g"), PERCENT_PATH, out) == RW_ESYNTAX);
    CHECK(percent_decode(STR("% 41"), PERCENT_PATH, out) == RW_ESYNTAX);
    CHECK(str_eq(said(hex_encode(STR("\0\xfa"), out), out), STR("00fa")));
    CHECK(str_eq(said(hex_decode(STR("00Fa"), out), out), STR("\0\xfa")));
    CHECK(hex_decode(STR("00F"), out) == RW_ESYNTAX && hex_decode(STR("0x"), out) == RW_ESYNTAX);
}

static void check_dates(void) { /* RFC 9110 §5.6.7 */
    static const char *const same[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    static const char *const wrong[] = {
        "", "Sun", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 6 Nov 1994 08:49:37 GMT",
        "sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ", "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 00:00:00 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 06 Nov +994 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT", "Sun, 06-Nov-94 08:49:37 GMT", "Sun Nov 06 08:49:37 1994 GMT",
        "Sunday Nov  6 08:49:37 1994", "Day, 06 Nov 1994 08:49:37 GMT"};
    const int64_t y2026 = 1770000000, y2080 = 3471292800;
    int64_t t;
    char text[HTTP_DATE_LEN + 1];
    for (size_t i = 0; i < 3; i++)
        CHECK(http_date_parse(str_c(same[i]), y2026, &t) == 0 && t == 784111777);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(http_date_parse(str_c(wrong[i]), y2026, &t) == RW_ESYNTAX);
    CHECK(http_date_parse(STR("Sun, 29 Feb 2004 23:59:60 GMT"), 0, &t) == 0 && t == 1078099200);
    CHECK(http_date_parse(STR("Monday, 01-Jan-70 00:00:00 GMT"), y2026, &t) == 0 && t > y2026);
    CHECK(http_date_parse(STR("Monday, 01-Jan-77 00:00:00 GMT"), y2026, &t) == 0 && t < y2026);
    CHECK(http_date_parse(STR("Monday, 01-Jan-06 00:00:00 GMT"), y2080, &t) == 0 && t > y2080);
    http_date_format(784111777, text);
    CHECK(strcmp(text, same[0]) == 0);
    http_date_format(INT64_MAX, text);
    CHECK(strcmp(text, "Fri, 31 Dec 9999 23:59:59 GMT") == 0);
    http_date_format(INT64_MIN, text);
    CHECK(strcmp(text, "Sat, 01 Jan 0000 00:00:00 GMT") == 0);
}

static void check_calendar(void) {
    uint64_t random = 3;
    for (int i = 0; i < 200000 && leaf_fine; i++) {
        time_t t = (time_t)(next_random(&random) << 31 ^ next_random(&random)) % 1000000000000;
        struct tm tm;
        if (i % 2) t = -t;
        gmtime_r(&t, &tm);
        struct civil c = civil_from_seconds(t);
        CHECK(c.year == tm.tm_year + 1900 && c.month == tm.tm_mon + 1 && c.day == tm.tm_mday);
        CHECK(c.weekday == tm.tm_wday && c.hour == tm.tm_hour && c.minute == tm.tm_min);
        CHECK(c.second == tm.tm_sec && civil_to_seconds(&c) == t);
    }
}

static void check_utf8(void) { /* Unicode table 3-7, at its edges */
    static const char *const good[] = {"", "ascii only, more than a word", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
        "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "eight by\xc3\xa9"};
    static const char *const wrong[] = {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80",
        "\xe2\x82", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "12345678\xc3", "\xc3(",
        "\xf0\x90\x80"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) CHECK(utf8_valid(str_c(good[i])));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) CHECK(!utf8_valid(str_c(wrong[i])));
    char out[64];
    CHECK(str_eq(said(json_escape(STR("\"\\\n\x01\x7f\xff\xc3\xa9\xc2\x9b\xe2\x80\xa8"), out), out),
                 STR("\\\"\\\\\\n\\u0001\\u007f\xef\xbf\xbd\xc3\xa9\\u009b\\u2028")));
}

static void check_fields(void) {
    struct str rest = STR("a=1&&b&=c&d=e=f"), name, value, subtype;
    CHECK(form_next(&rest, &name, &value) && str_eq(name, STR("a")) && str_eq(value, STR("1")));
    CHECK(form_next(&rest, &name, &value) && str_eq(name, STR("b")) && value.n == 0);
    CHECK(form_next(&rest, &name, &value) && name.n == 0 && str_eq(value, STR("c")));
    CHECK(form_next(&rest, &name, &value) && str_eq(name, STR("d")) && str_eq(value, STR("e=f")));
    CHECK(!form_next(&rest, &name, &value));
    rest = STR("sid=\"x y\"; theme = dark;junk; =no;;last=");
    CHECK(cookie_next(&rest, &name, &value) && str_eq(name, STR("sid")) && str_eq(value, STR("\"x y\"")));
    CHECK(cookie_next(&rest, &name, &value) && str_eq(name, STR("theme")) && str_eq(value, STR("dark")));
    CHECK(cookie_next(&rest, &name, &value) && str_eq(name, STR("last")) && value.n == 0);
    CHECK(!cookie_next(&rest, &name, &value));
    CHECK(media_type(STR(" text/html ; charset=utf-8;; b=\"q\\\"\" "), &name, &subtype, &rest) == 0);
    CHECK(str_eq(name, STR("text")) && str_eq(subtype, STR("html")));
    CHECK(param_next(&rest, &name, &value) == 1 && str_eq(name, STR("charset")) && str_eq(value, STR("utf-8")));
    CHECK(param_next(&rest, &name, &value) == 1 && str_eq(name, STR("b")) && str_eq(value, STR("q\\\"")));
    CHECK(param_next(&rest, &name, &value) == 0);
    static const char *const types[] = {"", "/", "text", "text/", "/html", "te xt/html", "text/html x", "text/html,a/b"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        CHECK(media_type(str_c(types[i]), &name, &subtype, &rest) == RW_ESYNTAX);
    static const char *const params[] = {"; a", ";a=", ";=b", ";a =b", ";a= b", ";a=\"b", ";a=\"\\", ";a=\"\n\"", "a=b"};
    for (size_t i = 0; i < sizeof params / sizeof *params; i++) {
        rest = str_c(params[i]);
        CHECK(param_next(&rest, &name, &value) == RW_ESYNTAX);
    }
}

static const struct leaf { const char *name; void (*check)(void); } checks[] = {
    {"map", check_map}, {"siphash", check_siphash}, {"base64", check_base64},
    {"percent and hex", check_percent}, {"dates", check_dates}, {"calendar", check_calendar},
    {"UTF-8 and JSON", check_utf8}, {"forms, cookies, media types", check_fields},
    {"log lines", check_log_lines}, {"log files", check_log_files},
    {"networks", check_cidr}, {"PROXY headers", check_proxy},
    {"buffers", check_buf}, {"routes' limits", check_route_limits}, {"ClientHellos", check_hello},
};

void check_leaves(size_t *passed, size_t *failed) {
    size_t n = sizeof checks / sizeof *checks, bad = 0;
    for (size_t i = 0; i < n; i++) {
        leaf_fine = true;
        checks[i].check();
        if (!leaf_fine) printf("  FAIL base: %s\n", checks[i].name);
        bad += !leaf_fine;
    }
    printf("src/base: %zu passed, %zu failed\n", n - bad, bad);
    *passed += n - bad;
    *failed += bad;
}
