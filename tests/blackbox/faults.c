/*
 * faults.c - put before libc (LD_PRELOAD) by test_failures.py: makes writes and syncs fail and
 * moves the wall clock, as the test writes into the file $FAULTS, which is mapped:
 *
 *   int32 errno of fdatasync (0: works), int32 how often (-1: always)
 *   int32 errno of pwrite and fallocate, int32 how often
 *   int64 seconds that the wall clock is off
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct fault {
    volatile int32_t error, times;
};

static struct {
    struct fault sync, write;
    volatile int64_t clock_s;
} none, *faults = &none;

__attribute__((constructor)) static void map_faults(void)
{
    const char *path = getenv("FAULTS");
    int fd = path != NULL ? open(path, O_RDWR) : -1;

    if (fd >= 0) {
        void *p = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p != MAP_FAILED)
            faults = p;
        close(fd);
    }
}

static int fails(struct fault *f)
{
    if (f->error == 0 || f->times == 0)
        return 0;
    if (f->times > 0)
        f->times--;
    errno = f->error;
    return 1;
}

int fdatasync(int fd)
{
    static int (*real)(int);

    if (real == NULL)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return fails(&faults->sync) ? -1 : real(fd);
}

ssize_t pwrite64(int fd, const void *p, size_t len, off64_t off)
{
    static ssize_t (*real)(int, const void *, size_t, off64_t);

    if (real == NULL)
        real = (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    return fails(&faults->write) ? -1 : real(fd, p, len, off);
}

ssize_t pwrite(int fd, const void *p, size_t len, off_t off)
{
    return pwrite64(fd, p, len, off);
}

int fallocate64(int fd, int mode, off64_t off, off64_t len)
{
    static int (*real)(int, int, off64_t, off64_t);

    if (real == NULL)
        real = (int (*)(int, int, off64_t, off64_t))dlsym(RTLD_NEXT, "fallocate64");
    return fails(&faults->write) ? -1 : real(fd, mode, off, len);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
    return fallocate64(fd, mode, off, len);
}

int clock_gettime(clockid_t id, struct timespec *out)
{
    static int (*real)(clockid_t, struct timespec *);
    int result;

    if (real == NULL)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    result = real(id, out);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        out->tv_sec += faults->clock_s;
    return result;
}
