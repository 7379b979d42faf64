/*
 * journal.c - contract in consentd/journal.h: the writer.
 *
 * State of the writer: fd of the newest segment (-1: the next batch has to begin a new
 * one), the offset behind the last synced batch, the next leaf. Only a batch whose
 * fdatasync returned moves offset and leaf on; everything else is as if never written.
 */
#include "consentd/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "bytes_priv.h"
#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/journal_read.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/record.h"
#include "journal_priv.h"

#define LOCK_POLL_MS 20

struct journal {
    char *dir; /* owned */
    uint8_t node;
    uint64_t segment_size;
    int lock_fd;
    int fd;                   /* newest segment; -1: begin a new one first */
    uint64_t off;             /* behind the last synced batch */
    uint64_t next_leaf;       /* what the next record gets */
    uint64_t last_ts;         /* of the last record; 0: none */
    uint32_t chain;           /* of the newest segment */
    uint64_t next_segno;      /* of the segment begun next */
    bool failed;              /* the last append failed */
    struct segment_list list; /* all segments; the last one is the newest */
    uint8_t *batch;           /* owned; BATCH_MAX */
};

static struct segment *newest(struct journal *j)
{
    return &j->list.items[j->list.cnt - 1];
}

/* --- opening ----------------------------------------------------------------------- */

