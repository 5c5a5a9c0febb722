/* SPDX-License-Identifier: MIT */
/* The calendar and HTTP's three ways to write a date (RFC 9110 §5.6.7). Read
 * strictly by grammar, case included; the name of the weekday must be one, but
 * nobody checks that it is the right one. */
#include <stdio.h>

#include "base/codec.h"
#include "base/err.h"

static const char weekdays[7][10] = {"Sunday", "Monday", "Tuesday", "Wednesday",
                                     "Thursday", "Friday", "Saturday"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/* ---- calendar: years that begin in March, in eras of 400 years ---- */

enum { DAYS_PER_ERA = 146097, DAYS_TO_1970 = 719468, SECONDS_PER_DAY = 86400 };

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

int64_t civil_to_seconds(const struct civil *c) {
    int64_t year = c->year - (c->month <= 2);
    int64_t era = floor_div(year, 400), of_era = year - era * 400;
    int64_t of_year = (INT64_C(153) * ((c->month + 9) % 12) + 2) / 5 + c->day - 1;
    int64_t day = era * DAYS_PER_ERA + of_era * 365 + of_era / 4 - of_era / 100 +
                  of_year - DAYS_TO_1970;
    return day * SECONDS_PER_DAY + c->hour * INT64_C(3600) + c->minute * INT64_C(60) + c->second;
}

struct civil civil_from_seconds(int64_t seconds) {
    int64_t day = floor_div(seconds, SECONDS_PER_DAY);
    int of_day = (int)(seconds - day * SECONDS_PER_DAY);
    int64_t weekday = day + 4 - 7 * floor_div(day + 4, 7);
    day += DAYS_TO_1970;
    int64_t era = floor_div(day, DAYS_PER_ERA), of_era = day - era * DAYS_PER_ERA;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int month = (int)((5 * of_year + 2) / 153);
    return (struct civil){
        .year = year + era * 400 + (month >= 10),
        .month = month < 10 ? month + 3 : month - 9,
        .day = (int)(of_year - (153 * month + 2) / 5 + 1),
        .weekday = (int)weekday,
        .hour = of_day / 3600, .minute = of_day / 60 % 60, .second = of_day % 60,
    };
}

static int days_in(int64_t year, int month) {
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 ? 28 + leap : 30 + ((month + (month > 7)) % 2);
}

/* ---- writing ---- */

void http_date_format(int64_t seconds, char out[HTTP_DATE_LEN + 1]) {
    const int64_t first = -62167219200, last = 253402300799; /* years 0 and 9999 */
    struct civil c = civil_from_seconds(seconds < first ? first
                                        : seconds > last ? last : seconds);
    unsigned d = (unsigned)c.day % 100, y = (unsigned)c.year % 10000, h = (unsigned)c.hour % 100,
             m = (unsigned)c.minute % 100, s = (unsigned)c.second % 100;
    snprintf(out, HTTP_DATE_LEN + 1, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT",
             weekdays[c.weekday], d, months[c.month - 1], y, h, m, s);
}

/* ---- reading: each takes what it names off the front, or says no ---- */

static bool take(struct str *s, const char *literal) {
    if (!str_starts(*s, str_c(literal))) return false;
    *s = str_skip(*s, strlen(literal));
    return true;
}

static bool take_digits(struct str *s, size_t n, int *out) {
    uint64_t value;
    if (s->n < n || str_to_u64(str_of(s->p, n), &value) < 0) return false;
    *s = str_skip(*s, n);
    *out = (int)value;
    return true;
}

static bool take_month(struct str *s, int *out) {
    for (int i = 0; i < 12; i++)
        if (take(s, months[i])) return *out = i + 1, true;
    return false;
}

/* Long names before short ones; *lengthy: it was a long one. */
static bool take_weekday(struct str *s, bool *lengthy) {
    for (int i = 0; i < 7; i++) {
        if ((*lengthy = take(s, weekdays[i]))) return true;
        if (s->n >= 3 && memcmp(s->p, weekdays[i], 3) == 0) {
            *s = str_skip(*s, 3);
            return true;
        }
    }
    return false;
}

static bool take_time(struct str *s, struct civil *c) {
    return take_digits(s, 2, &c->hour) && take(s, ":") && take_digits(s, 2, &c->minute) &&
           take(s, ":") && take_digits(s, 2, &c->second);
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static bool take_imf(struct str *s, struct civil *c) {
    int year;
    if (!take(s, ", ") || !take_digits(s, 2, &c->day) || !take(s, " ") ||
        !take_month(s, &c->month) || !take(s, " ") || !take_digits(s, 4, &year))
        return false;
    c->year = year;
    return take(s, " ") && take_time(s, c) && take(s, " GMT");
}

/* Sunday, 06-Nov-94 08:49:37 GMT. A year that looks more than 50 years in the
 * future is the most recent past one with these digits. */
static bool take_rfc850(struct str *s, struct civil *c, int64_t now) {
    int64_t this_year = civil_from_seconds(now).year;
    int year;
    if (!take(s, ", ") || !take_digits(s, 2, &c->day) || !take(s, "-") ||
        !take_month(s, &c->month) || !take(s, "-") || !take_digits(s, 2, &year) ||
        !take(s, " ") || !take_time(s, c) || !take(s, " GMT"))
        return false;
    c->year = this_year - this_year % 100 + year;
    if (c->year > this_year + 50) c->year -= 100;
    else if (c->year <= this_year - 50) c->year += 100;
    return true;
}

/* Sun Nov  6 08:49:37 1994 */
static bool take_asctime(struct str *s, struct civil *c) {
    int year;
    if (!take(s, " ") || !take_month(s, &c->month) || !take(s, " ") ||
        !take_digits(s, take(s, " ") ? 1 : 2, &c->day) || !take(s, " ") ||
        !take_time(s, c) || !take(s, " ") || !take_digits(s, 4, &year))
        return false;
    c->year = year;
    return true;
}

int http_date_parse(struct str s, int64_t now, int64_t *seconds_out) {
    struct civil c = {0};
    bool lengthy;
    if (!take_weekday(&s, &lengthy)) return RW_ESYNTAX;
    bool ok = lengthy ? take_rfc850(&s, &c, now)
              : str_starts(s, STR(",")) ? take_imf(&s, &c)
                                        : take_asctime(&s, &c);
    /* 60: a leap second, which is the next minute to us */
    if (!ok || s.n || c.day < 1 || c.day > days_in(c.year, c.month) || c.hour > 23 ||
        c.minute > 59 || c.second > 60)
        return RW_ESYNTAX;
    *seconds_out = civil_to_seconds(&c);
    return 0;
}
