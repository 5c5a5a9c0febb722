/* SPDX-License-Identifier: MIT */
/* The files that the last (re)load read, whether it came to serve or not:
 * watched when `--watch` is on, and compared by content, so that a touch, or a
 * save without a change, is none. */
#include "bind/bind.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct source {
    struct source *next;
    uint64_t hash;
    size_t size; /* of this block */
    char path[];
};

/* FNV-1a, over the whole file; 0 when it cannot be read, or is no file: what is read
 * from a pipe (`ropewalk run <(…)`) would be missing when the script is. */
static uint64_t hash_file(const char *path) {
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode)) return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    uint64_t hash = 14695981039346656037u;
    char block[4096];
    for (ssize_t n; (n = read(fd, block, sizeof block)) > 0;)
        for (ssize_t i = 0; i < n; i++)
            hash = (hash ^ (unsigned char)block[i]) * 1099511628211u;
    close(fd);
    return hash;
}

static void watch_one(struct rw *rw, const struct source *s) {
    char directory[4096] = ".";
    const char *slash = strrchr(s->path, '/');
    size_t n = slash == s->path ? 1 : slash ? (size_t)(slash - s->path) : 0;
    if (!rw->watch || n >= sizeof directory) return;
    if (n) {
        memcpy(directory, s->path, n);
        directory[n] = 0;
    }
    int rc = file_watch_add(rw->watch, directory);
    if (rc < 0)
        log_warn(&rw->log, "cannot watch", LF_Z("directory", directory), LF_ERR("error", rc));
}

int sources_add(struct generation *g, const char *path) {
    bool late = g == g->rw->current; /* a module required while serving */
    struct source **list = late ? &g->rw->sources : &g->sources;
    for (struct source *s = *list; s; s = s->next)
        if (strcmp(s->path, path) == 0) return 0;
    size_t n = strlen(path) + 1;
    struct source *s = mem_alloc(&g->rw->mem, sizeof *s + n);
    if (!s) return RW_ENOMEM;
    *s = (struct source){.next = *list, .hash = hash_file(path), .size = sizeof *s + n};
    memcpy(s->path, path, n);
    *list = s;
    if (late) watch_one(g->rw, s);
    return 0;
}

static int core_source(lua_State *L) {
    if (sources_add(generation_of(L), luaL_checkstring(L, 1)) < 0)
        return luaL_error(L, "not enough memory");
    return 0;
}

bool sources_changed(struct rw *rw) {
    struct source *s = rw->staging ? rw->staging->sources : rw->sources;
    for (; s; s = s->next)
        if (hash_file(s->path) != s->hash) return true;
    return false;
}

static void free_list(struct rw *rw, struct source **list) {
    for (struct source *s; (s = *list);) {
        *list = s->next;
        mem_free(&rw->mem, s, s->size);
    }
}

void sources_settle(struct generation *g) {
    free_list(g->rw, &g->rw->sources);
    g->rw->sources = g->sources;
    g->sources = NULL;
    for (struct source *s = g->rw->sources; s; s = s->next) watch_one(g->rw, s);
}

void sources_free(struct generation *g) { free_list(g->rw, &g->sources); }
void sources_free_all(struct rw *rw) { free_list(rw, &rw->sources); }

void sources_open(lua_State *L) {
    lua_pushcfunction(L, core_source);
    lua_setfield(L, -2, "source");
}
