/*
 * tlog_read.c - names and reading; contract in consentd/tlog.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/file.h"
#include "consentd/mem.h"
#include "consentd/tlog.h"
#include "tlog_priv.h"

size_t tlog_path(char out[TLOG_PATH_MAX], unsigned level, uint64_t index, unsigned width)
{
    char number[64] = "";
    int len;

    (void)snprintf(number, sizeof(number), "%03u", (unsigned)(index % 1000));
    for (uint64_t rest = index / 1000; rest > 0; rest /= 1000) {
        char longer[64];

        (void)snprintf(longer, sizeof(longer), "x%03u/%.48s", (unsigned)(rest % 1000), number);
        memcpy(number, longer, sizeof(number));
    }
    if (level == TLOG_ENTRIES)
        len = snprintf(out, TLOG_PATH_MAX, "tile/entries/%s", number);
    else
        len = snprintf(out, TLOG_PATH_MAX, "tile/%u/%s", level, number);
    if (width < TLOG_TILE_WIDTH)
        len += snprintf(out + len, TLOG_PATH_MAX - (size_t)len, ".p/%u", width);
    return (size_t)len;
}

/* "x001/x234/067": the number, or false. */
static bool read_number(struct str text, uint64_t *out)
{
    *out = 0;
    while (text.len > 4) {
        uint64_t group;

        if (text.ptr[0] != 'x' || text.ptr[4] != '/' || *out > UINT64_MAX / 1000000 ||
            !str_to_u64(str_slice(text, 1, 3), 999, &group))
            return false;
        *out = *out * 1000 + group;
        text = str_slice(text, 5, text.len);
    }
    uint64_t last;

    if (text.len != 3 || !str_to_u64(text, 999, &last))
        return false;
    *out = *out * 1000 + last;
    return true;
}

bool tlog_path_ok(struct str path)
{
    struct str rest = path, part;
    ptrdiff_t partial = str_find(path, STR(".p/"));
    uint64_t level = TLOG_ENTRIES, index, width = TLOG_TILE_WIDTH;
    char same[TLOG_PATH_MAX];

    if (str_eq_c(path, "checkpoint") || str_eq_c(path, TLOG_COSIGNED))
        return true;
    if (!str_cut(&rest, '/', &part) || !str_eq_c(part, "tile") || !str_cut(&rest, '/', &part))
        return false;
    if (!str_eq_c(part, "entries") && !str_to_u64(part, TLOG_ENTRIES - 1, &level))
        return false;
    if (partial >= 0) {
        if (!str_to_u64(str_slice(path, (size_t)partial + 3, path.len), TLOG_TILE_WIDTH - 1,
                        &width) ||
            width == 0)
            return false;
        rest = str_slice(rest, 0, (size_t)(str_find(rest, STR(".p/"))));
    }
    /* one name, one spelling */
    return read_number(rest, &index) &&
           str_eq(path, str_make(same, tlog_path(same, (unsigned)level, index, (unsigned)width)));
}

void tlog_fold(const uint8_t *hashes, unsigned cnt, uint8_t out[32])
{
    uint8_t level[TLOG_TILE_LEN];

    memcpy(level, hashes, (size_t)cnt * MERKLE_HASH_LEN);
    for (; cnt > 1; cnt /= 2)
        for (size_t i = 0; i < cnt / 2; i++)
            merkle_node(level + 2 * i * MERKLE_HASH_LEN, level + (2 * i + 1) * MERKLE_HASH_LEN,
                        level + i * MERKLE_HASH_LEN);
    memcpy(out, level, MERKLE_HASH_LEN);
}

/* Hashes of this tile in a log of this size; 0: there is none. */
static unsigned width_of(uint64_t size, unsigned level, uint64_t index)
{
    uint64_t cnt = level == TLOG_ENTRIES ? size : size >> (8 * level);
    uint64_t first = index * TLOG_TILE_WIDTH;

    if (first >= cnt)
        return 0;
    return cnt - first < TLOG_TILE_WIDTH ? (unsigned)(cnt - first) : TLOG_TILE_WIDTH;
}

bool tlog_read(const struct tlog_dir *dir, unsigned level, uint64_t index, struct buf *out,
               struct fault *f)
{
    unsigned width = width_of(dir->size, level, index);
    size_t want = (size_t)width * (level == TLOG_ENTRIES ? TLOG_ENTRY_LEN : MERKLE_HASH_LEN);
    size_t had = out->len;
    char name[TLOG_PATH_MAX];
    char *path;
    bool ok;

