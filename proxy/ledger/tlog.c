/*
 * tlog.c - the writer of consentd/tlog.h; reading and names are in tlog_read.c.
 *
 * In memory: the frontier, and of each level of tiles the hashes of the one that is not full.
 */
#include "consentd/tlog.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/mem.h"
#include "tlog_priv.h"

#define TILE_LEVELS 8
#define REBUILDING  "rebuilding" /* in DIR: not all tiles of the checkpoint are there again */

struct tlog {
    char *path; /* owned */
    struct note_key key;
    uint8_t seed[32];
    struct merkle_frontier frontier;
    struct merkle_tree last;    /* signed */
    struct merkle_tree kept[2]; /* so were these, if their size is not 0 */
    struct buf note;            /* its checkpoint */
    bool broken;
    bool rebuilding;         /* from leaf 0; tiles that a checkpoint covers may be missing */
    struct tlog_files files; /* since the last sync */
    struct tlog_cosigned cosigned;
    uint8_t tiles[TILE_LEVELS][TLOG_TILE_WIDTH][MERKLE_HASH_LEN]; /* not full yet */
    uint8_t bundle[TLOG_BUNDLE_LEN];
};

static char *file_path(const struct tlog *t, unsigned level, uint64_t index, unsigned width)
{
    char name[TLOG_PATH_MAX];

    (void)tlog_path(name, level, index, width);
    return file_resolve(t->path, name);
}

static bool write_tile(struct tlog *t, unsigned level, uint64_t index, unsigned width,
                       struct fault *f)
{
    char *path = file_path(t, level, index, width);
    struct str bytes = level == TLOG_ENTRIES
                           ? str_make(t->bundle, (size_t)width * TLOG_ENTRY_LEN)
                           : str_make(t->tiles[level][0], (size_t)width * MERKLE_HASH_LEN);
    bool ok = tlog_files_write(&t->files, path, bytes, f);

    free(path);
    return ok;
}

/* One more hash of a level; a tile that is full is written and is one hash of the next level. */
static bool put_hash(struct tlog *t, uint64_t index, const uint8_t hash[32], struct fault *f)
{
    uint8_t up[MERKLE_HASH_LEN];

    memcpy(up, hash, sizeof(up));
    for (unsigned level = 0; level < TILE_LEVELS; level++, index /= TLOG_TILE_WIDTH) {
        memcpy(t->tiles[level][index % TLOG_TILE_WIDTH], up, sizeof(up));
        if ((index + 1) % TLOG_TILE_WIDTH != 0)
            return true;
        if (!write_tile(t, level, index / TLOG_TILE_WIDTH, TLOG_TILE_WIDTH, f))
            return false;
        tlog_fold(t->tiles[level][0], TLOG_TILE_WIDTH, up);
    }
    return true;
}

static bool put_entry(struct tlog *t, uint64_t leaf, const uint8_t cmt[32], struct fault *f)
{
    uint8_t *entry = t->bundle + leaf % TLOG_TILE_WIDTH * TLOG_ENTRY_LEN;

    entry[0] = 0;
    entry[1] = MERKLE_HASH_LEN;
    memcpy(entry + 2, cmt, MERKLE_HASH_LEN);
    return (leaf + 1) % TLOG_TILE_WIDTH != 0 ||
           write_tile(t, TLOG_ENTRIES, leaf / TLOG_TILE_WIDTH, TLOG_TILE_WIDTH, f);
}

/* False: the tree of this moment was signed, and is another one. */
static bool is_signed_tree(const struct tlog *t, const struct merkle_tree *tree, struct fault *f)
{
    uint8_t root[MERKLE_HASH_LEN];

    if (t->frontier.size != tree->size)
        return true;
    merkle_root(&t->frontier, root);
    if (memcmp(root, tree->root, sizeof(root)) == 0)
        return true;
    fault_set(f, "the records before leaf %llu are not those that were signed",
              (unsigned long long)tree->size);
    return false;
}

bool tlog_add(struct tlog *t, uint64_t leaf, const uint8_t cmt[32], struct fault *f)
{
    uint8_t hash[MERKLE_HASH_LEN];

    if (t->broken || leaf != t->frontier.size) {
        if (!t->broken)
            fault_set(f, "leaf %llu comes where %llu is next", (unsigned long long)leaf,
                      (unsigned long long)t->frontier.size);
        t->broken = true;
        return false;
    }
    merkle_leaf(str_make(cmt, MERKLE_HASH_LEN), hash);
    t->broken = true; /* until it has worked */
    if (!put_entry(t, leaf, cmt, f) || !put_hash(t, leaf, hash, f))
        return false;
    merkle_append(&t->frontier, hash);
    if (!is_signed_tree(t, &t->last, f) || !is_signed_tree(t, &t->kept[0], f) ||
        !is_signed_tree(t, &t->kept[1], f))
        return false;
    t->broken = false;
    return true;
}

