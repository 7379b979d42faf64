/*
 * ledger_commit.c - from messages to one synced batch and its answers.
 *
 * Each message becomes a record (J, r, commitment, seal) or is recognised as a
 * repetition. Nothing is answered, and no eid counts as known, before journal_append
 * has returned; when it failed, grants are unavailable and narrowings are held.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/journal_read.h"
#include "consentd/json.h"
#include "consentd/keks.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/ship.h"
#include "consentd/suppressed.h"
#include "ledger_priv.h"

#define RETRY_MS 200 /* a failed journal is tried again this often */

/* --- queues ------------------------------------------------------------------------ */

bool item_push(struct item_queue *q, const struct item *item)
{
    if (q->cnt == q->max)
        return false;
    q->items[(q->head + q->cnt++) % q->max] = *item;
    return true;
}

bool item_pop(struct item_queue *q, struct item *out)
{
    if (q->cnt == 0)
        return false;
    *out = q->items[q->head];
    q->head = (q->head + 1) % q->max;
    q->cnt--;
    return true;
}

void item_queue_free(struct item_queue *q)
{
    struct item item;

    while (item_pop(q, &item))
        free(item.payload);
    free(q->items);
    q->items = NULL;
}

/* --- one record -------------------------------------------------------------------- */

/* What makes two events with one eid the same decision. */
static uint64_t choice_of(const struct ledger *l, const struct record_view *v)
{
    struct buf text;
    uint64_t hash;
    bool ok;

    buf_init(&text, 4096);
    ok = buf_printf(&text, "%d %u %.*s", (int)v->event.act, v->event.epoch,
                    STR_ARGS(v->event.host)) &&
         buf_append(&text, v->event.doc, sizeof(v->event.doc));
    for (unsigned i = 0; ok && i < v->grant_cnt; i++)
        ok = buf_printf(&text, "+%.*s", STR_ARGS(v->grants[i]));
    for (unsigned i = 0; ok && i < v->deny_cnt; i++)
        ok = buf_printf(&text, "-%.*s", STR_ARGS(v->denies[i]));
    ASSERT(ok);
    hash = str_hash(buf_str(&text), l->choice_key);
    buf_free(&text);
    return hash;
}

/* Seals l->text as the batch's next record. False: no key for the month. */
static bool add_record(struct ledger *l, uint8_t type, uint64_t ts_ms)
{
    struct journal_record *rec = &l->recs[l->rec_cnt];
    struct record_place at = {.node = l->node,
                              .leaf = journal_next_leaf(l->journal) + l->rec_cnt,
                              .month = record_month(ts_ms)};
    const uint8_t *kek = keks_get(l->keks, at.month);
    size_t len = l->text.len + CRYPTO_GCM_TAG_LEN;
    uint8_t *sealed = buf_reserve(&l->sealed, len);

    if (kek == NULL || sealed == NULL)
        return false;
    memset(rec, 0, sizeof(*rec));
    rec->type = type;
    rec->node = l->node;
    rec->month = at.month;
    rec->ts_ms = ts_ms;
    crypto_random(rec->r, sizeof(rec->r));
    record_commit(rec->r, buf_str(&l->text), rec->cmt);
    if (!record_seal(&at, kek, rec->r, buf_str(&l->text), sealed))
        return false;
    rec->sealed = str_make(sealed, len);
    buf_commit(&l->sealed, len);
    l->rec_cnt++;
    return true;
}

static void refuse(struct ledger *l, struct answer *a, const char *why)
{
    a->ack.status = LEDGER_REFUSED;
    l->refused++;
    log_warn("ledger.refused", "reason=%s", why);
}

static void fill_known(struct answer *a, const struct eid_entry *known, uint16_t grants)
{
    a->ack.status = LEDGER_RECORDED;
    a->ack.leaf = known->leaf;
    a->ack.ts_ms = known->ts_ms;
    a->ack.expires_s = known->expires_s;
    a->ack.epoch = known->epoch;
    a->ack.grants = grants;
    memcpy(a->ack.subject, known->subject, 16);
}

static bool is_repetition(struct ledger *l, struct answer *a, const struct ledger_event_msg *msg)
{
    const struct eid_entry *known = eids_find(l->eids, a->eid, a->choice);

    if (known == NULL || ((msg->flags & LEDGER_EVENT_NEW_SUBJECT) == 0 &&
                          memcmp(known->subject, msg->event.subject, 16) != 0))
        return false;
    a->ack.duplicate = 1;
    a->repetition = known->pending;
    fill_known(a, known, msg->event.grant);
    l->duplicates++;
    metric_add(METRIC_LEDGER_DUPLICATES, 1);
    return true;
}

