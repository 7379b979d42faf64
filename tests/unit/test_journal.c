/*
 * test_journal.c - the batch vector, recovery after torn and rotten sectors, full disks,
 * rotation, and both directions of the reader.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../../proxy/ledger/journal_priv.h"
#include "consentd/b64.h"
#include "consentd/journal_read.h"
#include "ledger_fixture.h"

#define NOW 1795470842549

/* Put before libc's: whether this folder was synced. */
static ino_t watched;
static bool watched_synced;

int fsync(int fd)
{
    struct stat st;

    watched_synced = watched_synced || (fstat(fd, &st) == 0 && st.st_ino == watched);
    return (int)syscall(SYS_fsync, fd);
}

static struct journal_record make_record(uint64_t n, struct str sealed)
{
    struct journal_record rec = {
        .type = JOURNAL_EVENT, .node = 1, .month = 202611, .sealed = sealed};

    rec.ts_ms = NOW + n;
    memset(rec.r, (int)n, 32);
    memset(rec.cmt, (int)(n * 7), 32);
    return rec;
}

static struct journal *open_journal(const char *dir, struct journal_report *report)
{
    const struct journal_config cfg = {
        .dir = dir, .node = 1, .segment_size = JOURNAL_SEGMENT_MIN, .now_ms = NOW};
    struct fault f = {{0}};
    struct journal *j = journal_open(&cfg, report, &f);

    if (j == NULL)
        print_error("%s\n", f.text);
    assert_non_null(j);
    return j;
}

static void append_some(struct journal *j, unsigned cnt, size_t len)
{
    static uint8_t body[4096];
    struct journal_record recs[JOURNAL_BATCH_RECORDS];
    uint64_t next = journal_next_leaf(j);

    memset(body, 0x5a, sizeof(body));
    for (unsigned i = 0; i < cnt; i++)
        recs[i] = make_record(next + i, str_make(body, len));
    assert_true(journal_append(j, recs, cnt, NOW + next));
    assert_int_equal(journal_next_leaf(j), next + cnt);
}

/* LEDGER 6: a batch of one record, byte for byte. */
static void test_vector_batch(void **state)
{
    const struct record_place at = {.node = 1, .leaf = 1048576, .month = 202611};
    struct consent_event ev = fixture_event();
    struct segment seg = {.node = 1};
    struct journal_record rec = {.type = JOURNAL_EVENT, .node = 1, .month = 202611, .ts_ms = NOW};
    struct batch b = {.first_leaf = 1048576, .count = 1, .commit_ms = NOW};
    uint8_t kek[32], idx[32], sealed[350], hash[32];
    static uint8_t out[BATCH_MAX];
    char hex[65];
    struct buf json;

    UNUSED(state);
    memset(kek, 0x22, 32);
    memset(idx, 0x33, 32);
    memset(rec.r, 0x11, 32);
    memset(seg.salt, 0x55, 8);
    buf_init(&json, 1024);
    assert_true(record_canonical(&ev, fixture_names, &json));
    record_commit(rec.r, buf_str(&json), rec.cmt);
    record_sub_tag(idx, ev.subject, rec.sub_tag);
    assert_true(record_seal(&at, kek, rec.r, buf_str(&json), sealed));
    rec.sealed = str_make(sealed, sizeof(sealed));
    b.body_len = (uint32_t)record_put(out + BATCH_HEAD, &rec);
    assert_int_equal(b.body_len, 450);
    assert_int_equal(batch_finish(out, &seg, &b), 488);
    hex_encode(hex, out + 8, 4);
    assert_string_equal(hex, "28f9e2b0");
    crypto_sha256(out, 488, hash);
    hex_encode(hex, hash, 32);
    assert_string_equal(hex, "18a1d0e786f0b090a87790709a09bac9d47942372a5bb3ab4552f5846bcd6123");
    buf_free(&json);
}