static bool write_partial(struct tlog *t, struct fault *f)
{
    uint64_t cnt = t->frontier.size;
    unsigned width = (unsigned)(cnt % TLOG_TILE_WIDTH);
    bool ok = width == 0 || write_tile(t, TLOG_ENTRIES, cnt / TLOG_TILE_WIDTH, width, f);

    for (unsigned level = 0; ok && level < TILE_LEVELS && cnt > 0; level++) {
        width = (unsigned)(cnt % TLOG_TILE_WIDTH);
        ok = width == 0 || write_tile(t, level, cnt / TLOG_TILE_WIDTH, width, f);
        cnt /= TLOG_TILE_WIDTH;
    }
    return ok;
}

/* The partial tiles of the last checkpoint, where the full one is there. */
static void drop_partials(const struct tlog *t, uint64_t before)
{
    uint64_t cnt = before, full = t->frontier.size / TLOG_TILE_WIDTH;

    for (unsigned level = 0; level < TILE_LEVELS && cnt > 0; level++) {
        uint64_t index = cnt / TLOG_TILE_WIDTH;
        char *path = file_path(t, level, index, TLOG_TILE_WIDTH);

        if (cnt % TLOG_TILE_WIDTH != 0 && index < full)
            tlog_drop_partial(path);
        free(path);
        path = file_path(t, TLOG_ENTRIES, index, TLOG_TILE_WIDTH);
        if (level == 0 && index < full)
            tlog_drop_partial(path);
        free(path);
        cnt /= TLOG_TILE_WIDTH;
        full /= TLOG_TILE_WIDTH;
    }
}

/*
 * Everything up to here is durable: a rebuild that got so far is over. What a sync did not write,
 * the next one does not write either: the tiles are then to be made again.
 */
static bool settle(struct tlog *t, struct fault *f)
{
    if (!tlog_files_settle(&t->files, t->path, f)) {
        t->broken = true;
        return false;
    }
    if (t->rebuilding && t->frontier.size >= t->last.size) {
        char *mark = file_resolve(t->path, REBUILDING);

        t->rebuilding = unlink(mark) != 0;
        free(mark);
    }
    return true;
}

bool tlog_publish(struct tlog *t, struct fault *f)
{
    struct merkle_tree tree = {.size = t->frontier.size};
    uint64_t before = t->last.size;
    char *path;
    bool ok;

    if (t->broken || tree.size < t->last.size || (tree.size == t->last.size && !t->rebuilding))
        return true;
    if (!write_partial(t, f) || !settle(t, f))
        return false;
    if (tree.size == t->last.size)
        return true;
    merkle_root(&t->frontier, tree.root);
    path = file_resolve(t->path, "checkpoint");
    buf_clear(&t->note);
    ok = checkpoint_sign(&t->key, t->seed, &tree, &t->note) &&
         tlog_keep(t->path, buf_str(&t->note), f) &&
         file_write_atomic(path, t->note.data, t->note.len, 0644, f);
    if (ok) {
        t->last = tree;
        drop_partials(t, before);
    }
    free(path);
    return ok;
}

bool tlog_cosign(struct tlog *t, const struct tlog_cosignature *by, struct fault *f)
{
    char *path;
    bool ok;

    if (t->broken)
        return true;
    if (by->size != t->last.size)
        return tlog_cosigned_add(&t->cosigned, t->path, by, f);
    path = file_resolve(t->path, "checkpoint");
    ok = note_cosign(&t->note, by->witness, by->line) &&
         file_write_atomic(path, t->note.data, t->note.len, 0644, f) &&
         tlog_cosigned_add(&t->cosigned, t->path, by, f);
    free(path);
    return ok;
}

bool tlog_cosigned(struct tlog *t, uint64_t size, struct fault *f)
{
    return t->broken || size != t->cosigned.size || tlog_cosigned_write(&t->cosigned, t->path, f);
}

struct str tlog_note(const struct tlog *t)
{
    return buf_str(&t->note);
}

/* --- taking up -------------------------------------------------------------------------- */

/* The hashes of one level's open tile: the roots of the full tiles below. */
static bool load_level(struct tlog *t, unsigned level, uint64_t size, struct fault *f)
{
    const struct tlog_dir dir = {.path = t->path, .size = size};
    uint64_t end = size >> (8 * level);
    struct buf tile;
    bool ok = true;

    buf_init(&tile, TLOG_TILE_LEN);
    for (uint64_t i = end - end % TLOG_TILE_WIDTH; ok && i < end; i++) {
        buf_clear(&tile);
        ok = tlog_read(&dir, level - 1, i, &tile, f);
        if (ok)
            tlog_fold(tile.data, TLOG_TILE_WIDTH, t->tiles[level][i % TLOG_TILE_WIDTH]);
    }
    buf_free(&tile);
    return ok;
}

