/* SPDX-License-Identifier: MIT */
/* Records of what passes a stream, for people who look for a fault:
 *
 *      2026-01-02T03:04:05.123Z 127.0.0.1:50432#7 < 5 bytes
 *      00000000  68 65 6c 6c 6f                                    |hello|
 *
 * with < from the peer, > to it, + and - for the beginning and the end. As text
 * a piece is one line, escaped as in the log; raw, the bytes as they are follow
 * the line. A file is opened once and shared; when it has its maximum, or cannot
 * be written, tracing is over and the log says so, once. Traffic goes on.
 */
#include "io/trace.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "io/stream_private.h"

struct trace {
    struct loop *loop;
    struct log *log;
    int fd; /* -1: the log */
    enum trace_format format;
    uint64_t left;   /* bytes that may still be written */
    uint64_t number; /* of the last connection */
    size_t max_record;
    unsigned held;   /* by so many */
    bool over;
};

struct tracer {
    struct filter f;
    struct trace *trace;
    struct loop *loop;
    uint64_t number, in, out;
    char peer[160];
};

/* ── writing ──────────────────────────────────────────────────────────────*/

static void give_up(struct trace *t, int code) {
    if (t->over) return;
    t->over = true;
    if (code < 0) log_warn(t->log, "traffic log ended", LF_ERR("error", code));
    else log_warn(t->log, "traffic log ended", LF_Z("limit", "max_bytes"));
}

static bool afford(struct trace *t, uint64_t n) {
    if (n > t->left) give_up(t, 0);
    if (t->over) return false;
    t->left -= n;
    return true;
}

static void write_out(struct trace *t, struct str bytes) {
    while (bytes.n && !t->over) {
        ssize_t n = write(t->fd, bytes.p, bytes.n);
        if (n > 0) bytes = str_skip(bytes, (size_t)n);
        else if (n == 0 || errno != EINTR) give_up(t, n ? -errno : -EIO);
    }
}

/* ── forms ────────────────────────────────────────────────────────────────*/

static bool is_shown(unsigned char c) { return c >= 0x20 && c < 0x7f; }

static int add_hex(struct buf *out, struct str bytes) {
    static const char digits[] = "0123456789abcdef";
    for (size_t at = 0; at < bytes.n; at += 16) {
        char line[80];
        int n = snprintf(line, sizeof line, "%08zx  ", at);
        char *p = line + n;
        size_t count = bytes.n - at < 16 ? bytes.n - at : 16;
        for (size_t i = 0; i < 16; i++) {
            unsigned char c = i < count ? (unsigned char)bytes.p[at + i] : 0;
            *p++ = i < count ? digits[c >> 4] : ' ';
            *p++ = i < count ? digits[c & 15] : ' ';
            *p++ = ' ';
            if (i == 7) *p++ = ' ';
        }
        *p++ = '|';
        for (size_t i = 0; i < count; i++) {
            unsigned char c = (unsigned char)bytes.p[at + i];
            *p++ = is_shown(c) ? (char)c : '.';
        }
        *p++ = '|';
        *p++ = '\n';
        int rc = buf_add(out, line, (size_t)(p - line));
        if (rc < 0) return rc;
    }
    return 0;
}

static int add_text(struct buf *out, struct str bytes) {
    int rc = buf_add(out, "  \"", 3);
    for (size_t i = 0; i < bytes.n && rc == 0; i++) {
        unsigned char c = (unsigned char)bytes.p[i];
        if (c == '\n') rc = buf_add(out, "\\n", 2);
        else if (c == '\r') rc = buf_add(out, "\\r", 2);
        else if (c == '"' || c == '\\') rc = buf_addf(out, "\\%c", c);
        else if (is_shown(c)) rc = buf_add_char(out, (char)c);
        else rc = buf_addf(out, "\\x%02x", c);
    }
    return rc < 0 ? rc : buf_add(out, "\"\n", 2);
}

static int add_bytes(struct trace *t, struct buf *out, struct str bytes) {
    struct str shown = bytes;
    if (shown.n > t->max_record) shown.n = t->max_record;
    int rc = t->format == TRACE_HEX    ? add_hex(out, shown)
             : t->format == TRACE_TEXT ? add_text(out, shown)
                                       : buf_add_str(out, shown);
    if (rc == 0 && t->format == TRACE_RAW) rc = buf_add_char(out, '\n');
    if (rc == 0 && shown.n < bytes.n)
        rc = buf_addf(out, "… %zu more\n", bytes.n - shown.n);
    return rc;
}

static int add_head(struct buf *out, const struct tracer *r, const char *what) {
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    return buf_addf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s#%" PRIu64 " %s\n",
                    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                    tm.tm_min, tm.tm_sec, (int)(now.tv_nsec / 1000000), r->peer,
                    r->number, what);
}

