/* What every writer of files stands on: all of it is written, or the reason is told. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "consentd/file.h"

#define SIZE  100000
#define SMALL 40000 /* what a file may have under small_files() */

/* The kernel then takes a part of a write, and refuses the next one (EFBIG). */
static void small_files(bool on)
{
    struct rlimit limit;

    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = on ? SMALL : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static int new_file(void)
{
    char name[] = "/tmp/test-file-XXXXXX";
    int fd = mkstemp(name);

    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

static void test_all_is_written(void **state)
{
    uint8_t *bytes = malloc(SIZE), *back = malloc(SIZE);
    int fd = new_file();

    UNUSED(state);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    assert_true(file_write_all(fd, bytes, SIZE));
    assert_int_equal(pread(fd, back, SIZE, 0), SIZE);
    assert_memory_equal(bytes, back, SIZE);
    assert_true(file_write_all_at(fd, bytes + 5, 1000, 77));
    assert_int_equal(pread(fd, back, 2000, 0), 2000);
    assert_memory_equal(back, bytes, 77);
    assert_memory_equal(back + 77, bytes + 5, 1000);
    assert_memory_equal(back + 1077, bytes + 1077, 2000 - 1077);
    assert_true(file_write_all(fd, NULL, 0) && file_write_all_at(fd, NULL, 0, 0));
    close(fd);
    free(bytes);
    free(back);
}

static void test_a_part_is_not_all(void **state)
{
    uint8_t *bytes = calloc(1, SIZE);
    int fd = new_file();

    UNUSED(state);
    small_files(true);
    assert_false(file_write_all(fd, bytes, SIZE));
    assert_int_equal(errno, EFBIG);
    assert_int_equal(lseek(fd, 0, SEEK_END), SMALL);
    assert_false(file_write_all_at(fd, bytes, SIZE, 1));
    assert_int_equal(errno, EFBIG);
    small_files(false);
    close(fd);
    free(bytes);
}

static void test_a_full_disk_is_told(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    UNUSED(state);
    assert_true(fd >= 0);
    errno = 0;
    assert_false(file_write_all(fd, "x", 1));
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_written),
        cmocka_unit_test(test_a_part_is_not_all),
        cmocka_unit_test(test_a_full_disk_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