/* "mail.unsubscribe:LIST" by an address tag: counts at once, durable with save_leaving. */
static bool note_leaving(struct ledger *l, const struct consent_event *ev, uint64_t ts_ms)
{
    struct str list = ev->method, kind;
    struct fault f = {{0}};
    bool ok;

    if (l->left == NULL || ev->act != CONSENT_UNSUBSCRIBE || !str_cut(&list, ':', &kind))
        return false;
    ok = suppressed_add(l->left, ev->subject, list, ts_ms, &f);
    if (!ok)
        log_error("unsubscribe.unsaved", "reason=\"%s\"", f.text);
    if (l->ship != NULL)
        ship_keep(l->ship);
    return ok;
}

/* False: not durable yet; what can't be written is tried again every second. */
static bool save_leaving(struct ledger *l)
{
    struct fault f = {{0}};

    if (l->left == NULL || suppressed_save(l->left, &f))
        return true;
    log_error("unsubscribe.unsaved", "reason=\"%s\"", f.text);
    return false;
}

/* Nothing is recorded of who was erased; that they leave a list as well is kept all the same. */
static void take_gone(struct ledger *l, struct answer *a, const struct consent_event *ev,
                      uint64_t ts_ms)
{
    if (!a->leaves) {
        refuse(l, a, "erased");
        return;
    }
    a->ack.status =
        note_leaving(l, ev, ts_ms) && save_leaving(l) ? LEDGER_RECORDED : LEDGER_UNAVAILABLE;
    a->ack.ts_ms = ts_ms;
}

/* Workers speak for visitors and their browsers; operators and ends are other records. */
static bool is_visitors(const struct consent_event *ev)
{
    return (ev->by == CONSENT_BY_SUBJECT || ev->by == CONSENT_BY_AGENT) &&
           ev->act != CONSENT_ERASE && ev->act != CONSENT_EXPIRE;
}

static void take_event(struct ledger *l, struct answer *a, uint64_t ts_ms)
{
    struct ledger_event_msg msg;
    struct record_view view;
    struct eid_entry entry = {.pending = true, .ts_ms = ts_ms};
    bool ok = ledger_event_decode(str_make(a->item.payload, a->item.len), &msg);

    a->ack.req_id = msg.req_id;
    if (!ok) {
        refuse(l, a, "format");
        return;
    }
    msg.event.ts_ms = ts_ms;
    a->narrows = (msg.flags & LEDGER_EVENT_NARROWS) != 0;
    a->leaves = msg.event.act == CONSENT_UNSUBSCRIBE;
    buf_clear(&l->text);
    if (ledger_is_gone(l, msg.event.subject)) {
        take_gone(l, a, &msg.event, ts_ms);
        return;
    }
    if (!is_visitors(&msg.event) || !record_canonical(&msg.event, msg.names, &l->text) ||
        record_parse(buf_str(&l->text), &view) != RECORD_EVENT) {
        refuse(l, a, "event");
        return;
    }
    memcpy(a->eid, msg.event.eid, 16);
    a->choice = choice_of(l, &view);
    if (is_repetition(l, a, &msg))
        return;
    a->ack.status = LEDGER_UNAVAILABLE;
    if ((l->low_space && !a->narrows) || !add_record(l, JOURNAL_EVENT, ts_ms))
        return;
    a->record = (int)l->rec_cnt - 1;
    record_sub_tag(l->idx_key, msg.event.subject, l->recs[a->record].sub_tag);
    memcpy(entry.eid, a->eid, 16);
    memcpy(entry.subject, msg.event.subject, 16);
    entry.choice = a->choice;
    entry.expires_s = msg.event.expires_s;
    entry.epoch = msg.event.epoch;
    entry.leaf = journal_next_leaf(l->journal) + (uint64_t)a->record;
    fill_known(a, eids_add(l->eids, &entry), msg.event.grant);
}

static void take_operator(struct ledger *l, struct answer *a, uint64_t ts_ms)
{
    struct buf canonical;
    struct str json;
    json_t *doc = NULL;

    buf_init(&canonical, RECORD_OPLOG_MAX);
    if (ledger_oplog_decode(str_make(a->item.payload, a->item.len), &a->ack.req_id, &json))
        doc = json_load_text("operator record", json, 0, NULL);
    buf_clear(&l->text);
    if (doc == NULL || !json_is_object(doc) || !json_canonical(doc, &canonical) ||
        !record_operator(buf_str(&canonical), ts_ms, &l->text)) {
        refuse(l, a, "operator-record");
    } else if (add_record(l, JOURNAL_OPERATOR, ts_ms)) {
        a->record = (int)l->rec_cnt - 1;
        a->ack.status = LEDGER_RECORDED;
        a->ack.leaf = journal_next_leaf(l->journal) + (uint64_t)a->record;
        a->ack.ts_ms = ts_ms;
    }
    json_decref(doc);
    buf_free(&canonical);
}

