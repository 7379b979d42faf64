/*
 * verify_log.c - levels 1 and 2 of the Merkle log: checkpoints, entries, tiles.
 *
 * The log is hashed once, from its first entry to the newest signed root; each time the tree has
 * the size of a checkpoint that was kept, its root must be that checkpoint's. That is what a
 * consistency proof would show, for all of them at the price of none.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/file.h"
#include "consentd/mem.h"
#include "verify_priv.h"

/* --- checkpoints ------------------------------------------------------------------------ */

static void tree_add(struct verify *v, const char *where, const struct merkle_tree *tree)
{
    if (v->tree_cnt == v->tree_cap) {
        v->tree_cap = v->tree_cap == 0 ? 256 : v->tree_cap * 2;
        v->trees = mem_realloc(v->trees, v->tree_cap * sizeof(*v->trees));
    }
    v->trees[v->tree_cnt++] = (struct verify_tree){.tree = *tree, .where = where};
}

int verify_note(struct verify *v, const char *where, struct str note)
{
    struct fault f = {{0}}, first = {{0}};
    struct merkle_tree tree;
    char what[80];

    for (unsigned i = 0; i < v->cfg->key_cnt; i++) {
        if (checkpoint_verify(&v->cfg->keys[i], note, &tree, &f)) {
            tree_add(v, where, &tree);
            if (v->tree_cnt % VERIFY_STEP == 0)
                verify_progress(v, "checkpoints", v->tree_cnt, 0);
            return VERIFY_OK;
        }
        if (i == 0)
            first = f;
    }
    (void)snprintf(what, sizeof(what), "%s, checkpoint number %zu", where, v->tree_cnt + 1);
    return verify_say(v, VERIFY_TAMPERED, what, first.text);
}

struct walk {
    struct verify *v;
    int status;
};

static bool on_kept(void *arg, const char *file, struct str note)
{
    struct walk *w = arg;

    if (w->v->tree_cnt >= VERIFY_CHECKPOINTS_MAX)
        return false;
    w->status = verify_note(w->v, strcmp(file, TLOG_KEPT) == 0 ? TLOG_KEPT : file, note);
    return w->status == VERIFY_OK;
}

static int by_size(const void *a, const void *b)
{
    const struct verify_tree *x = a;
    const struct verify_tree *y = b;

    return (x->tree.size > y->tree.size) - (x->tree.size < y->tree.size);
}

static int newest(struct verify *v, struct merkle_tree *out)
{
    char *path = file_resolve(v->dir.path, "checkpoint");
    struct fault f = {{0}};
    struct buf text;
    int status;

    buf_init(&text, NOTE_CHECKPOINT_MAX);
    if (access(path, F_OK) != 0)
        status = verify_say(v, VERIFY_INCOMPLETE, path, "no checkpoint: nothing was signed yet");
    else if (!file_read(path, NOTE_CHECKPOINT_MAX, &text, &f))
        status = verify_say(v, VERIFY_INCOMPLETE, path, f.text);
    else
        status = verify_note(v, "checkpoint", buf_str(&text));
    if (status == VERIFY_OK)
        *out = v->trees[v->tree_cnt - 1].tree;
    buf_free(&text);
    free(path);
    return status;
}

int verify_checkpoints(struct verify *v)
{
    struct walk w = {.v = v, .status = VERIFY_OK};
    struct merkle_tree last = {0};
    struct fault f = {{0}};
    size_t before;
    uint64_t kept = 0;
    int status = newest(v, &last);

    if (status != VERIFY_OK)
        return status;
    before = v->tree_cnt;
    if (!tlog_kept(v->dir.path, on_kept, &w, &f))
        return verify_say(v, VERIFY_TAMPERED, TLOG_KEPT, f.text);
    if (w.status != VERIFY_OK)
        return w.status;
    for (size_t i = before; i < v->tree_cnt; i++) {
        kept = v->trees[i].tree.size > kept ? v->trees[i].tree.size : kept;
        if (v->trees[i].tree.size < last.size && v->trees[i].tree.size > v->before_size)
            v->before_size = v->trees[i].tree.size;
    }
    v->kept_size = last.size;
    if (v->cfg->journal_dir != NULL && kept < last.size)
        return verify_say(v, VERIFY_INCOMPLETE, TLOG_KEPT,
                          "the newest checkpoint is not among those that were kept");
    qsort(v->trees, v->tree_cnt, sizeof(*v->trees), by_size);
    v->dir.size = v->trees[v->tree_cnt - 1].tree.size;
    v->out->leaves = v->dir.size;
    v->out->checkpoints = v->tree_cnt;
    (void)snprintf(v->out->origin, sizeof(v->out->origin), "%s", v->cfg->keys[0].name);
    return VERIFY_OK;
}

/* --- tiles and entries ------------------------------------------------------------------ */

/* One tile of hashes against what they are made of: the entries, or the tiles below. */
struct level {
    uint8_t hashes[TLOG_TILE_LEN];
    unsigned cnt;
    uint64_t tiles; /* finished */
};

static int check_tile(struct verify *v, struct level *levels, unsigned level)
{
    struct level *l = &levels[level];
    struct fault f = {{0}};
    struct buf tile;
    char what[80];
    int status = VERIFY_OK;

    buf_init(&tile, TLOG_BUNDLE_LEN);
    if (!tlog_read(&v->dir, level, l->tiles, &tile, &f)) {
        status = verify_say(v, VERIFY_INCOMPLETE, "the log", f.text);
    } else {
        for (unsigned i = 0; i < l->cnt && status == VERIFY_OK; i++) {
            size_t at = (size_t)i * MERKLE_HASH_LEN;

            if (memcmp(tile.data + at, l->hashes + at, MERKLE_HASH_LEN) == 0)
                continue;
            (void)snprintf(what, sizeof(what),
                           level == 0 ? "leaf %" PRIu64 : "leaves from %" PRIu64,
                           ((l->tiles * TLOG_TILE_WIDTH) + i) << (8 * level));
            status = verify_say(v, VERIFY_TAMPERED, what, "the tile does not fit its entries");
        }
    }
    buf_free(&tile);
    l->tiles++;
    l->cnt = 0;
    return status;
}

