/*
 * journal_shred.c - takes records out of segments that were written (contract in journal.h).
 *
 * A segment is copied; in the copy each record gets JOURNAL_FLAG_ERASED, and zeros for sub_tag, r
 * and the sealed text. The batch keeps its CRC, and with it the chain of segments: four bytes of
 * the first r that was cleared are chosen so that the CRC comes out as it was. CRC-32C is linear,
 * so they are the solution of 32 equations over GF(2). They say no more of r than the CRC did.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes_priv.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/mem.h"
#include "journal_priv.h"

#define COPY_BYTES (1u << 20)
#define AT_FLAGS   5  /* of a record */
#define AT_TAG     20 /* of a record: sub_tag, which ties it to a subject's others */
#define AT_R       36 /* of a record */
#define PATCH_BITS 32
#define COPY_NAME  "shred.tmp"

struct shredder {
    const char *dir;
    const uint64_t *leaves; /* sorted */
    size_t cnt;
    int from, to;
    uint8_t *batch; /* one batch, changed */
};

void segments_shred_undone(const char *dir)
{
    char path[PATH_ROOM];

    (void)snprintf(path, sizeof(path), "%s/" COPY_NAME, dir);
    (void)unlink(path);
}

static int cmp_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static bool is_wanted(const struct shredder *s, uint64_t leaf)
{
    return bsearch(&leaf, s->leaves, s->cnt, sizeof(leaf), cmp_u64) != NULL;
}

static bool any_between(const struct shredder *s, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < s->cnt; i++)
        if (s->leaves[i] >= from && s->leaves[i] < to)
            return true;
    return false;
}

/* --- the CRC ------------------------------------------------------------------------------- */

/* As the segment's reader computes it. */
static uint32_t crc_of(const struct segment *seg, const uint8_t *batch, size_t len)
{
    uint32_t crc = crypto_crc32c(0, seg->salt, sizeof(seg->salt));

    return crypto_crc32c(crc, batch + 12, len - 12);
}

/*
 * Sets the four bytes at `at` so that the CRC becomes `want`. row[i] is what bit i of them does
 * to the CRC; Gauss-Jordan finds the bits that together do want ^ now.
 */
static void keep_crc(const struct segment *seg, uint8_t *batch, size_t len, size_t at,
                     uint32_t want)
{
    uint32_t now = crc_of(seg, batch, len);
    uint32_t effect[PATCH_BITS], mask[PATCH_BITS];
    uint32_t patch = 0, left = now ^ want;
    unsigned rank = 0;

    for (unsigned i = 0; i < PATCH_BITS; i++) {
        be32_put(batch + at, UINT32_C(1) << i);
        effect[i] = crc_of(seg, batch, len) ^ now;
        mask[i] = UINT32_C(1) << i;
    }
    for (unsigned bit = 0; bit < PATCH_BITS; bit++) {
        unsigned pivot = rank;
        uint32_t swap;

        while (pivot < PATCH_BITS && (effect[pivot] >> bit & 1) == 0)
            pivot++;
        ASSERT(pivot < PATCH_BITS); /* 32 bits in a row reach every CRC */
        swap = effect[pivot], effect[pivot] = effect[rank], effect[rank] = swap;
        swap = mask[pivot], mask[pivot] = mask[rank], mask[rank] = swap;
        for (unsigned i = 0; i < PATCH_BITS; i++)
            if (i != rank && (effect[i] >> bit & 1) != 0) {
                effect[i] ^= effect[rank];
                mask[i] ^= mask[rank];
            }
        rank++;
    }
    for (unsigned bit = 0; bit < PATCH_BITS; bit++)
        if ((left >> bit & 1) != 0)
            patch ^= mask[bit];
    be32_put(batch + at, patch);
    ASSERT(crc_of(seg, batch, len) == want);
}

/* --- one batch, one segment ---------------------------------------------------------------- */

