/*
 * test_ledger.c - the engine: sequence, repetitions, restarts, a full disk; the wire format;
 * queries over the journal page by page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "consentd/clock.h"
#include "consentd/erased.h"
#include "consentd/journal.h"
#include "consentd/keks.h"
#include "consentd/ledger.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/query.h"
#include "consentd/suppressed.h"
#include "ledger_fixture.h"

#define MAX_ACKS 1000

struct bench {
    char dir[64], journal[80], keks[80];
    struct loop *loop;
    struct ledger *ledger;
    struct ledger_ack acks[MAX_ACKS];
    unsigned ack_cnt;
    bool erased;
    unsigned told; /* enum ledger_tell_status */
};

static const uint8_t idx_key[32] = {0x33};

static void on_ack(void *owner, uint64_t peer, const struct ledger_ack *ack)
{
    struct bench *b = owner;

    assert_int_equal(peer, 7);
    assert_true(b->ack_cnt < MAX_ACKS);
    b->acks[b->ack_cnt++] = *ack;
}

static struct ledger_config config_of(const struct bench *b)
{
    return (struct ledger_config){.journal_dir = b->journal,
                                  .keks_path = b->keks,
                                  .site = "www.example.org",
                                  .node = 1,
                                  .segment_size = JOURNAL_SEGMENT_MIN,
                                  .idx_key = idx_key};
}

static void start(struct bench *b)
{
    static const struct ledger_ops ops = {.on_ack = on_ack};
    const struct ledger_config cfg = config_of(b);
    struct fault f = {{0}};

    b->loop = loop_new();
    b->ledger = ledger_new(b->loop, &cfg, &ops, b, &f);
    if (b->ledger == NULL)
        print_error("%s\n", f.text);
    assert_non_null(b->ledger);
}

static void stop(struct bench *b)
{
    ledger_free(b->ledger);
    loop_poll(b->loop);
    loop_free(b->loop);
}

static void setup(struct bench *b)
{
    memset(b, 0, sizeof(*b));
    fixture_dir(b->dir);
    (void)snprintf(b->journal, sizeof(b->journal), "%s/journal", b->dir);
    (void)snprintf(b->keks, sizeof(b->keks), "%s/keks.json", b->dir);
    start(b);
}

static void teardown(struct bench *b)
{
    stop(b);
    fixture_remove(b->dir);
}

/* Runs the loop until so many acks are there, at most two seconds. */
static void wait_acks(struct bench *b, unsigned cnt)
{
    uint64_t until = clock_mono_ms() + 2000;

    while (b->ack_cnt < cnt && clock_mono_ms() < until)
        loop_poll(b->loop);
    assert_int_equal(b->ack_cnt, cnt);
}

static struct ledger_event_msg message(uint8_t n)
{
    struct ledger_event_msg msg = {.req_id = n, .event = fixture_event()};

    msg.flags = LEDGER_EVENT_NEW_SUBJECT;
    memcpy(msg.names, fixture_names, sizeof(msg.names));
    msg.event.eid[0] = n;
    return msg;
}

static void give(struct bench *b, const struct ledger_event_msg *msg)
{
    uint8_t out[LEDGER_EVENT_MSG_MAX];
    size_t len = ledger_event_encode(msg, out, sizeof(out));

    assert_true(len > 0);
    ledger_event(b->ledger, 7, str_make(out, len));
}

static const struct ledger_ack *give_one(struct bench *b, const struct ledger_event_msg *msg)
{
    unsigned before = b->ack_cnt;

    give(b, msg);
    wait_acks(b, before + 1);
    return &b->acks[before];
}

static void test_message_round_trip(void **state)
{
    struct ledger_event_msg msg = message(3), back;
    uint8_t out[LEDGER_EVENT_MSG_MAX];
    size_t len = ledger_event_encode(&msg, out, sizeof(out));

    UNUSED(state);
    assert_true(ledger_event_decode(str_make(out, len), &back));
    assert_memory_equal(back.event.eid, msg.event.eid, 16);
    assert_int_equal(back.event.prev_leaf, msg.event.prev_leaf);
    assert_true(str_eq(back.event.host, msg.event.host));
    assert_string_equal(back.names[1], "analytics");
    assert_null(back.names[3]);
    for (size_t cut = 0; cut < len; cut++)
        assert_false(ledger_event_decode(str_make(out, cut), &back));
    out[len] = 'x';
    assert_false(ledger_event_decode(str_make(out, len + 1), &back));
}

