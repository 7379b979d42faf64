/*
 * journal_read.c - contract in consentd/journal_read.h.
 *
 * Forwards: one window of the file, batch after batch, record after record. Where a
 * batch does not check out, the next valid one in the segment or the next segment goes
 * on; if leaves are missing between, that is a gap and is told.
 *
 * Backwards: one forward pass notes where the segment's batches are, then they are
 * visited from the last to the first.
 *
 * A segment ends where its successor's first leaf begins: what is behind that was never
 * acknowledged (a failed sync) and does not count.
 */
#include "consentd/journal_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/mem.h"
#include "journal_priv.h"

struct journal_reader {
    char *dir; /* owned */
    uint8_t node;
    struct segment_list list;
    unsigned at; /* segment being read: list.items[at] */
    int fd;      /* -1: not opened yet */
    struct window w;
    uint64_t off;                /* of the next batch */
    struct batch b;              /* forwards: valid while left > 0 */
    uint32_t left;               /* records of b not given out */
    size_t rec_off;              /* of the next record in b */
    uint64_t rec_leaf;           /* and its leaf */
    uint64_t expected;           /* leaf behind the last record seen */
    uint64_t want_leaf, want_ts; /* records before are passed over */
    uint64_t gap_from, gap_to;
    /* backwards */
    bool indexed;      /* offsets and so on belong to segment `at` */
    uint32_t *offsets; /* owned; of the segment's batches */
    uint32_t batch_cnt, batch_cap, batch_at;
    size_t recs[JOURNAL_BATCH_RECORDS]; /* record offsets of the batch being visited */
    uint64_t leaves[JOURNAL_BATCH_RECORDS];
    unsigned rec_at;
    struct fault fault;
};

struct journal_reader *journal_reader_open(const char *dir, uint8_t node, struct fault *f)
{
    struct journal_reader *rd = mem_new(struct journal_reader);

    rd->dir = mem_strdup(dir);
    rd->node = node;
    rd->fd = -1;
    if (journal_reader_seek(rd, 0, f))
        return rd;
    journal_reader_close(rd);
    return NULL;
}

static void close_file(struct journal_reader *rd)
{
    if (rd->fd >= 0)
        close(rd->fd);
    rd->fd = -1;
    rd->left = 0;
    rd->indexed = false;
}

void journal_reader_close(struct journal_reader *rd)
{
    if (rd == NULL)
        return;
    close_file(rd);
    window_free(&rd->w);
    segment_list_free(&rd->list);
    free(rd->offsets);
    free(rd->dir);
    free(rd);
}

void journal_reader_rest(struct journal_reader *rd)
{
    if (rd->left == 0 && !rd->indexed)
        window_wipe(&rd->w);
}

static bool open_file(struct journal_reader *rd)
{
    char path[PATH_ROOM];

    segment_path(path, rd->dir, rd->node, rd->list.items[rd->at].segno);
    rd->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (rd->fd < 0) {
        fault_set_errno(&rd->fault, "journal: %s", path);
        return false;
    }
    window_init(&rd->w, rd->fd);
    rd->off = SEGMENT_HEAD;
    return true;
}

static void rewind_to(struct journal_reader *rd, unsigned segment)
{
    close_file(rd);
    rd->at = segment;
    rd->expected = rd->list.cnt > 0 ? rd->list.items[segment].first_leaf : 0;
    rd->gap_from = rd->gap_to = 0;
    rd->rec_at = 0;
}

bool journal_reader_seek(struct journal_reader *rd, uint64_t leaf, struct fault *f)
{
    unsigned i = 0;

    if (!segment_list_read(&rd->list, rd->dir, rd->node, f))
        return false;
    while (i + 1 < rd->list.cnt && rd->list.items[i + 1].first_leaf <= leaf)
        i++;
    rewind_to(rd, i);
    rd->want_leaf = leaf;
    rd->want_ts = 0;
    return true;
}

bool journal_reader_seek_time(struct journal_reader *rd, uint64_t ts_ms, struct fault *f)
{
    unsigned i = 0;

    if (!segment_list_read(&rd->list, rd->dir, rd->node, f))
        return false;
    while (i + 1 < rd->list.cnt && rd->list.items[i + 1].created_ms + MONTH_SLACK < ts_ms)
        i++;
    rewind_to(rd, i);
    rd->want_leaf = 0;
    rd->want_ts = ts_ms;
    return true;
}

void journal_reader_gap(const struct journal_reader *rd, uint64_t *from_out, uint64_t *to_out)
{
    *from_out = rd->gap_from;
    *to_out = rd->gap_to;
}

const char *journal_reader_fault(const struct journal_reader *rd)
{
    return rd->fault.text;
}