/* Clears what is wanted in the copy of a batch; the offset of the first r cleared, 0: none. */
static size_t clear_records(struct shredder *s, const struct batch *b, uint64_t bound)
{
    struct journal_record rec;
    uint64_t leaf = b->first_leaf;
    size_t at = 0, first = 0;

    for (uint32_t i = 0; i < b->count; i++) {
        size_t here = at;
        uint8_t *p = s->batch + BATCH_HEAD + here;

        if (!batch_record(b, here, &rec, &at))
            break;
        if (journal_type_has_leaf(rec.type)) {
            if (leaf < bound && (rec.flags & JOURNAL_FLAG_ERASED) == 0 && is_wanted(s, leaf)) {
                p[AT_FLAGS] |= JOURNAL_FLAG_ERASED;
                memset(p + AT_TAG, 0, 16);
                memset(p + AT_R, 0, 32);
                memset(p + JOURNAL_RECORD_HEAD, 0, rec.sealed.len);
                if (first == 0)
                    first = BATCH_HEAD + here + AT_R;
            }
            leaf++;
        }
    }
    return first;
}

static bool copy_all(struct shredder *s)
{
    uint8_t *piece = mem_alloc(COPY_BYTES);
    uint64_t off = 0;
    ssize_t n;

    while ((n = pread(s->from, piece, COPY_BYTES, (off_t)off)) > 0 &&
           file_write_all_at(s->to, piece, (size_t)n, off))
        off += (uint64_t)n;
    crypto_wipe(piece, COPY_BYTES);
    free(piece);
    return n == 0;
}

static bool change_batches(struct shredder *s, const struct segment *seg, uint64_t bound)
{
    struct window w = {0};
    struct batch b;
    uint64_t off = SEGMENT_HEAD, expected = seg->first_leaf;
    bool ok = true;

    window_init(&w, s->from);
    while (ok) {
        size_t len, first;
        enum batch_found found = batch_at(&w, seg, off, &b);

        if (found == BATCH_NONE ||
            (found == BATCH_BAD && (!batch_search(&w, seg, off, expected, &off) ||
                                    batch_at(&w, seg, off, &b) != BATCH_OK)))
            break;
        len = BATCH_HEAD + b.body_len;
        memcpy(s->batch, b.head, len);
        first = clear_records(s, &b, bound);
        if (first > 0) {
            keep_crc(seg, s->batch, len, first, be32_get(b.head + 8));
            ok = file_write_all_at(s->to, s->batch, len, off);
        }
        expected = batch_end_leaf(&b);
        off += b.size;
    }
    window_free(&w);
    return ok;
}

static bool shred_segment(struct shredder *s, const struct segment *seg, uint64_t bound,
                          struct fault *f)
{
    char path[PATH_ROOM];
    char copy[PATH_ROOM];
    bool ok;

    segment_path(path, s->dir, seg->node, seg->segno);
    (void)snprintf(copy, sizeof(copy), "%s/" COPY_NAME, s->dir);
    s->from = open(path, O_RDONLY | O_CLOEXEC);
    s->to = open(copy, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ok = s->from >= 0 && s->to >= 0 && copy_all(s) && change_batches(s, seg, bound) &&
         fsync(s->to) == 0 && rename(copy, path) == 0 && file_sync_dir(path, NULL);
    if (!ok) {
        fault_set_errno(f, "journal: %s: can't be rewritten", path);
        (void)unlink(copy);
    }
    if (s->from >= 0)
        close(s->from);
    if (s->to >= 0)
        close(s->to);
    return ok;
}

bool segments_shred(const struct segment_list *list, const char *dir, const uint64_t *leaves,
                    size_t cnt, struct fault *f)
{
    struct shredder s = {.dir = dir, .leaves = leaves, .cnt = cnt};
    bool ok = true;

    s.batch = mem_alloc(BATCH_MAX);
    for (unsigned i = 0; ok && i + 1 < list->cnt; i++) {
        uint64_t bound = list->items[i + 1].first_leaf;

        if (any_between(&s, list->items[i].first_leaf, bound))
            ok = shred_segment(&s, &list->items[i], bound, f);
    }
    crypto_wipe(s.batch, BATCH_MAX);
    free(s.batch);
    return ok;
}
