/* test_spare.c - blocks come back, with room for what is asked, and within a limit. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "consentd/spare.h"

static void test_what_is_given_back_comes_again(void **state)
{
    static const size_t sizes[] = {0, 1, 24, 25, 40, 41, 500, 1048, 16385, SPARE_LARGE};

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *p = spare_alloc(sizes[i]);
        void *q;

        assert_non_null(p);
        memset(p, 'x', sizes[i]);
        spare_free(p);
        q = spare_alloc(sizes[i]);
        assert_ptr_equal(p, q);
        memset(q, 'y', sizes[i]);
        spare_free(q);
    }
}

static void test_any_order_keeps_what_is_in_it(void **state)
{
    enum { CNT = 600, ROUNDS = 20000 };
    static uint8_t *blocks[CNT];
    static size_t lens[CNT];
    uint32_t seed = 7;

    UNUSED(state);
    for (unsigned round = 0; round < ROUNDS; round++) {
        seed = seed * 1664525 + 1013904223;
        unsigned at = (seed >> 8) % CNT;
        size_t len = (seed >> 3) % 7 == 0 ? 16000 + (seed >> 20) % 2000 : (seed >> 20) % 1200;

        for (size_t i = 0; i < lens[at]; i++)
            assert_int_equal(blocks[at][i], (uint8_t)at);
        if ((seed >> 5) % 3 == 0) {
            spare_free(blocks[at]);
            blocks[at] = NULL;
            lens[at] = 0;
            continue;
        }
        blocks[at] = spare_realloc(blocks[at], len);
        assert_true(blocks[at] != NULL);
        for (size_t i = 0; i < len && i < lens[at]; i++)
            assert_int_equal(blocks[at][i], (uint8_t)at);
        memset(blocks[at], (uint8_t)at, len);
        lens[at] = len;
    }
    for (unsigned at = 0; at < CNT; at++)
        spare_free(blocks[at]);
}

static void test_it_is_the_heap(void **state)
{
    void *p = malloc(100);
    uint8_t *zero;

    UNUSED(state);
    assert_non_null(p);
    memset(p, 0xff, 100);
    spare_free(p); /* the heap's, kept here */
    zero = spare_calloc(10, 10);
    assert_non_null(zero);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(zero[i], 0);
    free(zero); /* ours, to the heap */
    assert_null(spare_calloc(SIZE_MAX / 2, 3));
    spare_free(NULL);
}

static void test_no_more_is_kept_than_allowed(void **state)
{
    enum { CNT = 3 * SPARE_KEEP_MAX / SPARE_LARGE };
    static void *blocks[CNT];

    UNUSED(state);
    for (unsigned i = 0; i < CNT; i++) {
        blocks[i] = spare_alloc(SPARE_LARGE);
        assert_non_null(blocks[i]);
    }
    for (unsigned i = 0; i < CNT; i++)
        spare_free(blocks[i]);
    for (unsigned i = 0; i < CNT; i++) { /* some are new: none of the kept ones comes twice */
        blocks[i] = spare_alloc(SPARE_LARGE);
        for (unsigned k = 0; k < i; k++)
            assert_ptr_not_equal(blocks[k], blocks[i]);
    }
    for (unsigned i = 0; i < CNT; i++)
        spare_free(blocks[i]);
}

static void test_twice_is_the_end(void **state)
{
    int status = 0;
    pid_t child = fork();

    UNUSED(state);
    assert_true(child >= 0);
    if (child == 0) {
        void *p = spare_alloc(100), *q = spare_alloc(100);

        spare_free(p);
        spare_free(q);
        spare_free(p);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_given_back_comes_again),
        cmocka_unit_test(test_any_order_keeps_what_is_in_it),
        cmocka_unit_test(test_it_is_the_heap),
        cmocka_unit_test(test_no_more_is_kept_than_allowed),
        cmocka_unit_test(test_twice_is_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