static void count_all(const char *dir, uint64_t from, uint64_t to)
{
    struct fault f;
    struct journal_reader *rd = journal_reader_open(dir, 1, &f);
    struct journal_record rec;
    uint64_t want = from;

    assert_non_null(rd);
    while (journal_reader_next(rd, UINT64_MAX, &rec) == JOURNAL_STEP_RECORD) {
        assert_int_equal(rec.leaf, want);
        assert_int_equal(rec.ts_ms, NOW + want);
        assert_int_equal(rec.r[0], want & 0xff);
        want++;
    }
    assert_int_equal(want, to);
    assert_true(journal_reader_seek(rd, UINT64_MAX, &f));
    while (journal_reader_prev(rd, &rec) == JOURNAL_STEP_RECORD)
        assert_int_equal(rec.leaf, --want);
    assert_int_equal(want, from);
    journal_reader_close(rd);
}

static void test_rotation_and_reopen(void **state)
{
    struct journal_report report;
    char dir[64];
    struct journal *j;

    UNUSED(state);
    fixture_dir(dir);
    j = open_journal(dir, &report);
    assert_int_equal(report.tail, JOURNAL_TAIL_CLEAN);
    for (int i = 0; i < 100; i++)
        append_some(j, 7, 300);
    assert_true(journal_segments(j) > 3);
    journal_close(j);
    count_all(dir, 0, 700);
    j = open_journal(dir, &report);
    assert_int_equal(report.next_leaf, 700);
    assert_int_equal(report.last_ts_ms, NOW + 699);
    assert_int_equal(report.tail, JOURNAL_TAIL_CLEAN);
    append_some(j, 3, 300);
    journal_close(j);
    count_all(dir, 0, 703);
    fixture_remove(dir);
}

static void test_seek_by_leaf_and_time(void **state)
{
    struct journal_report report;
    char dir[64];
    struct journal *j;
    struct journal_reader *rd;
    struct journal_record rec;
    struct fault f;

    UNUSED(state);
    fixture_dir(dir);
    j = open_journal(dir, &report);
    for (int i = 0; i < 50; i++)
        append_some(j, 11, 300);
    rd = journal_reader_open(dir, 1, &f);
    for (uint64_t leaf = 0; leaf < 550; leaf += 37) {
        assert_true(journal_reader_seek(rd, leaf, &f));
        assert_int_equal(journal_reader_next(rd, UINT64_MAX, &rec), JOURNAL_STEP_RECORD);
        assert_int_equal(rec.leaf, leaf);
        assert_true(journal_reader_seek_time(rd, NOW + leaf, &f));
        assert_int_equal(journal_reader_next(rd, UINT64_MAX, &rec), JOURNAL_STEP_RECORD);
        assert_int_equal(rec.leaf, leaf);
        assert_true(journal_reader_seek_time(rd, NOW + leaf + 1, &f));
        assert_int_equal(journal_reader_prev(rd, &rec), JOURNAL_STEP_RECORD);
        assert_int_equal(rec.leaf, leaf);
    }
    assert_true(journal_reader_seek(rd, 0, &f));
    assert_int_equal(journal_reader_next(rd, 1, &rec), JOURNAL_STEP_RECORD);
    assert_int_equal(journal_reader_next(rd, 1, &rec), JOURNAL_STEP_END);
    assert_int_equal(journal_reader_next(rd, 2, &rec), JOURNAL_STEP_RECORD);
    assert_int_equal(rec.leaf, 1);
    assert_true(journal_reader_seek(rd, 549, &f));
    assert_int_equal(journal_reader_next(rd, UINT64_MAX, &rec), JOURNAL_STEP_RECORD);
    assert_int_equal(journal_reader_next(rd, UINT64_MAX, &rec), JOURNAL_STEP_END);
    for (int i = 0; i < 30; i++) /* the reader follows the writer into new segments */
        append_some(j, 11, 300);
    for (uint64_t leaf = 550; leaf < 880; leaf++) {
        assert_int_equal(journal_reader_next(rd, UINT64_MAX, &rec), JOURNAL_STEP_RECORD);
        assert_int_equal(rec.leaf, leaf);
    }
    journal_reader_close(rd);
    journal_close(j);
    fixture_remove(dir);
}

