/*
 * test_notices.c - the documents that were in force, and since when (consentd/notices.h).
 */
#include "consentd/notices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "consentd/crypto.h"
#include "consentd/file.h"

#define SITE "www.example.com"

static void note(struct notices *n, const char *site, const char *version, uint64_t ts_ms)
{
    struct notice_use use = {
        .ts_ms = ts_ms, .leaf = ts_ms, .node = 1, .site = site, .version = version};
    struct fault f = {{0}};

    crypto_sha256(version, strlen(version), use.hash);
    assert_true(notices_note(n, &use, &f));
}

static bool remove_one(void *arg, const char *name)
{
    char *path = file_resolve(arg, name);

    unlink(path);
    free(path);
    return true;
}

static void test_history(void **state)
{
    char folder[] = "/tmp/test_notices.XXXXXX";
    struct fault f = {{0}};
    struct notices *n;

    (void)state;
    assert_non_null(mkdtemp(folder));
    n = notices_open(folder, &f);
    assert_non_null(n);
    assert_null(notices_latest(n, SITE));
    note(n, SITE, "1", 1000);
    assert_int_equal(notices_since(n, SITE), 0); /* there was never another one */
    note(n, "other.example", "7", 1500);
    note(n, SITE, "2 \"quoted\"", 2000);
    note(n, SITE, "2 \"quoted\"", 3000); /* other rule sets, the same version */
    assert_int_equal(notices_since(n, SITE), 2000);
    notices_free(n);
    n = notices_open(folder, &f); /* the same from the file */
    assert_non_null(n);
    assert_int_equal(notices_cnt(n), 4);
    assert_string_equal(notices_latest(n, SITE)->version, "2 \"quoted\"");
    assert_int_equal(notices_since(n, SITE), 2000);
    assert_int_equal(notices_since(n, "other.example"), 0);
    note(n, SITE, "1", 4000); /* back to the first: in force anew since then */
    assert_int_equal(notices_since(n, SITE), 4000);
    assert_int_equal(notices_find(n, notices_latest(n, SITE)->hash, 16)->leaf, 1000);
    assert_int_equal(notices_find_leaf(n, notices_latest(n, SITE)->hash, 1)->leaf, 1000);
    assert_null(notices_find_leaf(n, notices_latest(n, SITE)->hash, 2));
    notices_free(n);
    assert_true(file_each(folder, "", remove_one, folder, &f));
    rmdir(folder);
}

static void test_a_document_is_what_its_hash_says(void **state)
{
    char folder[] = "/tmp/test_notices.XXXXXX", name[80];
    struct fault f = {{0}};
    struct notices *n;
    struct buf text;
    uint8_t hash[32];
    bool mended;
    char *path;

    (void)state;
    assert_non_null(mkdtemp(folder));
    n = notices_open(folder, &f);
    buf_init(&text, 4096);
    crypto_sha256("{}", 2, hash);
    assert_false(notices_read(n, hash, &text, &f));
    assert_true(notices_put(n, hash, STR("{}"), &mended, &f) && !mended);
    assert_true(notices_put(n, hash, STR("{}"), &mended, &f) && !mended);
    assert_true(notices_read(n, hash, &text, &f));
    assert_true(str_eq(buf_str(&text), STR("{}")));
    snprintf(name, sizeof(name), "%s",
             "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a.json");
    path = file_resolve(folder, name);
    assert_true(file_write_atomic(path, "{ }", 3, 0600, &f));
    buf_clear(&text);
    assert_false(notices_read(n, hash, &text, &f));
    assert_non_null(strstr(f.text, "its hash is another"));
    assert_true(notices_put(n, hash, STR("{}"), &mended, &f) && mended);
    buf_clear(&text);
    assert_true(notices_read(n, hash, &text, &f));
    buf_free(&text);
    notices_free(n);
    free(path);
    assert_true(file_each(folder, "", remove_one, folder, &f));
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_a_document_is_what_its_hash_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
