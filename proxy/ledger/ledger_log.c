/*
 * ledger_log.c - the Merkle log behind the journal: each synced leaf becomes an entry, once a
 * second the tree is signed (note.h).
 *
 * The journal is what counts. What was signed was durable: when the journal ends before it, those
 * records rotted or were taken away; the log goes on behind them from its own entries, their
 * numbers are not given out again, and the alarm says so. A log that can't go on (its entries are
 * gone too, the tree contradicts what was signed) ends, and another one begins under a number of
 * its own (ledger_restart.c), whose beginning everybody sees. Where that can't be done either it
 * is not signed any more, which is said in the log, in the metrics and by whoever verifies it;
 * consent is recorded all the same.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/clock.h"
#include "consentd/file.h"
#include "consentd/journal_read.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/ship.h"
#include "consentd/sinks.h"
#include "earlier_priv.h"
#include "ledger_priv.h"

#define REBUILD_MS 60000 /* between two readings of the whole journal */

static void refuse(struct ledger *l, const struct fault *f)
{
    log_error("log.refused", "reason=\"%s\" cure=\"a new ledger.node begins a new log\"", f->text);
    metric_set(METRIC_LOG_REFUSED, 1);
    tlog_free(l->log);
    l->log = NULL;
}

/* What was signed can't be continued: another log is begun, or none is signed any more. */
static void end_log(struct ledger *l, uint64_t size, const struct fault *f)
{
    if (!ledger_restart(l, size, f))
        refuse(l, f);
}

/* The newest checkpoint goes to everybody who keeps them. */
static void hand_on(struct ledger *l)
{
    struct str note = tlog_note(l->log);

    if (note.len > 0 && l->sinks != NULL)
        sinks_push(l->sinks, tlog_signed(l->log), note);
    if (note.len > 0 && l->ship != NULL)
        ship_checkpoint(l->ship, l->log_node, tlog_signed(l->log), note);
    if (note.len > 0)
        ledger_restart_keep(l, note);
}

/*
 * Leaves below `to` that the journal has not. What was signed must come from the entries; what
 * never was comes from an earlier log, or is marked as lost.
 */
static bool add_missing(struct ledger *l, uint64_t to, struct fault *f)
{
    uint64_t from, lost = 0;
    struct earlier *earlier;
    bool ok = true;

    if (!tlog_add_known(l->log, to, f))
        return false;
    from = tlog_size(l->log);
    if (from >= to)
        return true;
    earlier = earlier_open(l);
    for (uint64_t leaf = from; ok && leaf < to; leaf++) {
        uint8_t cmt[MERKLE_HASH_LEN];

        if (!earlier_entry(earlier, leaf, cmt))
            lost++;
        ok = tlog_add(l->log, leaf, cmt, f);
    }
    earlier_free(earlier);
    if (ok && lost > 0)
        log_error("log.lost", "from=%llu to=%llu leaves=%llu reason=\"no journal or log has them\"",
                  (unsigned long long)from, (unsigned long long)to, (unsigned long long)lost);
    return ok;
}

/* The leaves below `next` that the journal has and the tiles have not. */
static bool read_journal(struct ledger *l, uint64_t next, struct fault *f)
{
    struct journal_reader *rd = journal_reader_open(l->dir, l->node, f);
    enum journal_step step = JOURNAL_STEP_RECORD;
    struct journal_record rec;
    bool ok = rd != NULL && journal_reader_seek(rd, tlog_size(l->log), f);

    while (ok && (step = journal_reader_next(rd, next, &rec)) != JOURNAL_STEP_END &&
           step != JOURNAL_STEP_ERROR)
        if (step == JOURNAL_STEP_RECORD && journal_type_has_leaf(rec.type))
            ok = add_missing(l, rec.leaf, f) && tlog_add(l->log, rec.leaf, rec.cmt, f);
    /* a log that begins is made of what there is */
    if (ok && step == JOURNAL_STEP_ERROR && !(tlog_signed(l->log) == 0 && l->restarts.cnt > 0)) {
        fault_set(f, "%s", journal_reader_fault(rd));
        ok = false;
    }
    journal_reader_close(rd);
    return ok;
}

/* Everything that there is into the log, up to the journal's end. */
static bool catch_up(struct ledger *l, struct fault *f)
{
    uint64_t next = journal_next_leaf(l->journal);
    uint64_t was_signed = tlog_signed(l->log);

    if (l->kept.size > next && l->kept.size > was_signed) {
        fault_set(f, "%llu leaves were signed, and there are %llu",
                  (unsigned long long)l->kept.size, (unsigned long long)next);
        return false;
    }
    if (was_signed > next) {
        if (!tlog_add_known(l->log, was_signed, f))
            return false;
        ledger_missing(l, next, was_signed, "they were signed");
        if (journal_skip_to(l->journal, was_signed, clock_wall_ms()))
            return true;
        fault_set(f, "the journal can't be continued behind them");
        return false;
    }
    return tlog_size(l->log) == next || (read_journal(l, next, f) && add_missing(l, next, f));
}

