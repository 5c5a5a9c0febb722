/* SPDX-License-Identifier: MIT */
/* What stands inside of targets, bodies and header fields: forms, cookies,
 * media types and their parameters. Slices of the input, nothing copied. */
#include "base/codec.h"
#include "base/err.h"

bool form_next(struct str *rest, struct str *name, struct str *value) {
    while (rest->n) {
        *value = str_cut(rest, '&');
        if (value->n == 0) continue;
        *name = str_cut(value, '=');
        return true;
    }
    return false;
}

bool cookie_next(struct str *rest, struct str *name, struct str *value) {
    while (rest->n) {
        struct str pair = str_cut(rest, ';');
        if (str_find(pair, '=') == pair.n) continue;
        *name = str_trim(str_cut(&pair, '='));
        *value = str_trim(pair);
        if (name->n) return true;
    }
    return false;
}

/* ---- media types and parameters ---- */

static size_t token_length(struct str s) {
    size_t n = 0;
    while (n < s.n && is_token(str_of(s.p + n, 1))) n++;
    return n;
}

static struct str skip_blanks(struct str s) {
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) s = str_skip(s, 1);
    return s;
}

int media_type(struct str s, struct str *type, struct str *subtype,
               struct str *params) {
    s = str_trim(s);
    *type = str_cut(&s, '/');
    *subtype = str_of(s.p, token_length(s));
    if (!is_token(*type) || subtype->n == 0) return RW_ESYNTAX;
    *params = skip_blanks(str_skip(s, subtype->n));
    return params->n && params->p[0] != ';' ? RW_ESYNTAX : 0;
}

/* May it stand in a quoted string (RFC 9110 §5.6.4), escaped or not? */
static bool is_text(char c) {
    return c == '\t' || ((unsigned char)c >= 0x20 && c != 0x7f);
}

/* The inside of the quoted string at the front; *rest goes behind it. */
static int take_quoted(struct str *rest, struct str *inside) {
    size_t i = 1;
    for (; i < rest->n && rest->p[i] != '"'; i++) {
        if (rest->p[i] == '\\') i++;
        if (i == rest->n || !is_text(rest->p[i])) return RW_ESYNTAX;
    }
    if (i >= rest->n) return RW_ESYNTAX;
    *inside = str_of(rest->p + 1, i - 1);
    *rest = str_skip(*rest, i + 1);
    return 1;
}

int param_next(struct str *rest, struct str *name, struct str *value) {
    struct str s = skip_blanks(*rest);
    while (s.n && s.p[0] == ';') { /* "; ;" is allowed to be empty */
        s = skip_blanks(str_skip(s, 1));
        if (s.n && s.p[0] != ';') break;
    }
    if (s.n == 0) return *rest = s, 0;
    if (rest->n && skip_blanks(*rest).p[0] != ';') return RW_ESYNTAX;
    *name = str_of(s.p, token_length(s));
    s = str_skip(s, name->n);
    if (name->n == 0 || s.n == 0 || s.p[0] != '=') return RW_ESYNTAX;
    s = str_skip(s, 1);
    *rest = s;
    if (s.n && s.p[0] == '"') return take_quoted(rest, value);
    *value = str_of(s.p, token_length(s));
    *rest = str_skip(s, value->n);
    return value->n ? 1 : RW_ESYNTAX;
}

int64_t quoted_decode(struct str in, char *out) {
    char *at = out;
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] == '\\' && ++i == in.n) return RW_ESYNTAX;
        *at++ = in.p[i];
    }
    return at - out;
}
