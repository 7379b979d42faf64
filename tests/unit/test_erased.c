/*
 * test_erased.c - the list of erasures over restarts and torn lines; records taken out of
 * segments whose CRCs, commitments and numbers stay.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "consentd/erased.h"
#include "consentd/journal.h"
#include "consentd/journal_read.h"
#include "consentd/keks.h"
#include "consentd/mem.h"
#include "ledger_fixture.h"

static struct erasure example(uint8_t n, struct erased_ref *refs, unsigned cnt)
{
    struct erasure x = {.ts_ms = 1795470842549 + n, .refs = refs, .ref_cnt = cnt};

    memset(x.request, n, 16);
    memset(x.tag, n + 100, 16);
    memset(x.gone, n + 200, 16);
    return x;
}

static struct erased *open_list_of(const char *dir, uint8_t node)
{
    char path[128];
    struct fault f = {{0}};
    struct erased *e;

    (void)snprintf(path, sizeof(path), "%s/" ERASED_NAME, dir);
    e = erased_open(path, node, &f);
    if (e == NULL)
        print_error("%s\n", f.text);
    return e;
}

static struct erased *open_list(const char *dir)
{
    return open_list_of(dir, 1);
}

static void add_text(const char *dir, const char *text)
{
    char path[128];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/" ERASED_NAME, dir);
    file = fopen(path, "a");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_a_list_is_the_same_after_a_restart(void **state)
{
    struct erased_ref refs[] = {{1000, 5}, {1001, 9}}, more[] = {{1001, 9}, {900, 2}};
    struct erasure in = example(1, refs, 2);
    struct erasure *x = NULL;
    struct fault f = {{0}};
    struct erased *e;
    char dir[64];

    (void)state;
    fixture_dir(dir);
    e = open_list(dir);
    assert_false(erased_has(e, 5));
    assert_true(erased_add(e, &in, &x, &f));
    assert_true(erased_more(e, x, more, 2, &f));
    assert_true(erased_note_looked(e, x, &f));
    assert_true(erased_note_logged(e, x, 2, &f));
    erased_free(e);
    e = open_list(dir);
    assert_int_equal(erased_cnt(e), 1);
    x = erased_at(e, 0);
    assert_int_equal(x->ref_cnt, 3);
    assert_int_equal(x->logged, 2);
    assert_true(x->looked && x->named && !x->shredded && !x->held && !x->now);
    assert_true(erased_has(e, 2) && erased_has(e, 5) && erased_has(e, 9));
    assert_false(erased_has(e, 1) || erased_has(e, 6));
    assert_true(erased_is_gone(e, in.gone));
    assert_false(erased_is_gone(e, in.tag));
    assert_ptr_equal(erased_by_tag(e, in.tag), x);
    erased_free(e);
    fixture_remove(dir);
}

static void test_a_hold_keeps_the_records_and_not_the_cookie(void **state)
{
    struct erased_ref refs[] = {{1000, 5}};
    struct erasure in = example(1, refs, 1);
    struct erasure *x = NULL;
    struct fault f = {{0}};
    struct erased *e;
    char dir[64];

    (void)state;
    fixture_dir(dir);
    e = open_list(dir);
    assert_true(erased_hold(e, in.tag, true, 1, &f));
    assert_true(erased_add(e, &in, &x, &f));
    assert_true(x->held);
    erased_free(e);
    e = open_list(dir);
    assert_true(erased_is_held(e, in.tag));
    assert_false(erased_has(e, 5));
    assert_non_null(erased_of(e, 5));
    assert_true(erased_is_gone(e, in.gone));
    assert_true(erased_hold(e, in.tag, false, 2, &f));
    assert_true(erased_has(e, 5));
    erased_free(e);
    e = open_list(dir);
    assert_true(erased_has(e, 5));
    erased_free(e);
    fixture_remove(dir);
}

static void test_a_torn_line_is_none_and_nonsense_is_refused(void **state)
{
    struct erased_ref refs[] = {{1000, 5}};
    struct erasure in = example(1, refs, 1), second = example(2, refs, 0);
    struct erasure *x = NULL;
    struct fault f = {{0}};
    struct erased *e;
    char dir[64];

    (void)state;
    fixture_dir(dir);
    e = open_list(dir);
    assert_true(erased_add(e, &in, &x, &f));
    erased_free(e);
    add_text(dir, "looked 0101");
    e = open_list(dir);
    assert_false(erased_at(e, 0)->looked);
    assert_true(erased_add(e, &second, &x, &f));
    erased_free(e);
    e = open_list(dir);
    assert_int_equal(erased_cnt(e), 2);
    erased_free(e);
    add_text(dir, "looked 0101\n");
    assert_null(open_list(dir));
    fixture_remove(dir);
}

/*
 * An erasure whose records were not all written when the power went was never promised: whoever
 * asks again is searched for again, instead of being told that it is known.
 */
