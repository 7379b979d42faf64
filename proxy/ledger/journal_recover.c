/*
 * journal_recover.c - what the newest segment still holds after a crash.
 *
 * Good batches are followed by zeros (clean), or by bytes that are no batch. Since one
 * batch is in flight at most, a valid later batch behind such bytes proves that they were
 * synced once: corruption, not a torn write. Without a later batch it is taken for torn;
 * the ledger then compares with Redis before it reuses the leaf numbers.
 */
#include <fcntl.h>
#include <unistd.h>

#include "bytes_priv.h"
#include "consentd/crypto.h"
#include "journal_priv.h"

static void take_batch(struct tail *t, const struct batch *b)
{
    struct journal_record rec;
    size_t at = 0;

    for (uint32_t i = 0; i < b->count && batch_record(b, at, &rec, &at); i++)
        t->last_ts = rec.ts_ms;
    t->next_leaf = batch_end_leaf(b);
    t->chain = crypto_crc32c(t->chain, b->head, BATCH_HEAD);
}

/* Takes the good batches from off on; returns the offset behind them. */
static uint64_t take_run(struct window *w, const struct segment *seg, uint64_t off, struct tail *t)
{
    struct batch b;

    while (batch_at(w, seg, off, &b) == BATCH_OK && b.first_leaf >= t->next_leaf) {
        take_batch(t, &b);
        off += b.size;
    }
    return off;
}

static bool all_zero(struct window *w, uint64_t off)
{
    const uint8_t *p;

    while ((p = window_at(w, off, 1)) != NULL) {
        size_t left = (size_t)(w->base + w->len - off);

        for (size_t i = 0; i < left; i++)
            if (p[i] != 0)
                return false;
        off += left;
    }
    return true;
}

uint32_t segment_chain_start(const struct segment *seg)
{
    uint8_t crc[4];

    be32_put(crc, seg->head_crc);
    return crypto_crc32c(0, crc, sizeof(crc));
}

bool journal_scan_tail(const char *dir, const struct segment *seg, struct tail *out,
                       struct fault *f)
{
    char path[PATH_ROOM];
    struct window w = {0};
    uint64_t off;
    int fd;

    segment_path(path, dir, seg->node, seg->segno);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        fault_set_errno(f, "journal: %s", path);
        return false;
    }
    window_init(&w, fd);
    *out = (struct tail){.kind = JOURNAL_TAIL_CLEAN,
                         .next_leaf = seg->first_leaf,
                         .chain = segment_chain_start(seg)};
    out->end = take_run(&w, seg, SEGMENT_HEAD, out);
    if (!all_zero(&w, out->end))
        out->kind = JOURNAL_TAIL_TORN;
    for (off = out->end; out->kind != JOURNAL_TAIL_CLEAN; off = take_run(&w, seg, off, out)) {
        uint64_t before = out->next_leaf;
        struct batch b;

        /* the bad one would begin at `before`, so what follows it begins above */
        if (!batch_search(&w, seg, off, before, &off) || batch_at(&w, seg, off, &b) != BATCH_OK)
            break;
        if (out->kind != JOURNAL_TAIL_CORRUPT)
            out->gap_from = before;
        out->kind = JOURNAL_TAIL_CORRUPT;
        out->gap_to = b.first_leaf;
    }
    window_free(&w);
    close(fd);
    return true;
}
