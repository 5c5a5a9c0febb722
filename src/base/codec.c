/* SPDX-License-Identifier: MIT */
/* Encodings of bytes in text: percent, base64, hex, UTF-8, JSON strings.
 * (codec_date.c and codec_field.c have the rest of codec.h.) No table is
 * larger than a line: these are not where the time goes, and what can be read
 * can be checked against its RFC. */
#include "base/codec.h"

#include "base/err.h"

static bool is_alnum(char c) {
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

static bool is_one_of(char c, const char *set) {
    return c != '\0' && strchr(set, c) != NULL;
}

bool is_token(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && !is_one_of(s.p[i], "!#$%&'*+-.^_`|~")) return false;
    return s.n > 0;
}

/* ---- percent ---- */

int64_t percent_decode(struct str in, enum percent flavour, char *out) {
    char *at = out;
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '+' && flavour == PERCENT_QUERY) c = ' ';
        if (c == '%') {
            int high = in.n - i > 2 ? hex_digit(in.p[i + 1]) : -1;
            int low = in.n - i > 2 ? hex_digit(in.p[i + 2]) : -1;
            if (high < 0 || low < 0) return RW_ESYNTAX;
            c = (char)(high << 4 | low);
            i += 2;
        }
        *at++ = c;
    }
    return at - out;
}

int64_t percent_encode(struct str in, enum percent flavour, char *out) {
    static const char digits[] = "0123456789ABCDEF";
    /* RFC 3986 pchar; the WHATWG form serializer's set */
    const char *plain = flavour == PERCENT_PATH ? "-._~!$&'()*+,;=:@" : "-._*";
    char *at = out;
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (is_alnum(c) || is_one_of(c, plain)) {
            *at++ = c;
        } else if (c == ' ' && flavour == PERCENT_QUERY) {
            *at++ = '+';
        } else {
            *at++ = '%';
            *at++ = digits[(unsigned char)c >> 4];
            *at++ = digits[(unsigned char)c & 15];
        }
    }
    return at - out;
}

/* ---- base64 ---- */

static int sextet(char c, enum base64 flavour) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == (flavour == BASE64_URL ? '-' : '+')) return 62;
    if (c == (flavour == BASE64_URL ? '_' : '/')) return 63;
    return -1;
}

int64_t base64_decode(struct str in, enum base64 flavour, char *out) {
    char *at = out;
    uint32_t bits = 0;
    if (flavour == BASE64_STD) {
        if (in.n % 4) return RW_ESYNTAX;
        for (int i = 0; i < 2 && in.n && in.p[in.n - 1] == '='; i++) in.n--;
    }
    if (in.n % 4 == 1) return RW_ESYNTAX;
    for (size_t i = 0; i < in.n; i++) {
        int six = sextet(in.p[i], flavour);
        if (six < 0) return RW_ESYNTAX;
        bits = bits << 6 | (unsigned)six;
        /* Of four characters the 2nd, 3rd and 4th each complete a byte. */
        if (i % 4) *at++ = (char)(bits >> (6 - 2 * (i % 4)));
    }
    unsigned spare = in.n % 4 == 2 ? 4 : in.n % 4 == 3 ? 2 : 0;
    return bits & ((1u << spare) - 1) ? RW_ESYNTAX : at - out;
}

int64_t base64_encode(struct str in, enum base64 flavour, char *out) {
    const char *alphabet = flavour == BASE64_URL
        ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *at = out;
    for (size_t i = 0; i < in.n; i += 3) {
        size_t n = in.n - i < 3 ? in.n - i : 3;
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++)
            bits = bits << 8 | (j < n ? (unsigned char)in.p[i + j] : 0);
        for (size_t j = 0; j < 4; j++) {
            if (j <= n) *at++ = alphabet[bits >> (18 - 6 * j) & 63];
            else if (flavour == BASE64_STD) *at++ = '=';
        }
    }
    return at - out;
}

/* ---- hex ---- */

int64_t hex_decode(struct str in, char *out) {
    if (in.n % 2) return RW_ESYNTAX;
    for (size_t i = 0; i < in.n; i += 2) {
        int high = hex_digit(in.p[i]), low = hex_digit(in.p[i + 1]);
        if (high < 0 || low < 0) return RW_ESYNTAX;
        out[i / 2] = (char)(high << 4 | low);
    }
    return (int64_t)(in.n / 2);
}