static bool take_lock(struct journal *j, uint64_t wait_ms, struct fault *f)
{
    const struct timespec pause = {.tv_nsec = LOCK_POLL_MS * 1000000L};
    uint64_t until = clock_mono_ms() + wait_ms;
    char path[PATH_ROOM];

    (void)snprintf(path, sizeof(path), "%s/lock", j->dir);
    j->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (j->lock_fd < 0) {
        fault_set_errno(f, "journal: %s", path);
        return false;
    }
    while (flock(j->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK || clock_mono_ms() >= until) {
            fault_set_errno(f, "journal: %s: another process writes here", path);
            return false;
        }
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

/* Gives a segment its full size ahead of time: a sync then writes no metadata. */
static bool reserve(int fd, uint64_t size)
{
    return fallocate(fd, 0, 0, (off_t)size) == 0 || errno == EOPNOTSUPP || errno == ENOSYS;
}

/*
 * Opens the newest segment for appending. Behind a torn or corrupt batch nothing is
 * written: the next append begins a new segment, and the bytes stay for whoever wants
 * to look at them, until the segment goes by its age.
 */
static bool resume(struct journal *j, const struct tail *t, struct fault *f)
{
    char path[PATH_ROOM];

    j->chain = t->chain;
    if (t->kind != JOURNAL_TAIL_CLEAN)
        return true;
    segment_path(path, j->dir, j->node, newest(j)->segno);
    j->fd = open(path, O_WRONLY | O_CLOEXEC);
    if (j->fd < 0) {
        fault_set_errno(f, "journal: %s", path);
        return false;
    }
    j->off = t->end;
    return true;
}

/* Whether nothing but zeros is behind the header. False and *f: it can't be read. */
static bool holds_nothing(const char *path, bool *nothing_out, struct fault *f)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t piece[65536];
    off_t off = SEGMENT_HEAD;
    ssize_t got = fd >= 0 ? 1 : -1;

    *nothing_out = true;
    while (got > 0 && *nothing_out) {
        got = pread(fd, piece, sizeof(piece), off);
        for (ssize_t i = 0; i < got && *nothing_out; i++)
            *nothing_out = piece[i] == 0;
        off += got > 0 ? got : 0;
    }
    if (got < 0)
        fault_set_errno(f, "journal: %s", path);
    if (fd >= 0)
        close(fd);
    return got >= 0;
}

/*
 * Segments whose header is none. One that was being made when the power went holds nothing and
 * goes; any other keeps its bytes under another name and is reported.
 */
static bool set_broken_aside(struct journal *j, bool *corrupt_out, struct fault *f)
{
    while (j->list.broken > 0) {
        uint64_t segno = j->list.broken_segno;
        char path[PATH_ROOM];
        char aside[PATH_ROOM + 8];
        bool nothing;

        segment_path(path, j->dir, j->node, segno);
        (void)snprintf(aside, sizeof(aside), "%s.bad", path);
        if (!holds_nothing(path, &nothing, f))
            return false;
        if (nothing) {
            if (unlink(path) != 0)
                return fault_set_errno(f, "journal: %s", path), false;
        } else {
            log_error("journal.corrupt", "segment=%llx reason=header", (unsigned long long)segno);
            *corrupt_out = true;
            if (rename(path, aside) != 0)
                return fault_set_errno(f, "journal: %s", path), false;
        }
        if (segno >= j->next_segno)
            j->next_segno = segno + 1;
        if (!segment_list_read(&j->list, j->dir, j->node, f))
            return false;
    }
    return true;
}

/* The newest record's time, when the newest segment has none: look further back. */
static uint64_t last_ts_before(const struct journal *j)
{
    struct journal_reader *rd = journal_reader_open(j->dir, j->node, NULL);
    struct journal_record rec;
    uint64_t ts = 0;

    if (rd != NULL && journal_reader_seek(rd, UINT64_MAX, NULL) &&
        journal_reader_prev(rd, &rec) == JOURNAL_STEP_RECORD)
        ts = rec.ts_ms;
    journal_reader_close(rd);
    return ts;
}

static bool recover(struct journal *j, struct journal_report *report, struct fault *f)
{
    struct tail t = {.kind = JOURNAL_TAIL_CLEAN};
    bool corrupt = false;

    segments_shred_undone(j->dir);
    if (!segment_list_read(&j->list, j->dir, j->node, f) || !set_broken_aside(j, &corrupt, f))
        return false;
    if (j->list.cnt > 0) {
        if (!journal_scan_tail(j->dir, newest(j), &t, f))
            return false;
        if (newest(j)->segno >= j->next_segno)
            j->next_segno = newest(j)->segno + 1;
        j->next_leaf = t.next_leaf;
        j->last_ts = t.last_ts != 0 || j->list.cnt == 1 ? t.last_ts : last_ts_before(j);
        if (!resume(j, &t, f))
            return false;
    }
    *report = (struct journal_report){.tail = corrupt ? JOURNAL_TAIL_CORRUPT : t.kind,
                                      .segment_cnt = j->list.cnt,
                                      .next_leaf = j->next_leaf,
                                      .first_leaf = journal_first_leaf(j),
                                      .last_ts_ms = j->last_ts,
                                      .gap_from = t.gap_from,
                                      .gap_to = t.gap_to};
    return true;
}

struct journal *journal_open(const struct journal_config *cfg, struct journal_report *report_out,
                             struct fault *f)
{
    struct journal *j = mem_new(struct journal);

    (void)signal(SIGXFSZ, SIG_IGN);
    j->dir = mem_strdup(cfg->dir);
    j->node = cfg->node;
    j->segment_size = cfg->segment_size;
    j->fd = j->lock_fd = -1;
    j->batch = mem_alloc(BATCH_MAX);
    if (j->segment_size < JOURNAL_SEGMENT_MIN)
        j->segment_size = JOURNAL_SEGMENT_MIN;
    if (j->segment_size > SEGMENT_MAX)
        j->segment_size = SEGMENT_MAX;
    if (!file_make_dirs(cfg->dir, 0700, f) || !take_lock(j, cfg->lock_wait_ms, f) ||
        !file_sync_dir(cfg->dir, f) || !recover(j, report_out, f)) { /* the folder's own name */
        journal_close(j);
        return NULL;
    }
    return j;
}

void journal_close(struct journal *j)
{
    if (j == NULL)
        return;
    if (j->fd >= 0)
        close(j->fd);
    if (j->lock_fd >= 0)
        close(j->lock_fd);
    segment_list_free(&j->list);
    free(j->batch);
    free(j->dir);
    free(j);
}

/* --- writing ----------------------------------------------------------------------- */

static bool sync_data(int fd)
{
    uint64_t start = clock_mono_ns();
    bool ok = fdatasync(fd) == 0;

    metric_add(METRIC_LEDGER_SYNC_NS, clock_mono_ns() - start);
    return ok;
}

static void close_segment(struct journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    j->fd = -1;
}

/* Makes the file, its header and its name durable. -1 and errno; nothing is left behind then. */
static int make_segment(const struct journal *j, struct segment *seg)
{
    uint8_t head[SEGMENT_HEAD];
    char path[PATH_ROOM];
    int fd;
    int error;

    segment_path(path, j->dir, j->node, seg->segno);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    segment_head_put(seg, head);
    if (reserve(fd, j->segment_size) && file_write_all_at(fd, head, sizeof(head), 0) &&
        fsync(fd) == 0 && file_sync_dir(path, NULL))
        return fd;
    error = errno;
    close(fd);
    (void)unlink(path);
    errno = error;
    return -1;
}

static bool begin_segment(struct journal *j, uint64_t now_ms)
{
    struct segment seg = {.segno = j->next_segno,
                          .node = j->node,
                          .first_leaf = j->next_leaf,
                          .created_ms = now_ms > j->last_ts ? now_ms : j->last_ts,
                          .prev_chain = j->list.cnt > 0 ? j->chain : 0};
    unsigned cnt = j->list.cnt;

    close_segment(j);
    crypto_random(seg.salt, sizeof(seg.salt));
    j->fd = make_segment(j, &seg);
    if (j->fd < 0)
        return false;
    j->next_segno++;
    if (cnt == j->list.cap) {
        j->list.cap = j->list.cap == 0 ? 16 : j->list.cap * 2;
        j->list.items = mem_realloc(j->list.items, j->list.cap * sizeof(*j->list.items));
    }
    j->list.items[j->list.cnt++] = seg;
    j->off = SEGMENT_HEAD;
    j->chain = segment_chain_start(&seg);
    return true;
}

/* Takes a segment back that was begun for a batch and could not hold it. */
static void undo_segment(struct journal *j)
{
    char path[PATH_ROOM];
    int error = errno;

    close_segment(j);
    segment_path(path, j->dir, j->node, newest(j)->segno);
    if (unlink(path) == 0) {
        j->list.cnt--;
        j->next_segno--; /* readers look for the number behind the one they are in */
    }
    errno = error;
}

static void build_batch(struct journal *j, struct journal_record *recs, unsigned cnt,
                        struct batch *b)
{
    uint64_t leaf = j->next_leaf;
    size_t len = 0;

    for (unsigned i = 0; i < cnt; i++) {
        recs[i].leaf = leaf;
        leaf += journal_type_has_leaf(recs[i].type) ? 1 : 0;
        ASSERT(len + JOURNAL_RECORD_HEAD + recs[i].sealed.len <= JOURNAL_BATCH_BYTES);
        len += record_put(j->batch + BATCH_HEAD + len, &recs[i]);
    }
    b->first_leaf = j->next_leaf;
    b->count = cnt;
    b->body_len = (uint32_t)len;
}

static bool put_batch(struct journal *j, const struct batch *b)
{
    size_t size = batch_finish(j->batch, newest(j), b);

    if (!file_write_all_at(j->fd, j->batch, size, j->off) || !sync_data(j->fd))
        return false;
    j->off += size;
    j->chain = crypto_crc32c(j->chain, j->batch, BATCH_HEAD);
    return true;
}

bool journal_append(struct journal *j, struct journal_record *recs, unsigned cnt, uint64_t now_ms)
{
    struct batch b = {.commit_ms = now_ms};

    ASSERT(cnt > 0 && cnt <= JOURNAL_BATCH_RECORDS);
    build_batch(j, recs, cnt, &b);
    j->failed = true;
    if (j->fd >= 0 && j->off + BATCH_HEAD + b.body_len + 8 <= j->segment_size && put_batch(j, &b)) {
        j->failed = false;
    } else { /* the segment is full, or its descriptor can't be trusted any more */
        if (!begin_segment(j, now_ms))
            return false;
        if (!put_batch(j, &b)) {
            undo_segment(j);
            return false;
        }
        j->failed = false;
    }
    crypto_wipe(j->batch, BATCH_HEAD + b.body_len);
    j->next_leaf = recs[cnt - 1].leaf + (journal_type_has_leaf(recs[cnt - 1].type) ? 1 : 0);
    j->last_ts = recs[cnt - 1].ts_ms;
    return true;
}

bool journal_skip_to(struct journal *j, uint64_t leaf, uint64_t now_ms)
{
    uint64_t before = j->next_leaf;

    ASSERT(leaf > before);
    j->next_leaf = leaf;
    if (begin_segment(j, now_ms))
        return true;
    j->next_leaf = before;
    j->failed = true;
    return false;
}

bool journal_roll(struct journal *j, uint64_t now_ms)
{
    if (j->list.cnt == 0 || newest(j)->first_leaf == j->next_leaf || begin_segment(j, now_ms))
        return true;
    j->failed = true;
    return false;
}

bool journal_shred(const struct journal *j, const uint64_t *leaves, size_t cnt, struct fault *f)
{
    return segments_shred(&j->list, j->dir, leaves, cnt, f);
}

/* --- what it holds ----------------------------------------------------------------- */

uint64_t journal_next_leaf(const struct journal *j)
{
    return j->next_leaf;
}

uint64_t journal_first_leaf(const struct journal *j)
{
    return j->list.cnt > 0 ? j->list.items[0].first_leaf : j->next_leaf;
}

uint64_t journal_last_ts(const struct journal *j)
{
    return j->last_ts;
}

bool journal_failed(const struct journal *j)
{
    return j->failed;
}

unsigned journal_segments(const struct journal *j)
{
    return j->list.cnt;
}

uint64_t journal_bytes(const struct journal *j)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < j->list.cnt; i++) {
        char path[PATH_ROOM];
        struct stat st;

        segment_path(path, j->dir, j->node, j->list.items[i].segno);
        if (stat(path, &st) == 0)
            bytes += (uint64_t)st.st_blocks * 512;
    }
    return bytes;
}