static void take_notice(struct ledger *l, struct answer *a, uint64_t ts_ms)
{
    buf_clear(&l->text);
    if (record_notice(str_make(a->item.payload, a->item.len), ts_ms, &l->text) &&
        add_record(l, JOURNAL_DOC, ts_ms)) {
        a->record = (int)l->rec_cnt - 1;
        a->ack.status = LEDGER_RECORDED;
        a->ack.leaf = journal_next_leaf(l->journal) + (uint64_t)a->record;
        a->ack.ts_ms = ts_ms;
    }
}

/* --- one batch --------------------------------------------------------------------- */

static bool batch_has_room(const struct ledger *l)
{
    size_t longest = JOURNAL_RECORD_HEAD + RECORD_OPLOG_MAX + CRYPTO_GCM_TAG_LEN;
    size_t used = l->sealed.len + (size_t)l->rec_cnt * JOURNAL_RECORD_HEAD;

    return l->rec_cnt < JOURNAL_BATCH_RECORDS && l->answer_cnt < TURN_ITEMS &&
           used + longest <= JOURNAL_BATCH_BYTES;
}

static bool next_item(struct ledger *l, bool with_held, struct item *out)
{
    return (with_held && item_pop(&l->held, out)) || fair_pop(&l->queue, out);
}

static void build_batch(struct ledger *l, uint64_t ts_ms, bool with_held)
{
    struct item item;

    l->rec_cnt = l->answer_cnt = 0;
    buf_clear(&l->sealed);
    while (batch_has_room(l) && next_item(l, with_held, &item)) {
        struct answer *a = &l->answers[l->answer_cnt++];

        memset(a, 0, sizeof(*a));
        a->record = -1;
        a->peer = item.peer;
        a->item = item;
        a->ack.node = l->log_node;
        if (item.notice)
            take_notice(l, a, ts_ms);
        else if (item.operator_record)
            take_operator(l, a, ts_ms);
        else
            take_event(l, a, ts_ms);
    }
}

/* The journal said no: what narrows is kept for later, the rest is not going to be. */
static void batch_failed(struct ledger *l)
{
    for (unsigned i = 0; i < l->answer_cnt; i++) {
        struct answer *a = &l->answers[i];

        if (a->record < 0 && !a->repetition)
            continue;
        if (a->record >= 0)
            eids_drop(l->eids, a->eid, a->choice);
        a->ack.status = LEDGER_UNAVAILABLE;
        a->ack.leaf = 0;
    }
}

/* Holds narrowings that found no place; their answer says so. peer 0: nobody waits any more. */
static void hold_narrowings(struct ledger *l)
{
    for (unsigned i = 0; i < l->answer_cnt; i++) {
        struct answer *a = &l->answers[i];

        if (a->ack.status == LEDGER_UNAVAILABLE && a->narrows && !a->repetition) {
            struct item kept = {.payload = a->item.payload, .len = a->item.len};

            if (item_push(&l->held, &kept)) {
                a->item.payload = NULL;
                a->ack.status = LEDGER_DEFERRED;
            } else {
                metric_add(METRIC_LEDGER_LOST, 1);
            }
        }
        if (a->ack.status == LEDGER_UNAVAILABLE)
            l->unavailable++;
    }
    metric_set(METRIC_LEDGER_HELD, l->held.cnt);
}

static void journal_refused(struct ledger *l)
{
    char text[64];

    log_error("ledger.failed", "error=\"%s\" records=%u", strerror_r(errno, text, sizeof(text)),
              l->rec_cnt);
    metric_add(METRIC_LEDGER_FAILED, 1);
    l->retry_ms = clock_mono_ms() + RETRY_MS;
}

static void answer_leaving(struct ledger *l, const struct answer *a)
{
    struct ledger_event_msg msg;

    if (ledger_event_decode(str_make(a->item.payload, a->item.len), &msg))
        (void)note_leaving(l, &msg.event, a->ack.ts_ms);
}

static void batch_synced(struct ledger *l)
{
    for (unsigned i = 0; i < l->answer_cnt; i++) {
        struct answer *a = &l->answers[i];
        struct eid_entry *known;

        if (a->record < 0)
            continue;
        known = eids_find(l->eids, a->eid, a->choice);
        if (known != NULL && !a->item.operator_record)
            known->pending = false;
        if (a->leaves)
            answer_leaving(l, a);
    }
    (void)save_leaving(l); /* of the whole batch; the journal has it in any case */
    l->recorded += l->rec_cnt;
    metric_add(METRIC_LEDGER_RECORDS, l->rec_cnt);
    metric_add(METRIC_LEDGER_BATCHES, 1);
}

