/* SPDX-License-Identifier: MIT */
/* A program with a poll loop of its own that serves with Ropewalk beside what
 * else it does. Everything it needs is ropewalk.h.
 *
 *      plain SCRIPT…          one instance for each script
 *
 * Lines from standard input: `call N NAME TEXT` calls rw.exports.NAME(TEXT) of
 * the Nth script, `script N TEXT` has it run this text from now on, `reload N`,
 * `stop N`, `free N`; at the end of input all stop. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ropewalk.h>

enum { MAX_INSTANCES = 8 };

struct instance {
    struct rw *rw;
    int number;
    int visits; /* what rw.host.visit() counts */
};

/* rw.host.visit(who) → how many there were */
static int visit(void *owner, const struct rw_value *args, size_t n, struct rw_value *result) {
    struct instance *i = owner;
    if (n != 1 || args[0].type != RW_STRING) {
        *result = rw_string("a name is expected");
        return -1;
    }
    *result = rw_integer(++i->visits);
    return 0;
}

static void on_log(void *owner, int level, const char *line, size_t n) {
    struct instance *i = owner;
    (void)level;
    fprintf(stderr, "[%d] %.*s", i->number, (int)n, line);
}

static void on_result(void *owner, int status, const struct rw_value *result) {
    struct instance *i = owner;
    printf("[%d] status %d: ", i->number, status);
    switch (result->type) {
    case RW_NIL: puts("nil"); break;
    case RW_BOOLEAN: puts(result->boolean ? "true" : "false"); break;
    case RW_INTEGER: printf("%lld\n", result->integer); break;
    case RW_NUMBER: printf("%g\n", result->number); break;
    case RW_STRING: printf("%.*s\n", (int)result->length, result->string); break;
    }
    fflush(stdout);
}

static int begin(struct instance *i, const char *script) {
    const char *error;
    struct rw_options options = {.app = script, .log_hook = on_log, .log_owner = i};
    i->rw = rw_new(&options, &error);
    if (!i->rw) {
        fprintf(stderr, "%s\n", error);
        return -1;
    }
    rw_register(i->rw, "visit", visit, i);
    return rw_start(i->rw);
}

static void obey(struct instance *all, int count, char *line) {
    char verb[16], name[64];
    int number, at = 0;
    if (sscanf(line, "%15s %d %n", verb, &number, &at) < 2 || number < 1 || number > count) return;
    struct instance *i = &all[number - 1];
    if (!i->rw) return;
    if (!strcmp(verb, "reload")) rw_reload(i->rw);
    else if (!strcmp(verb, "script")) {
        rw_script(i->rw, "input.lua", line + at, strlen(line + at));
        rw_reload(i->rw);
    } else if (!strcmp(verb, "stop")) rw_stop(i->rw);
    else if (!strcmp(verb, "free")) rw_free(&i->rw);
    else if (!strcmp(verb, "call") && sscanf(line + at, "%63s", name) == 1) {
        char *text = line + at + strlen(name);
        text += *text == ' ';
        struct rw_value arg = rw_string(text);
        int rc = rw_call(i->rw, name, &arg, 1, on_result, i);
        if (rc < 0) printf("[%d] refused: %s\n", i->number, rw_error_text(rc));
        fflush(stdout);
    }
}

/* Reads what is there and obeys each whole line; false at the end of input. */
static bool read_input(struct instance *all, int count) {
    static char line[1024];
    static size_t n;
    ssize_t got = read(STDIN_FILENO, line + n, sizeof line - 1 - n);
    if (got <= 0) return false;
    n += (size_t)got;
    for (char *end; (end = memchr(line, '\n', n));) {
        *end = 0;
        obey(all, count, line);
        n -= (size_t)(end + 1 - line);
        memmove(line, end + 1, n);
    }
    if (n == sizeof line - 1) n = 0; /* no line is that long */
    return true;
}

static int shorter(int a, int b) { return a < 0 ? b : b < 0 || a < b ? a : b; }

int main(int argc, char **argv) {
    struct instance all[MAX_INSTANCES] = {0};
    int count = argc - 1 < MAX_INSTANCES ? argc - 1 : MAX_INSTANCES, live = 0;
    for (int i = 0; i < count; i++) {
        all[i].number = i + 1;
        if (begin(&all[i], argv[i + 1]) == 0) live++;
    }
    bool input = true;
    while (live) {
        struct pollfd fds[MAX_INSTANCES + 1];
        int timeout = -1;
        for (int i = 0; i < count; i++) {
            fds[i] = (struct pollfd){.fd = all[i].rw ? rw_fd(all[i].rw) : -1, .events = POLLIN};
            if (all[i].rw) timeout = shorter(timeout, rw_timeout(all[i].rw));
        }
        fds[count] = (struct pollfd){.fd = input ? STDIN_FILENO : -1, .events = POLLIN};
        poll(fds, (nfds_t)count + 1, timeout);
        if (fds[count].revents && !read_input(all, count)) {
            input = false;
            for (int i = 0; i < count; i++)
                if (all[i].rw) rw_stop(all[i].rw);
        }
        live = 0;
        for (int i = 0; i < count; i++) {
            if (all[i].rw && !rw_step(all[i].rw, 0)) {
                printf("[%d] stopped with %d\n", all[i].number, rw_status(all[i].rw));
                fflush(stdout);
                rw_free(&all[i].rw);
            }
            live += all[i].rw != NULL;
        }
    }
    for (int i = 0; i < count; i++) rw_free(&all[i].rw);
    return 0;
}
