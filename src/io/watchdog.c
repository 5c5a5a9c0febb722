/* SPDX-License-Identifier: MIT */
/* The watchdog: a POSIX timer on the processor time of this thread, whose
 * signal the kernel directs at this very thread. An idle thread uses no
 * processor time and is never woken. The signal is the last real-time one but
 * one (valgrind keeps the last); system calls are restarted.
 *
 * The state is per thread, not per process: a handler cannot be told more than
 * its thread.
 */
#include "io/internal.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* initial-exec: reading it in a handler never allocates. */
#define PER_THREAD \
    static _Thread_local __attribute__((tls_model("initial-exec")))
#define WATCHDOG_SIGNAL (SIGRTMAX - 1)

PER_THREAD void (*volatile on_tick)(void);
PER_THREAD timer_t clock_timer;

static void on_signal(int signum) {
    int kept = errno;
    void (*tick)(void) = on_tick;
    (void)signum;
    if (tick) tick();
    errno = kept;
}

int watchdog_start(unsigned period_ms, void (*tick)(void)) {
    if (on_tick) return RW_ESTATE;
    if (period_ms == 0) return RW_EINVAL;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(WATCHDOG_SIGNAL, &action, NULL) < 0) return -errno;

    sigset_t ours; /* a thread may have been born with all signals blocked */
    sigemptyset(&ours);
    sigaddset(&ours, WATCHDOG_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &ours, NULL);

    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = WATCHDOG_SIGNAL;
    event.sigev_notify_thread_id = gettid();
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &clock_timer) < 0)
        return -errno;

    struct timespec period = {.tv_sec = period_ms / 1000,
                              .tv_nsec = (long)(period_ms % 1000) * 1000000};
    struct itimerspec spec = {.it_interval = period, .it_value = period};
    on_tick = tick;
    if (timer_settime(clock_timer, 0, &spec, NULL) == 0) return 0;
    int rc = -errno;
    watchdog_stop();
    return rc;
}

void watchdog_stop(void) {
    if (!on_tick) return;
    timer_delete(clock_timer);
    on_tick = NULL; /* a signal that is still on its way finds nothing */
}
