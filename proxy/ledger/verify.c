/*
 * verify.c - contract in consentd/verify.h: the order of the parts, and what they share.
 */
#include "consentd/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"
#include "verify_priv.h"

int verify_say(struct verify *v, enum verify_status status, const char *what, const char *why)
{
    (void)snprintf(v->out->what, sizeof(v->out->what), "%s", what);
    (void)snprintf(v->out->why, sizeof(v->out->why), "%s", why);
    return (int)status;
}

int verify_say_leaf(struct verify *v, enum verify_status status, uint64_t leaf, const char *why)
{
    char what[40];

    (void)snprintf(what, sizeof(what), "leaf %" PRIu64, leaf);
    return verify_say(v, status, what, why);
}

void verify_progress(const struct verify *v, const char *what, uint64_t done, uint64_t all)
{
    if (v->cfg->progress != NULL)
        v->cfg->progress(what, done, all);
}

bool verify_wants(const struct verify *v, uint64_t ts_ms)
{
    return ts_ms >= v->cfg->from_ms && (v->cfg->to_ms == 0 || ts_ms < v->cfg->to_ms);
}

bool verify_entry(struct verify *v, uint64_t leaf, uint8_t cmt[32], struct fault *f)
{
    size_t at = leaf % TLOG_TILE_WIDTH * TLOG_ENTRY_LEN;

    if (v->bundle.len == 0 || v->bundle_number != leaf / TLOG_TILE_WIDTH) {
        buf_clear(&v->bundle);
        v->bundle_number = leaf / TLOG_TILE_WIDTH;
        if (!tlog_read(&v->dir, TLOG_ENTRIES, v->bundle_number, &v->bundle, f)) {
            buf_clear(&v->bundle);
            return false;
        }
    }
    memcpy(cmt, v->bundle.data + at + TLOG_ENTRY_LEN - MERKLE_HASH_LEN, MERKLE_HASH_LEN);
    if (v->bundle.data[at] != 0 || v->bundle.data[at + 1] != MERKLE_HASH_LEN)
        memset(cmt, 0, MERKLE_HASH_LEN); /* no entry of ours: it will not fit */
    return true;
}

/* The journal can't be read somewhere: what Redis has whole is not lost. */
static int verify_gap(struct verify *v, struct verify_redis *redis)
{
    struct verify_report found = *v->out;
    bool whole = verify_redis(redis) == VERIFY_OK;

    return verify_say(v, VERIFY_TAMPERED, found.what,
                      whole ? "the journal can't be read there; Redis has every record, so that "
                              "nothing is lost: the segment goes with journal_retention"
                            : "the journal can't be read there, and Redis is not whole either");
}

/* What is missing was named by records. Without Redis they may be older than the journal. */
static int verify_named(struct verify *v)
{
    const struct named_ask ask = {.list = v->cfg->erased,
                                  .keks = v->cfg->keks,
                                  .to_end = v->cfg->to_ms == 0,
                                  .whole = v->cfg->redis != NULL && v->cfg->from_ms == 0 &&
                                           v->cfg->to_ms == 0,
                                  .first = v->redis_first};
    char what[NAMED_WHAT_MAX] = "";
    struct fault why = {{0}};
    int status = v->cfg->erased != NULL ? (int)named_judge(v->named, &ask, what, &why) : VERIFY_OK;

    return status == VERIFY_OK ? VERIFY_OK
                               : verify_say(v, (enum verify_status)status, what, why.text);
}

/* With a Redis: its checkpoints first, since the log is held against them too. */
static int verify_all(struct verify *v)
{
    struct verify_redis *redis = NULL;
    int status = VERIFY_OK;

    if (v->cfg->redis != NULL) {
        status = verify_redis_open(v, &redis);
        if (status == VERIFY_OK)
            status = verify_redis_notes(redis);
    }
    if (status == VERIFY_OK)
        status = verify_checkpoints(v);
    if (status == VERIFY_OK && v->cfg->later_dir != NULL)
        status = verify_carried(v);
    if (status == VERIFY_OK)
        status = verify_log(v);
    if (status == VERIFY_OK && v->cfg->journal_dir != NULL)
        status = verify_journal(v);
    if (v->journal_gap && redis != NULL)
        status = verify_gap(v, redis);
    else if (status == VERIFY_OK && redis != NULL)
        status = verify_redis(redis);
    if (status == VERIFY_OK)
        status = verify_named(v);
    verify_redis_close(redis);
    return status;
}

enum verify_status verify_run(const struct verify_config *cfg, struct verify_report *out)
{
    struct verify v = {.cfg = cfg, .out = out, .dir = {.path = cfg->log_dir}};
    int status;

    memset(out, 0, sizeof(*out));
    buf_init(&v.bundle, TLOG_BUNDLE_LEN);
    v.redis_first = UINT64_MAX;
    v.named = named_new(cfg->node);
    status = verify_all(&v);
    verify_progress(&v, "", 0, 0);
    buf_free(&v.bundle);
    free(v.trees);
    named_free(v.named);
    return (enum verify_status)status;
}
