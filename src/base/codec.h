/* SPDX-License-Identifier: MIT */
/* Texts that carry other texts: percent, base64, hex, HTTP dates, UTF-8, forms,
 * cookies, media types, JSON strings.
 *
 * Encoders and decoders write to memory of the caller, who provides as much as
 * the name_MAX(n) of the input's length says; they return the bytes written,
 * or RW_ESYNTAX: all of them are strict, none repairs. Decoders may work in
 * place (out == in.p). Iterators hand out slices of their input, undecoded.
 */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include "base/str.h"

/* Percent-encoding (RFC 3986 §2.1). A bad escape is RW_ESYNTAX; %00 is not:
 * who minds a NUL must look for it. */
enum percent {
    PERCENT_PATH, /* one path segment: pchar stays, '/' is escaped, '+' is a plus */
    PERCENT_QUERY /* one name or value of a form: '+' is a space */
};
#define PERCENT_DECODE_MAX(n) (n)
#define PERCENT_ENCODE_MAX(n) (3 * (n))
int64_t percent_decode(struct str in, enum percent flavour, char *out);
int64_t percent_encode(struct str in, enum percent flavour, char *out);

/* Base64 (RFC 4648): _STD with padding, _URL without; a decoder refuses the
 * other alphabet, blanks, wrong padding and non-zero spare bits, so that each
 * value has one spelling. */
enum base64 { BASE64_STD, BASE64_URL };
#define BASE64_DECODE_MAX(n) ((n) / 4 * 3 + 3)
#define BASE64_ENCODE_MAX(n) (((n) + 2) / 3 * 4)
int64_t base64_decode(struct str in, enum base64 flavour, char *out);
int64_t base64_encode(struct str in, enum base64 flavour, char *out);

/* Hexadecimal: written lower case, read in both. */
#define HEX_DECODE_MAX(n) ((n) / 2)
#define HEX_ENCODE_MAX(n) (2 * (n))
int64_t hex_decode(struct str in, char *out);
int64_t hex_encode(struct str in, char *out);

/* HTTP dates (RFC 9110 §5.6.7), seconds since 1970. Written as
 * "Sun, 06 Nov 1994 08:49:37 GMT": HTTP_DATE_LEN bytes and a NUL; years 0 to
 * 9999, others are clamped. Read in all three forms; `now` places the
 * two-digit years of RFC 850. 0 or RW_ESYNTAX. */
enum { HTTP_DATE_LEN = 29 };
void http_date_format(int64_t seconds, char out[HTTP_DATE_LEN + 1]);
int http_date_parse(struct str s, int64_t now, int64_t *seconds_out);

/* The calendar below it: proleptic Gregorian, UTC. */
struct civil {
    int64_t year;
    int month, day, weekday; /* 1-12, 1-31, 0 Sunday */
    int hour, minute, second;
};
struct civil civil_from_seconds(int64_t seconds);
int64_t civil_to_seconds(const struct civil *c); /* weekday not looked at */

/* UTF-8 (RFC 3629: shortest form, no surrogates, ≤ U+10FFFF). */
bool utf8_valid(struct str s);

/* The same for text that comes in pieces: zero the struct, add every piece,
 * and at the end no character may be open (utf8_open). */
struct utf8 {
    uint8_t need, low, high; /* bytes to come; range of the next one */
};
bool utf8_add(struct utf8 *u, struct str piece);
static inline bool utf8_open(const struct utf8 *u) { return u->need != 0; }

/* Takes one character off the front of *rest; false, and one byte is taken as
 * *code, when it is not UTF-8. `rest` is not empty. */
bool utf8_next(struct str *rest, uint32_t *code);

/* Would a terminal, an editor or a script act on it instead of showing it? */
bool utf8_hidden(uint32_t code);

/* application/x-www-form-urlencoded: next name and value, still encoded
 * (PERCENT_QUERY). Empty members are skipped, a member without '=' has an
 * empty value. */
bool form_next(struct str *rest, struct str *name, struct str *value);

/* Cookie field (RFC 6265 §4.2.1, §5.4): next pair. Members without a name are
 * skipped; quotes belong to the value. */
bool cookie_next(struct str *rest, struct str *name, struct str *value);

/* Media type (RFC 9110 §8.3.1): "text/html; charset=utf-8" → type, subtype and
 * the rest for param_next. 0 or RW_ESYNTAX. */
int media_type(struct str s, struct str *type, struct str *subtype,
               struct str *params);

/* Parameters (RFC 9110 §5.6.6), ";" first: 1 and the next pair, 0 at the end,
 * or RW_ESYNTAX. A quoted value comes without its quotes; if it has escapes
 * (a backslash) it still has them: quoted_decode. */
int param_next(struct str *rest, struct str *name, struct str *value);
#define QUOTED_DECODE_MAX(n) (n)
int64_t quoted_decode(struct str in, char *out);

/* The inside of a JSON string (RFC 8259 §7); bytes that are not UTF-8 become
 * U+FFFD, and what is hidden is escaped. Never fails. */
#define JSON_ESCAPE_MAX(n) (6 * (n))
int64_t json_escape(struct str in, char *out);

/* Is it an RFC 9110 token (field names, methods, cookie names)? */
bool is_token(struct str s);

#endif