static void test_leaves_are_consecutive(void **state)
{
    struct bench b;

    UNUSED(state);
    setup(&b);
    for (unsigned i = 0; i < 200; i++) {
        struct ledger_event_msg msg = message((uint8_t)i);

        give(&b, &msg);
    }
    wait_acks(&b, 200);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(b.acks[i].status, LEDGER_RECORDED);
        assert_int_equal(b.acks[i].req_id, i);
        assert_int_equal(b.acks[i].leaf, i);
        assert_int_equal(b.acks[i].node, 1);
    }
    teardown(&b);
}

static void test_repetition_gets_the_first_answer(void **state)
{
    struct ledger_event_msg msg = message(1);
    struct ledger_ack first;
    const struct ledger_ack *again;
    struct bench b;

    UNUSED(state);
    setup(&b);
    give(&b, &msg);
    msg.req_id = 2; /* the same in the same batch, with another subject drawn */
    memset(msg.event.subject, 9, 16);
    give(&b, &msg);
    wait_acks(&b, 2);
    first = b.acks[0];
    assert_int_equal(b.acks[1].leaf, first.leaf);
    assert_int_equal(b.acks[1].duplicate, 1);
    assert_memory_equal(b.acks[1].subject, first.subject, 16);
    again = give_one(&b, &msg);
    assert_int_equal(again->leaf, first.leaf);
    assert_int_equal(again->ts_ms, first.ts_ms);
    assert_int_equal(again->grants, first.grants);
    stop(&b);
    start(&b); /* and after a restart */
    again = give_one(&b, &msg);
    assert_int_equal(again->duplicate, 1);
    assert_int_equal(again->leaf, first.leaf);
    assert_int_equal(again->ts_ms, first.ts_ms);
    assert_int_equal(again->expires_s, first.expires_s);
    assert_memory_equal(again->subject, first.subject, 16);
    teardown(&b);
}

static void test_other_choice_or_subject_is_a_new_record(void **state)
{
    struct ledger_event_msg msg = message(1);
    struct bench b;

    UNUSED(state);
    setup(&b);
    assert_int_equal(give_one(&b, &msg)->leaf, 0);
    msg.event.grant = 1;
    msg.event.deny = 6;
    assert_int_equal(give_one(&b, &msg)->leaf, 1);
    msg.flags = 0; /* a token names the subject: another visitor's eid opens nothing */
    memset(msg.event.subject, 9, 16);
    assert_int_equal(give_one(&b, &msg)->leaf, 2);
    teardown(&b);
}

static void test_invalid_is_refused(void **state)
{
    struct ledger_event_msg msg = message(1);
    struct bench b;

    UNUSED(state);
    setup(&b);
    ledger_event(b.ledger, 7, STR("short"));
    wait_acks(&b, 1);
    assert_int_equal(b.acks[0].status, LEDGER_REFUSED);
    msg.event.act = CONSENT_ACT_NONE;
    assert_int_equal(give_one(&b, &msg)->status, LEDGER_REFUSED);
    teardown(&b);
}

static void test_operator_record_takes_a_leaf(void **state)
{
    struct ledger_event_msg msg = message(1);
    uint8_t out[LEDGER_OPLOG_MSG_MAX];
    struct bench b;
    size_t len;

    UNUSED(state);
    setup(&b);
    assert_int_equal(give_one(&b, &msg)->leaf, 0);
    len = ledger_oplog_encode(5, STR("{\"who\":\"root\", \"did\":\"x\"}"), out, sizeof(out));
    ledger_oplog(b.ledger, 7, str_make(out, len));
    wait_acks(&b, 2);
    assert_int_equal(b.acks[1].status, LEDGER_RECORDED);
    assert_int_equal(b.acks[1].req_id, 5);
    assert_int_equal(b.acks[1].leaf, 1);
    len = ledger_oplog_encode(6, STR("[1]"), out, sizeof(out));
    ledger_oplog(b.ledger, 7, str_make(out, len));
    wait_acks(&b, 3);
    assert_int_equal(b.acks[2].status, LEDGER_REFUSED);
    teardown(&b);
}