static void answer_all(struct ledger *l)
{
    for (unsigned i = 0; i < l->answer_cnt; i++) {
        struct answer *a = &l->answers[i];

        if (a->item.payload != NULL)
            crypto_wipe(a->item.payload, a->item.len);
        free(a->item.payload);
        if (a->ack.status == LEDGER_RECORDED) /* of a repetition: the log of then */
            a->ack.node = restarts_node_of(&l->restarts, a->ack.leaf);
        if (a->peer == LEDGER_SELF && a->item.notice)
            ledger_notice_logged(l, &a->ack);
        else if (a->peer == LEDGER_SELF)
            ledger_erase_named(l, &a->ack);
        else if (a->peer != 0)
            l->ops.on_ack(l->owner, a->peer, &a->ack);
        crypto_wipe(a, sizeof(*a));
    }
    l->answer_cnt = 0;
}

static uint64_t next_ts(const struct ledger *l, uint64_t wall_ms)
{
    uint64_t last = journal_last_ts(l->journal);

    return wall_ms > last ? wall_ms : last;
}

bool ledger_commit_batch(struct ledger *l, uint64_t wall_ms)
{
    uint64_t ts_ms = next_ts(l, wall_ms);
    bool try_now = !journal_failed(l->journal) || clock_mono_ms() >= l->retry_ms;
    bool written = true;
    struct fault f;

    if (keks_get(l->keks, record_month(ts_ms)) == NULL && !keks_ensure(l->keks, ts_ms, &f))
        log_error("ledger.keks", "error=\"%s\"", f.text);
    build_batch(l, ts_ms, try_now);
    if (l->rec_cnt > 0) {
        ledger_index_used(l);
        written = try_now && journal_append(l->journal, l->recs, l->rec_cnt, wall_ms);
        if (written) {
            batch_synced(l);
        } else {
            if (try_now)
                journal_refused(l);
            batch_failed(l);
        }
    }
    hold_narrowings(l);
    answer_all(l);
    if (written)
        ledger_log_batch(l); /* nobody waits for it: the journal is what counts */
    buf_wipe(&l->text);
    crypto_wipe(l->recs, l->rec_cnt * sizeof(l->recs[0]));
    return l->queue.cnt > 0 || (written && l->held.cnt > 0 && l->rec_cnt > 0);
}

/* --- after a restart --------------------------------------------------------------- */

static void remember_one(struct ledger *l, const struct journal_record *rec)
{
    const uint8_t *kek = keks_get(l->keks, rec->month);
    struct record_place at = {.node = l->node, .leaf = rec->leaf, .month = rec->month};
    uint8_t json[RECORD_OPLOG_MAX];
    struct record_view view;
    struct eid_entry entry = {.leaf = rec->leaf, .ts_ms = rec->ts_ms};
    enum record_kind kind;
    struct str text;

    if ((rec->type != JOURNAL_EVENT && rec->type != JOURNAL_DOC) || kek == NULL ||
        !record_open(&at, kek, rec->r, rec->sealed, json))
        return;
    text = str_make(json, rec->sealed.len - CRYPTO_GCM_TAG_LEN);
    kind = record_parse(text, &view);
    if (kind == RECORD_NOTICE)
        ledger_notice_seen(l, text, rec->leaf, rec->ts_ms);
    if (kind != RECORD_EVENT)
        return;
    (void)note_leaving(l, &view.event, rec->ts_ms);
    if (ledger_is_gone(l, view.event.subject))
        return;
    memcpy(entry.eid, view.event.eid, 16);
    memcpy(entry.subject, view.event.subject, 16);
    entry.expires_s = view.event.expires_s;
    entry.epoch = view.event.epoch;
    entry.choice = choice_of(l, &view);
    (void)eids_add(l->eids, &entry);
}

void ledger_remember(struct ledger *l, const char *dir, uint64_t wall_ms)
{
    struct fault f;
    struct journal_reader *rd = journal_reader_open(dir, l->node, &f);
    struct journal_record rec;
    uint64_t from = wall_ms > LEDGER_EIDS_MS ? wall_ms - LEDGER_EIDS_MS : 0;
    uint64_t next = journal_next_leaf(l->journal); /* more than the newest aren't kept anyway */
    enum journal_step step;

    if (rd == NULL || !journal_reader_seek_time(rd, from, &f)) {
        log_error("ledger.remember", "error=\"%s\"", f.text);
        journal_reader_close(rd);
        return;
    }
    while ((step = journal_reader_next(rd, UINT64_MAX, &rec)) != JOURNAL_STEP_END &&
           step != JOURNAL_STEP_ERROR)
        if (step == JOURNAL_STEP_RECORD && rec.leaf + LEDGER_EIDS_MAX >= next)
            remember_one(l, &rec);
    (void)save_leaving(l);
    journal_reader_close(rd);
}
