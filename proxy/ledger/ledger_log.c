/*
 * ledger_log.c - the Merkle log behind the journal: each synced leaf becomes an entry, once a
 * second the tree is signed (note.h).
 *
 * The journal is what counts. What was signed was durable: when the journal ends before it, those
 * records rotted or were taken away; the log goes on behind them from its own entries, their
 * numbers are not given out again, and the alarm says so. A log that can't go on (a file is
 * missing, the tree contradicts what was signed) is not signed any more, which is said in the log,
 * in the metrics and by whoever verifies it; consent is recorded all the same. The cure is a new
 * "ledger.node": a new log, whose beginning everybody sees.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/clock.h"
#include "consentd/file.h"
#include "consentd/journal_read.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/ship.h"
#include "consentd/sinks.h"
#include "ledger_priv.h"

static void refuse(struct ledger *l, const struct fault *f)
{
    log_error("log.refused", "reason=\"%s\" cure=\"a new ledger.node begins a new log\"", f->text);
    metric_set(METRIC_LOG_REFUSED, 1);
    tlog_free(l->log);
    l->log = NULL;
}

/* The newest checkpoint goes to everybody who keeps them. */
static void hand_on(struct ledger *l)
{
    struct str note = tlog_note(l->log);

    if (note.len > 0 && l->sinks != NULL)
        sinks_push(l->sinks, tlog_signed(l->log), note);
    if (note.len > 0 && l->ship != NULL)
        ship_checkpoint(l->ship, tlog_signed(l->log), note);
}

/* The leaves that the journal has and the tiles have not. */
static bool catch_up(struct ledger *l, const char *dir, struct fault *f)
{
    uint64_t next = journal_next_leaf(l->journal);
    struct journal_reader *rd;
    struct journal_record rec;
    bool ok = true;

    if ((tlog_signed(l->log) > next || journal_first_leaf(l->journal) > tlog_size(l->log)) &&
        !tlog_add_known(l->log, f))
        return false;
    if (tlog_signed(l->log) > next) {
        ledger_missing(l, next, tlog_signed(l->log), "they were signed");
        next = tlog_signed(l->log);
        if (journal_skip_to(l->journal, next, clock_wall_ms()))
            return true;
        fault_set(f, "the journal can't be continued behind them");
        return false;
    }
    if (tlog_size(l->log) == next)
        return true;
    rd = journal_reader_open(dir, l->node, f);
    ok = rd != NULL && journal_reader_seek(rd, tlog_size(l->log), f);
    while (ok && journal_reader_next(rd, next, &rec) == JOURNAL_STEP_RECORD)
        if (journal_type_has_leaf(rec.type))
            ok = tlog_add(l->log, rec.leaf, rec.cmt, f);
    journal_reader_close(rd);
    if (ok && tlog_size(l->log) != next) {
        fault_set(f, "leaves from %llu on can't be read", (unsigned long long)tlog_size(l->log));
        ok = false;
    }
    return ok;
}

void ledger_log_peek(struct ledger *l, const struct ledger_config *cfg)
{
    char *path = file_resolve(l->dir, "tlog");
    struct merkle_tree tree = {0};
    struct buf text;

    metric_set(METRIC_LOG_REFUSED, 0);
    buf_init(&text, NOTE_CHECKPOINT_MAX);
    if (cfg->log_seed != NULL) {
        l->log_wanted = true;
        memcpy(l->log_seed, cfg->log_seed, sizeof(l->log_seed));
        l->log_keys = mem_dup(cfg->log_keys, cfg->log_key_cnt * sizeof(*cfg->log_keys));
        l->log_key_cnt = cfg->log_key_cnt;
        if (tlog_checkpoint(path, l->log_keys, l->log_key_cnt, &text, &tree, NULL))
            l->signed_size = tree.size;
    }
    buf_free(&text);
    free(path);
}

void ledger_log_open(struct ledger *l)
{
    char *path = file_resolve(l->dir, "tlog");
    struct tlog_config config = {
        .path = path, .keys = l->log_keys, .key_cnt = l->log_key_cnt, .seed = l->log_seed};
    struct fault f = {{0}};

    if (l->log_wanted) {
        l->log = tlog_open(&config, &f);
        if (l->log == NULL && journal_first_leaf(l->journal) == 0) {
            log_warn("log.rebuilt", "reason=\"%s\"", f.text);
            config.rebuild = true; /* the journal has it all; what was signed must come out */
            l->log = tlog_open(&config, &f);
        }
        if (l->log == NULL || !catch_up(l, l->dir, &f))
            refuse(l, &f);
    }
    free(path);
    if (l->log != NULL)
        hand_on(l);
}

void ledger_log_behind(struct ledger *l, uint64_t size)
{
    struct fault f = {{0}};

    if (l->log == NULL)
        return;
    fault_set(&f, "Redis has %llu records of this node: what was signed for them is not ours",
              (unsigned long long)size);
    refuse(l, &f);
}

void ledger_log_batch(struct ledger *l)
{
    struct fault f = {{0}};

    for (unsigned i = 0; l->log != NULL && i < l->rec_cnt; i++)
        if (journal_type_has_leaf(l->recs[i].type) &&
            !tlog_add(l->log, l->recs[i].leaf, l->recs[i].cmt, &f))
            refuse(l, &f);
}

void ledger_log_publish(struct ledger *l)
{
    struct fault f = {{0}};
    uint64_t before;

    if (l->log == NULL)
        return;
    before = tlog_signed(l->log);
    if (!tlog_publish(l->log, &f)) /* no space, perhaps: the next second tries again */
        log_error("log.unsigned", "reason=\"%s\"", f.text);
    else if (tlog_signed(l->log) != before)
        hand_on(l);
    metric_set(METRIC_LOG_SIGNED, tlog_signed(l->log));
}
