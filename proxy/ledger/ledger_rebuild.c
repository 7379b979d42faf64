/*
 * ledger_rebuild.c - records that Redis has and the journal has lost: its newest batch rotted, or
 * it came back from a backup. They are read from Redis, sealed again for the journal, and appended
 * under the numbers that they had, before anything new gets one.
 *
 * Only what this machine itself brought to Redis is taken (ship.h tells), only at the start, and
 * only in one piece: where a record can't be read and the log has no entry of it either, the rest
 * stays where it is and the shipper says why. The Merkle log is taken up afterwards and compares
 * every commitment with what was signed.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/keks.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/query.h"
#include "consentd/ship.h"
#include "ledger_priv.h"

struct rebuild {
    struct ledger *ledger;
    struct query *query; /* NULL between two pages */
    struct query_log log;
    struct query_spec spec;
    char cursor[QUERY_CURSOR_LEN + 1];
    struct deferred page;
    uint64_t from, to; /* leaves that are missing: [from, to) */
    bool failed;
    unsigned cnt; /* of the batch */
    struct journal_record recs[JOURNAL_BATCH_RECORDS];
    struct buf sealed; /* of these; reserved once, never moves */
};

static void finish(struct rebuild *r)
{
    struct ledger *l = r->ledger;
    uint64_t next = journal_next_leaf(l->journal);

    if (next > r->from)
        log_warn("journal.rebuilt", "from=%llu to=%llu reason=\"Redis had them\"",
                 (unsigned long long)r->from, (unsigned long long)next);
    if (next < r->to)
        ledger_missing(l, next, r->to, "Redis has them, but not in one piece");
    ledger_rebuild_close(l);
    ledger_ready(l);
    ship_again(l->ship);
}

static void flush(struct rebuild *r)
{
    struct ledger *l = r->ledger;

    if (r->cnt > 0 && !journal_append(l->journal, r->recs, r->cnt, clock_wall_ms()))
        r->failed = true;
    r->cnt = 0;
    buf_clear(&r->sealed);
}

/* A leaf that was erased in Redis: its entry in the log says what its commitment was. */
static bool fill_erased(struct rebuild *r, uint64_t leaf, uint64_t ts_ms,
                        struct journal_record *rec)
{
    char *path = file_resolve(r->ledger->dir, "tlog");
    const struct tlog_dir dir = {.path = path, .size = r->ledger->signed_size};
    bool ok = erased_has(r->log.erased, leaf) && leaf < dir.size &&
              tlog_entry(&dir, leaf, rec->cmt, NULL);

    free(path);
    rec->type = JOURNAL_EVENT;
    rec->flags = JOURNAL_FLAG_ERASED;
    rec->ts_ms = ts_ms;
    rec->month = record_month(ts_ms);
    return ok;
}

static bool fill(struct rebuild *r, const struct query_row *row, struct journal_record *rec)
{
    struct record_place at = {
        .node = r->ledger->node, .leaf = row->leaf, .month = record_month(row->ts_ms)};
    const uint8_t *kek = keks_get(r->ledger->keks, at.month);
    size_t len = row->json.len + CRYPTO_GCM_TAG_LEN;
    uint8_t *sealed = buf_reserve(&r->sealed, len);

    if (row->status != QUERY_ROW_OK || kek == NULL || sealed == NULL ||
        !record_seal(&at, kek, row->r, row->json, sealed))
        return false;
    rec->type = row->kind == RECORD_OPERATOR ? JOURNAL_OPERATOR
                : row->kind == RECORD_NOTICE ? JOURNAL_DOC
                                             : JOURNAL_EVENT;
    rec->ts_ms = row->ts_ms;
    rec->month = at.month;
    memcpy(rec->r, row->r, sizeof(rec->r));
    memcpy(rec->cmt, row->cmt, sizeof(rec->cmt));
    if (row->kind == RECORD_EVENT)
        record_sub_tag(r->ledger->idx_key, row->view.event.subject, rec->sub_tag);
    rec->sealed = str_make(sealed, len);
    buf_commit(&r->sealed, len);
    return true;
}

