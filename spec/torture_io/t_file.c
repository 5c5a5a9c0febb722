/* SPDX-License-Identifier: MIT */
/* Files beneath a directory, and directories that are watched. */
#include "torture.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[64];

static void put(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) abort();
    close(fd);
}

static void in_root(char *out, size_t size, const char *name) {
    snprintf(out, size, "%s/%s", root, name);
}

static void tree_begin(void) {
    char a[128], b[128];
    snprintf(root, sizeof root, "/tmp/torture-io-XXXXXX");
    if (!mkdtemp(root)) abort();
    in_root(a, sizeof a, "public");
    mkdir(a, 0700);
    in_root(a, sizeof a, "public/sub");
    mkdir(a, 0700);
    put("secret", "secret");
    put("public/a.txt", "hello");
    put("public/sub/b.txt", "beneath");
    in_root(a, sizeof a, "public/inside");
    if (symlink("sub/b.txt", a) < 0) abort();
    in_root(a, sizeof a, "public/outside");
    if (symlink("../secret", a) < 0) abort();
    in_root(a, sizeof a, "public/absolute");
    in_root(b, sizeof b, "secret");
    if (symlink(b, a) < 0) abort();
    in_root(a, sizeof a, "public/turn");
    if (symlink("turn", a) < 0) abort();
    in_root(a, sizeof a, "public/fifo");
    if (mkfifo(a, 0600) < 0) abort();
}

static void tree_end(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    if (system(command) != 0) abort();
}

#define SAME(path, result) {STR(path), result, result}

static void try_paths(bool walk) {
    static const struct {
        struct str path;
        int size, walked; /* or error; the walk follows no links */
    } all[] = {
        SAME("a.txt", 5),
        SAME("./a.txt", 5),
        SAME("sub/b.txt", 7),
        SAME("sub//b.txt", 7),
        SAME("none", -ENOENT),
        SAME("", -ENOENT),
        SAME("../secret", -EXDEV),
        SAME("sub/../../secret", -EXDEV),
        SAME("/etc/passwd", -EXDEV),
        SAME("..", -EXDEV),
        SAME("turn", -ELOOP),
        SAME("fifo", -EACCES),
        SAME("a.txt\0.png", -ENOENT),
        SAME("a.txt/x", -ENOTDIR),
        {STR("inside"), 7, -ELOOP},
        {STR("sub/../a.txt"), 5, -EXDEV},
        {STR("outside"), -EXDEV, -ELOOP},
        {STR("absolute"), -EXDEV, -ELOOP},
    };
    char path[128], text[16];
    in_root(path, sizeof path, "public");
    int dir = dir_open(path);
    CHECK(dir >= 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct file_info info = {0};
        int fd = dir_open_file(dir, all[i].path, &info);
        int wanted = walk ? all[i].walked : all[i].size;
        if (fd < 0 || wanted < 0) {
            if (fd != wanted) {
                printf("%s: %s\n", all[i].path.p, err_name(fd));
                CHECK_EQ(fd, wanted);
            }
            continue;
        }
        CHECK_EQ(info.size, all[i].size);
        CHECK(info.is_regular && !info.is_directory && info.mtime > 0);
        CHECK_EQ(file_read(fd, 1, text, sizeof text), all[i].size - 1);
        CHECK_EQ(file_read(fd, 100, text, sizeof text), 0);
        file_close(fd);
    }
    struct file_info info;
    int fd = dir_open_file(dir, STR("sub"), &info);
    CHECK(fd >= 0 && info.is_directory);
    file_close(fd);
    char endless[5000];
    memset(endless, 'x', sizeof endless);
    CHECK_EQ(dir_open_file(dir, str_of(endless, sizeof endless), &info),
             -ENAMETOOLONG);
    in_root(path, sizeof path, "secret");
    CHECK_EQ(dir_open(path), -ENOTDIR);
    file_close(dir);
}

static void beneath(void) {
    long rc = syscall(SYS_openat2, -1, "", NULL, 0);
    tree_begin();
    try_paths(rc < 0 && errno == ENOSYS); /* an old kernel, valgrind */
    tree_end();
}

/* In a child, since what a seccomp filter has forbidden stays so. */
static void without_openat2(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    int status = -1;
    if (under_valgrind()) {
        test_skip("the walk was tried by the test before");
        return;
    }
    tree_begin();
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
            _exit(77);
        try_paths(true);
        fflush(stdout);
        _exit(check_failures() ? 1 : 0);
    }
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) test_skip("no seccomp");
    else CHECK_EQ(status, 0);
    tree_end();
}

/* ── watching ─────────────────────────────────────────────────────────────*/

struct seen {
    unsigned times;
    bool any;
};
static void on_change(void *owner) {
    struct seen *s = owner;
    s->times++;
    s->any = true;
}

static void replace(const char *name, const char *text) {
    char from[128], to[128];
    put("public/.new", text);
    in_root(from, sizeof from, "public/.new");
    in_root(to, sizeof to, name);
    if (rename(from, to) < 0) abort();
}