static void newest_path(const char *dir, char out[PATH_ROOM])
{
    struct segment_list list = {0};

    assert_true(segment_list_read(&list, dir, 1, NULL));
    segment_path(out, dir, 1, list.items[list.cnt - 1].segno);
    segment_list_free(&list);
}

/* Writes `len` bytes as a crash would: some of the sectors, the others as they were. */
static void tear(int fd, const uint8_t *bytes, size_t len, uint64_t off, unsigned *seed)
{
    for (size_t at = 0; at < len;) {
        size_t piece = 512 - (off + at) % 512;

        if (piece > len - at)
            piece = len - at;
        if (rand_r(seed) % 2 == 0)
            assert_int_equal(pwrite(fd, bytes + at, piece, (off_t)(off + at)), piece);
        at += piece;
    }
}

/* One crash: synced batches, then one in flight of which any sectors may have arrived. */
static void torn_trial(unsigned seed)
{
    static uint8_t in_flight[BATCH_MAX];
    static uint8_t body[512];
    struct journal_report report;
    struct segment seg;
    struct tail t;
    struct batch b = {.count = 1 + (unsigned)rand_r(&seed) % 6};
    uint8_t head[SEGMENT_HEAD];
    char dir[64], path[PATH_ROOM];
    struct journal *j;
    uint64_t synced;
    size_t size, len = 0;
    int fd;

    fixture_dir(dir);
    j = open_journal(dir, &report);
    for (int i = 0, n = 1 + rand_r(&seed) % 8; i < n; i++)
        append_some(j, 1 + (unsigned)rand_r(&seed) % 5, 100 + (size_t)rand_r(&seed) % 400);
    synced = journal_next_leaf(j);
    journal_close(j);
    newest_path(dir, path);
    fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, head, sizeof(head), 0), sizeof(head));
    assert_true(segment_head_get(head, &seg));
    assert_true(journal_scan_tail(dir, &seg, &t, NULL));
    fixture_fill(body, (uint8_t)seed, 3, sizeof(body));
    b.first_leaf = synced;
    for (unsigned i = 0; i < b.count; i++) {
        struct journal_record rec = make_record(synced + i, str_make(body, 100 + seed % 400));

        len += record_put(in_flight + BATCH_HEAD + len, &rec);
    }
    b.body_len = (uint32_t)len;
    size = batch_finish(in_flight, &seg, &b);
    tear(fd, in_flight, size, t.end, &seed);
    close(fd);
    j = open_journal(dir, &report);
    assert_true(report.tail != JOURNAL_TAIL_CORRUPT);
    assert_true(report.next_leaf == synced || report.next_leaf == synced + b.count);
    append_some(j, 2, 200);
    journal_close(j);
    count_all(dir, 0, report.next_leaf + 2);
    fixture_remove(dir);
}

static void test_torn_sectors(void **state)
{
    const char *trials = getenv("CONSENTD_TRIALS");
    unsigned cnt = trials != NULL ? (unsigned)strtoul(trials, NULL, 10) : 300;

    UNUSED(state);
    for (unsigned seed = 1; seed <= cnt; seed++)
        torn_trial(seed);
}

