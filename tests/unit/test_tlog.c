/*
 * The log as files: any number of leaves, taken up at any point, and every byte that matters.
 */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/tlog.h"

static char folder[64];
static struct note_key key;
static const uint8_t seed[32] = {1, 2, 3};

/* Put before libc's: syncs that fail, and which files were synced since. */
static int syncs_that_fail;
static ino_t synced[64];
static unsigned synced_cnt;

int fdatasync(int fd)
{
    struct stat st;

    if (syncs_that_fail > 0) {
        syncs_that_fail--;
        errno = EIO;
        return -1;
    }
    if (fstat(fd, &st) == 0 && synced_cnt < sizeof(synced) / sizeof(synced[0]))
        synced[synced_cnt++] = st.st_ino;
    return (int)syscall(SYS_fdatasync, fd);
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/tlog-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_true(note_key_of(STR("log.example/consent/1"), seed, &key));
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct tlog *start(struct fault *f)
{
    const struct tlog_config cfg = {.path = folder, .keys = &key, .key_cnt = 1, .seed = seed};

    return tlog_open(&cfg, f);
}

static void cmt_of(uint64_t leaf, uint8_t out[32])
{
    crypto_sha256(&leaf, sizeof(leaf), out);
}

static void add_until(struct tlog *t, uint64_t end)
{
    struct fault f = {{0}};
    uint8_t cmt[32];

    while (tlog_size(t) < end) {
        cmt_of(tlog_size(t), cmt);
        assert_true(tlog_add(t, tlog_size(t), cmt, &f));
    }
}

static void root_of(uint64_t size, uint8_t out[32])
{
    struct merkle_frontier frontier = {0};

    for (uint64_t i = 0; i < size; i++) {
        uint8_t cmt[32], leaf[32];

        cmt_of(i, cmt);
        merkle_leaf(str_make(cmt, 32), leaf);
        merkle_append(&frontier, leaf);
    }
    merkle_root(&frontier, out);
}

/* Everything that is published verifies: entries, tiles, proofs, checkpoint. */
static void check_published(uint64_t size)
{
    struct tlog_dir dir = {.path = folder, .size = size};
    struct merkle_tree tree;
    struct merkle_proof proof;
    struct fault f = {{0}};
    struct buf text;
    uint8_t root[32], cmt[32], want[32], leaf[32];

    buf_init(&text, NOTE_CHECKPOINT_MAX);
    assert_true(tlog_checkpoint(folder, &key, 1, &text, &tree, &f));
    assert_int_equal(tree.size, size);
    root_of(size, root);
    assert_memory_equal(tree.root, root, 32);
    assert_true(merkle_root_at(size, tlog_fetch, &dir, root));
    assert_memory_equal(tree.root, root, 32);
    for (uint64_t i = 0; i < size; i += 1 + size / 50) {
        assert_true(tlog_entry(&dir, i, cmt, &f));
        cmt_of(i, want);
        assert_memory_equal(cmt, want, 32);
        merkle_leaf(str_make(cmt, 32), leaf);
        assert_true(merkle_prove(i, size, tlog_fetch, &dir, &proof));
        assert_true(merkle_check(leaf, i, size, &proof, tree.root));
    }
    buf_free(&text);
}

static void test_sizes_and_restarts(void **state)
{
    static const uint64_t sizes[] = {1, 2, 255, 256, 257, 300, 511, 512, 1000, 65535, 65536, 65800};
    struct fault f = {{0}};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct tlog *t = start(&f); /* a new process each time */

        assert_non_null(t);
        assert_true(tlog_size(t) + 256 > tlog_signed(t));
        add_until(t, sizes[i]);
        assert_true(tlog_publish(t, &f));
        assert_true(tlog_publish(t, &f)); /* nothing to do */
        tlog_free(t);
        check_published(sizes[i]);
    }
}