int64_t hex_encode(struct str in, char *out) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < in.n; i++) {
        out[2 * i] = digits[(unsigned char)in.p[i] >> 4];
        out[2 * i + 1] = digits[(unsigned char)in.p[i] & 15];
    }
    return (int64_t)(2 * in.n);
}

/* ---- UTF-8 ---- */

/* What may follow a first byte that is not ASCII (Unicode table 3-7): the
 * ranges keep out overlong forms, surrogates and what is above U+10FFFF. */
static bool utf8_lead(struct utf8 *u, unsigned char c) {
    *u = (struct utf8){.low = 0x80, .high = 0xbf};
    if (c < 0xc2 || c > 0xf4) return false;
    u->need = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    if (c == 0xe0) u->low = 0xa0;
    if (c == 0xed) u->high = 0x9f;
    if (c == 0xf0) u->low = 0x90;
    if (c == 0xf4) u->high = 0x8f;
    return true;
}

static bool utf8_follow(struct utf8 *u, unsigned char c) {
    if (c < u->low || c > u->high) return false;
    u->need--;
    u->low = 0x80;
    u->high = 0xbf;
    return true;
}

static size_t ascii_prefix(struct str s) {
    size_t i = 0;
    for (uint64_t word; s.n - i >= sizeof word; i += sizeof word) {
        memcpy(&word, s.p + i, sizeof word);
        if (word & 0x8080808080808080u) break;
    }
    while (i < s.n && !(s.p[i] & 0x80)) i++;
    return i;
}

bool utf8_add(struct utf8 *u, struct str piece) {
    for (size_t i = 0; i < piece.n; i++) {
        if (!u->need) {
            i += ascii_prefix(str_skip(piece, i));
            if (i == piece.n) break;
            if (!utf8_lead(u, (unsigned char)piece.p[i])) return false;
        } else if (!utf8_follow(u, (unsigned char)piece.p[i])) {
            return false;
        }
    }
    return true;
}

bool utf8_valid(struct str s) {
    struct utf8 u = {0};
    return utf8_add(&u, s) && !utf8_open(&u);
}

bool utf8_next(struct str *rest, uint32_t *code) {
    static const unsigned char lead_bits[] = {0, 0x1f, 0x0f, 0x07};
    struct utf8 u;
    unsigned char c = (unsigned char)rest->p[0];
    *code = c;
    *rest = str_skip(*rest, 1);
    if (c < 0x80) return true;
    if (!utf8_lead(&u, c)) return false;
    uint32_t sum = c & lead_bits[u.need];
    size_t n = 0;
    for (; u.need && n < rest->n; n++) {
        c = (unsigned char)rest->p[n];
        if (!utf8_follow(&u, c)) return false;
        sum = sum << 6 | (c & 0x3f);
    }
    if (u.need) return false;
    *code = sum;
    *rest = str_skip(*rest, n);
    return true;
}

bool utf8_hidden(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) ||   /* controls */
           (code >= 0x2028 && code <= 0x202e) ||             /* line ends, direction */
           (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

/* ---- JSON ---- */

int64_t json_escape(struct str in, char *out) {
    static const char digits[] = "0123456789abcdef";
    static const char named[] = "\b\t\n\f\r\"\\", names[] = "btnfr\"\\";
    char *at = out;
    while (in.n) {
        uint32_t code;
        struct str from = in;
        bool valid = utf8_next(&in, &code);
        const char *hit = valid && code && code < 0x80 ? strchr(named, (int)code) : NULL;
        if (!valid) {
            memcpy(at, "\xef\xbf\xbd", 3);
            at += 3;
        } else if (hit) {
            *at++ = '\\';
            *at++ = names[hit - named];
        } else if (utf8_hidden(code)) {
            memcpy(at, "\\u", 2);
            for (int i = 0; i < 4; i++) at[2 + i] = digits[code >> (12 - 4 * i) & 15];
            at += 6;
        } else {
            memcpy(at, from.p, from.n - in.n);
            at += from.n - in.n;
        }
    }
    return at - out;
}