/* First leaf that does not count in this segment any more. */
static uint64_t segment_bound(const struct journal_reader *rd)
{
    return rd->at + 1 < rd->list.cnt ? rd->list.items[rd->at + 1].first_leaf : UINT64_MAX;
}

/* --- forwards ---------------------------------------------------------------------- */

/*
 * Reads the directory again and finds the segment being read in it; when that is gone
 * (removed by its age) the first one behind. False and rd->fault: it can't be read.
 */
static bool look_again(struct journal_reader *rd)
{
    uint64_t segno = rd->list.items[rd->at].segno;
    unsigned i = 0;

    if (!segment_list_read(&rd->list, rd->dir, rd->node, &rd->fault))
        return false;
    while (i + 1 < rd->list.cnt && rd->list.items[i].segno < segno)
        i++;
    if (rd->list.cnt == 0 || rd->list.items[i].segno != segno)
        close_file(rd);
    rd->at = i;
    return true;
}

/* Whether the writer began another segment meanwhile: what follows here may be void. */
static bool has_successor(const struct journal_reader *rd)
{
    char path[PATH_ROOM];

    if (rd->at + 1 < rd->list.cnt)
        return false; /* known already */
    segment_path(path, rd->dir, rd->node, rd->list.items[rd->at].segno + 1);
    return access(path, F_OK) == 0;
}

/* Goes to the segment behind, if there is one by now. False: there is none, or rd->fault. */
static bool next_segment(struct journal_reader *rd)
{
    if (rd->at + 1 >= rd->list.cnt && (!look_again(rd) || rd->at + 1 >= rd->list.cnt))
        return false;
    close_file(rd);
    rd->at++;
    return true;
}

/* Makes the batch at rd->off the current one, past bytes that are none. False: none here. */
static bool load_batch(struct journal_reader *rd)
{
    const struct segment *seg = &rd->list.items[rd->at];
    enum batch_found found = batch_at(&rd->w, seg, rd->off, &rd->b);

    if (found != BATCH_OK) { /* the writer may have been here since the window was read */
        window_forget(&rd->w);
        found = batch_at(&rd->w, seg, rd->off, &rd->b);
    }
    if (found != BATCH_OK &&
        !(found == BATCH_BAD && batch_search(&rd->w, seg, rd->off, rd->expected, &rd->off) &&
          batch_at(&rd->w, seg, rd->off, &rd->b) == BATCH_OK))
        return false;
    if (rd->b.first_leaf >= segment_bound(rd))
        return false;
    rd->left = rd->b.count;
    rd->rec_off = 0;
    rd->rec_leaf = rd->b.first_leaf;
    rd->off += rd->b.size;
    return true;
}

static enum journal_step tell_gap(struct journal_reader *rd, uint64_t to)
{
    rd->gap_from = rd->expected > rd->want_leaf ? rd->expected : rd->want_leaf;
    rd->gap_to = to;
    rd->expected = to;
    return JOURNAL_STEP_GAP;
}

/* Nothing more, or something that can't be read. */
static enum journal_step no_more(const struct journal_reader *rd)
{
    return rd->fault.text[0] != '\0' ? JOURNAL_STEP_ERROR : JOURNAL_STEP_END;
}

/* The file of the segment being read; one that went by its age is passed over. */
static bool have_file(struct journal_reader *rd)
{
    while (rd->list.cnt > 0 && rd->fd < 0 && !open_file(rd)) {
        if (errno != ENOENT || !look_again(rd))
            return false;
        rd->fault.text[0] = '\0';
    }
    return rd->list.cnt > 0;
}

/* Finds the next batch; RECORD when there is one. */
static enum journal_step find_batch(struct journal_reader *rd, uint64_t until)
{
    rd->fault.text[0] = '\0';
    for (;;) {
        if (rd->list.cnt == 0 &&
            (!segment_list_read(&rd->list, rd->dir, rd->node, &rd->fault) || rd->list.cnt == 0))
            return no_more(rd);
        if (rd->expected >= until)
            return JOURNAL_STEP_END;
        if ((has_successor(rd) && !look_again(rd)) || !have_file(rd))
            return no_more(rd);
        if (load_batch(rd))
            break;
        if (!next_segment(rd))
            return no_more(rd);
    }
    return rd->b.first_leaf > rd->expected && rd->b.first_leaf > rd->want_leaf
               ? tell_gap(rd, rd->b.first_leaf)
               : JOURNAL_STEP_RECORD;
}

