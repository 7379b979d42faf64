/*
 * ledger_restart.c - the end of a log that can't be continued, and the beginning of the next one
 * (restarts.h).
 *
 * Leaves go on behind everything that was ever signed or shipped. The new log begins with what is
 * still known of the leaves before: the journal's commitments, else the old log's entries, else a
 * mark that says that there was one. Nothing of the old log is removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/clock.h"
#include "consentd/file.h"
#include "consentd/journal_read.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "ledger_priv.h"

#define SIGNED_COPY "checkpoint" /* beside the month keys: what a lost journal can't take along */

/* --- names -------------------------------------------------------------------------------- */

/* The same keys under the name of log i; false: the name makes no key. */
static bool keys_for(const struct ledger *l, unsigned i, struct note_key *keys)
{
    struct buf origin;
    bool ok;

    buf_init(&origin, NOTE_NAME_MAX);
    ok = note_origin(l->site, restarts_node_at(&l->restarts, i), &origin);
    for (unsigned k = 0; ok && k < l->log_key_cnt; k++)
        ok = note_key_named(buf_str(&origin), l->log_keys[k].public_key, &keys[k]);
    buf_free(&origin);
    return ok;
}

bool ledger_restart_names(struct ledger *l)
{
    l->log_node = restarts_node(&l->restarts);
    metric_set(METRIC_LOG_RESTARTS, l->restarts.cnt);
    return !l->log_wanted || keys_for(l, l->restarts.cnt, l->log_keys);
}

/* A restart that was cut short between its note and the move of the old log's folder. */
static bool move_old(const struct ledger *l, struct fault *f)
{
    char *from = file_resolve(l->dir, "tlog");
    char *to = restarts_folder(l->dir, &l->restarts, l->restarts.cnt - 1);
    bool ok = access(from, F_OK) != 0 || rename(from, to) == 0;

    if (!ok)
        fault_set_errno(f, "%s: cannot become %s", from, to);
    free(from);
    free(to);
    return ok;
}

bool ledger_restart_finish(struct ledger *l, struct fault *f)
{
    struct note_key *keys;
    struct merkle_tree tree;
    struct buf text;
    char *path;
    bool old;

    if (l->restarts.cnt == 0 || !l->log_wanted)
        return true;
    keys = mem_calloc(l->log_key_cnt, sizeof(*keys));
    path = file_resolve(l->dir, "tlog");
    buf_init(&text, NOTE_CHECKPOINT_MAX);
    old = keys_for(l, l->restarts.cnt - 1, keys) &&
          tlog_checkpoint(path, keys, l->log_key_cnt, &text, &tree, NULL);
    buf_free(&text);
    free(path);
    free(keys);
    return !old || move_old(l, f);
}

/* --- what was signed, kept outside the journal ----------------------------------------------- */

void ledger_restart_keep(const struct ledger *l, struct str note)
{
    char *path = file_resolve(l->state_dir, SIGNED_COPY);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    /* no sync: one that a power failure tears is not believed, and nothing else is lost */
    if (fd < 0 || !file_write_all(fd, note.ptr, note.len))
        log_warn("log.copy", "file=%s reason=\"cannot write\"", path);
    if (fd >= 0)
        (void)close(fd);
    free(path);
}

bool ledger_restart_kept(const struct ledger *l, struct merkle_tree *out)
{
    struct buf text;
    bool ok;

    buf_init(&text, NOTE_CHECKPOINT_MAX);
    ok = tlog_checkpoint(l->state_dir, l->log_keys, l->log_key_cnt, &text, out, NULL);
    buf_free(&text);
    return ok;
}

/* --- the next log ---------------------------------------------------------------------------- */

struct refill {
    struct ledger *ledger;
    struct tlog_dir old;
    struct buf bundle; /* of the old log's entries */
    uint64_t number;   /* of the bundle */
    uint64_t lost;
};

/* The entry that the old log has of a leaf. */
static bool old_entry(struct refill *r, uint64_t leaf, uint8_t cmt[32])
{
    uint64_t number = leaf / TLOG_TILE_WIDTH;
    size_t at = leaf % TLOG_TILE_WIDTH * TLOG_ENTRY_LEN;

    if (leaf >= r->old.size)
        return false;
    if (r->number != number) {
        buf_clear(&r->bundle);
        r->number = number;
        if (!tlog_read(&r->old, TLOG_ENTRIES, number, &r->bundle, NULL))
            buf_clear(&r->bundle);
    }
    if (r->bundle.len < at + TLOG_ENTRY_LEN)
        return false;
    memcpy(cmt, r->bundle.data + at + 2, MERKLE_HASH_LEN);
    return true;
}

