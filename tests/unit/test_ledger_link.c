/* test_ledger_link.c - answers of the ledger to a worker's questions, and what bounds them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../proxy/serve/enforce_priv.h"
#include "../../proxy/serve/ledger_link.h"
#include "../../proxy/serve/serve_priv.h"
#include "consentd/exchange.h"
#include "consentd/ledger_msg.h"
#include "consentd/loop.h"

enum {
    ASKS_MAX = 64,       /* questions at a time, as ledger_link.c has it */
    FIRST_ID = 1u << 16, /* of a link's requests; the low bits are the slot */
    PIECE = 1u << 20     /* bytes */
};

static struct {
    unsigned calls;
    enum ledger_tell_status status;
    size_t len;
    char first, last;
} told[ASKS_MAX];

static struct exchange asker[ASKS_MAX]; /* only their addresses matter */

static void on_told(struct exchange *x, enum ledger_tell_status status, struct str text)
{
    size_t i = (size_t)(x - asker);

    told[i].calls++;
    told[i].status = status;
    told[i].len = text.len;
    told[i].first = text.len > 0 ? text.ptr[0] : '\0';
    told[i].last = text.len > 0 ? text.ptr[text.len - 1] : '\0';
}

struct fixture {
    struct server server;
    struct ledger_link *link;
    char *message;
};

static void start(struct fixture *fix)
{
    memset(fix, 0, sizeof(*fix));
    memset(told, 0, sizeof(told));
    fix->server.loop = loop_new();
    fix->link = ledger_link_new(&fix->server);
    fix->message = malloc(sizeof(struct ledger_tell_head) + PIECE);
    assert_non_null(fix->message);
}

static void stop(struct fixture *fix)
{
    ledger_link_free(fix->link);
    loop_free(fix->server.loop);
    free(fix->message);
}

/* The number that the question with this index, the nth of the link, went out under. */
static uint64_t id_of(unsigned nth)
{
    return (uint64_t)(nth + 1) * FIRST_ID + nth;
}

static void ask(struct fixture *fix, unsigned i)
{
    struct ledger_ask_msg msg = {0};

    assert_true(ledger_link_ask(fix->link, &asker[i], &msg, on_told));
}

/* A piece of len bytes of c for the nth question. */
static void tell(struct fixture *fix, unsigned nth, enum ledger_tell_status status, char c,
                 size_t len)
{
    struct ledger_tell_head head = {.req_id = id_of(nth), .status = status};

    memcpy(fix->message, &head, sizeof(head));
    memset(fix->message + sizeof(head), c, len);
    ledger_link_told(fix->link, str_make(fix->message, sizeof(head) + len));
}

static void test_pieces_are_one_answer(void **state)
{
    struct fixture fix;

    UNUSED(state);
    start(&fix);
    ask(&fix, 0);
    ask(&fix, 1);
    tell(&fix, 0, LEDGER_TELL_MORE, 'a', 10);
    tell(&fix, 1, LEDGER_TELL_DONE, 'x', 3);
    tell(&fix, 0, LEDGER_TELL_MORE, 'b', 10);
    assert_int_equal(told[0].calls, 0);
    tell(&fix, 0, LEDGER_TELL_DONE, 'c', 1);
    assert_int_equal(told[0].calls, 1);
    assert_int_equal(told[0].status, LEDGER_TELL_DONE);
    assert_int_equal(told[0].len, 21);
    assert_int_equal(told[0].first, 'a');
    assert_int_equal(told[0].last, 'c');
    assert_int_equal(told[1].len, 3);
    tell(&fix, 0, LEDGER_TELL_DONE, 'd', 1); /* nobody waits for it */
    assert_int_equal(told[0].calls, 1);
    stop(&fix);
}

