/* test_upstream.c - the pool of kept connections, with connections that are only flags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consentd/upstream.h"

struct origin_conn {
    bool stale;  /* the kernel would say so */
    bool closed; /* origin_conn_close() was called */
    bool moved;  /* origin_conn_is_stale() will say so */
    unsigned probes;
};

bool origin_conn_is_reusable(struct origin_conn *conn, bool probe)
{
    conn->probes += probe;
    return !probe || !conn->stale;
}

bool origin_conn_is_stale(struct origin_conn *conn)
{
    return conn->moved;
}

void origin_conn_close(struct origin_conn *conn)
{
    assert_false(conn->closed);
    conn->closed = true;
}

static const struct upstream_limits limits = {.max_idle = 2, .max_total = 3, .max_age_ms = 100};

static void test_slots_are_counted(void **state)
{
    struct upstream_pool *pool = upstream_pool_new(&limits);
    struct origin_conn *conn;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_true(upstream_has_slot(pool));
        assert_int_equal(upstream_take(pool, 0, true, &conn), UPSTREAM_DIAL);
        assert_null(conn);
    }
    assert_false(upstream_has_slot(pool));
    assert_int_equal(upstream_take(pool, 0, true, &conn), UPSTREAM_BUSY);
    assert_int_equal(upstream_take_new(pool), UPSTREAM_BUSY);
    assert_int_equal(upstream_out(pool), 3);
    for (int i = 0; i < 3; i++)
        upstream_drop(pool, NULL);
    assert_int_equal(upstream_out(pool), 0);
    upstream_pool_free(pool);
}

static void test_the_newest_is_taken_first(void **state)
{
    struct upstream_pool *pool = upstream_pool_new(&limits);
    struct origin_conn conns[3] = {{0}};
    struct origin_conn *conn;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(upstream_take(pool, 0, true, &conn), UPSTREAM_DIAL);
    for (unsigned i = 0; i < 3; i++)
        upstream_give(pool, &conns[i], i);
    assert_true(conns[2].closed); /* two are enough */
    assert_int_equal(upstream_idle(pool), 2);
    assert_int_equal(upstream_take(pool, 50, true, &conn), UPSTREAM_REUSE);
    assert_ptr_equal(conn, &conns[1]);
    upstream_give(pool, conn, 50);
    upstream_pool_free(pool);
    assert_true(conns[0].closed && conns[1].closed);
}

static void test_the_moved_ones_are_purged(void **state)
{
    struct upstream_limits many = {.max_idle = 4, .max_total = 4, .max_age_ms = 100};
    struct upstream_pool *pool = upstream_pool_new(&many);
    struct origin_conn conns[4] = {{.moved = true}, {0}, {.moved = true}, {0}};
    struct origin_conn *conn;

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(upstream_take_new(pool), UPSTREAM_DIAL);
    for (unsigned i = 0; i < 4; i++)
        upstream_give(pool, &conns[i], i);
    assert_int_equal(upstream_purge(pool), 2);
    assert_int_equal(upstream_purge(pool), 0);
    assert_true(conns[0].closed && conns[2].closed && !conns[1].closed && !conns[3].closed);
    assert_int_equal(upstream_take(pool, 50, true, &conn), UPSTREAM_REUSE);
    assert_ptr_equal(conn, &conns[3]);
    upstream_give(pool, conn, 50);
    upstream_pool_free(pool);
}

static void test_a_stale_one_is_passed_over(void **state)
{
    struct upstream_pool *pool = upstream_pool_new(&limits);
    struct origin_conn good = {0}, stale = {.stale = true};
    struct origin_conn *conn;

    (void)state;
    assert_int_equal(upstream_take_new(pool), UPSTREAM_DIAL);
    assert_int_equal(upstream_take_new(pool), UPSTREAM_DIAL);
    upstream_give(pool, &good, 10);
    upstream_give(pool, &stale, 10);
    assert_int_equal(upstream_take(pool, 50, false, &conn), UPSTREAM_REUSE);
    assert_ptr_equal(conn, &good);
    assert_true(stale.closed);
    assert_int_equal(good.probes, 1);
    upstream_give(pool, conn, 50);
    upstream_pool_free(pool);
}

static void test_a_fresh_one_is_probed_only_when_it_matters(void **state)
{
    struct upstream_pool *pool = upstream_pool_new(&limits);
    struct origin_conn one = {0};
    struct origin_conn *conn;

    (void)state;
    assert_int_equal(upstream_take_new(pool), UPSTREAM_DIAL);
    upstream_give(pool, &one, 10);
    assert_int_equal(upstream_take(pool, 11, false, &conn), UPSTREAM_REUSE);
    assert_int_equal(one.probes, 0);
    upstream_give(pool, conn, 11);
    assert_int_equal(upstream_take(pool, 11, true, &conn), UPSTREAM_REUSE);
    assert_int_equal(one.probes, 1);
    upstream_give(pool, conn, 11);
    assert_int_equal(upstream_take(pool, 11 + UPSTREAM_FRESH_MS, false, &conn), UPSTREAM_REUSE);
    assert_int_equal(one.probes, 2);
    upstream_drop(pool, conn);
    upstream_pool_free(pool);
}

static void test_old_ones_are_swept(void **state)
{
    struct upstream_pool *pool = upstream_pool_new(&limits);
    struct origin_conn old = {0}, young = {0};

    (void)state;
    assert_int_equal(upstream_take_new(pool), UPSTREAM_DIAL);
    assert_int_equal(upstream_take_new(pool), UPSTREAM_DIAL);
    upstream_give(pool, &old, 10);
    upstream_give(pool, &young, 60);
    assert_int_equal(upstream_sweep(pool, 110), 0);
    assert_int_equal(upstream_sweep(pool, 111), 1);
    assert_true(old.closed && !young.closed);
    upstream_forget(pool, &young);
    assert_true(young.closed);
    assert_int_equal(upstream_idle(pool), 0);
    upstream_pool_free(pool);
}

static void test_a_new_one_makes_room(void **state)
{
    const struct upstream_limits two = {.max_idle = 2, .max_total = 2, .max_age_ms = 100};
    struct upstream_pool *pool = upstream_pool_new(&two);
    struct origin_conn first = {0}, second = {0};

    (void)state;
    assert_int_equal(upstream_take_new(pool), UPSTREAM_DIAL);
    assert_int_equal(upstream_take_new(pool), UPSTREAM_DIAL);
    upstream_give(pool, &first, 1);
    upstream_give(pool, &second, 2);
    assert_int_equal(upstream_take_new(pool), UPSTREAM_DIAL);
    assert_true(first.closed && !second.closed);
    upstream_drop(pool, NULL);
    upstream_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_are_counted),
        cmocka_unit_test(test_the_newest_is_taken_first),
        cmocka_unit_test(test_the_moved_ones_are_purged),
        cmocka_unit_test(test_a_stale_one_is_passed_over),
        cmocka_unit_test(test_a_fresh_one_is_probed_only_when_it_matters),
        cmocka_unit_test(test_old_ones_are_swept),
        cmocka_unit_test(test_a_new_one_makes_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