    if (width == 0) {
        fault_set(f, "the log has no tile %u/%llu", level, (unsigned long long)index);
        return false;
    }
    (void)tlog_path(name, level, index, width);
    path = file_resolve(dir->path, name);
    ok = file_read(path, TLOG_BUNDLE_LEN, out, f);
    if (!ok && width < TLOG_TILE_WIDTH) { /* it may be full meanwhile */
        char *full;
        struct fault ignored;

        (void)tlog_path(name, level, index, TLOG_TILE_WIDTH);
        full = file_resolve(dir->path, name);
        ok = file_read(full, TLOG_BUNDLE_LEN, out, &ignored) && out->len - had >= want;
        out->len = ok ? had + want : had;
        free(full);
    }
    if (ok && out->len - had != want) {
        fault_set(f, "%s: %zu bytes, expected %zu", path, out->len - had, want);
        ok = false;
    }
    free(path);
    return ok;
}

bool tlog_fetch(void *arg, unsigned level, uint64_t index, uint8_t out[32])
{
    const struct tlog_dir *dir = arg;
    unsigned cnt = 1u << (level % 8);
    uint64_t first = index * cnt; /* in the hashes of the tiles' level */
    struct buf tile;
    bool ok;

    buf_init(&tile, TLOG_BUNDLE_LEN);
    ok = tlog_read(dir, level / 8, first / TLOG_TILE_WIDTH, &tile, NULL) &&
         tile.len >= (first % TLOG_TILE_WIDTH + cnt) * MERKLE_HASH_LEN;
    if (ok)
        tlog_fold(tile.data + first % TLOG_TILE_WIDTH * MERKLE_HASH_LEN, cnt, out);
    buf_free(&tile);
    return ok;
}

bool tlog_entry(const struct tlog_dir *dir, uint64_t leaf, uint8_t cmt_out[32], struct fault *f)
{
    size_t at = leaf % TLOG_TILE_WIDTH * TLOG_ENTRY_LEN;
    struct buf bundle;
    bool ok;

    buf_init(&bundle, TLOG_BUNDLE_LEN);
    ok = tlog_read(dir, TLOG_ENTRIES, leaf / TLOG_TILE_WIDTH, &bundle, f);
    if (ok && (bundle.data[at] != 0 || bundle.data[at + 1] != MERKLE_HASH_LEN)) {
        fault_set(f, "entry %llu is not one of 32 bytes", (unsigned long long)leaf);
        ok = false;
    }
    if (ok)
        memcpy(cmt_out, bundle.data + at + 2, MERKLE_HASH_LEN);
    buf_free(&bundle);
    return ok;
}

static bool read_note(const struct tlog_public *log, const char *name, struct buf *text_out,
                      struct merkle_tree *out, struct fault *f)
{
    char *file = file_resolve(log->path, name);
    bool ok = false;

    *out = (struct merkle_tree){0};
    if (file_read(file, NOTE_CHECKPOINT_MAX, text_out, f)) {
        for (unsigned i = 0; i < log->key_cnt && !ok; i++)
            ok = checkpoint_verify(&log->keys[i], buf_str(text_out), out, f);
        if (!ok)
            fault_prefix(f, "%s", file);
    }
    free(file);
    return ok;
}

bool tlog_checkpoint(const char *path, const struct note_key *keys, unsigned key_cnt,
                     struct buf *text_out, struct merkle_tree *out, struct fault *f)
{
    const struct tlog_public log = {path, keys, key_cnt};

    return read_note(&log, "checkpoint", text_out, out, f);
}

bool tlog_checkpoint_with(const struct tlog_public *log, uint64_t leaf, struct buf *text_out,
                          struct merkle_tree *out, struct fault *f)
{
    if (read_note(log, TLOG_COSIGNED, text_out, out, NULL) && leaf < out->size)
        return true;
    buf_clear(text_out);
    if (!read_note(log, "checkpoint", text_out, out, f))
        return false;
    if (leaf < out->size)
        return true;
    fault_set(f, "leaf %llu is not signed: the newest checkpoint has %llu leaves",
              (unsigned long long)leaf, (unsigned long long)out->size);
    return false;
}

unsigned tlog_leaf_hashes(const struct tlog_dir *dir, uint64_t number, uint8_t out[TLOG_TILE_LEN],
                          bool *whole_out)
{
    struct buf bytes;
    unsigned cnt = 0;
    bool whole;

    buf_init(&bytes, TLOG_BUNDLE_LEN);
    whole = tlog_read(dir, TLOG_ENTRIES, number, &bytes, NULL);
    if (whole) {
        for (; (size_t)(cnt + 1) * TLOG_ENTRY_LEN <= bytes.len; cnt++)
            merkle_leaf(str_make(bytes.data + (size_t)cnt * TLOG_ENTRY_LEN + 2, MERKLE_HASH_LEN),
                        out + (size_t)cnt * MERKLE_HASH_LEN);
    } else {
        buf_clear(&bytes);
        if (tlog_read(dir, 0, number, &bytes, NULL)) {
            memcpy(out, bytes.data, bytes.len);
            cnt = (unsigned)(bytes.len / MERKLE_HASH_LEN);
        }
    }
    buf_free(&bytes);
    if (whole_out != NULL)
        *whole_out = whole;
    return cnt;
}