/* The journal was trimmed: what the checkpoint's own files know is enough. */
static void test_what_is_known_here_is_added_from_here(void **state)
{
    struct fault f = {{0}};
    struct tlog *t = start(&f);

    (void)state;
    add_until(t, 300);
    assert_true(tlog_publish(t, &f));
    tlog_free(t);
    t = start(&f);
    assert_int_equal(tlog_size(t), 256);
    assert_true(tlog_add_known(t, UINT64_MAX, &f));
    assert_int_equal(tlog_size(t), 300);
    add_until(t, 301);
    assert_true(tlog_publish(t, &f));
    tlog_free(t);
    check_published(301);
}

static void test_another_past_is_never_signed(void **state)
{
    struct fault f = {{0}};
    struct tlog *t = start(&f);
    uint8_t cmt[32];

    (void)state;
    add_until(t, 10);
    assert_true(tlog_publish(t, &f));
    tlog_free(t);
    t = start(&f);
    for (uint64_t i = 0; i < 9; i++) {
        cmt_of(i == 4 ? 99 : i, cmt); /* one record was changed */
        assert_true(tlog_add(t, i, cmt, &f));
    }
    cmt_of(9, cmt);
    assert_false(tlog_add(t, 9, cmt, &f));
    assert_non_null(strstr(f.text, "not those that were signed"));
    assert_false(tlog_add(t, 10, cmt, &f));
    assert_true(tlog_publish(t, &f)); /* signs nothing */
    assert_int_equal(tlog_signed(t), 10);
    tlog_free(t);
    t = start(&f);
    cmt_of(5, cmt);
    assert_false(tlog_add(t, 5, cmt, &f)); /* a gap */
    tlog_free(t);
    check_published(10);
}

static void change_byte(const char *name)
{
    char path[160];
    struct buf text;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    buf_init(&text, 65536);
    assert_true(file_read(path, 65536, &text, NULL));
    text.data[text.len / 2] ^= 1;
    assert_true(file_write_atomic(path, text.data, text.len, 0644, NULL));
    buf_free(&text);
}

static void test_changed_files_are_not_taken_up(void **state)
{
    struct fault f = {{0}};
    struct tlog *t = start(&f);

    (void)state;
    add_until(t, 512);
    assert_true(tlog_publish(t, &f));
    tlog_free(t);
    change_byte("checkpoint");
    assert_null(start(&f));
    change_byte("checkpoint");
    change_byte("tile/0/001");
    assert_null(start(&f));
    assert_non_null(strstr(f.text, "not those that were signed"));
    change_byte("tile/0/001");
    t = start(&f);
    assert_non_null(t);
    tlog_free(t);
}

static void test_missing_tiles_are_written_again(void **state)
{
    struct tlog_config cfg = {.path = folder, .keys = &key, .key_cnt = 1, .seed = seed};
    struct fault f = {{0}};
    struct tlog *t = start(&f);
    char path[128];

    (void)state;
    add_until(t, 700);
    assert_true(tlog_publish(t, &f));
    tlog_free(t);
    snprintf(path, sizeof(path), "%s/tile/0/001", folder);
    assert_int_equal(unlink(path), 0);
    assert_null(start(&f));
    assert_non_null(strstr(f.text, "tile/0/001"));
    cfg.rebuild = true;
    t = tlog_open(&cfg, &f);
    assert_non_null(t);
    add_until(t, 600);
    tlog_free(t); /* a crash: tiles may have names and no bytes, though all that are read fit */
    assert_null(start(&f));
    assert_non_null(strstr(f.text, "cut short"));
    t = tlog_open(&cfg, &f);
    assert_non_null(t);
    assert_int_equal(tlog_size(t), 0);
    add_until(t, 701);
    assert_true(tlog_publish(t, &f));
    tlog_free(t);
    check_published(701);
    t = start(&f); /* it is over */
    assert_non_null(t);
    tlog_free(t);
}

