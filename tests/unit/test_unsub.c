/*
 * test_unsub.c - one-click links (consentd/unsub.h) and the list of who left (suppressed.h).
 */
#include "consentd/unsub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "consentd/buf.h"
#include "consentd/file.h"
#include "consentd/suppressed.h"

#define RING(kid, state, letter)                                                                   \
    "{\"keys\":[{\"kid\":" kid ",\"use\":\"unsub\",\"state\":\"" state                             \
    "\",\"not_before\":0,\"key\":\"" letter letter letter letter letter letter letter letter       \
    "AAAAAAAAAAA\"}]}"
#define FOUR  "BBBB"
#define OTHER "CCCC"
#define SITE  STR("www.example.com")

static struct keyring *ring(const char *text)
{
    struct fault f = {{0}};
    struct keyring *made = keyring_parse("keys.json", str_c(text), &f);

    if (made == NULL)
        fail_msg("%s", f.text);
    return made;
}

static void test_a_link_says_what_was_put_in(void **state)
{
    struct keyring *keys = ring(RING("1", "active", FOUR));
    char token[UNSUB_TOKEN_MAX], list[UNSUB_LIST_MAX + 1];
    uint8_t tag[UNSUB_TAG_LEN], want[UNSUB_TAG_LEN];

    (void)state;
    assert_true(unsub_token(keys, SITE, STR(" Some.One@Example.COM "), STR("news"), token));
    assert_null(strstr(token, "xample"));
    assert_true(unsub_read(keys, SITE, str_c(token), tag, list));
    assert_string_equal(list, "news");
    assert_true(unsub_tag(keyring_active(keys, KEY_UNSUB), STR("some.one@example.com"), want));
    assert_memory_equal(tag, want, sizeof(tag));
    keyring_free(keys);
}

static void test_every_changed_character_is_seen(void **state)
{
    struct keyring *keys = ring(RING("1", "active", FOUR));
    struct keyring *others = ring(RING("1", "active", OTHER));
    struct keyring *revoked = ring(RING("1", "revoked", FOUR));
    char token[UNSUB_TOKEN_MAX], list[UNSUB_LIST_MAX + 1];
    uint8_t tag[UNSUB_TAG_LEN];

    (void)state;
    assert_true(unsub_token(keys, SITE, STR("a@b"), STR("news"), token));
    for (size_t i = 0; token[i] != '\0'; i++) {
        char was = token[i];

        token[i] = was == 'A' ? 'B' : 'A';
        assert_false(unsub_read(keys, SITE, str_c(token), tag, list));
        token[i] = was;
    }
    for (size_t len = 0; token[len] != '\0'; len++)
        assert_false(unsub_read(keys, SITE, str_make(token, len), tag, list));
    assert_false(unsub_read(keys, STR("other.example"), str_c(token), tag, list));
    assert_false(unsub_read(others, SITE, str_c(token), tag, list));
    assert_false(unsub_read(revoked, SITE, str_c(token), tag, list));
    assert_false(unsub_read(NULL, SITE, str_c(token), tag, list));
    keyring_free(keys);
    keyring_free(others);
    keyring_free(revoked);
}

static void test_names(void **state)
{
    static const char *const bad[] = {"", "a", "@b", "a@", "a b@c", "a@b@c", "a\r\nBcc: x@y"};

    (void)state;
    assert_true(unsub_address_ok(STR("a+b@c.example")));
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(unsub_address_ok(str_c(bad[i])));
    assert_true(unsub_list_ok(STR("news-2026_a.b")));
    assert_false(unsub_list_ok(STR("News")));
    assert_false(unsub_list_ok(STR("a:b")));
    assert_false(unsub_list_ok(STR("")));
    assert_false(unsub_list_ok(STR("123456789012345678901234567890123")));
}

static void test_the_list_outlives_a_cut(void **state)
{
    char folder[] = "/tmp/test_unsub.XXXXXX";
    const uint8_t one[16] = {1}, two[16] = {2};
    struct fault f = {{0}};
    struct suppressed *s;
    struct buf text;
    char *path;

    (void)state;
    assert_non_null(mkdtemp(folder));
    path = file_resolve(folder, SUPPRESSED_NAME);
    s = suppressed_open(path, &f);
    assert_non_null(s);
    assert_true(suppressed_add(s, one, STR("news"), 1000, &f));
    assert_true(suppressed_add(s, one, STR("news"), 2000, &f)); /* known: the first time counts */
    assert_true(suppressed_add(s, two, STR("news"), 3000, &f));
    assert_false(suppressed_add(s, two, STR("No List"), 3000, &f));
    assert_int_equal(suppressed_cnt(s), 2);
    assert_int_not_equal(access(path, F_OK), 0); /* one sync for all of them */
    assert_true(suppressed_save(s, &f));
    suppressed_free(s);
    buf_init(&text, 4096);
    assert_true(file_read(path, 4096, &text, &f));
    assert_int_equal(truncate(path, (off_t)text.len - 3), 0); /* a crash in the last line */
    s = suppressed_open(path, &f);
    assert_non_null(s);
    assert_int_equal(suppressed_cnt(s), 1);
    assert_int_equal(suppressed_since(s, one, STR("news")), 1000);
    assert_int_equal(suppressed_since(s, two, STR("news")), 0);
    assert_true(suppressed_add(s, two, STR("news"), 4000, &f) && suppressed_save(s, &f));
    suppressed_free(s);
    s = suppressed_open(path, &f);
    assert_non_null(s);
    assert_int_equal(suppressed_since(s, two, STR("news")), 4000);
    suppressed_free(s);
    assert_true(file_write_atomic(path, "nonsense\n", 9, 0600, &f));
    assert_null(suppressed_open(path, &f));
    assert_non_null(strstr(f.text, ":1:"));
    buf_free(&text);
    unlink(path);
    rmdir(folder);
    free(path);
}

/* A disk that is full for a while loses nobody who left meanwhile. */
static void test_what_was_not_written_is_written_later(void **state)
{
    char path[] = "/tmp/test_unsub.XXXXXX";
    const uint8_t one[16] = {1}, two[16] = {2};
    struct fault f = {{0}};
    struct suppressed *s;

    (void)state;
    assert_true(close(mkstemp(path)) == 0 && unlink(path) == 0);
    s = suppressed_open(path, &f);
    assert_non_null(s);
    assert_int_equal(mkdir(path, 0700), 0); /* no file can be there */
    assert_true(suppressed_add(s, one, STR("news"), 1000, &f));
    assert_false(suppressed_save(s, &f));
    assert_true(suppressed_add(s, one, STR("news"), 1500, &f));
    assert_false(suppressed_save(s, &f)); /* said once more, as false */
    assert_true(suppressed_add(s, two, STR("a.b"), 2000, &f));
    assert_int_equal(suppressed_since(s, one, STR("news")), 1000);
    assert_false(suppressed_save(s, &f));
    assert_int_equal(rmdir(path), 0);
    assert_true(suppressed_save(s, &f));
    assert_true(suppressed_add(s, two, STR("news"), 3000, &f) && suppressed_save(s, &f));
    suppressed_free(s);
    s = suppressed_open(path, &f);
    assert_non_null(s);
    assert_int_equal(suppressed_cnt(s), 3);
    assert_int_equal(suppressed_since(s, one, STR("news")), 1000);
    assert_int_equal(suppressed_since(s, two, STR("a.b")), 2000);
    suppressed_free(s);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_link_says_what_was_put_in),
        cmocka_unit_test(test_every_changed_character_is_seen),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_the_list_outlives_a_cut),
        cmocka_unit_test(test_what_was_not_written_is_written_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