uint64_t journal_space(const struct journal *j, uint64_t *total_out)
{
    struct statvfs st;

    if (statvfs(j->dir, &st) != 0) {
        *total_out = UINT64_MAX;
        return UINT64_MAX;
    }
    *total_out = (uint64_t)st.f_blocks * st.f_frsize;
    return (uint64_t)st.f_bavail * st.f_frsize;
}

unsigned journal_trim(struct journal *j, uint64_t below_leaf, uint64_t before_ms)
{
    unsigned cnt = 0;
    char path[PATH_ROOM];

    /* a segment ends where the next one begins: its leaves and its time are known from there */
    while (cnt + 1 < j->list.cnt && j->list.items[cnt + 1].first_leaf <= below_leaf &&
           j->list.items[cnt + 1].created_ms < before_ms) {
        segment_path(path, j->dir, j->node, j->list.items[cnt].segno);
        if (unlink(path) != 0 && errno != ENOENT)
            break;
        cnt++;
    }
    if (cnt == 0)
        return 0;
    j->list.cnt -= cnt;
    memmove(j->list.items, j->list.items + cnt, j->list.cnt * sizeof(*j->list.items));
    segment_path(path, j->dir, j->node, newest(j)->segno);
    if (!file_sync_dir(path, NULL))
        log_warn("journal.trim", "error=%d", errno);
    return cnt;
}

uint64_t journal_month_leaf(const struct journal *j, uint32_t month)
{
    struct journal_reader *rd = journal_reader_open(j->dir, j->node, NULL);
    struct journal_record rec;
    enum journal_step step = JOURNAL_STEP_END;
    uint64_t leaf = j->next_leaf;

    if (rd != NULL && journal_reader_seek_time(rd, record_month_start(month), NULL)) {
        do
            step = journal_reader_next(rd, j->next_leaf, &rec);
        while (step == JOURNAL_STEP_GAP);
        if (step == JOURNAL_STEP_RECORD)
            leaf = rec.leaf;
    }
    journal_reader_close(rd);
    return leaf;
}