/* Many tiles at once are synced as one; partial ones go with the checkpoint that is newer. */
static void test_many_tiles_between_two_checkpoints(void **state)
{
    struct fault f = {{0}};
    struct tlog *t = start(&f);
    char path[128];

    (void)state;
    add_until(t, 300);
    assert_true(tlog_publish(t, &f));
    snprintf(path, sizeof(path), "%s/tile/0/001.p/44", folder);
    assert_int_equal(access(path, F_OK), 0);
    add_until(t, 70000);
    assert_int_equal(access(path, F_OK), 0); /* the checkpoint still needs it */
    assert_true(tlog_publish(t, &f));
    assert_int_not_equal(access(path, F_OK), 0);
    snprintf(path, sizeof(path), "%s/tile/entries/001.p", folder);
    assert_int_not_equal(access(path, F_OK), 0);
    tlog_free(t);
    check_published(70000);
}

static bool was_synced(const char *name)
{
    char path[160];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(stat(path, &st), 0);
    for (unsigned i = 0; i < synced_cnt; i++)
        if (synced[i] == st.st_ino)
            return true;
    return false;
}

/* A sync that failed has lost what it was for: the tiles are written again before they are signed.
 */
static void test_a_sync_that_fails(void **state)
{
    struct fault f = {{0}};
    struct tlog *t = start(&f);

    (void)state;
    for (int fail = 1; fail <= 2; fail++) { /* of the entries; of the hashes too */
        uint64_t before = tlog_signed(t);

        add_until(t, before + 300);
        synced_cnt = 0;
        syncs_that_fail = fail;
        assert_false(tlog_publish(t, &f));
        assert_non_null(strstr(f.text, "durable"));
        assert_true(tlog_is_broken(t));
        assert_true(tlog_publish(t, &f)); /* signs nothing */
        assert_int_equal(tlog_signed(t), before);
        tlog_free(t);
        synced_cnt = 0;
        t = start(&f);
        assert_false(tlog_is_broken(t));
        add_until(t, before + 300);
        assert_true(tlog_publish(t, &f));
        assert_true(was_synced(fail == 1 ? "tile/entries/000" : "tile/entries/001"));
        assert_true(was_synced(fail == 1 ? "tile/0/000" : "tile/0/001"));
        check_published(before + 300);
    }
    tlog_free(t);
}

static void test_paths(void **state)
{
    static const char *const good[] = {"checkpoint",           "tile/0/000",
                                       "tile/0/x001/x234/067", "tile/entries/x001/000",
                                       "tile/7/255.p/1",       "tile/entries/009.p/255"};
    static const char *const bad[] = {"",
                                      "tile",
                                      "tile/",
                                      "tile/0",
                                      "tile/0/0",
                                      "tile/8/000",
                                      "tile/00/000",
                                      "tile/0/x000/001",
                                      "tile/0/001.p/0",
                                      "tile/0/001.p/256",
                                      "tile/0/001.p/01",
                                      "tile/0/1000",
                                      "tile/0/../checkpoint",
                                      "/checkpoint",
                                      "checkpoint/",
                                      "tile/0/001.p",
                                      "tile/entries/-01",
                                      "tile/0/x1/001",
                                      "tile/0/001.p/5.p/5",
                                      "tile/0/001.tmp"};
    char path[TLOG_PATH_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(tlog_path_ok(str_c(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(tlog_path_ok(str_c(bad[i])));
    tlog_path(path, 0, 1234067, 256);
    assert_string_equal(path, "tile/0/x001/x234/067");
    tlog_path(path, TLOG_ENTRIES, 1000, 7);
    assert_string_equal(path, "tile/entries/x001/000.p/7");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_sizes_and_restarts),
        CASE(test_what_is_known_here_is_added_from_here),
        CASE(test_another_past_is_never_signed),
        CASE(test_changed_files_are_not_taken_up),
        CASE(test_missing_tiles_are_written_again),
        CASE(test_many_tiles_between_two_checkpoints),
        CASE(test_a_sync_that_fails),
        CASE(test_paths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
