/* SPDX-License-Identifier: MIT */
/* Directories are capabilities: a path given to dir:open is looked up beneath
 * the directory and nowhere else (io's dir_open_file has the kernel see to
 * it). Descriptors close with their userdata at the latest. */
#include "bind/dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bind/bind.h"

enum {
    FILE_MAX_READ = 64 << 20, /* one read: a string that long is a mistake */
    DIR_MAX_NAMES = 10000,    /* a listing nobody would read */
};

static const char *const dir_name = "ropewalk.dir";
static const char *const file_name = "ropewalk.file";

struct bind_dir {
    int fd; /* owned; -1: closed */
};

struct bind_file *file_check(lua_State *L, int index) {
    struct bind_file *f = luaL_checkudata(L, index, file_name);
    luaL_argcheck(L, f->fd >= 0, index, "file is closed");
    return f;
}

static struct bind_dir *dir_check(lua_State *L, int index) {
    struct bind_dir *d = luaL_checkudata(L, index, dir_name);
    luaL_argcheck(L, d->fd >= 0, index, "directory is closed");
    return d;
}

/* ── files ────────────────────────────────────────────────────────────────*/

/* file:read(offset, n) → bytes (fewer at the end of the file, "" there) */
static int l_file_read(lua_State *L) {
    struct bind_file *f = file_check(L, 1);
    lua_Integer offset = luaL_checkinteger(L, 2), n = luaL_checkinteger(L, 3);
    luaL_argcheck(L, offset >= 0, 2, "negative");
    luaL_argcheck(L, n >= 0 && n <= FILE_MAX_READ, 3, "out of range");
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, (size_t)n);
    size_t done = 0;
    int got = 1;
    while (got > 0 && done < (size_t)n) {
        got = file_read(f->fd, (uint64_t)offset + done, out + done,
                        (size_t)n - done);
        if (got > 0) done += (size_t)got;
    }
    luaL_pushresultsize(&b, done);
    return got < 0 ? push_failure(L, got) : 1;
}

static int l_file_close(lua_State *L) {
    struct bind_file *f = luaL_checkudata(L, 1, file_name);
    if (f->fd >= 0) file_close(f->fd);
    f->fd = -1;
    return 0;
}

