/*
 * ship_run.c - applying the journal's records to Redis, SHIP_WINDOW calls at a time.
 *
 * A call is good only behind the mark that the one before it leaves, so answers that are not as
 * expected make those behind them void: a new round begins at what Redis says it has.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/journal_read.h"
#include "consentd/keks.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "ship_priv.h"

static bool month_is_there(const struct ship *s, uint32_t month)
{
    for (unsigned i = 0; i < s->mark_cnt; i++)
        if (s->marks[i].month == month)
            return s->marks[i].there;
    return false;
}

static void on_rewritten(void *arg, const struct resp *reply)
{
    struct ship *s = arg;
    char path[1024];
    struct fault f;

    if (reply == NULL)
        return;
    if (resp_type(reply) == RESP_ERROR) { /* "already in progress" is as good */
        log_warn("ship.rewrite", "answer=\"%.*s\"", STR_ARGS(resp_str(reply)));
        if (str_find(resp_str(reply), STR("in progress")) < 0)
            return;
    }
    s->rewrite = false;
    ship_run_id_path(s, path, sizeof(path));
    if (!file_write_atomic(path, s->run_id, strlen(s->run_id), 0600, &f))
        log_warn("ship.rewrite", "error=\"%s\"", f.text);
}

static void caught_up(struct ship *s)
{
    const struct str argv[] = {STR("BGREWRITEAOF")};

    s->oldest_ts = 0;
    if (s->caught_up)
        return;
    s->caught_up = true;
    s->blocked = false;
    metric_set(METRIC_REDIS_BLOCKED, 0);
    s->error[0] = '\0';
    rlink_settled(s->link);
    log_info("ship.live", "records=%" PRIu64, s->leaf);
    if (s->ops.on_caught_up != NULL)
        s->ops.on_caught_up(s->owner);
    if (s->rewrite)
        (void)ship_send(s, argv, COUNT_OF(argv), on_rewritten);
}

void ship_from(struct ship *s)
{
    s->next = s->leaf;
    s->next_month = s->month;
    s->seek = true;
    s->round++;
}

void ship_calls_lost(struct ship *s)
{
    s->call_cnt = 0;
    ship_from(s);
}

/* The call whose answer this is: they come in the order of the calls. */
static struct ship_call take_call(struct ship *s)
{
    struct ship_call call = s->calls[0];

    ASSERT(s->call_cnt > 0);
    s->call_cnt--;
    memmove(s->calls, s->calls + 1, s->call_cnt * sizeof(s->calls[0]));
    if (s->call_cnt > 0)
        s->oldest_ts = s->calls[0].first_ts;
    return call;
}

static void take_error(struct ship *s, const struct ship_call *call, struct str error)
{
    bool script = str_find(error, STR("NOSCRIPT")) >= 0;
    bool gap = str_find(error, STR("GAP ")) >= 0 && ++s->gaps < 3;

    ship_from(s);
    if (script) {
        s->batch_gap = call->gap;
        ship_load_script(s);
    } else if (gap || str_find(error, STR("OWN ")) >= 0) {
        log_warn("ship.restart", "why=\"%.*s\"", STR_ARGS(error));
        ship_ask_info(s);
    } else {
        ship_stand_back(s, "apply", error);
    }
}

static void on_applied(void *arg, const struct resp *reply)
{
    struct ship *s = arg;
    struct ship_call call;
    uint64_t hw = 0;

    if (reply == NULL)
        return; /* on_down follows, or was here */
    call = take_call(s);
    if (call.round != s->round) {
        ship_pump(s);
    } else if (resp_type(reply) == RESP_ERROR) {
        take_error(s, &call, resp_str(reply));
    } else if (!str_to_u64(resp_str(resp_at(reply, 1)), RECORD_LEAF_MAX, &hw)) {
        ship_stand_back(s, "apply", STR("an answer without a mark"));
    } else {
        metric_add(METRIC_REDIS_APPLIED, (uint64_t)resp_int(resp_at(reply, 0)));
        s->gaps = 0;
        s->month = call.month;
        s->leaf = hw + 1;
        if (hw != call.last) /* it has more than we thought: go on behind it */
            ship_from(s);
        if (s->leaf > journal_next_leaf(s->journal))
            ship_ask_info(s);
        else
            ship_pump(s);
    }
}

/* Notes leaves that are lost in the journal and in Redis. */
static void note_gap(struct ship *s, uint64_t from, uint64_t to)
{
    log_error("ship.gap", "lost_from=%" PRIu64 " lost_to=%" PRIu64, from, to);
    s->gap_from = from;
    s->gap_to = to;
}

static bool collect_seek(struct ship *s)
{
    struct fault f;

    if (!s->seek)
        return true;
    if (!journal_reader_seek(s->rd, s->next, &f)) {
        log_error("ship.journal", "error=\"%s\"", f.text);
        return false;
    }
    s->seek = false;
    return true;
}