/* A flipped bit anywhere but in the last batch is corruption: nothing behind it is lost. */
static void test_flipped_bit_is_corruption(void **state)
{
    struct journal_report report;
    char dir[64], path[PATH_ROOM];
    struct journal *j;
    struct fault f;
    int fd;

    UNUSED(state);
    for (unsigned trial = 0; trial < 40; trial++) {
        struct journal_reader *rd;
        struct journal_record rec;
        enum journal_step step;
        unsigned records = 0, gaps = 0;
        uint8_t byte;
        off_t off = SEGMENT_HEAD + trial * 97;

        fixture_dir(dir);
        j = open_journal(dir, &report);
        for (int i = 0; i < 20; i++)
            append_some(j, 2, 300);
        journal_close(j);
        newest_path(dir, path);
        fd = open(path, O_RDWR);
        assert_int_equal(pread(fd, &byte, 1, off), 1);
        byte ^= (uint8_t)(1 << trial % 8);
        assert_int_equal(pwrite(fd, &byte, 1, off), 1);
        close(fd);
        j = open_journal(dir, &report);
        if (report.tail == JOURNAL_TAIL_CLEAN) { /* the padding of a batch: nothing is lost */
            journal_close(j);
            fixture_remove(dir);
            continue;
        }
        assert_int_equal(report.tail, JOURNAL_TAIL_CORRUPT);
        assert_int_equal(report.next_leaf, 40);
        assert_int_equal(report.gap_to - report.gap_from, 2);
        append_some(j, 1, 100);
        journal_close(j);
        rd = journal_reader_open(dir, 1, &f);
        while ((step = journal_reader_next(rd, UINT64_MAX, &rec)) != JOURNAL_STEP_END) {
            records += step == JOURNAL_STEP_RECORD ? 1 : 0;
            gaps += step == JOURNAL_STEP_GAP ? 1 : 0;
        }
        assert_int_equal(records, 39);
        assert_int_equal(gaps, 1);
        journal_reader_close(rd);
        fixture_remove(dir);
    }
}

static void test_full_disk_then_space(void **state)
{
    struct rlimit before, low = {JOURNAL_SEGMENT_MIN / 2, 0};
    struct journal_report report;
    struct journal_record rec;
    char dir[64];
    struct journal *j;
    uint8_t body[300] = {0};

    UNUSED(state);
    fixture_dir(dir);
    j = open_journal(dir, &report);
    append_some(j, 5, 300);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    low.rlim_max = before.rlim_max;
    for (int i = 0; i < 30; i++) /* fill the first segment up to the limit below */
        append_some(j, 3, 300);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    rec = make_record(journal_next_leaf(j), str_make(body, sizeof(body)));
    assert_false(journal_append(j, &rec, 1, NOW));
    assert_true(journal_failed(j));
    assert_false(journal_append(j, &rec, 1, NOW));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    append_some(j, 2, 300);
    assert_false(journal_failed(j));
    journal_close(j);
    count_all(dir, 0, 97);
    j = open_journal(dir, &report);
    assert_int_equal(report.next_leaf, 97);
    journal_close(j);
    fixture_remove(dir);
}

static void test_second_writer_is_refused(void **state)
{
    const struct journal_config cfg = {.node = 1, .segment_size = JOURNAL_SEGMENT_MIN};
    struct journal_config second = cfg;
    struct journal_report report;
    struct fault f;
    char dir[64];
    struct journal *j;

    UNUSED(state);
    fixture_dir(dir);
    j = open_journal(dir, &report);
    second.dir = dir;
    second.lock_wait_ms = 50;
    assert_null(journal_open(&second, &report, &f));
    journal_close(j);
    j = journal_open(&second, &report, &f);
    assert_non_null(j);
    journal_close(j);
    fixture_remove(dir);
}

static void test_trim_keeps_what_is_not_shipped(void **state)
{
    struct journal_report report;
    char dir[64];
    struct journal *j;
    unsigned before;

    UNUSED(state);
    fixture_dir(dir);
    j = open_journal(dir, &report);
    for (int i = 0; i < 100; i++)
        append_some(j, 7, 300);
    before = journal_segments(j);
    assert_int_equal(journal_trim(j, 0, UINT64_MAX), 0);
    assert_int_equal(journal_trim(j, UINT64_MAX, NOW), 0);
    assert_true(journal_trim(j, 300, UINT64_MAX) > 0);
    assert_true(journal_first_leaf(j) <= 300);
    assert_true(journal_segments(j) < before);
    assert_int_equal(journal_month_leaf(j, 202611), journal_first_leaf(j));
    assert_int_equal(journal_month_leaf(j, 202612), 700);
    count_all(dir, journal_first_leaf(j), 700);
    (void)journal_trim(j, UINT64_MAX, UINT64_MAX);
    assert_int_equal(journal_segments(j), 1);
    journal_close(j);
    fixture_remove(dir);
}