/* One more hash of a level; a full tile is checked and is one hash of the next. */
static int add_hash(struct verify *v, struct level *levels, unsigned level, const uint8_t hash[32])
{
    struct level *l = &levels[level];
    struct merkle_frontier tile = {0};
    uint8_t up[MERKLE_HASH_LEN];
    int status;

    memcpy(l->hashes + (size_t)l->cnt++ * MERKLE_HASH_LEN, hash, MERKLE_HASH_LEN);
    if (l->cnt < TLOG_TILE_WIDTH)
        return VERIFY_OK;
    for (unsigned i = 0; i < TLOG_TILE_WIDTH; i++)
        merkle_append(&tile, l->hashes + (size_t)i * MERKLE_HASH_LEN);
    merkle_root(&tile, up);
    status = check_tile(v, levels, level);
    return status != VERIFY_OK || level + 1 == TLOG_ENTRIES ? status
                                                            : add_hash(v, levels, level + 1, up);
}

/* The checkpoints of exactly this size. */
static int check_trees(struct verify *v, const struct merkle_frontier *frontier, size_t *at)
{
    uint8_t root[32];
    char what[120];

    for (; *at < v->tree_cnt && v->trees[*at].tree.size == frontier->size; (*at)++) {
        merkle_root(frontier, root);
        if (memcmp(root, v->trees[*at].tree.root, sizeof(root)) == 0)
            continue;
        (void)snprintf(what, sizeof(what), "%s, the checkpoint of %" PRIu64 " leaves",
                       v->trees[*at].where, frontier->size);
        return verify_say(v, VERIFY_TAMPERED, what,
                          "the entries before it are not those that were signed");
    }
    return VERIFY_OK;
}

int verify_log(struct verify *v)
{
    struct level *levels = mem_calloc(TLOG_ENTRIES, sizeof(*levels));
    struct merkle_frontier frontier = {0};
    struct fault f = {{0}};
    uint8_t cmt[32], leaf[32];
    size_t at = 0;
    int status = check_trees(v, &frontier, &at); /* of no leaves at all */

    for (uint64_t i = 0; i < v->dir.size && status == VERIFY_OK; i++) {
        if (!verify_entry(v, i, cmt, &f)) {
            status = verify_say(v, VERIFY_INCOMPLETE, "the log", f.text);
            break;
        }
        merkle_leaf(str_make(cmt, sizeof(cmt)), leaf);
        merkle_append(&frontier, leaf);
        status = add_hash(v, levels, 0, leaf);
        if (status == VERIFY_OK)
            status = check_trees(v, &frontier, &at);
        if (i % VERIFY_STEP == 0)
            verify_progress(v, "log", i, v->dir.size);
    }
    for (unsigned level = 0; level < TLOG_ENTRIES && status == VERIFY_OK; level++)
        if (levels[level].cnt > 0)
            status = check_tile(v, levels, level);
    free(levels);
    return status;
}

/* --- a log that ended ------------------------------------------------------------------- */

/* Leaves of the log of today, as it says itself; its signature is another verification's. */
static uint64_t later_size(const struct verify *v)
{
    char *path = file_resolve(v->cfg->later_dir, "checkpoint");
    struct str rest, line = {NULL, 0};
    uint64_t size = 0;
    struct buf text;

    buf_init(&text, NOTE_CHECKPOINT_MAX);
    if (file_read(path, NOTE_CHECKPOINT_MAX, &text, NULL)) {
        rest = buf_str(&text);
        (void)str_cut(&rest, '\n', &line); /* the log's name */
        if (!str_cut(&rest, '\n', &line) || !str_to_u64(line, UINT64_MAX, &size))
            size = 0;
    }
    buf_free(&text);
    free(path);
    return size;
}

/* Leaves that are the same in both logs; *first: the first one that is not. */
static uint64_t count_carried(const struct verify *v, uint64_t *first)
{
    const struct tlog_dir later = {.path = v->cfg->later_dir, .size = later_size(v)};
    uint8_t here[TLOG_TILE_LEN], there[TLOG_TILE_LEN];
    unsigned here_cnt = 0, there_cnt = 0;
    uint64_t same = 0;

    for (uint64_t leaf = 0; leaf < v->dir.size; leaf++) {
        unsigned i = (unsigned)(leaf % TLOG_TILE_WIDTH);
        size_t at = (size_t)i * MERKLE_HASH_LEN;

        if (i == 0) {
            here_cnt = tlog_leaf_hashes(&v->dir, leaf / TLOG_TILE_WIDTH, here, NULL);
            there_cnt = tlog_leaf_hashes(&later, leaf / TLOG_TILE_WIDTH, there, NULL);
        }
        if (i < here_cnt && i < there_cnt && memcmp(here + at, there + at, MERKLE_HASH_LEN) == 0)
            same++;
        else if (*first == UINT64_MAX)
            *first = leaf;
    }
    return same;
}

int verify_carried(struct verify *v)
{
    uint64_t first = UINT64_MAX;

    v->out->carried = count_carried(v, &first);
    return first == UINT64_MAX
               ? VERIFY_OK
               : verify_say_leaf(v, VERIFY_TAMPERED, first,
                                 "signed in a log that ended, and not in the one of today");
}