static void test_a_torn_erasure_is_none(void **state)
{
    struct erased_ref refs[] = {{1000, 5}, {1001, 123456}};
    struct erasure in = example(1, refs, 2), first = example(3, refs, 0);
    struct erasure *x = NULL;
    struct fault f = {{0}};
    char dir[64], path[128];
    struct stat st;
    off_t before;

    (void)state;
    fixture_dir(dir);
    (void)snprintf(path, sizeof(path), "%s/" ERASED_NAME, dir);
    for (off_t cut = 1;; cut++) {
        struct erased *e = open_list(dir);

        assert_true(erased_add(e, &first, &x, &f));
        assert_int_equal(stat(path, &st), 0);
        before = st.st_size;
        assert_true(erased_add(e, &in, &x, &f));
        erased_free(e);
        assert_int_equal(stat(path, &st), 0);
        if (st.st_size - cut < before)
            break;
        assert_int_equal(truncate(path, st.st_size - cut), 0);
        e = open_list(dir);
        assert_int_equal(erased_cnt(e), 1);
        assert_null(erased_by_tag(e, in.tag));
        assert_false(erased_is_gone(e, in.gone) || erased_has(e, 5));
        assert_true(erased_add(e, &in, &x, &f));
        erased_free(e);
        e = open_list(dir);
        assert_int_equal(erased_cnt(e), 2);
        assert_true(erased_has(e, 5) && erased_has(e, 123456));
        erased_free(e);
        assert_int_equal(unlink(path), 0);
    }
    fixture_remove(dir);
}

/* Another node numbers its leaves from 0 again: what was erased of the first is not its. */
static void test_another_nodes_leaves_are_not_erased(void **state)
{
    struct erased_ref refs[] = {{1000, 5}}, other[] = {{2000, 7}};
    struct erasure in = example(1, refs, 1), second = example(2, other, 1);
    struct erasure *x = NULL;
    struct fault f = {{0}};
    struct erased *e;
    char dir[64];

    (void)state;
    fixture_dir(dir);
    e = open_list_of(dir, 1);
    assert_true(erased_add(e, &in, &x, &f));
    erased_free(e);
    e = open_list_of(dir, 2);
    assert_false(erased_has(e, 5));
    assert_null(erased_by_tag(e, in.tag));
    assert_true(erased_at(e, 0)->foreign && erased_is_gone(e, in.gone));
    assert_true(erased_add(e, &second, &x, &f));
    assert_true(erased_has(e, 7));
    erased_free(e);
    e = open_list_of(dir, 1);
    assert_true(erased_has(e, 5) && !erased_has(e, 7));
    assert_non_null(erased_by_tag(e, in.tag));
    erased_free(e);
    fixture_remove(dir);
}

/* The haste of a second request outlives a restart, as its receipt says. */
static void test_haste_is_kept(void **state)
{
    struct erased_ref refs[] = {{1000, 5}};
    struct erasure in = example(1, refs, 1);
    struct erasure *x = NULL;
    struct fault f = {{0}};
    struct erased *e;
    char dir[64];

    (void)state;
    fixture_dir(dir);
    e = open_list(dir);
    assert_true(erased_add(e, &in, &x, &f));
    assert_true(erased_note_now(e, x, &f));
    assert_true(x->now);
    erased_free(e);
    e = open_list(dir);
    assert_true(erased_at(e, 0)->now);
    erased_free(e);
    fixture_remove(dir);
}

/* A hold keeps what is there: records that were erased before it do not come back. */
static void test_a_late_hold_brings_nothing_back(void **state)
{
    struct erased_ref refs[] = {{1000, 5}};
    struct erasure in = example(1, refs, 1);
    struct erasure *x = NULL;
    struct fault f = {{0}};
    struct erased *e;
    char dir[64];

    (void)state;
    fixture_dir(dir);
    e = open_list(dir);
    assert_true(erased_add(e, &in, &x, &f));
    assert_true(erased_hold(e, in.tag, true, 1, &f));
    assert_true(erased_is_held(e, in.tag));
    assert_true(erased_has(e, 5) && !x->held);
    erased_free(e);
    e = open_list(dir);
    assert_true(erased_has(e, 5) && erased_is_held(e, in.tag));
    erased_free(e);
    fixture_remove(dir);
}