/*
 * Collects the next batch from the journal; false when there is nothing to send. The
 * reader stays where the batch ends; whatever spoils that sets `seek`.
 */
static bool collect(struct ship *s)
{
    uint64_t end = journal_next_leaf(s->journal);
    uint64_t until = s->next + SHIP_BATCH_RECORDS;
    enum journal_step step = JOURNAL_STEP_RECORD;
    struct journal_record rec;

    apply_begin(&s->apply);
    if (!collect_seek(s))
        return false;
    while (step == JOURNAL_STEP_RECORD || step == JOURNAL_STEP_GAP) {
        step = journal_reader_next(s->rd, until < end ? until : end, &rec);
        if (step == JOURNAL_STEP_GAP) { /* the next record's leaf tells how far */
            uint64_t from;

            journal_reader_gap(s->rd, &from, &until);
            until += SHIP_BATCH_RECORDS;
            continue;
        }
        if (step != JOURNAL_STEP_RECORD || !journal_type_has_leaf(rec.type))
            continue;
        if (s->apply.records == 0)
            s->first_ts = rec.ts_ms;
        if (!apply_add(&s->apply, &s->log, &rec)) {
            s->seek = true; /* it was taken from the reader and goes with the next batch */
            break;
        }
    }
    return s->apply.records > 0;
}

static void on_noted(void *arg, const struct resp *reply)
{
    struct ship *s = arg;

    /* "equal or smaller": it is there from before */
    if (resp_type(reply) == RESP_ERROR && str_find(resp_str(reply), STR("equal or smaller")) < 0)
        log_warn("ship.checkpoint", "error=\"%.*s\"", STR_ARGS(resp_str(reply)));
    if (reply == NULL)
        s->note_due = true;
}

/* A checkpoint in Redis says that Redis has its leaves: who finds fewer knows they were removed. */
static void send_note(struct ship *s)
{
    char key[SHIP_KEY_MAX], id[32];
    struct str argv[] = {STR("XADD"),           {NULL, 0}, STR("MAXLEN"), STR("~"),
                         STR(SHIP_CHECKPOINTS), {NULL, 0}, STR("n"),      buf_str(&s->note)};

    if (!s->note_due || s->leaf < s->note_size)
        return;
    (void)snprintf(key, sizeof(key), "c:cp:%s:%u", s->site, s->note_node);
    (void)snprintf(id, sizeof(id), "%" PRIu64 "-0", s->note_size);
    argv[1] = str_c(key);
    argv[5] = str_c(id);
    s->note_due = !rlink_command(s->link, argv, COUNT_OF(argv), on_noted, s);
}

void ship_checkpoint(struct ship *s, uint8_t node, uint64_t size, struct str note)
{
    s->note_node = node;
    buf_clear(&s->note);
    s->note_due = buf_append_str(&s->note, note);
    s->note_size = size;
    if (s->step == STEP_RUN)
        send_note(s);
}

/* Sends one call; false when there is nothing to send, or no way to. */
static bool send_call(struct ship *s)
{
    struct ship_call *call = &s->calls[s->call_cnt];
    uint64_t gap;
    bool fresh, sent;
    size_t argc;

    if (!collect(s))
        return false;
    gap = s->batch_gap < s->next ? s->batch_gap : s->next;
    if (gap < s->apply.first && (s->gap_to != s->apply.first || s->gap_from != gap))
        note_gap(s, gap, s->apply.first);
    fresh =
        s->next_month == 0 ? !month_is_there(s, s->apply.month) : s->next_month != s->apply.month;
    argc = apply_finish(&s->apply, &s->log, s->sha, fresh, gap, s->argv);
    *call = (struct ship_call){.last = s->apply.last,
                               .gap = s->batch_gap,
                               .first_ts = s->first_ts,
                               .month = s->apply.month,
                               .round = s->round};
    if (s->call_cnt++ == 0)
        s->oldest_ts = s->first_ts;
    s->batch_gap = UINT64_MAX;
    s->next = s->apply.last + 1;
    s->next_month = s->apply.month;
    sent = ship_send(s, s->argv, argc, on_applied);
    crypto_wipe(s->apply.text.data, s->apply.text.len); /* the secrets of the records */
    return sent;
}

/* A call beside another one is worth it only when it is full: what comes meanwhile goes along. */
static bool is_worth_it(const struct ship *s)
{
    uint64_t left = journal_next_leaf(s->journal) - s->next;

    return s->call_cnt == 0 ? left > 0 : s->call_cnt < SHIP_WINDOW && left >= SHIP_BATCH_RECORDS;
}

void ship_pump(struct ship *s)
{
    if (s->step != STEP_RUN)
        return;
    metric_set(METRIC_REDIS_LAG, journal_next_leaf(s->journal) - s->leaf);
    send_note(s);
    if (s->leaf >= journal_next_leaf(s->journal)) {
        caught_up(s);
        return;
    }
    while (s->step == STEP_RUN && is_worth_it(s))
        if (!send_call(s))
            return;
}