static void test_an_answer_that_is_too_long_is_none(void **state)
{
    struct fixture fix;

    UNUSED(state);
    start(&fix);
    ask(&fix, 0);
    for (unsigned i = 0; i < LEDGER_TOLD_MAX / PIECE; i++)
        tell(&fix, 0, LEDGER_TELL_MORE, 'a', PIECE);
    assert_int_equal(told[0].calls, 0);
    tell(&fix, 0, LEDGER_TELL_MORE, 'a', 1);
    assert_int_equal(told[0].calls, 1);
    assert_int_equal(told[0].status, LEDGER_TELL_UNAVAILABLE);
    tell(&fix, 0, LEDGER_TELL_DONE, 'a', 1);
    assert_int_equal(told[0].calls, 1);
    stop(&fix);
}

/* As many whole answers as fit; who comes behind them asks again, and then there is room. */
static void test_all_answers_together_have_a_limit(void **state)
{
    enum { FIT = LEDGER_TOLD_ALL_MAX / LEDGER_TOLD_MAX };
    struct fixture fix;

    UNUSED(state);
    start(&fix);
    for (unsigned i = 0; i <= FIT; i++)
        ask(&fix, i);
    for (unsigned i = 0; i < FIT; i++) {
        for (unsigned k = 0; k < LEDGER_TOLD_MAX / PIECE; k++)
            tell(&fix, i, LEDGER_TELL_MORE, 'a', PIECE);
    }
    tell(&fix, FIT, LEDGER_TELL_MORE, 'z', 1);
    assert_int_equal(told[FIT].status, LEDGER_TELL_UNAVAILABLE);
    assert_int_equal(told[FIT].calls, 1);
    for (unsigned i = 0; i < FIT; i++) {
        tell(&fix, i, LEDGER_TELL_DONE, 'a', 0);
        assert_int_equal(told[i].status, LEDGER_TELL_DONE);
        assert_int_equal(told[i].len, LEDGER_TOLD_MAX);
    }
    ask(&fix, FIT);
    tell(&fix, FIT + 1, LEDGER_TELL_DONE, 'z', PIECE);
    assert_int_equal(told[FIT].calls, 2);
    assert_int_equal(told[FIT].status, LEDGER_TELL_DONE);
    assert_int_equal(told[FIT].len, PIECE);
    stop(&fix);
}

/* A ledger that comes back answers from the start, and what was half told counts no more. */
static void test_a_new_ledger_answers_anew(void **state)
{
    enum { TIMES = 2 * LEDGER_TOLD_ALL_MAX / PIECE / 7 };
    struct fixture fix;

    UNUSED(state);
    start(&fix);
    ask(&fix, 0);
    for (unsigned i = 0; i < TIMES; i++) {
        for (unsigned k = 0; k < 7; k++)
            tell(&fix, 0, LEDGER_TELL_MORE, 'a', PIECE);
        ledger_link_up(fix.link);
    }
    tell(&fix, 0, LEDGER_TELL_DONE, 'b', 5);
    assert_int_equal(told[0].calls, 1);
    assert_int_equal(told[0].status, LEDGER_TELL_DONE);
    assert_int_equal(told[0].len, 5);
    assert_int_equal(told[0].first, 'b');
    stop(&fix);
}

static void test_questions_have_a_limit(void **state)
{
    const struct ledger_ask_msg msg = {0};
    struct fixture fix;

    UNUSED(state);
    start(&fix);
    for (unsigned i = 0; i < ASKS_MAX; i++)
        ask(&fix, i);
    assert_false(ledger_link_ask(fix.link, &asker[0], &msg, on_told));
    ledger_link_forget(fix.link, &asker[7]);
    tell(&fix, 7, LEDGER_TELL_DONE, 'a', 1); /* its visitor has left */
    assert_int_equal(told[7].calls, 0);
    ask(&fix, 7);
    stop(&fix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_one_answer),
        cmocka_unit_test(test_an_answer_that_is_too_long_is_none),
        cmocka_unit_test(test_all_answers_together_have_a_limit),
        cmocka_unit_test(test_a_new_ledger_answers_anew),
        cmocka_unit_test(test_questions_have_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