static void test_full_disk_refuses_grants_and_holds_narrowings(void **state)
{
    struct rlimit before, low = {4096, 0};
    struct ledger_event_msg msg;
    struct ledger_status st;
    struct bench b;
    uint64_t until;

    UNUSED(state);
    setup(&b);
    for (uint8_t i = 0; i < 20; i++) {
        msg = message(i);
        assert_int_equal(give_one(&b, &msg)->status, LEDGER_RECORDED);
    }
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    low.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    msg = message(100);
    assert_int_equal(give_one(&b, &msg)->status, LEDGER_UNAVAILABLE);
    msg = message(101);
    msg.flags |= LEDGER_EVENT_NARROWS;
    assert_int_equal(give_one(&b, &msg)->status, LEDGER_DEFERRED);
    assert_int_equal(give_one(&b, &(struct ledger_event_msg){.req_id = 1})->status, LEDGER_REFUSED);
    ledger_status_get(b.ledger, &st);
    assert_int_equal(st.held, 1);
    assert_int_equal(st.failed, 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    until = clock_mono_ms() + 4000;
    do { /* the tick finds space again and journals what was held */
        loop_poll(b.loop);
        ledger_status_get(b.ledger, &st);
    } while (st.held > 0 && clock_mono_ms() < until);
    assert_int_equal(st.held, 0);
    assert_int_equal(st.next_leaf, 21);
    msg = message(100);
    assert_int_equal(give_one(&b, &msg)->leaf, 21);
    msg = message(101); /* the held one is known by its eid */
    assert_int_equal(give_one(&b, &msg)->leaf, 20);
    teardown(&b);
}

/* --- queries ----------------------------------------------------------------------------- */

struct pages {
    uint64_t leaves[MAX_ACKS];
    unsigned cnt;
};

static bool on_row(void *arg, const struct query_row *row)
{
    struct pages *p = arg;

    assert_int_equal(row->status, QUERY_ROW_OK);
    p->leaves[p->cnt++] = row->leaf;
    return true;
}

static unsigned ask(struct bench *b, struct query_spec spec, struct pages *p)
{
    struct fault f;
    struct keks *keks = keks_open(b->keks, false, &f);
    const struct query_log log = {
        .site = "www.example.org", .node = 1, .keks = keks, .idx_key = idx_key};
    char cursor[QUERY_CURSOR_LEN + 1] = "";
    struct query_end end;
    unsigned pages = 0;

    p->cnt = 0;
    do {
        spec.cursor = str_c(cursor);
        query_journal(b->journal, &log, &spec, on_row, p, &end);
        if (!end.ok)
            print_error("%s\n", end.fault.text);
        assert_true(end.ok);
        memcpy(cursor, end.cursor, sizeof(cursor));
        pages++;
    } while (end.more);
    if (pages > 1) { /* a cursor serves its own question only */
        spec.cursor = str_c(cursor);
        spec.gpc = QUERY_YES;
        query_journal(b->journal, &log, &spec, on_row, p, &end);
        assert_true(cursor[0] == '\0' || !end.ok);
    }
    keks_free(keks);
    return pages;
}

static void test_query_pages_and_filters(void **state)
{
    static struct pages p;
    struct query_spec spec = {.limit = 7};
    struct ledger_event_msg msg;
    struct bench b;

    UNUSED(state);
    setup(&b);
    for (unsigned i = 0; i < 250; i++) {
        msg = message((uint8_t)i);
        if (i % 10 == 0) {
            msg.event.act = CONSENT_REJECT_ALL;
            msg.event.grant = 1;
            msg.event.deny = 6;
        }
        msg.event.subject[0] = (uint8_t)(i % 50);
        give(&b, &msg);
    }
    wait_acks(&b, 250);
    assert_int_equal(ask(&b, spec, &p), 36);
    assert_int_equal(p.cnt, 250);
    for (unsigned i = 0; i < 250; i++)
        assert_int_equal(p.leaves[i], 249 - i);
    spec.oldest_first = true;
    (void)ask(&b, spec, &p);
    for (unsigned i = 0; i < 250; i++)
        assert_int_equal(p.leaves[i], i);
    spec.act = CONSENT_REJECT_ALL;
    (void)ask(&b, spec, &p);
    assert_int_equal(p.cnt, 25);
    spec.act = CONSENT_ACT_NONE;
    spec.purpose = STR("analytics");
    spec.granted = QUERY_YES;
    (void)ask(&b, spec, &p);
    assert_int_equal(p.cnt, 225);
    spec.granted = QUERY_NO;
    (void)ask(&b, spec, &p);
    assert_int_equal(p.cnt, 25);
    spec = (struct query_spec){.has_subject = true};
    msg = message(0);
    memcpy(spec.subject, msg.event.subject, 16);
    spec.subject[0] = 3;
    (void)ask(&b, spec, &p);
    assert_int_equal(p.cnt, 5);
    spec = (struct query_spec){.has_epoch = true, .epoch = 8};
    (void)ask(&b, spec, &p);
    assert_int_equal(p.cnt, 0);
    spec = (struct query_spec){.to_ms = b.acks[0].ts_ms};
    (void)ask(&b, spec, &p);
    assert_int_equal(p.cnt, 0);
    teardown(&b);
}

static void poll_ms(struct bench *b, uint64_t ms)
{
    uint64_t until = clock_mono_ms() + ms;

    while (clock_mono_ms() < until)
        loop_poll(b->loop);
}

static uint64_t records_of(const struct bench *b)
{
    struct ledger_status status;

    ledger_status_get(b->ledger, &status);
    return status.next_leaf;
}

/* A history that can't be written is tried again; the notice has its one leaf meanwhile. */
static void one_leaf(bool restarted)
{
    const struct ledger_notice notice = {
        .site = "www.example.org", .document = STR("{\"policy\":{\"version\":\"1\",\"epoch\":1}}")};
    static const struct ledger_ops ops = {.on_ack = on_ack};
    char folder[80], history[100];
    struct ledger_config cfg;
    struct ledger_notice_msg msg;
    struct fault f = {{0}};
    struct bench b;

    setup(&b);
    stop(&b);
    (void)snprintf(folder, sizeof(folder), "%s/notices", b.dir);
    (void)snprintf(history, sizeof(history), "%s/history.jsonl", folder);
    cfg = config_of(&b);
    cfg.notices_path = folder;
    cfg.notices = &notice;
    cfg.notice_cnt = 1;
    b.loop = loop_new();
    b.ledger = ledger_new(b.loop, &cfg, &ops, &b, &f);
    assert_non_null(b.ledger);
    assert_int_equal(mkdir(history, 0700), 0); /* no file can be put there */
    poll_ms(&b, 1500);
    assert_int_equal(records_of(&b), 1);
    assert_false(ledger_notice_get(b.ledger, 0, &msg));
    if (restarted) {
        stop(&b);
        assert_int_equal(rmdir(history), 0);
        b.loop = loop_new();
        b.ledger = ledger_new(b.loop, &cfg, &ops, &b, &f);
        assert_non_null(b.ledger);
    } else {
        assert_int_equal(rmdir(history), 0);
    }
    poll_ms(&b, 1500);
    assert_true(ledger_notice_get(b.ledger, 0, &msg));
    assert_int_equal(records_of(&b), 1);
    teardown(&b);
}

static void test_a_notice_has_one_leaf(void **state)
{
    UNUSED(state);
    one_leaf(false);
    one_leaf(true); /* the history was never written: the journal knows */
}

/* Before Redis' word, or the end of the wait for it, no number is given out, at the end neither. */
static void test_nothing_is_recorded_before_the_start(void **state)
{
    static const struct ledger_ops ops = {.on_ack = on_ack};
    struct ledger_event_msg msg = message(1);
    struct ledger_config cfg;
    struct fault f = {{0}};
    struct bench b;

    UNUSED(state);
    setup(&b);
    stop(&b);
    cfg = config_of(&b);
    cfg.redis_url = STR("unix:/nonexistent/redis.sock");
    b.loop = loop_new();
    b.ledger = ledger_new(b.loop, &cfg, &ops, &b, &f);
    assert_non_null(b.ledger);
    give(&b, &msg);
    poll_ms(&b, 100);
    stop(&b);
    start(&b);
    assert_int_equal(b.ack_cnt, 0);
    assert_int_equal(records_of(&b), 0);
    teardown(&b);
}

static void on_erased(void *owner, uint64_t peer, const struct ledger_erase_ack *ack)
{
    struct bench *b = owner;

    UNUSED(peer);
    assert_int_equal(ack->status, LEDGER_ERASE_ACCEPTED);
    b->erased = true;
}

static struct ledger_event_msg leaving(uint8_t n, const char *method)
{
    struct ledger_event_msg msg = message(n);

    msg.flags = LEDGER_EVENT_NARROWS;
    msg.event.act = CONSENT_UNSUBSCRIBE;
    msg.event.grant = 0;
    msg.event.has_prev = false;
    msg.event.method = str_c(method);
    return msg;
}

/* Whose records were erased may still leave another list: nothing is recorded, and it counts. */
static void test_the_erased_may_leave_lists(void **state)
{
    static const struct ledger_ops ops = {.on_ack = on_ack, .on_erased = on_erased};
    struct ledger_event_msg news = leaving(1, "mail.unsubscribe:news");
    struct ledger_event_msg offers = leaving(2, "mail.unsubscribe:offers");
    struct ledger_erase_msg erase = {
        .version = LEDGER_MSG_VERSION, .action = LEDGER_ERASE, .by = CONSENT_BY_OPERATOR};
    char list[80], left[80];
    struct suppressed *suppressed;
    struct ledger_config cfg;
    struct fault f = {{0}};
    struct bench b;
    uint64_t records;

    UNUSED(state);
    setup(&b);
    stop(&b);
    (void)snprintf(list, sizeof(list), "%s/erased", b.dir);
    (void)snprintf(left, sizeof(left), "%s/left", b.dir);
    cfg = config_of(&b);
    cfg.erased_path = list;
    cfg.suppressed_path = left;
    b.loop = loop_new();
    b.ledger = ledger_new(b.loop, &cfg, &ops, &b, &f);
    assert_non_null(b.ledger);
    assert_int_equal(give_one(&b, &news)->status, LEDGER_RECORDED);
    memcpy(erase.subject, news.event.subject, 16);
    ledger_erase(b.ledger, 7, str_make(&erase, sizeof(erase)));
    poll_ms(&b, 300);
    assert_true(b.erased);
    records = records_of(&b);
    assert_int_equal(give_one(&b, &offers)->status, LEDGER_RECORDED);
    assert_int_equal(records_of(&b), records);
    suppressed = suppressed_open(left, &f);
    assert_int_equal(suppressed_cnt(suppressed), 2);
    assert_true(suppressed_since(suppressed, offers.event.subject, STR("offers")) > 0);
    suppressed_free(suppressed);
    offers.event.eid[0] = 3;
    offers.event.act = CONSENT_REJECT_ALL;
    assert_int_equal(give_one(&b, &offers)->status, LEDGER_REFUSED);
    teardown(&b);
}

/* What a predecessor still writes before it lets go of the journal is known to who comes after. */
static void test_a_successor_knows_what_its_predecessor_did(void **state)
{
    static const struct ledger_ops ops = {.on_ack = on_ack, .on_erased = on_erased};
    struct ledger_event_msg news = leaving(1, "mail.unsubscribe:news");
    struct ledger_event_msg other = message(2);
    struct ledger_erase_msg erase = {
        .version = LEDGER_MSG_VERSION, .action = LEDGER_ERASE, .by = CONSENT_BY_OPERATOR};
    char list[80], left[80];
    struct ledger_config cfg;
    struct fault f = {{0}};
    struct bench b;
    int status = 0;
    pid_t pid;

    UNUSED(state);
    setup(&b);
    stop(&b);
    (void)snprintf(list, sizeof(list), "%s/erased", b.dir);
    (void)snprintf(left, sizeof(left), "%s/left", b.dir);
    cfg = config_of(&b);
    cfg.erased_path = list;
    cfg.suppressed_path = left;
    pid = fork();
    if (pid == 0) { /* comes while the other one works, and says what it knows */
        const struct timespec pause = {.tv_nsec = 300000000};
        const struct suppressed *known;
        struct ledger *next;

        cfg.lock_wait_ms = 10000;
        (void)nanosleep(&pause, NULL);
        next = ledger_new(loop_new(), &cfg, &ops, &b, &f);
        known = suppressed_open(left, &f);
        _exit(next == NULL                                  ? 9
              : erased_cnt(ledger_erased(next)) != 1        ? 1
              : known == NULL || suppressed_cnt(known) != 1 ? 2
                                                            : 0);
    }
    b.loop = loop_new();
    b.ledger = ledger_new(b.loop, &cfg, &ops, &b, &f);
    assert_non_null(b.ledger);
    memset(other.event.subject, 0x77, 16);
    memcpy(erase.subject, other.event.subject, 16);
    assert_int_equal(give_one(&b, &other)->status, LEDGER_RECORDED);
    poll_ms(&b, 1000);
    assert_int_equal(give_one(&b, &news)->status, LEDGER_RECORDED);
    ledger_erase(b.ledger, 7, str_make(&erase, sizeof(erase)));
    poll_ms(&b, 300);
    assert_true(b.erased);
    stop(&b);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    fixture_remove(b.dir);
}

/* No table in memory knows who was erased: the same event once more is another visitor's. */
static void test_the_erased_are_not_remembered(void **state)
{
    static const struct ledger_ops ops = {.on_ack = on_ack, .on_erased = on_erased};
    struct ledger_event_msg msg = message(1);
    struct ledger_erase_msg erase = {
        .version = LEDGER_MSG_VERSION, .action = LEDGER_ERASE, .by = CONSENT_BY_SUBJECT};
    const struct ledger_ack *ack;
    struct ledger_config cfg;
    struct fault f = {{0}};
    char list[80];
    struct bench b;

    UNUSED(state);
    setup(&b);
    stop(&b);
    (void)snprintf(list, sizeof(list), "%s/erased", b.dir);
    cfg = config_of(&b);
    cfg.erased_path = list;
    b.loop = loop_new();
    b.ledger = ledger_new(b.loop, &cfg, &ops, &b, &f);
    assert_non_null(b.ledger);
    assert_int_equal(give_one(&b, &msg)->status, LEDGER_RECORDED);
    memcpy(erase.subject, msg.event.subject, 16);
    ledger_erase(b.ledger, 7, str_make(&erase, sizeof(erase)));
    poll_ms(&b, 300);
    assert_true(b.erased);
    memset(msg.event.subject, 0x11, 16);
    ack = give_one(&b, &msg);
    assert_int_equal(ack->status, LEDGER_RECORDED);
    assert_false(ack->duplicate);
    assert_memory_equal(ack->subject, msg.event.subject, 16);
    teardown(&b);
}

/* A worker that somebody took over can't speak as an operator, nor end what others began. */
static void test_only_visitors_events(void **state)
{
    struct ledger_event_msg msg = message(1);
    struct bench b;

    UNUSED(state);
    setup(&b);
    msg.event.by = CONSENT_BY_OPERATOR;
    assert_int_equal(give_one(&b, &msg)->status, LEDGER_REFUSED);
    msg.event.by = CONSENT_BY_SUBJECT;
    msg.event.act = CONSENT_ERASE;
    assert_int_equal(give_one(&b, &msg)->status, LEDGER_REFUSED);
    msg.event.act = CONSENT_EXPIRE;
    assert_int_equal(give_one(&b, &msg)->status, LEDGER_REFUSED);
    msg.event.act = CONSENT_WITHDRAW;
    assert_int_equal(give_one(&b, &msg)->status, LEDGER_RECORDED);
    teardown(&b);
}

static void on_unavailable(void *owner, uint64_t peer, const struct ledger_erase_ack *ack)
{
    struct bench *b = owner;

    UNUSED(peer);
    b->erased = ack->status != LEDGER_ERASE_UNAVAILABLE;
}

static void on_tell(void *owner, uint64_t peer, const struct ledger_tell_head *head,
                    struct str text)
{
    struct bench *b = owner;

    UNUSED(peer);
    UNUSED(text);
    b->told = head->status;
}

static void start_with(struct bench *b, const uint8_t key[32], const char *list)
{
    static const struct ledger_ops ops = {
        .on_ack = on_ack, .on_erased = on_unavailable, .on_tell = on_tell};
    struct ledger_config cfg = config_of(b);
    struct fault f = {{0}};

    cfg.idx_key = key;
    cfg.erased_path = list;
    b->loop = loop_new();
    b->ledger = ledger_new(b->loop, &cfg, &ops, b, &f);
    assert_non_null(b->ledger);
}

/* With another key for the tags an erasure would miss the older records: it is not promised. */
static void test_another_index_key_promises_nothing(void **state)
{
    static const uint8_t other[32] = {9};
    struct ledger_event_msg msg = message(1), next = message(2);
    struct ledger_erase_msg erase = {
        .version = LEDGER_MSG_VERSION, .action = LEDGER_ERASE, .by = CONSENT_BY_SUBJECT};
    struct ledger_erase_msg nobody = erase;
    struct ledger_ask_msg ask = {.version = LEDGER_MSG_VERSION, .what = LEDGER_ASK_RECORDS};
    char list[80], mark[80];
    struct bench b;

    UNUSED(state);
    setup(&b);
    (void)snprintf(list, sizeof(list), "%s/erased", b.dir);
    memcpy(erase.subject, msg.event.subject, 16);
    memcpy(ask.subject, msg.event.subject, 16);
    assert_int_equal(give_one(&b, &msg)->status, LEDGER_RECORDED);
    stop(&b);
    start_with(&b, other, list);
    stop(&b);
    start_with(&b, idx_key, list); /* put back before anything was recorded */
    nobody.subject[0] ^= 1;
    ledger_erase(b.ledger, 7, str_make(&nobody, sizeof(nobody)));
    poll_ms(&b, 100);
    assert_true(b.erased);
    stop(&b);
    start_with(&b, other, list);
    assert_int_equal(give_one(&b, &next)->status, LEDGER_RECORDED);
    b.erased = true;
    ledger_erase(b.ledger, 7, str_make(&erase, sizeof(erase)));
    poll_ms(&b, 100);
    assert_false(b.erased);
    b.told = LEDGER_TELL_DONE;
    ledger_ask(b.ledger, 7, str_make(&ask, sizeof(ask)));
    poll_ms(&b, 100);
    assert_int_equal(b.told, LEDGER_TELL_UNAVAILABLE);
    stop(&b);
    start_with(&b, idx_key, list); /* put back too late: there are records of both */
    ledger_erase(b.ledger, 7, str_make(&erase, sizeof(erase)));
    poll_ms(&b, 100);
    assert_false(b.erased);
    stop(&b);
    (void)snprintf(mark, sizeof(mark), "%s/index-key", b.dir);
    assert_int_equal(unlink(mark), 0); /* the operator's word */
    start_with(&b, idx_key, list);
    b.erased = false;
    ledger_erase(b.ledger, 7, str_make(&erase, sizeof(erase)));
    poll_ms(&b, 100);
    assert_true(b.erased);
    teardown(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_round_trip),
        cmocka_unit_test(test_leaves_are_consecutive),
        cmocka_unit_test(test_repetition_gets_the_first_answer),
        cmocka_unit_test(test_other_choice_or_subject_is_a_new_record),
        cmocka_unit_test(test_invalid_is_refused),
        cmocka_unit_test(test_operator_record_takes_a_leaf),
        cmocka_unit_test(test_full_disk_refuses_grants_and_holds_narrowings),
        cmocka_unit_test(test_query_pages_and_filters),
        cmocka_unit_test(test_a_notice_has_one_leaf),
        cmocka_unit_test(test_nothing_is_recorded_before_the_start),
        cmocka_unit_test(test_the_erased_may_leave_lists),
        cmocka_unit_test(test_a_successor_knows_what_its_predecessor_did),
        cmocka_unit_test(test_the_erased_are_not_remembered),
        cmocka_unit_test(test_only_visitors_events),
        cmocka_unit_test(test_another_index_key_promises_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
