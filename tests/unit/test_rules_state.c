/*
 * Modes and their history: set, rollback, text form.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "consentd/attr.h"
#include "consentd/rules_state.h"

static const struct rules_author author = {.at_ms = 1795470842549, .who = "root", .from = "uid:0"};

static void set(struct rules_state *s, const char *name, const char *site, enum rules_choice choice)
{
    struct fault f = {0};

    if (!rules_state_set(s, name, site, choice, &author, &f))
        fail_msg("%s", f.text);
}

static void test_site_wins_over_all_sites(void **state)
{
    struct rules_state *s = rules_state_new();

    UNUSED(state);
    assert_int_equal(rules_state_choice(s, "hubspot", "a"), RULES_CHOICE_CONFIG);
    set(s, "hubspot", NULL, RULES_CHOICE_OFF);
    set(s, "hubspot", "a", RULES_CHOICE_REPORT);
    assert_int_equal(rules_state_choice(s, "hubspot", "a"), RULES_CHOICE_REPORT);
    assert_int_equal(rules_state_choice(s, "hubspot", "b"), RULES_CHOICE_OFF);
    assert_int_equal(rules_state_choice(s, "hotjar", "a"), RULES_CHOICE_CONFIG);
    set(s, "hubspot", "a", RULES_CHOICE_CONFIG);
    assert_int_equal(rules_state_choice(s, "hubspot", "a"), RULES_CHOICE_OFF);
    assert_int_equal(rules_state_revision(s), 3);
    rules_state_free(s);
}

static void test_rollback_restores_and_is_a_revision(void **state)
{
    struct rules_state *s = rules_state_new();
    struct fault f = {0};
    const struct rules_revision *last;

    UNUSED(state);
    set(s, "a", NULL, RULES_CHOICE_OFF);                  /* 1 */
    set(s, "b", "x", RULES_CHOICE_REPORT);                /* 2 */
    set(s, "a", NULL, RULES_CHOICE_ENFORCE);              /* 3 */
    assert_true(rules_state_rollback(s, 1, &author, &f)); /* 4 */
    assert_int_equal(rules_state_revision(s), 4);
    assert_int_equal(rules_state_choice(s, "a", NULL), RULES_CHOICE_OFF);
    assert_int_equal(rules_state_choice(s, "b", "x"), RULES_CHOICE_CONFIG);
    last = rules_state_history(s, rules_state_history_cnt(s) - 1);
    assert_true(last->is_rollback);
    assert_int_equal(last->restores, 1);
    assert_int_equal(last->change_cnt, 2);
    assert_true(rules_state_rollback(s, 3, &author, &f)); /* over a rollback */
    assert_int_equal(rules_state_choice(s, "a", NULL), RULES_CHOICE_ENFORCE);
    assert_int_equal(rules_state_choice(s, "b", "x"), RULES_CHOICE_REPORT);
    assert_true(rules_state_rollback(s, 0, &author, &f));
    assert_int_equal(rules_state_choice(s, "a", NULL), RULES_CHOICE_CONFIG);
    assert_false(rules_state_rollback(s, 7, &author, &f));
    assert_non_null(strstr(f.text, "from 0 to 6"));
    rules_state_free(s);
}

static void test_text_form_round_trips(void **state)
{
    struct rules_state *s = rules_state_new(), *copy;
    struct fault f = {0};
    struct buf one, two;

    UNUSED(state);
    buf_init(&one, RULES_STATE_TEXT_MAX);
    buf_init(&two, RULES_STATE_TEXT_MAX);
    set(s, "hubspot", NULL, RULES_CHOICE_REPORT);
    set(s, "hubspot", "netstreem", RULES_CHOICE_OFF);
    assert_true(rules_state_rollback(s, 1, &author, &f));
    assert_true(rules_state_write(s, &one));
    copy = rules_state_parse("rules.json", buf_str(&one), &f);
    if (copy == NULL)
        fail_msg("%s", f.text);
    assert_true(rules_state_write(copy, &two));
    assert_true(str_eq(buf_str(&one), buf_str(&two)));
    assert_int_equal(rules_state_revision(copy), 3);
    assert_string_equal(rules_state_history(copy, 0)->who, "root");
    assert_int_equal(rules_state_history(copy, 0)->at_ms, author.at_ms);
    rules_state_free(s);
    rules_state_free(copy);
    buf_free(&one);
    buf_free(&two);
}

static void test_bad_texts_are_refused(void **state)
{
    static const char *const texts[] = {
        "[]",
        "{}",
        "{\"revision\": -1, \"modes\": {}, \"history\": []}",
        "{\"revision\": 1, \"modes\": {\"a\": \"on\"}, \"history\": []}",
        "{\"revision\": 1, \"modes\": {\"a\": \"off\"}, \"history\": [{}]}",
        ("{\"revision\": 5, \"modes\": {}, \"history\": [{\"revision\": 4, \"at_ms\": 0, "
         "\"who\": \"\", \"from\": \"\", \"changes\": []}]}")};
    struct rules_state *empty;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct fault f = {0};

        assert_null(rules_state_parse("rules.json", str_c(texts[i]), &f));
        assert_non_null(strstr(f.text, "rules.json"));
    }
    empty = rules_state_parse("rules.json", STR(""), NULL);
    assert_int_equal(rules_state_revision(empty), 0);
    rules_state_free(empty);
}

static void test_limits(void **state)
{
    struct rules_state *s = rules_state_new();
    struct fault f = {0};
    char name[32];

    UNUSED(state);
    assert_false(rules_state_set(s, "a@b", NULL, RULES_CHOICE_OFF, &author, &f));
    assert_false(rules_state_set(s, "", NULL, RULES_CHOICE_OFF, &author, &f));
    for (unsigned i = 0; i < RULES_STATE_MODES_MAX; i++) {
        snprintf(name, sizeof(name), "set-%u", i);
        set(s, name, NULL, RULES_CHOICE_OFF);
    }
    assert_false(rules_state_set(s, "one-more", NULL, RULES_CHOICE_OFF, &author, &f));
    assert_int_equal(rules_state_revision(s), RULES_STATE_MODES_MAX);
    assert_true(rules_state_history_cnt(s) <= RULES_STATE_HISTORY_MAX);
    assert_false(rules_state_rollback(s, 1, &author, &f)); /* that far back is gone */
    assert_true(rules_state_rollback(s, RULES_STATE_MODES_MAX - 10, &author, &f));
    rules_state_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_site_wins_over_all_sites),
        cmocka_unit_test(test_rollback_restores_and_is_a_revision),
        cmocka_unit_test(test_text_form_round_trips),
        cmocka_unit_test(test_bad_texts_are_refused),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
