/* LD_PRELOADed, it sets the wall clock of one process off, and no other clock: by WRONG_CLOCK seconds, or by as many as
 * the file WRONG_CLOCK_FILE says at the moment, in eight bytes.
 * (libfaketime shifts the monotonic clock, too; told not to, it breaks Python's sleep and its waits with a time-out.) */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define LOOK_AGAIN (SECOND / 10)

static int64_t constant;
static const volatile int64_t *off = &constant;

__attribute__((constructor)) static void read_off(void)
{
    const char *seconds = getenv("WRONG_CLOCK"), *path = getenv("WRONG_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    constant = seconds ? atol(seconds) : 0;
    if (file >= 0) {
        void *shared = mmap(NULL, sizeof *off, PROT_READ, MAP_SHARED, file, 0);
        if (shared != MAP_FAILED)
            off = shared;
        close(file);
    }
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        at->tv_sec += *off;
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

static int64_t nanoseconds(const struct timespec *at)
{
    return at->tv_sec * SECOND + at->tv_nsec;
}

/* The kernel would wait until its own clock says so. As where a true clock is set back, a wait lasts longer by as much,
 * which whoever waits finds out by looking at the clock again: any wait may end early. */
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until)
{
    struct timespec now;
    if (until->tv_sec < SECOND) /* seconds since the machine's start: this condition goes by the monotonic clock */
        return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, until);
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t left = nanoseconds(until) - nanoseconds(&now);
    int64_t wait = left < 0 ? 0 : left < LOOK_AGAIN ? left : LOOK_AGAIN;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t end = nanoseconds(&now) + wait;
    struct timespec soon = {.tv_sec = end / SECOND, .tv_nsec = end % SECOND};
    int result = pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &soon);
    return result == ETIMEDOUT && wait < left ? 0 : result;
}