static struct journal_record *next_record(struct rebuild *r)
{
    struct journal_record *rec;

    if (r->cnt == JOURNAL_BATCH_RECORDS || r->sealed.len +
                                                   (size_t)(r->cnt + 2) * JOURNAL_RECORD_HEAD +
                                                   RECORD_OPLOG_MAX + CRYPTO_GCM_TAG_LEN >
                                               JOURNAL_BATCH_BYTES)
        flush(r);
    rec = &r->recs[r->cnt];
    memset(rec, 0, sizeof(*rec));
    rec->node = r->ledger->node;
    return rec;
}

static bool on_row(void *arg, const struct query_row *row)
{
    struct rebuild *r = arg;
    uint64_t next = journal_next_leaf(r->ledger->journal) + r->cnt;

    if (row->leaf < next || r->failed)
        return true; /* before the range; or it is over */
    for (; next < row->leaf && !r->failed; next++)
        if (fill_erased(r, next, row->ts_ms, next_record(r)))
            r->cnt++;
        else
            r->failed = true;
    if (!r->failed && fill(r, row, next_record(r)))
        r->cnt++;
    else
        r->failed = true;
    return true;
}

static void on_end(void *arg, const struct query_end *end)
{
    struct rebuild *r = arg;

    r->query = NULL;
    flush(r);
    if (!end->ok)
        log_error("journal.rebuild", "error=\"%s\"", end->fault.text);
    memcpy(r->cursor, end->cursor, sizeof(r->cursor));
    r->failed = r->failed || !end->ok || !end->more;
    loop_defer(r->ledger->loop, &r->page);
}

/* The next page, or the end: not from inside a query's callback. */
static void on_page(void *arg)
{
    static const struct query_ops ops = {.on_row = on_row, .on_end = on_end};
    struct rebuild *r = arg;
    struct fault f = {{0}};

    if (!r->failed && journal_next_leaf(r->ledger->journal) < r->to) {
        r->spec.cursor = str_c(r->cursor);
        r->query = query_redis(ship_link(r->ledger->ship), &r->log, &r->spec, &ops, r, &f);
        if (r->query != NULL)
            return;
        log_error("journal.rebuild", "error=\"%s\"", f.text);
    }
    finish(r);
}

bool ledger_rebuild(struct ledger *l, uint64_t to)
{
    uint64_t last = journal_last_ts(l->journal);
    struct rebuild *r;

    if (l->ready || l->rebuild != NULL || to - journal_next_leaf(l->journal) > LEDGER_REBUILD_MAX)
        return false;
    r = mem_new(struct rebuild);
    r->ledger = l;
    r->from = journal_next_leaf(l->journal);
    r->to = to;
    r->log = (struct query_log){.site = l->site,
                                .node = l->node,
                                .keks = l->keks,
                                .idx_key = l->idx_key,
                                .erased = ledger_erased(l)};
    r->spec = (struct query_spec){.oldest_first = true, .limit = QUERY_LIMIT_MAX, .from_ms = last};
    r->page = (struct deferred){.fn = on_page, .arg = r};
    buf_init(&r->sealed, JOURNAL_BATCH_BYTES);
    ASSERT(buf_reserve(&r->sealed, JOURNAL_BATCH_BYTES) != NULL);
    l->rebuild = r;
    timer_clear(&l->gate); /* finish() opens it: nothing new gets a number of these leaves */
    log_warn("journal.rebuild", "from=%llu to=%llu", (unsigned long long)r->from,
             (unsigned long long)to);
    loop_defer(l->loop, &r->page);
    return true;
}

void ledger_rebuild_close(struct ledger *l)
{
    struct rebuild *r = l->rebuild;

    if (r == NULL)
        return;
    l->rebuild = NULL;
    loop_undefer(l->loop, &r->page);
    query_cancel(r->query);
    buf_free(&r->sealed);
    free(r);
}