/* Some file systems do not say it with the name. */
static bool is_directory(DIR *listing, const struct dirent *e) {
    if (e->d_type != DT_UNKNOWN) return e->d_type == DT_DIR;
    struct stat st;
    return fstatat(dirfd(listing), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(st.st_mode);
}

static void push_entry(lua_State *L, DIR *listing, const struct dirent *e) {
    lua_pushstring(L, e->d_name);
    if (is_directory(listing, e)) {
        lua_pushliteral(L, "/");
        lua_concat(L, 2);
    }
}

/* A DIR that an error of Lua's cannot leak. */
static int l_listing_gc(lua_State *L) {
    DIR **listing = lua_touserdata(L, 1);
    if (*listing) closedir(*listing);
    *listing = NULL;
    return 0;
}

/* 1; 0: there are no more; or < 0. */
static int next_entry(DIR *listing, const struct dirent **out) {
    do {
        errno = 0;
        *out = readdir(listing);
        if (!*out) return -errno;
    } while (!strcmp((*out)->d_name, ".") || !strcmp((*out)->d_name, ".."));
    return 1;
}

/* file:names([most]) → {"a.txt", "sub/", …} of a directory, unsorted, without "."
 * and ".."; true as second result when there are more. */
static int l_file_names(lua_State *L) {
    struct bind_file *f = file_check(L, 1);
    luaL_argcheck(L, f->info.is_directory, 1, "not a directory");
    lua_Integer most = luaL_optinteger(L, 2, DIR_MAX_NAMES);
    DIR **listing = lua_newuserdatauv(L, sizeof *listing, 0);
    *listing = NULL;
    luaL_setmetatable(L, "ropewalk.listing");
    int fd = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return push_failure(L, -errno);
    *listing = fdopendir(fd);
    if (!*listing) {
        int failed = -errno;
        close(fd);
        return push_failure(L, failed);
    }
    lua_newtable(L);
    lua_Integer count = 0;
    const struct dirent *e;
    int rc;
    while ((rc = next_entry(*listing, &e)) > 0 && count < most) {
        push_entry(L, *listing, e);
        lua_rawseti(L, -2, ++count);
    }
    closedir(*listing);
    *listing = NULL;
    if (rc < 0) return push_failure(L, rc);
    lua_pushboolean(L, rc > 0);
    return 2;
}

static int l_file_index(lua_State *L) {
    struct bind_file *f = luaL_checkudata(L, 1, file_name);
    const char *key = luaL_checkstring(L, 2);
    const struct file_info *i = &f->info;
    if (!strcmp(key, "size")) lua_pushinteger(L, (lua_Integer)i->size);
    else if (!strcmp(key, "mtime")) lua_pushinteger(L, i->mtime);
    else if (!strcmp(key, "mtime_ns"))
        lua_pushinteger(L, (lua_Integer)i->mtime_ns);
    else if (!strcmp(key, "inode")) lua_pushinteger(L, (lua_Integer)i->inode);
    else if (!strcmp(key, "is_directory")) lua_pushboolean(L, i->is_directory);
    else if (!strcmp(key, "is_regular")) lua_pushboolean(L, i->is_regular);
    else {
        lua_pushvalue(L, 2);
        lua_rawget(L, lua_upvalueindex(1));
    }
    return 1;
}

/* ── directories ──────────────────────────────────────────────────────────*/

/* The system's text would end at a zero, and name something else. */
static bool has_zero(struct str path) { return str_find(path, 0) < path.n; }

/* dir:open(path) → file; nil, code, message */
static int l_dir_open(lua_State *L) {
    struct bind_dir *d = dir_check(L, 1);
    struct str path = check_str(L, 2);
    if (has_zero(path)) return push_failure(L, -ENOENT);
    struct bind_file *f = lua_newuserdatauv(L, sizeof *f, 0);
    f->fd = -1;
    luaL_setmetatable(L, file_name);
    int fd = dir_open_file(d->fd, path, &f->info);
    if (fd < 0) return push_failure(L, fd);
    f->fd = fd;
    return 1;
}

/* dir:sub(path) → dir beneath; nil, code, message */
static int l_dir_sub(lua_State *L) {
    struct bind_dir *d = dir_check(L, 1);
    struct str path = check_str(L, 2);
    if (has_zero(path)) return push_failure(L, -ENOENT);
    struct bind_dir *sub = lua_newuserdatauv(L, sizeof *sub, 0);
    sub->fd = -1;
    luaL_setmetatable(L, dir_name);
    struct file_info info;
    int fd = dir_open_file(d->fd, path, &info);
    if (fd < 0) return push_failure(L, fd);
    sub->fd = fd;
    return info.is_directory ? 1 : push_failure(L, -ENOTDIR);
}

static struct str check_name(lua_State *L, int index) {
    size_t n;
    const char *p = luaL_checklstring(L, index, &n);
    return str_of(p, n);
}

static int push_done(lua_State *L, int rc) {
    if (rc < 0) return push_failure(L, rc);
    lua_pushboolean(L, true);
    return 1;
}

/* dir:write(name, bytes[, is_new[, for_all]]) → true; nil, code, message */
static int l_dir_write(lua_State *L) {
    struct bind_dir *d = dir_check(L, 1);
    unsigned how = (lua_toboolean(L, 4) ? FILE_NEW : 0u) | (lua_toboolean(L, 5) ? FILE_FOR_ALL : 0u);
    return push_done(L, dir_write_file(d->fd, check_name(L, 2), check_name(L, 3), how));
}

/* dir:make(name[, for_all]) → true; nil, code, message */
static int l_dir_make(lua_State *L) {
    struct bind_dir *d = dir_check(L, 1);
    return push_done(L, dir_make_beneath(d->fd, check_name(L, 2), lua_toboolean(L, 3)));
}

/* dir:remove(name) → true; nil, code, message */
static int l_dir_remove(lua_State *L) {
    return push_done(L, dir_remove_file(dir_check(L, 1)->fd, check_name(L, 2)));
}

/* dir:lock(name) → file, which is locked until it is closed; nil, code, message */
static int l_dir_lock(lua_State *L) {
    struct bind_dir *d = dir_check(L, 1);
    struct str name = check_name(L, 2);
    struct bind_file *f = lua_newuserdatauv(L, sizeof *f, 0);
    *f = (struct bind_file){.fd = -1};
    luaL_setmetatable(L, file_name);
    int fd = dir_lock_file(d->fd, name);
    if (fd < 0) return push_failure(L, fd);
    f->fd = fd;
    return 1;
}

static int l_dir_close(lua_State *L) {
    struct bind_dir *d = luaL_checkudata(L, 1, dir_name);
    if (d->fd >= 0) file_close(d->fd);
    d->fd = -1;
    return 0;
}

/* dir(path) → dir; nil, code, message */
static int l_dir(lua_State *L) {
    struct str path = check_str(L, 1);
    if (has_zero(path)) return push_failure(L, -ENOENT);
    struct bind_dir *d = lua_newuserdatauv(L, sizeof *d, 0);
    d->fd = -1;
    luaL_setmetatable(L, dir_name);
    int fd = dir_open(path.p);
    if (fd < 0) return push_failure(L, fd);
    d->fd = fd;
    return 1;
}

/* make_directory(path) → true, also if it is there; nil, code, message */
static int l_make_directory(lua_State *L) {
    struct str path = check_str(L, 1);
    return push_done(L, has_zero(path) ? -ENOENT : dir_make(path.p));
}

static void set_gc(lua_State *L, lua_CFunction gc) {
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
}

void dir_open_lib(lua_State *L) {
    static const luaL_Reg file_methods[] = {{"read", l_file_read},
                                            {"names", l_file_names},
                                            {"close", l_file_close},
                                            {NULL, NULL}};
    static const luaL_Reg dir_methods[] = {
        {"open", l_dir_open}, {"sub", l_dir_sub}, {"write", l_dir_write}, {"make", l_dir_make},
        {"remove", l_dir_remove}, {"lock", l_dir_lock}, {"close", l_dir_close}, {NULL, NULL}};

    luaL_newmetatable(L, file_name);
    luaL_newlib(L, file_methods);
    lua_pushcclosure(L, l_file_index, 1);
    lua_setfield(L, -2, "__index");
    set_gc(L, l_file_close);
    lua_pushcfunction(L, l_file_close);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);

    class_define(L, dir_name, dir_methods, l_dir_close);

    luaL_newmetatable(L, "ropewalk.listing");
    set_gc(L, l_listing_gc);
    lua_pop(L, 1);

    lua_pushcfunction(L, l_dir);
    lua_setfield(L, -2, "dir");
    lua_pushcfunction(L, l_make_directory);
    lua_setfield(L, -2, "make_directory");
}