bool ledger_log_peek(struct ledger *l, const struct ledger_config *cfg, struct fault *f)
{
    char *path = file_resolve(l->dir, "tlog");
    struct merkle_tree tree = {0};
    struct buf text;
    bool ok;

    metric_set(METRIC_LOG_REFUSED, 0);
    buf_init(&text, NOTE_CHECKPOINT_MAX);
    if (cfg->log_seed != NULL) {
        l->log_wanted = true;
        memcpy(l->log_seed, cfg->log_seed, sizeof(l->log_seed));
        l->log_keys = mem_dup(cfg->log_keys, cfg->log_key_cnt * sizeof(*cfg->log_keys));
        l->log_key_cnt = cfg->log_key_cnt;
    }
    ok = ledger_restart_read(l, f) && ledger_recall(l, cfg, f);
    if (ok)
        ledger_restart_finish(l);
    ok = ok && ledger_restart_names(l);
    if (ok && l->log_wanted) {
        if (tlog_checkpoint(path, l->log_keys, l->log_key_cnt, &text, &tree, NULL))
            l->signed_size = tree.size;
        if (!ledger_restart_kept(l, &l->kept) || l->recalled.size > l->kept.size)
            l->kept = l->recalled;
        if (l->kept.size > l->signed_size)
            l->signed_size = l->kept.size;
    }
    buf_free(&text);
    free(path);
    return ok;
}

/* Files that are there and can't be read are no missing ones: somebody has to look. */
static bool is_readable(const char *path)
{
    return access(path, R_OK | X_OK) == 0 || errno == ENOENT;
}

/* The log's files taken up; from the journal where they are not all there. */
static bool open_files(struct ledger *l, struct fault *f)
{
    char *path = file_resolve(l->dir, "tlog");
    struct tlog_config config = {.path = path,
                                 .keys = l->log_keys,
                                 .key_cnt = l->log_key_cnt,
                                 .seed = l->log_seed,
                                 .kept = {l->kept, l->recalled}};

    l->log = tlog_open(&config, f);
    if (l->log == NULL && journal_first_leaf(l->journal) == 0 &&
        clock_mono_ms() >= l->log_rebuild_ms) {
        if (!l->log_again)
            log_warn("log.rebuilt", "reason=\"%s\"", f->text);
        config.rebuild = true; /* the journal has it all; what was signed must come out */
        l->log = tlog_open(&config, f);
    }
    free(path);
    return l->log != NULL;
}

bool ledger_log_begin(struct ledger *l, struct fault *f)
{
    return open_files(l, f) && catch_up(l, f);
}

void ledger_log_open(struct ledger *l)
{
    char *path = file_resolve(l->dir, "tlog");
    struct fault f = {{0}};
    bool readable = is_readable(path);

    if (!ledger_restart_skip(l, &f)) {
        refuse(l, &f);
    } else if (l->log_wanted) {
        if (ledger_log_begin(l, &f))
            l->signed_size = 0; /* it is continued */
        else if (readable && l->signed_size > 0)
            end_log(l, 0, &f);
        else
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
    end_log(l, size, &f);
}

/* What is written is the journal's: the log is taken up again from there, when it can be. */
static void put_off(struct ledger *l, const struct fault *f)
{
    if (!l->log_again)
        log_error("log.unsigned", "reason=\"%s\"", f->text);
    l->log_again = true;
    metric_set(METRIC_LOG_REFUSED, 1);
    tlog_free(l->log);
    l->log = NULL;
}

static void try_again(struct ledger *l)
{
    struct fault f = {{0}};

    if (!ledger_log_begin(l, &f))
        put_off(l, &f);
}

void ledger_log_batch(struct ledger *l)
{
    struct fault f = {{0}};

    for (unsigned i = 0; l->log != NULL && i < l->rec_cnt; i++)
        if (journal_type_has_leaf(l->recs[i].type) &&
            !tlog_add(l->log, l->recs[i].leaf, l->recs[i].cmt, &f))
            put_off(l, &f);
}

/* --- witnesses ---------------------------------------------------------------------------- */

static bool prove(void *owner, uint64_t old, uint64_t size, struct merkle_proof *out)
{
    const struct ledger *l = owner;
    char *path = file_resolve(l->dir, "tlog");
    struct tlog_dir dir = {.path = path, .size = l->log != NULL ? tlog_signed(l->log) : 0};
    bool ok = size <= dir.size && merkle_prove_consistency(old, size, tlog_fetch, &dir, out);

    free(path);
    return ok;
}

static void on_cosigned(void *owner, uint64_t size, struct str note, const struct note_key *witness,
                        struct str line)
{
    const struct ledger *l = owner;
    const struct tlog_cosignature by = {size, note, witness, line};
    struct fault f = {{0}};

    if (l->log != NULL && !tlog_cosign(l->log, &by, &f))
        log_warn("log.cosignature", "witness=\"%s\" reason=\"%s\"", witness->name, f.text);
}

static void on_asked(void *owner, uint64_t size)
{
    const struct ledger *l = owner;
    struct fault f = {{0}};

    if (l->log != NULL && !tlog_cosigned(l->log, size, &f))
        log_warn("log.cosignature", "leaves=%llu reason=\"%s\"", (unsigned long long)size, f.text);
}

void ledger_log_serve(struct ledger *l)
{
    static const struct sinks_ops ops = {
        .prove = prove, .on_cosigned = on_cosigned, .on_asked = on_asked};

    sinks_serve(l->sinks, &ops, l);
}

void ledger_log_publish(struct ledger *l)
{
    struct fault f = {{0}};
    uint64_t before;

    if (l->log == NULL && l->log_again)
        try_again(l);
    if (l->log == NULL)
        return;
    before = tlog_signed(l->log);
    if (!tlog_publish(l->log, &f)) { /* no space, perhaps: the next second tries again */
        if (tlog_is_broken(l->log))
            put_off(l, &f);
        else
            log_error("log.unsigned", "reason=\"%s\"", f.text);
        return;
    }
    if (l->log_again) {
        l->log_again = false;
        metric_set(METRIC_LOG_REFUSED, 0);
        log_info("log.continued", "leaves=%llu", (unsigned long long)tlog_size(l->log));
    }
    if (tlog_signed(l->log) != before)
        hand_on(l);
    metric_set(METRIC_LOG_SIGNED, tlog_signed(l->log));
}
