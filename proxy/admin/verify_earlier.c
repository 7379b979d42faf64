/*
 * verify_earlier.c - contract in verify_earlier.h.
 */
#include "verify_earlier.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/clock.h"
#include "consentd/log.h"

const char *verify_result_name(enum verify_result result)
{
    static const char *const names[] = {"running", "ok", "tampered", "incomplete"};

    return names[result];
}

enum verify_result verify_worse(enum verify_result a, enum verify_result b)
{
    if (a == VERIFY_CHANGED || b == VERIFY_CHANGED)
        return VERIFY_CHANGED;
    return a == VERIFY_LACKING || b == VERIFY_LACKING ? VERIFY_LACKING : VERIFY_FINE;
}

static void finish(struct verify_earlier *e, enum verify_result result, const char *what)
{
    e->result = result;
    (void)snprintf(e->what, sizeof(e->what), "%s", what);
    if (result == VERIFY_CHANGED)
        log_error("verify.tampered", "log=%s what=\"%s\"", e->origin, e->what);
}

void verify_earlier_begin(struct verify_earlier *e, char *path, const struct note_key *keys,
                          unsigned key_cnt)
{
    struct fault f = {{0}};
    struct buf note;

    e->path = path;
    e->dir.path = path;
    e->first_lost = UINT64_MAX;
    if (key_cnt > 0)
        (void)snprintf(e->origin, sizeof(e->origin), "%s", keys[0].name);
    buf_init(&note, NOTE_CHECKPOINT_MAX);
    if (tlog_checkpoint(path, keys, key_cnt, &note, &e->tree, &f))
        e->dir.size = e->tree.size;
    else
        finish(e, VERIFY_LACKING, f.text);
    buf_free(&note);
}

/* All leaves were looked at. */
static void conclude(struct verify_earlier *e)
{
    uint8_t root[MERKLE_HASH_LEN];
    char what[120];

    merkle_root(&e->frontier, root);
    if (e->first_lost != UINT64_MAX) {
        (void)snprintf(what, sizeof(what),
                       "leaf %" PRIu64 ": signed in a log that ended, and not in the one of today",
                       e->first_lost);
        finish(e, VERIFY_CHANGED, what);
    } else if (e->frontier.size < e->tree.size) {
        finish(e, VERIFY_LACKING, "entries are missing");
    } else if (memcmp(root, e->tree.root, sizeof(root)) != 0) {
        finish(e, VERIFY_CHANGED, "the entries are not those that were signed");
    } else {
        finish(e, VERIFY_FINE, "");
    }
}

void verify_earlier_step(struct verify_earlier *e, const struct tlog_dir *today)
{
    uint8_t here[TLOG_TILE_LEN], there[TLOG_TILE_LEN];
    uint64_t from = e->next / TLOG_TILE_WIDTH * TLOG_TILE_WIDTH;
    uint64_t cnt = e->tree.size - from < TLOG_TILE_WIDTH ? e->tree.size - from : TLOG_TILE_WIDTH;
    bool whole, ignored;
    unsigned here_cnt = tlog_leaf_hashes(&e->dir, from / TLOG_TILE_WIDTH, here, &whole);
    unsigned there_cnt =
        from < today->size ? tlog_leaf_hashes(today, from / TLOG_TILE_WIDTH, there, &ignored) : 0;

    for (unsigned i = 0; i < cnt; i++) {
        size_t at = (size_t)i * MERKLE_HASH_LEN;

        if (i < here_cnt && whole && e->frontier.size == from + i)
            merkle_append(&e->frontier, here + at);
        if (i < here_cnt && i < there_cnt && memcmp(here + at, there + at, MERKLE_HASH_LEN) == 0)
            e->carried++;
        else if (e->first_lost == UINT64_MAX)
            e->first_lost = from + i;
    }
    e->next = from + cnt;
    if (e->next == e->tree.size)
        conclude(e);
}

json_t *verify_earlier_json(const struct verify_earlier *e)
{
    char when[CLOCK_TEXT_MAX];

    return json_pack("{s:i, s:s, s:s, s:I, s:s, s:s, s:I, s:I, s:I}", "node", e->node, "origin",
                     e->origin, "ended", clock_format(e->ended_ms, when), "next_leaf",
                     (json_int_t)e->next_leaf, "result", verify_result_name(e->result), "what",
                     e->what, "leaves", (json_int_t)e->tree.size, "hashed",
                     (json_int_t)e->frontier.size, "carried", (json_int_t)e->carried);
}

void verify_earlier_free(struct verify_earlier *e)
{
    free(e->path);
}