static void test_skip_leaves_a_gap(void **state)
{
    struct journal_report report;
    struct journal_reader *rd;
    struct journal_record rec;
    struct fault f;
    uint64_t from, to;
    char dir[64];
    struct journal *j;

    UNUSED(state);
    fixture_dir(dir);
    j = open_journal(dir, &report);
    append_some(j, 3, 100);
    assert_true(journal_skip_to(j, 10, NOW));
    append_some(j, 1, 100);
    journal_close(j);
    rd = journal_reader_open(dir, 1, &f);
    for (int i = 0; i < 3; i++)
        assert_int_equal(journal_reader_next(rd, UINT64_MAX, &rec), JOURNAL_STEP_RECORD);
    assert_int_equal(journal_reader_next(rd, UINT64_MAX, &rec), JOURNAL_STEP_GAP);
    journal_reader_gap(rd, &from, &to);
    assert_int_equal(from, 3);
    assert_int_equal(to, 10);
    assert_int_equal(journal_reader_next(rd, UINT64_MAX, &rec), JOURNAL_STEP_RECORD);
    assert_int_equal(rec.leaf, 10);
    journal_reader_close(rd);
    j = open_journal(dir, &report);
    assert_int_equal(report.next_leaf, 11);
    journal_close(j);
    fixture_remove(dir);
}

static void test_half_made_segment_is_dropped(void **state)
{
    struct journal_report report;
    char dir[64], path[PATH_ROOM];
    struct journal *j;
    int fd;

    UNUSED(state);
    fixture_dir(dir);
    j = open_journal(dir, &report);
    append_some(j, 3, 100);
    journal_close(j);
    segment_path(path, dir, 1, 1);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 4096), 0);
    close(fd);
    j = open_journal(dir, &report);
    assert_int_equal(report.tail, JOURNAL_TAIL_CLEAN);
    append_some(j, 3, 100);
    journal_close(j);
    count_all(dir, 0, 6);
    fixture_remove(dir);
}

/* What can't be opened (restored by root, no descriptors left) says nothing: it stays as it is. */
static void test_unreadable_segment_stays(void **state)
{
    const struct journal_config cfg = {.node = 1, .segment_size = JOURNAL_SEGMENT_MIN};
    struct journal_config mine = cfg;
    struct rlimit limit = {0}, none = {0};
    struct journal_report report;
    struct fault f = {{0}};
    struct journal_record rec;
    struct journal_reader *rd;
    char dir[64], path[PATH_ROOM];
    enum journal_step step;
    struct journal *j;

    UNUSED(state);
    fixture_dir(dir);
    j = open_journal(dir, &report);
    for (int i = 0; i < 60; i++)
        append_some(j, 7, 300);
    assert_true(journal_segments(j) > 2);
    journal_close(j);
    segment_path(path, dir, 1, 0);
    rd = journal_reader_open(dir, 1, &f);
    assert_non_null(rd);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
    mine.dir = dir;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(journal_reader_next(rd, UINT64_MAX, &rec), JOURNAL_STEP_ERROR);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_non_null(strstr(journal_reader_fault(rd), "wal-1-"));
    while ((step = journal_reader_next(rd, UINT64_MAX, &rec)) == JOURNAL_STEP_RECORD)
        continue; /* it goes on where it was */
    assert_int_equal(step, JOURNAL_STEP_END);
    assert_int_equal(rec.leaf, 419);
    journal_reader_close(rd);
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(chmod(dir, 0777), 0);
    if (geteuid() == 0)
        assert_int_equal(seteuid(65534), 0);
    j = journal_open(&mine, &report, &f);
    if (geteuid() == 65534)
        assert_int_equal(seteuid(0), 0);
    assert_null(j);
    assert_non_null(strstr(f.text, "denied"));
    assert_int_equal(chmod(path, 0600), 0);
    count_all(dir, 0, 420);
    fixture_remove(dir);
}

