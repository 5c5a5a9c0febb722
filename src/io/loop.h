/* SPDX-License-Identifier: MIT */
/* The loop: turns, time, signals, work for later; and files, which never wait. */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

/* ── loop ─────────────────────────────────────────────────────────────────*/

struct loop;

/* NULL: out of memory or descriptors. SIGPIPE is ignored from here on. */
struct loop *loop_new(struct mem *mem);

/* Runs what is still closing to its end and frees; every handle must have been
 * closed by its owner before: what is left over is listed by loop_ledger. */
void loop_free(struct loop **loop);

/* Until loop_stop, or nothing is left to wait for. Wakers, signal watches and
 * file watches alone do not keep it running; active timers do. */
void loop_run(struct loop *l);
/* One turn; waits for at most `timeout_ms` (0: does not wait). Returns whether
 * something is still alive. */
bool loop_turn(struct loop *l, int timeout_ms);
void loop_stop(struct loop *l);

struct mem *loop_mem(struct loop *l);

/* Milliseconds of a monotonic clock, read once per turn; never 0. */
uint64_t loop_now(const struct loop *l);
/* The same clock in ns, read now. */
uint64_t loop_hrtime(void);
/* Wall clock, read once per turn at most: for Date and logs. */
int64_t loop_unix_time(struct loop *l);

/* The pollable descriptor and how long to wait, for a foreign loop. */
int loop_fd(const struct loop *l);
int loop_timeout(const struct loop *l);

/* Work for later in this turn or the next ones, without waiting in between, in
 * the order of deferring: `run` is called once per loop_defer. When there is
 * much, a turn does a part of it. Embedded, intrusive, cancellable. */
struct deferral {
    struct deferral *next, **prev; /* list: loop->deferred */
    void (*run)(struct deferral *d);
};
void loop_defer(struct loop *l, struct deferral *d); /* once until it ran */
void loop_defer_cancel(struct deferral *d);
static inline bool deferral_waits(const struct deferral *d) { return d->prev; }

/* Called after the callbacks of each turn (end of turn), in order of adding;
 * for reports of unhandled failures and the like. Stays until removed. */
struct turn_end {
    struct turn_end *next, **prev;
    void (*run)(struct turn_end *t);
};
void loop_at_turn_end(struct loop *l, struct turn_end *t);
void loop_turn_end_remove(struct turn_end *t);

/* Called on the loop's thread soon after wake(), which any thread and any
 * signal handler may call. */
struct waker;
struct waker *waker_new(struct loop *l, void (*run)(void *owner), void *owner);
void waker_wake(struct waker *w);
void waker_keep(struct waker *w); /* from now on it alone keeps the loop alive */
void waker_free(struct waker **w);

/* How many of what are open: "tcp 2, listener 1"; "" when nothing is. */
struct str loop_ledger(const struct loop *l, char *out, size_t size);

/* ── timers: a wheel, one per loop; O(1), no allocation ───────────────────*/

struct timer {
    struct timer *next, **prev; /* list: a slot of the wheel */
    uint64_t due;               /* loop_now() when it fires */
    void (*fire)(struct timer *t);
};
/* Arms, or moves. delay 0: after this turn, never in it. Timers that are due
 * fire in order of due time, then of arming, when there are many over several
 * turns; those armed meanwhile wait for a later one. A zeroed struct is an idle
 * timer. */
void timer_start(struct loop *l, struct timer *t, uint64_t delay_ms,
                 void (*fire)(struct timer *t));
void timer_stop(struct loop *l, struct timer *t);
static inline bool timer_active(const struct timer *t) { return t->prev; }

/* ── signals ──────────────────────────────────────────────────────────────*/

struct signal_watch;
struct signal_watch *signal_watch_new(struct loop *l, int signum,
                                      void (*hook)(void *owner, int signum),
                                      void *owner);
void signal_watch_free(struct signal_watch **w);
/* Has the process ever got this one, of those that somebody watched? Known at
 * once, whether the loop turns or not. */
bool signal_was_caught(int signum);

/* ── the watchdog: processor time, not wall time ──────────────────────────*/

/* Calls `tick` in a signal handler on this thread after each `period_ms` of
 * processor time that the thread has used; an idle thread is never woken. tick
 * must be async-signal-safe. One per thread. */
int watchdog_start(unsigned period_ms, void (*tick)(void));
void watchdog_stop(void);

/* ── files ────────────────────────────────────────────────────────────────*/

/* Watches directories (files are replaced by rename, which a watch on the file
 * itself does not survive); `hook` comes once, `debounce_ms` after the last
 * of a burst of events. */
struct file_watch;
struct file_watch *file_watch_new(struct loop *l, uint64_t debounce_ms,
                                  void (*hook)(void *owner), void *owner);
int file_watch_add(struct file_watch *w, const char *directory); /* once each */
void file_watch_free(struct file_watch **w);

struct file_info {
    uint64_t size;
    int64_t mtime;    /* seconds */
    uint64_t mtime_ns; /* the fraction */
    uint64_t inode;
    bool is_directory, is_regular;
};
/* A directory that files are opened beneath: whatever the path says, nothing
 * outside is reached ("..", absolute paths, links that lead out: RW_ENONAME's
 * errno kin -ENOENT/-EXDEV/-ELOOP). */
int dir_open(const char *path);                          /* fd or < 0 */
int dir_open_file(int dir, struct str path, struct file_info *info); /* fd */
int file_read(int fd, uint64_t offset, char *out, size_t n); /* bytes or < 0 */
void file_close(int fd);
/* Small files that last, for this user only; `name` is one component without a
 * dot in front. Each takes the time of the disk. */
int dir_make(const char *path); /* also if it is there */
enum { FILE_NEW = 1 /* -EEXIST if it is there */, FILE_FOR_ALL = 2 /* as umask says */ };
/* Whole or not at all. */
int dir_write_file(int dir, struct str name, struct str bytes, unsigned how);
int dir_make_beneath(int dir, struct str name, bool for_all);
int dir_remove_file(int dir, struct str name);
/* Until it is closed nobody else, in whatever process, gets it: fd, or RW_EAGAIN. */
int dir_lock_file(int dir, struct str name);

/* A new directory below TMPDIR, for this user only; its path to `out`. */
int dir_make_temporary(char *out, size_t size);
int dir_remove_tree(const char *path); /* and all in it; links are not followed */

#endif