/* Up to `to`: what the journal has not. */
static bool add_missing(struct refill *r, uint64_t to, struct fault *f)
{
    struct tlog *log = r->ledger->log;
    uint8_t cmt[MERKLE_HASH_LEN];

    while (tlog_size(log) < to) {
        uint64_t leaf = tlog_size(log);

        if (!old_entry(r, leaf, cmt)) {
            restarts_lost(leaf, cmt);
            r->lost++;
        }
        if (!tlog_add(log, leaf, cmt, f))
            return false;
    }
    return true;
}

static bool add_all(struct refill *r, uint64_t next, struct fault *f)
{
    struct journal_reader *rd = journal_reader_open(r->ledger->dir, r->ledger->node, f);
    struct journal_record rec;
    enum journal_step step;
    bool ok = rd != NULL && journal_reader_seek(rd, 0, f);

    while (ok && (step = journal_reader_next(rd, next, &rec)) != JOURNAL_STEP_END &&
           step != JOURNAL_STEP_ERROR)
        if (step == JOURNAL_STEP_RECORD && journal_type_has_leaf(rec.type))
            ok = add_missing(r, rec.leaf, f) && tlog_add(r->ledger->log, rec.leaf, rec.cmt, f);
    journal_reader_close(rd);
    return ok && add_missing(r, next, f);
}

static bool fill(struct ledger *l, uint64_t next, struct fault *f)
{
    char *old = restarts_folder(l->dir, &l->restarts, l->restarts.cnt - 1);
    char *path = file_resolve(l->dir, "tlog");
    struct refill r = {.ledger = l, .old = {.path = old, .size = l->log_found}};
    const struct tlog_config config = {
        .path = path, .keys = l->log_keys, .key_cnt = l->log_key_cnt, .seed = l->log_seed};
    bool ok;

    buf_init(&r.bundle, TLOG_BUNDLE_LEN);
    r.number = UINT64_MAX;
    l->log = tlog_open(&config, f);
    ok = l->log != NULL && add_all(&r, next, f);
    if (ok && r.lost > 0)
        log_error("log.lost", "leaves=%llu reason=\"neither journal nor old log has them\"",
                  (unsigned long long)r.lost);
    buf_free(&r.bundle);
    free(path);
    free(old);
    return ok;
}

/* Every number that was ever signed or shipped stays taken. */
static bool pass_over(struct ledger *l, uint64_t next, struct fault *f)
{
    uint64_t had = journal_next_leaf(l->journal);

    if (next <= had)
        return true;
    ledger_missing(l, had, next, "they were signed or shipped");
    if (journal_skip_to(l->journal, next, clock_wall_ms()))
        return true;
    fault_set(f, "the journal can't be continued behind them");
    return false;
}

bool ledger_restart(struct ledger *l, uint64_t size, const struct fault *why)
{
    uint8_t node = restarts_next(&l->restarts);
    uint64_t next = journal_next_leaf(l->journal);
    struct fault f = {{0}};

    if (node == 0 || !l->log_wanted)
        return false;
    next = size > next ? size : next;
    next = l->signed_size > next ? l->signed_size : next;
    if (l->log != NULL)
        l->log_found = tlog_signed(l->log);
    tlog_free(l->log);
    l->log = NULL;
    if (!pass_over(l, next, &f) || !restarts_add(l->dir, &l->restarts, next, clock_wall_ms(), &f) ||
        !move_old(l, &f) || !ledger_restart_names(l) || !fill(l, next, &f)) {
        log_error("log.restart", "node=%u error=\"%s\"", node, f.text);
        tlog_free(l->log);
        l->log = NULL;
        return false;
    }
    log_error("log.restarted", "node=%u earlier=%u leaves=%llu reason=\"%s\"", node,
              restarts_node_at(&l->restarts, l->restarts.cnt - 1), (unsigned long long)next,
              why->text);
    l->signed_size = 0;
    return true;
}