static void test_a_dropped_month_is_remembered_and_its_key_gone(void **state)
{
    struct fault f = {{0}};
    struct erased *e;
    struct keks *keks;
    char dir[64], path[128];

    (void)state;
    fixture_dir(dir);
    (void)snprintf(path, sizeof(path), "%s/keks.json", dir);
    keks = keks_open(path, true, &f);
    assert_true(keks_ensure(keks, 1795470842549, &f)); /* 202611 and 202612 */
    assert_int_equal(keks_cnt(keks), 2);
    assert_true(keks_drop(keks, 202611, &f));
    assert_true(keks_drop(keks, 202611, &f));
    assert_null(keks_get(keks, 202611));
    assert_non_null(keks_get(keks, 202612));
    keks_free(keks);
    keks = keks_open(path, false, &f);
    assert_int_equal(keks_cnt(keks), 1);
    assert_int_equal(keks_month(keks, 0), 202612);
    keks_free(keks);
    e = open_list(dir);
    assert_true(erased_drop(e, 202611, 1, NULL, &f));
    assert_true(erased_drop(e, 202611, 2, NULL, &f));
    erased_free(e);
    e = open_list(dir);
    assert_int_equal(erased_month_cnt(e), 1);
    assert_int_equal(erased_month(e, 0), 202611);
    assert_int_equal(erased_month_at(e, 0)->ts_ms, 1);
    assert_false(erased_any_hold(e));
    erased_free(e);
    fixture_remove(dir);
}

/* Where what is kept begins: known when the newest month's end is, and each node has its own. */
static void test_the_leaf_behind_a_dropped_month(void **state)
{
    char dir[64];
    const uint64_t kept = 40;
    struct fault f = {{0}};
    struct erased *e;
    uint64_t leaf = 7;

    UNUSED(state);
    fixture_dir(dir);
    e = open_list(dir);
    assert_true(erased_kept_from(e, &leaf));
    assert_int_equal(leaf, 0);
    assert_null(erased_newest_month(e));
    assert_true(erased_drop(e, 202610, 1, NULL, &f));
    assert_false(erased_kept_from(e, &leaf));
    assert_true(erased_note_kept(e, 202610, 12, &f));
    assert_true(erased_note_kept(e, 202610, 99, &f)); /* the first one stays */
    assert_false(erased_note_kept(e, 202609, 12, &f));
    assert_false(erased_note_told(e, 202609, &f));
    assert_true(erased_drop(e, 202611, 2, &kept, &f));
    assert_true(erased_note_told(e, 202610, &f));
    erased_free(e);
    e = open_list(dir);
    assert_true(erased_kept_from(e, &leaf));
    assert_int_equal(leaf, 40);
    assert_int_equal(erased_newest_month(e)->month, 202611);
    assert_false(erased_newest_month(e)->told);
    assert_true(erased_month_at(e, 0)->told);
    assert_int_equal(erased_month_at(e, 0)->kept, 12);
    erased_free(e);
    e = open_list_of(dir, 2); /* another node: nothing is known of its leaves */
    assert_false(erased_kept_from(e, &leaf));
    assert_true(erased_note_kept(e, 202611, 0, &f));
    assert_true(erased_kept_from(e, &leaf));
    erased_free(e);
    e = open_list(dir);
    assert_true(erased_kept_from(e, &leaf));
    assert_int_equal(leaf, 40);
    erased_free(e);
    add_text(dir, "drop 202612 3\nkept 202612 1 5"); /* torn */
    e = open_list(dir);
    assert_false(erased_kept_from(e, &leaf));
    assert_true(erased_note_kept(e, 202612, 50, &f));
    erased_free(e);
    e = open_list(dir);
    assert_true(erased_kept_from(e, &leaf));
    assert_int_equal(leaf, 50);
    erased_free(e);
    fixture_remove(dir);
}

/* --- the journal --------------------------------------------------------------------------- */

static struct journal *fill(const char *dir, unsigned cnt)
{
    const struct journal_config cfg = {
        .dir = dir, .node = 1, .segment_size = JOURNAL_SEGMENT_MIN, .now_ms = 1000};
    struct journal_report report;
    struct fault f = {{0}};
    struct journal *j = journal_open(&cfg, &report, &f);
    static uint8_t sealed[300];

