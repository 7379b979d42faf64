/* test_siblings.c - which workers count as beside this one, and who leaves a connection to whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "../../proxy/serve/serve_priv.h"
#include "consentd/ipc_msg.h"
#include "consentd/metrics.h"

enum { STARTS, SERVES, FINISHES };

#define SLOTS 6
#define OWN   2 /* our slot */

static void own(unsigned slot, uint64_t role, uint64_t generation, uint64_t state)
{
    const struct metrics_owner owner = {
        .pid = 100 + slot, .role = role, .generation = generation, .state = state};

    metrics_own(slot, &owner);
}

static void start(void)
{
    int fd = metrics_create(SLOTS);

    assert_true(fd >= 0 && metrics_attach(fd, OWN, SLOTS));
    close(fd);
    own(OWN, IPC_ROLE_WORKER, 1, SERVES);
}

static void test_whoever_serves_counts(void **state)
{
    struct siblings siblings = {0};

    UNUSED(state);
    start();
    siblings_look(&siblings);
    assert_int_equal(siblings.cnt, 0);
    own(1, IPC_ROLE_LEDGER, 1, SERVES);
    own(3, IPC_ROLE_WORKER, 1, STARTS);
    own(4, IPC_ROLE_WORKER, 1, FINISHES);
    siblings_look(&siblings);
    assert_int_equal(siblings.cnt, 0);
    own(3, IPC_ROLE_WORKER, 1, SERVES);
    siblings_look(&siblings);
    assert_int_equal(siblings.cnt, 1);
    assert_int_equal(siblings.slots[0], 3);
    metrics_release(3);
    siblings_look(&siblings);
    assert_int_equal(siblings.cnt, 0);
}

/* After a change that was taken back whoever is started has a later generation than the others. */
static void test_one_of_another_generation_serves_too(void **state)
{
    struct siblings siblings = {0};

    UNUSED(state);
    start();
    own(5, IPC_ROLE_WORKER, 3, SERVES);
    siblings_look(&siblings);
    assert_int_equal(siblings.cnt, 1);
    assert_int_equal(siblings.slots[0], 5);
    metric_set(METRIC_CLIENT_OPEN, 5);
    assert_false(siblings_let_us(&siblings)); /* it has none */
    metric_set(METRIC_CLIENT_OPEN, 4);
    assert_true(siblings_let_us(&siblings));
    metric_set(METRIC_CLIENT_OPEN, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whoever_serves_counts),
        cmocka_unit_test(test_one_of_another_generation_serves_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
