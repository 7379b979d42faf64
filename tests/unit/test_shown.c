/*
 * test_shown.c - what a worker tells of showing (consentd/shown.h): names, and what is refused.
 */
#include "consentd/shown.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct shown_entry entry(const char *lang, uint32_t place)
{
    struct shown_entry e = {.cnt = 3, .place = place};

    memset(e.doc, 0xa0, sizeof(e.doc));
    memcpy(e.lang, lang, strlen(lang));
    return e;
}

static struct str payload(const struct shown_entry *entries, size_t cnt)
{
    return str_make(entries, cnt * sizeof(*entries));
}

static void test_a_report_comes_as_it_was_sent(void **state)
{
    struct shown_entry sent[2] = {entry("en", SHOWN_BANNER), entry("pa-Arab", SHOWN_PREFERENCES)};
    struct shown_entry got[SHOWN_ENTRIES_MAX];

    (void)state;
    assert_int_equal(shown_decode(payload(sent, 2), got), 2);
    assert_memory_equal(got, sent, sizeof(sent));
}

static void test_what_is_no_report_is_refused(void **state)
{
    static struct shown_entry many[SHOWN_ENTRIES_MAX + 1];
    struct shown_entry got[SHOWN_ENTRIES_MAX], one = entry("en", SHOWN_BANNER);

    (void)state;
    for (size_t i = 0; i <= SHOWN_ENTRIES_MAX; i++)
        many[i] = one;
    assert_int_equal(shown_decode(payload(many, SHOWN_ENTRIES_MAX), got), SHOWN_ENTRIES_MAX);
    assert_int_equal(shown_decode(payload(many, SHOWN_ENTRIES_MAX + 1), got), 0);
    assert_int_equal(shown_decode(payload(&one, 0), got), 0);
    assert_int_equal(shown_decode(str_make(&one, sizeof(one) - 1), got), 0);
    one.place = SHOWN_PLACE_CNT;
    assert_int_equal(shown_decode(payload(&one, 1), got), 0);
    one = entry("", SHOWN_BANNER);
    assert_int_equal(shown_decode(payload(&one, 1), got), 0);
    one = entry("e:n", SHOWN_BANNER); /* would be another counter's name */
    assert_int_equal(shown_decode(payload(&one, 1), got), 0);
    memset(one.lang, 'a', sizeof(one.lang)); /* without its end */
    assert_int_equal(shown_decode(payload(&one, 1), got), 0);
}

static void test_each_is_counted_by_all_that_statistics_are_by(void **state)
{
    struct shown_entry one = entry("de", SHOWN_PREFERENCES);
    char names[SHOWN_NAMES_EACH][SHOWN_NAME_MAX];

    (void)state;
    shown_names(&one, names);
    assert_string_equal(names[0], "imp");
    assert_string_equal(names[1], "imp:ui:preferences");
    assert_string_equal(names[2], "imp:lang:de");
    assert_string_equal(names[3], "imp:doc:oKCgoKCgoKCgoKCgoKCgoA");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_report_comes_as_it_was_sent),
        cmocka_unit_test(test_what_is_no_report_is_refused),
        cmocka_unit_test(test_each_is_counted_by_all_that_statistics_are_by),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