    assert_non_null(j);
    for (unsigned i = 0; i < cnt; i += 4) {
        struct journal_record recs[4];

        memset(recs, 0, sizeof(recs));
        for (unsigned k = 0; k < 4; k++) {
            recs[k].type = JOURNAL_EVENT;
            recs[k].ts_ms = 1000 + i;
            memset(recs[k].r, (int)(i + k + 1), 32);
            memset(recs[k].cmt, (int)(i + k + 1), 32);
            memset(sealed, (int)(i + k + 1), sizeof(sealed));
            recs[k].sealed = str_make(mem_dup(sealed, sizeof(sealed)), sizeof(sealed));
        }
        assert_true(journal_append(j, recs, 4, 1000 + i));
        for (unsigned k = 0; k < 4; k++)
            free((void *)(uintptr_t)recs[k].sealed.ptr);
    }
    return j;
}

/* Every record is read, and those of leaves[] are without r and text, the others whole. */
static void check_all(const char *dir, unsigned cnt, const uint64_t *leaves, size_t leaf_cnt)
{
    struct fault f = {{0}};
    struct journal_reader *rd = journal_reader_open(dir, 1, &f);
    struct journal_record rec;
    static const uint8_t zeros[300];

    for (unsigned i = 0; i < cnt; i++) {
        bool gone = false;
        uint8_t want[32];

        assert_int_equal(journal_reader_next(rd, UINT64_MAX, &rec), JOURNAL_STEP_RECORD);
        assert_int_equal(rec.leaf, i);
        for (size_t k = 0; k < leaf_cnt; k++)
            gone = gone || leaves[k] == i;
        memset(want, (int)(i + 1), 32);
        assert_memory_equal(rec.cmt, want, 32);
        assert_int_equal(rec.flags, gone ? JOURNAL_FLAG_ERASED : 0);
        if (gone) {
            assert_memory_equal(rec.sealed.ptr, zeros, 300);
            assert_memory_equal(rec.r + 4, zeros, 28); /* four bytes keep the CRC */
        } else {
            assert_memory_equal(rec.r, want, 32);
            assert_int_equal((uint8_t)rec.sealed.ptr[299], (uint8_t)(i + 1));
        }
    }
    assert_int_equal(journal_reader_next(rd, UINT64_MAX, &rec), JOURNAL_STEP_END);
    journal_reader_close(rd);
}

static void test_records_are_shredded_and_the_rest_stays(void **state)
{
    const uint64_t leaves[] = {0, 5, 6, 199, 399}, later[] = {0, 1, 5, 6, 199, 399};
    struct journal_report report;
    struct fault f = {{0}};
    struct journal *j;
    char dir[64];

    (void)state;
    fixture_dir(dir);
    j = fill(dir, 400);
    assert_true(journal_segments(j) > 2);
    assert_true(journal_roll(j, 5000));
    assert_true(journal_roll(j, 5000)); /* there is an empty one already */
    assert_true(journal_shred(j, leaves, COUNT_OF(leaves), &f));
    check_all(dir, 400, leaves, COUNT_OF(leaves));
    assert_true(journal_shred(j, later, COUNT_OF(later), &f)); /* again, and one more */
    check_all(dir, 400, later, COUNT_OF(later));
    journal_close(j);
    j = journal_open(&(struct journal_config){.dir = dir, .node = 1, .now_ms = 6000}, &report, &f);
    assert_int_equal(report.tail, JOURNAL_TAIL_CLEAN);
    assert_int_equal(report.next_leaf, 400);
    journal_close(j);
    fixture_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_list_is_the_same_after_a_restart),
        cmocka_unit_test(test_a_hold_keeps_the_records_and_not_the_cookie),
        cmocka_unit_test(test_a_torn_line_is_none_and_nonsense_is_refused),
        cmocka_unit_test(test_a_torn_erasure_is_none),
        cmocka_unit_test(test_another_nodes_leaves_are_not_erased),
        cmocka_unit_test(test_haste_is_kept),
        cmocka_unit_test(test_a_late_hold_brings_nothing_back),
        cmocka_unit_test(test_a_dropped_month_is_remembered_and_its_key_gone),
        cmocka_unit_test(test_the_leaf_behind_a_dropped_month),
        cmocka_unit_test(test_records_are_shredded_and_the_rest_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