/* The frontier of a level: its open tile in groups of powers of two. */
static void load_frontier(struct tlog *t, unsigned level, unsigned cnt)
{
    unsigned at = 0;

    for (unsigned bit = 8; bit-- > 0;) {
        if ((cnt >> bit & 1) == 0)
            continue;
        tlog_fold(t->tiles[level][at], 1u << bit, t->frontier.hash[8 * level + bit]);
        at += 1u << bit;
    }
}

static bool load(struct tlog *t, struct fault *f)
{
    uint64_t size = t->last.size - t->last.size % TLOG_TILE_WIDTH;

    t->frontier.size = size;
    for (unsigned level = 1; level < TILE_LEVELS && size >> (8 * level) > 0; level++) {
        if (!load_level(t, level, size, f))
            return false;
        load_frontier(t, level, (unsigned)((size >> (8 * level)) % TLOG_TILE_WIDTH));
    }
    return true;
}

/* What was signed and lies in the tiles that are taken up; the rest is checked as it is added. */
static bool agrees(const struct tlog *t, struct fault *f)
{
    struct tlog_dir dir = {.path = t->path, .size = t->last.size};
    uint8_t root[MERKLE_HASH_LEN];
    bool ok = true;

    if (t->last.size != 0 && t->frontier.size == t->last.size) {
        merkle_root(&t->frontier, root);
        ok = memcmp(root, t->last.root, sizeof(root)) == 0;
    }
    for (size_t i = 0; ok && i < COUNT_OF(t->kept); i++)
        if (t->kept[i].size != 0 && t->kept[i].size <= t->frontier.size)
            ok = merkle_root_at(t->kept[i].size, tlog_fetch, &dir, root) &&
                 memcmp(root, t->kept[i].root, sizeof(root)) == 0;
    if (!ok)
        fault_set(f, "%s: the tiles are not those that were signed", t->path);
    return ok;
}

/* A log of an older ledger kept none: the newest is the first one that is. */
static bool keep_first(const struct tlog *t, struct fault *f)
{
    char *path = file_resolve(t->path, TLOG_KEPT);
    bool ok =
        t->note.len == 0 || access(path, F_OK) == 0 || tlog_keep(t->path, buf_str(&t->note), f);

    free(path);
    return ok;
}

/* A rebuild is noted before it begins: one that was cut short is begun again. */
static bool begin_rebuild(struct tlog *t, struct fault *f)
{
    char *mark = file_resolve(t->path, REBUILDING);
    bool ok = file_write_atomic(mark, "", 0, 0644, f);

    free(mark);
    t->rebuilding = ok;
    return ok;
}

static bool take_up(struct tlog *t, struct fault *f)
{
    char *mark = file_resolve(t->path, REBUILDING);
    bool whole = access(mark, F_OK) != 0;

    if (!whole)
        fault_set(f, "%s: writing its tiles again was cut short", t->path);
    free(mark);
    return whole && load(t, f) && agrees(t, f);
}

struct tlog *tlog_open(const struct tlog_config *cfg, struct fault *f)
{
    struct tlog *t = mem_new(struct tlog);
    char *path;
    bool ok;

    t->path = mem_strdup(cfg->path);
    t->key = cfg->keys[0];
    memcpy(t->kept, cfg->kept, sizeof(t->kept));
    memcpy(t->seed, cfg->seed, sizeof(t->seed));
    path = file_resolve(t->path, "checkpoint");
    buf_init(&t->note, NOTE_CHECKPOINT_MAX);
    tlog_cosigned_load(&t->cosigned, t->path, cfg->keys, cfg->key_cnt);
    ok = file_make_dirs(t->path, 0755, f) &&
         (access(path, F_OK) != 0 ||
          tlog_checkpoint(t->path, cfg->keys, cfg->key_cnt, &t->note, &t->last, f)) &&
         keep_first(t, f) && (cfg->rebuild ? begin_rebuild(t, f) : take_up(t, f));
    free(path);
    if (ok)
        return t;
    tlog_free(t);
    return NULL;
}

void tlog_free(struct tlog *t)
{
    if (t == NULL)
        return;
    tlog_files_close(&t->files);
    crypto_wipe(t->seed, sizeof(t->seed));
    buf_free(&t->note);
    tlog_cosigned_free(&t->cosigned);
    free(t->path);
    free(t);
}

bool tlog_add_known(struct tlog *t, uint64_t until, struct fault *f)
{
    const struct tlog_dir dir = {.path = t->path, .size = t->last.size};
    uint8_t cmt[MERKLE_HASH_LEN];

    while (t->frontier.size < t->last.size && t->frontier.size < until)
        if (!tlog_entry(&dir, t->frontier.size, cmt, f) || !tlog_add(t, t->frontier.size, cmt, f))
            return false;
    return true;
}

bool tlog_is_broken(const struct tlog *t)
{
    return t->broken;
}

uint64_t tlog_size(const struct tlog *t)
{
    return t->frontier.size;
}

uint64_t tlog_signed(const struct tlog *t)
{
    return t->last.size;
}