/* The first sector of a segment reads as zeros: what is behind it was synced once, and is kept. */
static void test_rotten_head_is_kept(void **state)
{
    static const uint8_t zeros[4096];
    struct journal_report report;
    char dir[64], path[PATH_ROOM], aside[PATH_ROOM + 8];
    struct journal *j;
    struct stat st;
    int fd;

    UNUSED(state);
    fixture_dir(dir);
    j = open_journal(dir, &report);
    for (int i = 0; i < 60; i++)
        append_some(j, 7, 300);
    journal_close(j);
    segment_path(path, dir, 1, 0);
    fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, zeros, sizeof(zeros), 0), (ssize_t)sizeof(zeros));
    close(fd);
    j = open_journal(dir, &report);
    assert_int_equal(report.tail, JOURNAL_TAIL_CORRUPT);
    assert_int_equal(report.next_leaf, 420);
    journal_close(j);
    (void)snprintf(aside, sizeof(aside), "%s.bad", path);
    assert_int_equal(stat(aside, &st), 0);
    assert_int_not_equal(stat(path, &st), 0);
    fixture_remove(dir);
}

/* A segment that goes by its age while somebody reads is passed over, and what follows is read. */
static void test_reader_passes_a_removed_segment(void **state)
{
    struct journal_report report;
    struct journal_record rec;
    struct journal_reader *rd;
    char dir[64], path[PATH_ROOM];
    unsigned records = 0, gaps = 0;
    enum journal_step step;
    struct journal *j;
    struct fault f;

    UNUSED(state);
    fixture_dir(dir);
    j = open_journal(dir, &report);
    for (int i = 0; i < 60; i++)
        append_some(j, 7, 300);
    journal_close(j);
    rd = journal_reader_open(dir, 1, &f);
    segment_path(path, dir, 1, 1);
    assert_int_equal(unlink(path), 0);
    while ((step = journal_reader_next(rd, UINT64_MAX, &rec)) == JOURNAL_STEP_RECORD ||
           step == JOURNAL_STEP_GAP) {
        records += step == JOURNAL_STEP_RECORD ? 1 : 0;
        gaps += step == JOURNAL_STEP_GAP ? 1 : 0;
    }
    assert_int_equal(step, JOURNAL_STEP_END);
    assert_int_equal(gaps, 1);
    assert_int_equal(rec.leaf, 419);
    assert_true(records > 200 && records < 420);
    journal_reader_close(rd);
    fixture_remove(dir);
}

/* A new folder's name is durable before anything in it is acknowledged. */
static void test_the_folder_is_synced_into_its_parent(void **state)
{
    struct journal_report report;
    char dir[64], path[80];
    struct journal *j;
    struct stat st;

    UNUSED(state);
    fixture_dir(dir);
    (void)snprintf(path, sizeof(path), "%s/journal", dir);
    assert_int_equal(stat(dir, &st), 0);
    watched = st.st_ino;
    watched_synced = false;
    j = open_journal(path, &report);
    assert_true(watched_synced);
    journal_close(j);
    watched = 0;
    fixture_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector_batch),
        cmocka_unit_test(test_rotation_and_reopen),
        cmocka_unit_test(test_seek_by_leaf_and_time),
        cmocka_unit_test(test_torn_sectors),
        cmocka_unit_test(test_flipped_bit_is_corruption),
        cmocka_unit_test(test_full_disk_then_space),
        cmocka_unit_test(test_second_writer_is_refused),
        cmocka_unit_test(test_trim_keeps_what_is_not_shipped),
        cmocka_unit_test(test_skip_leaves_a_gap),
        cmocka_unit_test(test_half_made_segment_is_dropped),
        cmocka_unit_test(test_unreadable_segment_stays),
        cmocka_unit_test(test_rotten_head_is_kept),
        cmocka_unit_test(test_reader_passes_a_removed_segment),
        cmocka_unit_test(test_the_folder_is_synced_into_its_parent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
