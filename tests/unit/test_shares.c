/*
 * test_shares.c - whoever sends to the ledger without end is held up by himself alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "consentd/journal.h"
#include "consentd/ledger.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "ledger_fixture.h"

enum { FLOOD = 7, OTHER = 8 };

struct shares {
    char dir[64], journal[96], keks[96], erased[96];
    struct loop *loop;
    struct ledger *ledger;
    unsigned recorded[2], refused[2]; /* of the one who floods, of the other one */
    unsigned told[2], not_told[2];
    unsigned order; /* answers that the other one waited for */
    bool ready;
};

static const uint8_t idx_key[32] = {0x33};

static void on_ack(void *owner, uint64_t peer, const struct ledger_ack *ack)
{
    struct shares *s = owner;

    (ack->status == LEDGER_RECORDED ? s->recorded : s->refused)[peer == OTHER]++;
}

static void on_tell(void *owner, uint64_t peer, const struct ledger_tell_head *head,
                    struct str text)
{
    struct shares *s = owner;

    UNUSED(text);
    if (head->status == LEDGER_TELL_UNAVAILABLE)
        s->not_told[peer == OTHER]++;
    else if (head->status != LEDGER_TELL_MORE)
        s->told[peer == OTHER]++;
    if (peer == OTHER)
        s->order = s->told[0];
}

static void on_erased(void *owner, uint64_t peer, const struct ledger_erase_ack *ack)
{
    struct shares *s = owner;

    (ack->status == LEDGER_ERASE_ACCEPTED ? s->recorded : s->refused)[peer == OTHER]++;
    if (peer == OTHER)
        s->order = s->recorded[0];
}

static void on_ready(void *owner)
{
    struct shares *s = owner;

    s->ready = true;
}

static void setup(struct shares *s)
{
    static const struct ledger_ops ops = {
        .on_ack = on_ack, .on_ready = on_ready, .on_tell = on_tell, .on_erased = on_erased};
    struct ledger_config cfg = {.site = "www.example.org",
                                .node = 1,
                                .segment_size = JOURNAL_SEGMENT_MIN,
                                .idx_key = idx_key};
    struct fault f = {{0}};

    memset(s, 0, sizeof(*s));
    fixture_dir(s->dir);
    (void)snprintf(s->journal, sizeof(s->journal), "%s/journal", s->dir);
    (void)snprintf(s->keks, sizeof(s->keks), "%s/keks.json", s->dir);
    (void)snprintf(s->erased, sizeof(s->erased), "%s/erased.lst", s->dir);
    cfg.journal_dir = s->journal;
    cfg.keks_path = s->keks;
    cfg.erased_path = s->erased;
    s->loop = loop_new();
    s->ledger = ledger_new(s->loop, &cfg, &ops, s, &f);
    assert_non_null(s->ledger);
    while (!s->ready)
        loop_poll(s->loop);
}

static void teardown(struct shares *s)
{
    ledger_free(s->ledger);
    loop_poll(s->loop);
    loop_free(s->loop);
    fixture_remove(s->dir);
}

static void choose(struct shares *s, uint64_t peer, unsigned n)
{
    struct ledger_event_msg msg = {
        .req_id = n + 1, .flags = LEDGER_EVENT_NEW_SUBJECT, .event = fixture_event()};
    uint8_t out[LEDGER_EVENT_MSG_MAX];

    memcpy(msg.names, fixture_names, sizeof(msg.names));
    msg.event.eid[0] = (uint8_t)peer;
    memcpy(msg.event.eid + 4, &n, sizeof(n));
    ledger_event(s->ledger, peer, str_make(out, ledger_event_encode(&msg, out, sizeof(out))));
}

/* What the other one sends is in the next batch, whatever waits; too much of one is refused. */
static void test_decisions(void **state)
{
    struct shares s;
    unsigned sent = 0, others = 0;

    UNUSED(state);
    setup(&s);
    for (; sent < LEDGER_LANE_MAX + 500; sent++)
        choose(&s, FLOOD, sent);
    assert_int_equal(s.refused[0], 500);
    for (unsigned turn = 0; turn < 20; turn++) {
        for (unsigned i = 0; i < 300; i++)
            choose(&s, FLOOD, sent++);
        choose(&s, OTHER, others++);
        choose(&s, OTHER, others++);
        loop_poll(s.loop);
        assert_int_equal(s.recorded[1], others);
    }
    assert_int_equal(s.refused[1], 0);
    while (s.recorded[0] + s.refused[0] < sent)
        loop_poll(s.loop);
    assert_true(s.recorded[0] >= LEDGER_LANE_MAX);
    teardown(&s);
}

/* When all together are too many, those with less than their share still get in. */
static void test_many_floods(void **state)
{
    struct shares s;

    UNUSED(state);
    setup(&s);
    for (uint64_t peer = 100; peer < 110; peer++)
        for (unsigned i = 0; i < LEDGER_LANE_MAX; i++)
            choose(&s, peer, i);
    assert_true(s.refused[0] > 0);
    for (unsigned i = 0; i < 100; i++)
        choose(&s, OTHER, i);
    assert_int_equal(s.refused[1], 0);
    teardown(&s);
}

static void ask(struct shares *s, uint64_t peer, unsigned n)
{
    struct ledger_ask_msg msg = {
        .req_id = n + 1, .version = LEDGER_MSG_VERSION, .what = LEDGER_ASK_RECORDS};

    msg.subject[0] = (uint8_t)peer;
    ledger_ask(s->ledger, peer, str_make(&msg, sizeof(msg)));
}

static void erase(struct shares *s, uint64_t peer, unsigned n)
{
    struct ledger_erase_msg msg = {.req_id = n + 1,
                                   .version = LEDGER_MSG_VERSION,
                                   .action = LEDGER_ERASE,
                                   .by = CONSENT_BY_SUBJECT};

    msg.subject[0] = (uint8_t)peer;
    memcpy(msg.subject + 4, &n, sizeof(n));
    ledger_erase(s->ledger, peer, str_make(&msg, sizeof(msg)));
}

/* Questions and erasures are worked on one at a time: the other one's is the second. */
static void test_questions_and_erasures(void **state)
{
    struct shares s;

    UNUSED(state);
    setup(&s);
    for (unsigned i = 0; i < 1000; i++)
        ask(&s, FLOOD, i);
    assert_in_range(s.not_told[0], 1, 999);
    ask(&s, OTHER, 0);
    while (s.told[1] + s.not_told[1] == 0)
        loop_poll(s.loop);
    assert_int_equal(s.told[1], 1);
    assert_in_range(s.order, 0, 2);
    while (s.told[0] + s.not_told[0] < 1000)
        loop_poll(s.loop);
    for (unsigned i = 0; i < 1000; i++)
        erase(&s, FLOOD, i);
    assert_in_range(s.refused[0], 1, 999);
    erase(&s, OTHER, 0);
    while (s.recorded[1] + s.refused[1] == 0)
        loop_poll(s.loop);
    assert_int_equal(s.recorded[1], 1);
    assert_in_range(s.order, 0, 2);
    teardown(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_many_floods),
        cmocka_unit_test(test_questions_and_erasures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