static void watching(void) {
    struct world w;
    struct seen s = {0};
    char path[128];
    tree_begin();
    world_begin(&w);
    struct file_watch *f = file_watch_new(w.loop, 40, on_change, &s);
    in_root(path, sizeof path, "public");
    CHECK_EQ(file_watch_add(f, path), 0);
    CHECK_EQ(file_watch_add(f, path), 0); /* once each */
    in_root(path, sizeof path, "public/sub");
    CHECK_EQ(file_watch_add(f, path), 0);
    in_root(path, sizeof path, "nowhere");
    CHECK_EQ(file_watch_add(f, path), -ENOENT);
    world_pass(&w, 60);
    CHECK_EQ(s.times, 0);
    for (unsigned i = 1; i <= 3; i++) { /* again and again: rename */
        replace("public/a.txt", "new");
        world_pass(&w, 10);
        replace("public/a.txt", "newer");
        CHECK_EQ(s.times, i - 1);
        s.any = false;
        world_until(&w, &s.any, 1000);
        world_pass(&w, 60);
        CHECK_EQ(s.times, i); /* a burst is one call */
    }
    put("public/sub/b.txt", "changed");
    s.any = false;
    world_until(&w, &s.any, 1000);
    /* a burst without an end does not put it off for ever */
    s.any = false;
    double t = now_seconds();
    while (!s.any && now_seconds() - t < 5) {
        put("public/log", "x");
        world_pass(&w, 10);
    }
    CHECK(s.any);
    put("public/log", "y");
    loop_turn(w.loop, 5);
    file_watch_free(&f); /* with a call due */
    world_pass(&w, 60);
    world_end(&w);
    tree_end();
}

/* ── files that last ──────────────────────────────────────────────────────*/

enum { WRITERS = 4, WRITES = 60, WRITTEN = 20000 };

struct writer {
    pthread_t thread;
    int dir, rc;
    char text[WRITTEN];
};

static void *write_again(void *arg) {
    struct writer *x = arg;
    for (int i = 0; i < WRITES && x->rc == 0; i++)
        x->rc = dir_write_file(x->dir, STR("state"), str_of(x->text, WRITTEN), 0);
    return NULL;
}

/* Threads of one process do not get in each other's way: it is one of theirs. */
static void written_by_threads(void) {
    static struct writer x[WRITERS];
    char path[128], got[WRITTEN + 1];
    struct file_info info;
    struct stat st;
    tree_begin();
    int dir = dir_open(root);
    for (int i = 0; i < WRITERS; i++) {
        x[i].dir = dir;
        memset(x[i].text, 'a' + i, WRITTEN);
        if (pthread_create(&x[i].thread, NULL, write_again, &x[i]) != 0) abort();
    }
    for (int round = 0; round < 200; round++) {
        int fd = dir_open_file(dir, STR("state"), &info);
        if (fd < 0) continue;
        CHECK_EQ(file_read(fd, 0, got, sizeof got), WRITTEN);
        CHECK(memcmp(got, got + 1, WRITTEN - 1) == 0);
        close(fd);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(x[i].thread, NULL);
        CHECK_EQ(x[i].rc, 0);
    }
    in_root(path, sizeof path, "state");
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
    mode_t mask = umask(027);
    CHECK_EQ(dir_write_file(dir, STR("state"), STR("x"), FILE_FOR_ALL), 0);
    umask(mask);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640);
    CHECK_EQ(dir_write_file(dir, STR("state"), STR("x"), FILE_NEW), -EEXIST);
    close(dir);
    CHECK_EQ(dir_remove_tree(root), 0);
}

/* The same among containers that share a directory: all have a process 1. Where that
 * is not allowed they are plain processes. */
static pid_t write_as_one(struct writer *x) {
    pid_t pid = fork();
    if (pid) return pid;
    if (unshare(CLONE_NEWPID) < 0) errno = 0;
    pid = fork();
    if (pid == 0) {
        write_again(x);
        _exit(x->rc < 0);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    _exit(status != 0);
}

static void written_by_containers(void) {
    static struct writer x[WRITERS];
    pid_t pids[WRITERS];
    char got[WRITTEN + 1];
    struct file_info info;
    tree_begin();
    int dir = dir_open(root), status;
    for (int i = 0; i < WRITERS; i++) {
        x[i] = (struct writer){.dir = dir};
        memset(x[i].text, 'a' + i, WRITTEN);
        pids[i] = write_as_one(&x[i]);
    }
    for (int round = 0; round < 1000; round++) {
        int fd = dir_open_file(dir, STR("state"), &info);
        if (fd < 0) continue;
        CHECK_EQ(file_read(fd, 0, got, sizeof got), WRITTEN);
        CHECK(memcmp(got, got + 1, WRITTEN - 1) == 0);
        close(fd);
    }
    for (int i = 0; i < WRITERS; i++) {
        waitpid(pids[i], &status, 0);
        CHECK_EQ(status, 0);
    }
    close(dir);
    CHECK_EQ(dir_remove_tree(root), 0);
}

const struct test file_tests[] = {
    {"files beneath a directory", beneath},
    {"files beneath a directory, without openat2", without_openat2},
    {"directories are watched", watching},
    {"a file that threads write is whole", written_by_threads},
    {"a file that containers write is whole", written_by_containers},
    {0},
};
