/*
 * earlier.c - contract in earlier_priv.h.
 */
#include "earlier_priv.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/file.h"
#include "consentd/mem.h"
#include "consentd/str.h"

struct earlier {
    unsigned cnt;
    struct earlier_log {
        char *path; /* owned */
        struct tlog_dir dir;
        struct buf bundle; /* the entries that were read last */
        uint64_t number;   /* of the bundle */
    } logs[RESTARTS_MAX];  /* newest first */
};

bool earlier_keys(const struct ledger *l, unsigned node, struct note_key *keys)
{
    struct buf origin;
    bool ok;

    buf_init(&origin, NOTE_NAME_MAX);
    ok = note_origin(l->site, node, &origin);
    for (unsigned k = 0; ok && k < l->log_key_cnt; k++)
        ok = note_key_named(buf_str(&origin), l->log_keys[k].public_key, &keys[k]);
    buf_free(&origin);
    return ok;
}

bool earlier_checkpoint(const struct ledger *l, unsigned node, const char *path,
                        struct merkle_tree *out)
{
    struct note_key *keys = mem_calloc(l->log_key_cnt, sizeof(*keys));
    struct buf text;
    bool ok;

    buf_init(&text, NOTE_CHECKPOINT_MAX);
    ok = earlier_keys(l, node, keys) &&
         tlog_checkpoint(path, keys, l->log_key_cnt, &text, out, NULL);
    buf_free(&text);
    free(keys);
    return ok;
}

uint8_t earlier_node(const struct ledger *l, const char *path)
{
    char *file = file_resolve(path, "checkpoint");
    struct merkle_tree tree;
    struct buf text;
    struct str rest, origin, part;
    uint64_t node = 0;

    buf_init(&text, NOTE_CHECKPOINT_MAX);
    if (file_read(file, NOTE_CHECKPOINT_MAX, &text, NULL)) {
        rest = buf_str(&text);
        if (str_cut(&rest, '\n', &origin))
            while (str_cut(&origin, '/', &part))
                if (!str_to_u64(part, UINT8_MAX, &node)) /* the last one counts */
                    node = 0;
    }
    buf_free(&text);
    free(file);
    return node > 0 && earlier_checkpoint(l, (unsigned)node, path, &tree) ? (uint8_t)node : 0;
}

struct earlier *earlier_open(const struct ledger *l)
{
    struct earlier *e = mem_new(struct earlier);

    for (unsigned i = l->restarts.cnt; i-- > 0;) {
        char *path = restarts_folder(l->dir, &l->restarts, i);
        struct merkle_tree tree;

        if (earlier_checkpoint(l, restarts_node_at(&l->restarts, i), path, &tree)) {
            struct earlier_log *log = &e->logs[e->cnt++];

            log->path = path;
            log->dir = (struct tlog_dir){.path = path, .size = tree.size};
            log->number = UINT64_MAX;
            buf_init(&log->bundle, TLOG_BUNDLE_LEN);
        } else {
            free(path);
        }
    }
    return e;
}

void earlier_free(struct earlier *e)
{
    for (unsigned i = 0; i < e->cnt; i++) {
        buf_free(&e->logs[i].bundle);
        free(e->logs[i].path);
    }
    free(e);
}

static bool take(struct earlier_log *log, uint64_t leaf, uint8_t cmt_out[32])
{
    uint64_t number = leaf / TLOG_TILE_WIDTH;
    size_t at = leaf % TLOG_TILE_WIDTH * TLOG_ENTRY_LEN;

    if (leaf >= log->dir.size)
        return false;
    if (log->number != number) {
        buf_clear(&log->bundle);
        log->number = number;
        if (!tlog_read(&log->dir, TLOG_ENTRIES, number, &log->bundle, NULL))
            buf_clear(&log->bundle);
    }
    if (log->bundle.len < at + TLOG_ENTRY_LEN)
        return false;
    memcpy(cmt_out, log->bundle.data + at + 2, MERKLE_HASH_LEN);
    return true;
}

bool earlier_entry(struct earlier *e, uint64_t leaf, uint8_t cmt_out[32])
{
    uint8_t mark[MERKLE_HASH_LEN];

    restarts_lost(leaf, mark);
    for (unsigned i = 0; i < e->cnt; i++) /* one had lost it, and the one before had it */
        if (take(&e->logs[i], leaf, cmt_out) && memcmp(cmt_out, mark, sizeof(mark)) != 0)
            return true;
    memcpy(cmt_out, mark, sizeof(mark));
    return false;
}