static void to_file(struct tracer *r, const char *what, struct str bytes) {
    struct trace *t = r->trace;
    struct buf record;
    buf_init(&record, r->loop->mem, SIZE_MAX / 4);
    int rc = add_head(&record, r, what);
    if (rc == 0 && bytes.n) rc = add_bytes(t, &record, bytes);
    if (rc < 0) give_up(t, rc);
    else if (afford(t, buf_len(&record))) write_out(t, buf_str(&record));
    buf_release(&record);
}

static void to_log(struct tracer *r, const char *what, struct str bytes) {
    struct trace *t = r->trace;
    struct buf data;
    buf_init(&data, r->loop->mem, SIZE_MAX / 4);
    struct str shown = bytes;
    if (shown.n > t->max_record) shown.n = t->max_record;
    int rc = t->format == TRACE_HEX && shown.n ? add_hex(&data, shown)
                                               : buf_add_str(&data, shown);
    struct log_field field = t->format == TRACE_HEX ? LF_BLOCK("data", buf_str(&data))
                                                    : LF_STR("data", buf_str(&data));
    if (rc < 0) give_up(t, rc);
    else if (afford(t, buf_len(&data) + 1)) {
        if (shown.n == 0)
            log_info(t->log, "traffic", LF_Z("peer", r->peer),
                     LF_UINT("connection", r->number), LF_Z("what", what));
        else
            log_info(t->log, "traffic", LF_Z("peer", r->peer),
                     LF_UINT("connection", r->number), LF_Z("what", what), field);
    }
    buf_release(&data);
}

static void record(struct tracer *r, const char *what, struct str bytes) {
    if (r->trace->over) return;
    if (r->trace->fd >= 0) to_file(r, what, bytes);
    else to_log(r, what, bytes);
}

static void record_bytes(struct tracer *r, char way, struct str bytes) {
    char what[40];
    snprintf(what, sizeof what, "%c %zu byte%s", way, bytes.n, bytes.n == 1 ? "" : "s");
    record(r, what, bytes);
}

/* ── the filter ───────────────────────────────────────────────────────────*/

static struct tracer *tracer_of(struct filter *f) {
    return CONTAINER(f, struct tracer, f);
}

static int on_input(struct filter *f, struct str bytes) {
    tracer_of(f)->in += bytes.n;
    record_bytes(tracer_of(f), '<', bytes);
    return filter_up(f, bytes);
}

static int on_output(struct filter *f, struct str bytes) {
    tracer_of(f)->out += bytes.n;
    record_bytes(tracer_of(f), '>', bytes);
    return filter_down(f, bytes);
}

static int on_input_end(struct filter *f) {
    record(tracer_of(f), "< end", STR_NONE);
    return filter_up_end(f);
}

static int on_output_end(struct filter *f) {
    record(tracer_of(f), "> end", STR_NONE);
    return filter_down_end(f);
}

static void on_detach(struct filter *f) {
    struct tracer *r = tracer_of(f);
    char what[80];
    snprintf(what, sizeof what, "- %" PRIu64 " bytes in, %" PRIu64 " out", r->in, r->out);
    record(r, what, STR_NONE);
    trace_leave(r->trace);
    mem_free(r->loop->mem, r, sizeof *r);
}

static const struct filter_ops trace_ops = {
    .name = "trace", .input = on_input, .output = on_output,
    .input_end = on_input_end, .output_end = on_output_end, .detach = on_detach,
};

int trace_push(struct stream *s, struct trace *t) {
    struct tracer *r = mem_zalloc(s->loop->mem, sizeof *r);
    if (!r) return RW_ENOMEM;
    struct address a = {0};
    stream_peer(s, &a);
    struct str peer = address_format(&a, r->peer, sizeof r->peer - 1);
    r->peer[peer.n] = '\0';
    r->f.ops = &trace_ops;
    r->loop = s->loop;
    r->trace = t;
    r->number = ++t->number;
    t->held++;
    stream_push_filter(s, &r->f);
    record(r, "+", STR_NONE);
    return 0;
}

/* ── where it goes ────────────────────────────────────────────────────────*/

static int open_file(const char *path, uint64_t *size_out) {
    struct stat st;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                  0600);
    if (fd < 0) return -errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return RW_EINVAL; /* nobody waits for a fifo's reader */
    }
    *size_out = (uint64_t)st.st_size;
    return fd;
}

int trace_open(struct loop *l, const struct trace_options *o, struct trace **out) {
    uint64_t size = 0;
    int fd = o->path ? open_file(o->path, &size) : -1;
    if (o->path && fd < 0) return fd;
    struct trace *t = mem_zalloc(l->mem, sizeof *t);
    if (!t) {
        if (fd >= 0) close(fd);
        return RW_ENOMEM;
    }
    t->loop = l;
    t->log = o->log;
    t->fd = fd;
    t->format = o->format;
    t->left = o->max_bytes > size ? o->max_bytes - size : 0;
    t->max_record = o->max_record;
    t->held = 1;
    *out = t;
    return 0;
}

void trace_leave(struct trace *t) {
    if (--t->held) return;
    if (t->fd >= 0) close(t->fd);
    mem_free(t->loop->mem, t, sizeof *t);
}
