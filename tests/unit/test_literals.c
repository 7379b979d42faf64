/*
 * The automaton against a plain search of every text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "consentd/attr.h"
#include "consentd/literals.h"

static struct literals *build(const char *const *texts, size_t cnt)
{
    struct literals *l = literals_new();

    for (size_t i = 0; i < cnt; i++)
        assert_int_equal(literals_add(l, str_c(texts[i])), i);
    assert_true(literals_build(l));
    return l;
}

/* Every text is seen exactly when a plain search finds it. */
static void check(const struct literals *l, const char *const *texts, size_t cnt, struct str text)
{
    uint64_t seen[8] = {0};
    bool any = literals_scan(l, text, seen);
    bool want_any = false;

    for (size_t i = 0; i < cnt; i++) {
        bool want = str_find(text, str_c(texts[i])) >= 0;

        want_any = want_any || want;
        assert_int_equal(literals_seen(seen, i), want);
    }
    assert_int_equal(any, want_any);
}

static void test_overlapping_texts_are_all_seen(void **state)
{
    static const char *const texts[] = {"he", "she", "his", "hers", "ushers", "er"};
    static const char *const inputs[] = {"ushers", "she", "hhis", "", "h", "xshxhe", "hershe"};
    struct literals *l = build(texts, COUNT_OF(texts));

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(inputs); i++)
        check(l, texts, COUNT_OF(texts), str_c(inputs[i]));
    literals_free(l);
}

static void test_same_text_has_one_number(void **state)
{
    struct literals *l = literals_new();

    UNUSED(state);
    assert_int_equal(literals_add(l, STR("fbq(")), 0);
    assert_int_equal(literals_add(l, STR("gtag(")), 1);
    assert_int_equal(literals_add(l, STR("fbq(")), 0);
    assert_int_equal(literals_add(l, STR("")), -1);
    assert_int_equal(literals_cnt(l), 2);
    literals_free(l);
}

static void test_nothing_to_find(void **state)
{
    struct literals *l = literals_new();

    UNUSED(state);
    assert_true(literals_build(l));
    assert_false(literals_scan(l, STR("some text"), NULL));
    literals_free(l);
}

static void test_single_bytes_and_all_byte_values(void **state)
{
    static const char *const texts[] = {"a", "\xff\xfe", "\x01\x02\x03", "ba"};
    char text[512];
    struct literals *l = build(texts, COUNT_OF(texts));

    UNUSED(state);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i % 256);
    check(l, texts, COUNT_OF(texts), str_make(text, sizeof(text)));
    check(l, texts, COUNT_OF(texts), STR("\xff\xff\xfe"));
    literals_free(l);
}

static void test_random_texts_agree_with_plain_search(void **state)
{
    static const char *const texts[] = {"aab", "abab", "bba", "aaaa", "babb", "abba", "bb"};
    struct literals *l = build(texts, COUNT_OF(texts));
    uint32_t random = 12345;

    UNUSED(state);
    for (unsigned round = 0; round < 3000; round++) {
        char text[24];
        size_t len = round % sizeof(text);

        for (size_t i = 0; i < len; i++) {
            random = random * 1664525u + 1013904223u;
            text[i] = "abc"[(random >> 16) % 3];
        }
        check(l, texts, COUNT_OF(texts), str_make(text, len));
    }
    literals_free(l);
}

static void test_too_many_bytes_are_refused(void **state)
{
    struct literals *l = literals_new();
    static char text[LITERALS_STATES_MAX];

    UNUSED(state);
    memset(text, 'x', sizeof(text));
    assert_int_equal(literals_add(l, str_make(text, sizeof(text))), -1);
    literals_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overlapping_texts_are_all_seen),
        cmocka_unit_test(test_same_text_has_one_number),
        cmocka_unit_test(test_nothing_to_find),
        cmocka_unit_test(test_single_bytes_and_all_byte_values),
        cmocka_unit_test(test_random_texts_agree_with_plain_search),
        cmocka_unit_test(test_too_many_bytes_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
