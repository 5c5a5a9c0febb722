/* SPDX-License-Identifier: MIT */
/* Records are joined to the message first; then every vector is cut off the one
 * that it is in, so that no length can point outside of its container. */
#include "base/client_hello.h"

#include "base/err.h"

enum {
    RECORD_HEADER = 5,
    RECORD_HANDSHAKE = 22,
    RECORD_MAX = 16384,
    MESSAGE_HEADER = 4,
    MESSAGE_CLIENT_HELLO = 1,
    HELLO_RANDOM = 32,
    HELLO_SESSION_ID_MAX = 32,
    EXTENSION_SERVER_NAME = 0,
    EXTENSION_ALPN = 16,
    EXTENSION_VERSIONS = 43,
    NAME_TYPE_HOST = 0,
    NAME_MAX_LENGTH = 253,
    VERSION_13 = 0x0304,
};

static unsigned u8_at(struct str s, size_t i) { return (unsigned char)s.p[i]; }
static unsigned u16_at(struct str s, size_t i) { return u8_at(s, i) << 8 | u8_at(s, i + 1); }

/* Cuts a vector with a length of `width` bytes off the front of *rest. */
static bool cut_vector(struct str *rest, unsigned width, struct str *out) {
    if (rest->n < width) return false;
    size_t n = 0;
    for (unsigned i = 0; i < width; i++) n = n << 8 | u8_at(*rest, i);
    if (rest->n - width < n) return false;
    *out = str_of(rest->p + width, n);
    *rest = str_skip(*rest, width + n);
    return true;
}

static bool cut_bytes(struct str *rest, size_t n) {
    if (rest->n < n) return false;
    *rest = str_skip(*rest, n);
    return true;
}

/* ── records ──────────────────────────────────────────────────────────────*/

static int check_record(struct str rest) {
    if (u8_at(rest, 0) != RECORD_HANDSHAKE) return RW_ESYNTAX;
    if (rest.n > 1 && u8_at(rest, 1) != 3) return RW_ESYNTAX;
    if (rest.n < RECORD_HEADER) return 0;
    size_t n = u16_at(rest, 3);
    return n == 0 || n > RECORD_MAX ? RW_ESYNTAX : 1;
}

/* The message's bytes, without the records around them. */
static int join_records(struct str bytes, char *scratch, struct str *message) {
    size_t have = 0, want = 0; /* of the message; want 0: not known yet */
    struct str rest = bytes;
    for (unsigned records = 0; rest.n; records++) {
        if (records == CLIENT_HELLO_RECORDS) return RW_ELIMIT;
        int rc = check_record(rest);
        if (rc <= 0) return rc;
        size_t record = u16_at(rest, 3), here = rest.n - RECORD_HEADER;
        struct str body = str_of(rest.p + RECORD_HEADER, here < record ? here : record);
        if (!want) { /* the header is within the first record, or it is a trick */
            if (body.n && u8_at(body, 0) != MESSAGE_CLIENT_HELLO) return RW_ESYNTAX;
            if (record < MESSAGE_HEADER) return RW_ESYNTAX;
            if (body.n < MESSAGE_HEADER) return 0;
            want = MESSAGE_HEADER + ((size_t)u8_at(body, 1) << 16 | u16_at(body, 2));
            if (want > CLIENT_HELLO_MAX) return RW_ELIMIT;
            if (body.n >= want) {
                *message = str_of(body.p, want);
                return 1;
            }
        }
        if (here < record) return 0;
        size_t n = body.n < want - have ? body.n : want - have;
        memcpy(scratch + have, body.p, n);
        have += n;
        if (have == want) {
            *message = str_of(scratch, want);
            return 1;
        }
        rest = str_skip(rest, RECORD_HEADER + record);
    }
    return 0;
}

/* ── extensions ───────────────────────────────────────────────────────────*/

static bool is_host_name(struct str name) {
    if (name.n == 0 || name.n > NAME_MAX_LENGTH) return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = ascii_lower(name.p[i]);
        bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                  (c == '.' && i > 0 && name.p[i - 1] != '.');
        if (!ok) return false;
    }
    return true;
}

static bool read_server_name(struct str body, struct client_hello *out) {
    struct str list, name;
    if (!cut_vector(&body, 2, &list) || body.n || !list.n) return false;
    if (u8_at(list, 0) != NAME_TYPE_HOST) return false;
    list = str_skip(list, 1);
    if (!cut_vector(&list, 2, &name) || list.n || !is_host_name(name)) return false;
    if (name.p[name.n - 1] == '.') name.n--;
    out->server_name = name;
    return true;
}

static bool read_alpn(struct str body, struct client_hello *out) {
    struct str list, name;
    if (!cut_vector(&body, 2, &list) || body.n || !list.n) return false;
    for (struct str rest = list; rest.n;)
        if (!cut_vector(&rest, 1, &name) || name.n == 0) return false;
    out->alpn = list;
    return true;
}

static bool read_versions(struct str body, struct client_hello *out) {
    struct str list;
    if (!cut_vector(&body, 1, &list) || body.n || list.n < 2 || list.n % 2) return false;
    for (size_t i = 0; i < list.n; i += 2)
        if (u16_at(list, i) == VERSION_13) out->tls13 = true;
    return true;
}

static bool read_extensions(struct str rest, struct client_hello *out) {
    unsigned seen = 0; /* of ours, each at most once */
    while (rest.n) {
        struct str body;
        if (rest.n < 2) return false;
        unsigned type = u16_at(rest, 0), bit = 0;
        rest = str_skip(rest, 2);
        if (!cut_vector(&rest, 2, &body)) return false;
        bool ok = true;
        if (type == EXTENSION_SERVER_NAME) bit = 1, ok = read_server_name(body, out);
        else if (type == EXTENSION_ALPN) bit = 2, ok = read_alpn(body, out);
        else if (type == EXTENSION_VERSIONS) bit = 4, ok = read_versions(body, out);
        if (!ok || (seen & bit)) return false;
        seen |= bit;
    }
    return true;
}

int client_hello_parse(struct str bytes, char *scratch, struct client_hello *out) {
    struct str message, rest, ignored;
    *out = (struct client_hello){.server_name = STR(""), .alpn = STR("")};
    int rc = join_records(bytes, scratch, &message);
    if (rc <= 0) return rc;
    rest = str_skip(message, MESSAGE_HEADER);
    if (!cut_bytes(&rest, 2 + HELLO_RANDOM)) return RW_ESYNTAX;
    if (!cut_vector(&rest, 1, &ignored) || ignored.n > HELLO_SESSION_ID_MAX) return RW_ESYNTAX;
    if (!cut_vector(&rest, 2, &ignored) || !ignored.n || ignored.n % 2) return RW_ESYNTAX;
    if (!cut_vector(&rest, 1, &ignored) || !ignored.n) return RW_ESYNTAX;
    if (rest.n == 0) return 1; /* no extensions at all */
    struct str extensions;
    if (!cut_vector(&rest, 2, &extensions) || rest.n) return RW_ESYNTAX;
    return read_extensions(extensions, out) ? 1 : RW_ESYNTAX;
}

bool client_hello_next_alpn(struct str *rest, struct str *name) {
    return rest->n && cut_vector(rest, 1, name);
}