enum journal_step journal_reader_next(struct journal_reader *rd, uint64_t until,
                                      struct journal_record *rec_out)
{
    for (;;) {
        if (rd->left == 0) {
            enum journal_step step = find_batch(rd, until);

            if (step != JOURNAL_STEP_RECORD)
                return step;
        }
        if (rd->rec_leaf >= until)
            return JOURNAL_STEP_END;
        if (rd->rec_leaf >= segment_bound(rd) ||
            !batch_record(&rd->b, rd->rec_off, rec_out, &rd->rec_off)) {
            rd->left = 0; /* the rest of this segment does not count */
            if (!next_segment(rd))
                return no_more(rd);
            continue;
        }
        rd->left--;
        rec_out->leaf = rd->rec_leaf;
        if (journal_type_has_leaf(rec_out->type))
            rd->rec_leaf++;
        rd->expected = rd->rec_leaf;
        if (rec_out->leaf >= rd->want_leaf && rec_out->ts_ms >= rd->want_ts)
            return JOURNAL_STEP_RECORD;
    }
}

/* --- backwards --------------------------------------------------------------------- */

static void note_batch(struct journal_reader *rd, uint64_t off)
{
    if (rd->batch_cnt == rd->batch_cap) {
        rd->batch_cap = rd->batch_cap == 0 ? 1024 : rd->batch_cap * 2;
        rd->offsets = mem_realloc(rd->offsets, rd->batch_cap * sizeof(*rd->offsets));
    }
    rd->offsets[rd->batch_cnt++] = (uint32_t)off;
}

/* Notes where the batches are that can hold a record wanted. */
static bool index_segment(struct journal_reader *rd)
{
    uint64_t bound = segment_bound(rd);

    if (rd->fd < 0 && !open_file(rd))
        return false;
    rd->off = SEGMENT_HEAD;
    rd->expected = rd->list.items[rd->at].first_leaf;
    rd->batch_cnt = 0;
    while (load_batch(rd)) {
        if (rd->b.first_leaf >= bound || rd->b.first_leaf >= rd->want_leaf)
            break;
        note_batch(rd, rd->off - rd->b.size);
        rd->expected = rd->b.first_leaf;
    }
    rd->left = 0;
    rd->batch_at = rd->batch_cnt;
    rd->rec_at = 0;
    rd->indexed = true;
    return true;
}

/* Notes where the records of the batch before are. */
static bool open_batch_before(struct journal_reader *rd)
{
    const struct segment *seg = &rd->list.items[rd->at];
    struct journal_record rec;
    uint64_t leaf;
    size_t at = 0;

    if (batch_at(&rd->w, seg, rd->offsets[--rd->batch_at], &rd->b) != BATCH_OK)
        return false;
    leaf = rd->b.first_leaf;
    rd->rec_at = 0;
    while (rd->rec_at < rd->b.count && rd->rec_at < JOURNAL_BATCH_RECORDS) {
        size_t here = at;

        if (!batch_record(&rd->b, at, &rec, &at))
            break;
        rd->recs[rd->rec_at] = here;
        rd->leaves[rd->rec_at++] = leaf;
        leaf += journal_type_has_leaf(rec.type) ? 1 : 0;
    }
    return true;
}

/* Moves to the batch before the current one. */
static enum journal_step step_back(struct journal_reader *rd)
{
    while (!rd->indexed || rd->batch_at == 0) {
        if (rd->indexed) {
            if (rd->at == 0)
                return JOURNAL_STEP_END;
            close_file(rd);
            rd->at--;
        }
        if (!index_segment(rd))
            return JOURNAL_STEP_ERROR;
    }
    return open_batch_before(rd) ? JOURNAL_STEP_RECORD : JOURNAL_STEP_GAP;
}

/* A time was wanted: the segment to start from is the last that can hold an older record. */
static void start_back(struct journal_reader *rd)
{
    if (rd->indexed || rd->want_ts == 0)
        return;
    while (rd->at + 1 < rd->list.cnt && rd->list.items[rd->at + 1].created_ms < rd->want_ts)
        rd->at++;
    rd->want_leaf = UINT64_MAX;
}

enum journal_step journal_reader_prev(struct journal_reader *rd, struct journal_record *rec_out)
{
    if (rd->list.cnt == 0)
        return JOURNAL_STEP_END;
    start_back(rd);
    for (;;) {
        size_t ignored;

        if (rd->rec_at == 0) {
            enum journal_step step = step_back(rd);

            if (step != JOURNAL_STEP_RECORD)
                return step;
            continue;
        }
        rd->rec_at--;
        if (!batch_record(&rd->b, rd->recs[rd->rec_at], rec_out, &ignored))
            continue;
        rec_out->leaf = rd->leaves[rd->rec_at];
        if (rec_out->leaf < rd->want_leaf && rec_out->leaf < segment_bound(rd) &&
            (rd->want_ts == 0 || rec_out->ts_ms < rd->want_ts))
            return JOURNAL_STEP_RECORD;
    }
}
