/*
 * Patterns: limits, refusals, and what can be read off their source; globs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/attr.h"
#include "consentd/match.h"

#define LIMIT 200000

static void test_whole_and_search(void **state)
{
    struct fault f;
    struct pattern *whole = pattern_new(STR("_ga_[A-Z0-9]+"), MATCH_WHOLE, LIMIT, &f);
    struct pattern *search = pattern_new(STR("^/g/collect\\b"), MATCH_SEARCH, LIMIT, &f);

    UNUSED(state);
    assert_int_equal(pattern_match(whole, STR("_ga_ABC1")), MATCH_YES);
    assert_int_equal(pattern_match(whole, STR("_ga_ABC1x")), MATCH_NO);
    assert_int_equal(pattern_match(whole, STR("x_ga_ABC1")), MATCH_NO);
    assert_int_equal(pattern_match(whole, STR("")), MATCH_NO);
    assert_int_equal(pattern_match(search, STR("/g/collect?v=2")), MATCH_YES);
    assert_int_equal(pattern_match(search, STR("/x/g/collect")), MATCH_NO);
    pattern_free(whole);
    pattern_free(search);
}

static void refuse(const char *source, const char *why)
{
    struct fault f = {0};

    assert_null(pattern_new(str_c(source), MATCH_SEARCH, LIMIT, &f));
    if (strstr(f.text, why) == NULL)
        fail_msg("%s: expected \"%s\" in \"%s\"", source, why, f.text);
}

static void test_bad_patterns_are_refused(void **state)
{
    UNUSED(state);
    refuse("", "1 to");
    refuse("a(b", "not a valid pattern");
    refuse("[a", "not a valid pattern");
    refuse("a\\Cb", "not a valid pattern");
    refuse("(*LIMIT_MATCH=9)a", "not allowed");
    refuse("a(?C1)b", "not allowed");
}

static void test_runaways_are_refused(void **state)
{
    UNUSED(state);
    refuse("(a+)+$", "runs away");
    refuse("(a+)+b", "runs away");
    refuse("(x|xx)*y", "runs away");
    refuse("(.*)*z", "runs away");
    refuse("(?:[a-z]+)*[0-9]", "runs away");
}

static void test_a_limit_is_a_result_of_its_own(void **state)
{
    struct fault f;
    struct pattern *p = pattern_new(STR("\"[^x]*\"[^y]*\"\\d"), MATCH_SEARCH, 50, &f);
    static char text[200000];

    UNUSED(state);
    assert_non_null(p);
    memset(text, '"', sizeof(text));
    assert_int_equal(pattern_match(p, str_make(text, sizeof(text))), MATCH_LIMIT);
    pattern_free(p);
}

static void check_literal(const char *source, const char *literal)
{
    struct fault f = {0};
    struct pattern *p = pattern_new(str_c(source), MATCH_SEARCH, LIMIT, &f);

    if (p == NULL)
        fail_msg("%s: %s", source, f.text);
    else if (!str_eq_c(pattern_literal(p), literal))
        fail_msg("%s: \"%.*s\" instead of \"%s\"", source, STR_ARGS(pattern_literal(p)), literal);
    pattern_free(p);
}

static void test_required_literals(void **state)
{
    UNUSED(state);
    check_literal("gtag\\(\\s*['\"]config['\"]\\s*,\\s*['\"]G-", "config");
    check_literal("fbevents\\.js", "fbevents.js");
    check_literal("abc?def", "def");
    check_literal("abcd*ef", "abc");
    check_literal("abc+d", "abc");
    check_literal("abc{0,3}", "ab");
    check_literal("abc{2}d", "abc");
    check_literal("foo|barbaz", "");
    check_literal("x(?:foo|barbaz)yz", "yz");
    check_literal("x(?:foobar)yz", "foobar");
    check_literal("x(?:foobar)?yz", "yz");
    check_literal("x(foobar)*yz", "yz");
    check_literal("(?i)foo", "");
    check_literal("(?!foobar)ab", "ab");
    check_literal("(?<=foobar)ab", "ab");
    check_literal("[abc]de[^]f]gh", "de");
    check_literal("[[:alpha:]]zz", "zz");
    check_literal("\\x2fabc", "/abc");
    check_literal("ab\\dcdef", "cdef");
    check_literal("\\Qa+b\\E", "");
    check_literal("(a)\\1bcd", "");
    check_literal("^/g/collect\\b", "/g/collect");
}

static void check_head(const char *source, const char *head)
{
    struct pattern *p = pattern_new(str_c(source), MATCH_WHOLE, LIMIT, NULL);

    assert_non_null(p);
    if (!str_eq_c(pattern_head(p), head))
        fail_msg("%s: \"%.*s\" instead of \"%s\"", source, STR_ARGS(pattern_head(p)), head);
    pattern_free(p);
}

static void test_fixed_heads(void **state)
{
    UNUSED(state);
    check_head("_ga_[A-Z]+", "_ga_");
    check_head("^_ga_[A-Z]+", "_ga_");
    check_head("[a-z]_ga", "");
    check_head("(?:_a|_b)c", "");
    check_head("_hjSession_?\\d+", "_hjSession");
    check_head("AMCV_[0-9A-F]+%40AdobeOrg", "AMCV_");
    check_head("a|b", "");
}

static void test_globs(void **state)
{
    UNUSED(state);
    assert_true(glob_match(STR("G-*"), STR("G-ABC"), '\0'));
    assert_true(glob_match(STR("G-*"), STR("G-"), '\0'));
    assert_false(glob_match(STR("G-*"), STR("UA-1"), '\0'));
    assert_true(glob_match(STR("*a*b*"), STR("xxaxxbxx"), '\0'));
    assert_false(glob_match(STR("*a*b"), STR("xxaxxbx"), '\0'));
    assert_true(glob_match(STR(""), STR(""), '\0'));
    assert_false(glob_match(STR(""), STR("a"), '\0'));
    assert_true(glob_match(STR("/*/x.js"), STR("/de/x.js"), '/'));
    assert_false(glob_match(STR("/*/x.js"), STR("//x.js"), '/'));
    assert_false(glob_match(STR("/*/x.js"), STR("/a/b/x.js"), '/'));
    assert_true(glob_match_prefix(STR("/*/sdk"), STR("/en_US/sdk.js"), '/'));
    assert_false(glob_match_prefix(STR("/*/sdk"), STR("/sdk.js"), '/'));
    assert_true(glob_match_prefix(STR("/tr"), STR("/tr"), '/'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_and_search),
        cmocka_unit_test(test_bad_patterns_are_refused),
        cmocka_unit_test(test_runaways_are_refused),
        cmocka_unit_test(test_a_limit_is_a_result_of_its_own),
        cmocka_unit_test(test_required_literals),
        cmocka_unit_test(test_fixed_heads),
        cmocka_unit_test(test_globs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
