/*
 * Reading rule sets: every refusal names file and path and says what would be right.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/attr.h"
#include "consentd/match.h"
#include "consentd/mem.h"
#include "consentd/rules.h"

#define HEAD                                                                                       \
    "{\"id\": \"x\", \"name\": \"X\", \"vendor\": \"X Ltd\", \"category\": \"analytics\", "        \
    "\"purpose\": \"p\", \"sources\": [\"s\"]"

static struct ruleset *parse(const char *text, struct fault *f)
{
    struct categories c;

    categories_init(&c);
    return ruleset_parse("rules/sets/x.json", str_c(text), &c, f);
}

static void refuse(const char *text, const char *path, const char *why)
{
    struct fault f = {0};

    assert_null(parse(text, &f));
    if (strstr(f.text, "rules/sets/x.json") == NULL || strstr(f.text, path) == NULL ||
        strstr(f.text, why) == NULL)
        fail_msg("expected \"%s\" and \"%s\" in \"%s\"", path, why, f.text);
}

static void test_a_full_set(void **state)
{
    struct fault f = {0};
    struct ruleset *set = parse(
        HEAD ", \"cookies\": [{\"name\": \"_ga\", \"lifetime\": \"2y\"}, {\"prefix\": \"_gat_\"}, "
             "{\"regex\": \"_ga_[A-Z0-9]+\", \"category\": [\"marketing\", \"analytics\"]}], "
             "\"urls\": [{\"host\": \"google-analytics.com\"}, {\"host\": \"track-*.x.com\"}, "
             "{\"host\": \"www.x.com\", \"path\": \"/gtag/js\", \"query\": {\"id\": \"G-*\"}}, "
             "{\"host\": \"@site\", \"regex\": \"^/g/collect\\\\b\"}], "
             "\"inline\": [{\"contains\": [\"abc\", \"def\"], \"config\": true}], "
             "\"storage\": [{\"prefix\": \"_ga\"}], \"globals\": [\"Ga\", \"ga()\", \"$a[]\", "
             "\"g_1.cmd[]\"]}",
        &f);

    UNUSED(state);
    if (set == NULL)
        fail_msg("%s", f.text);
    assert_int_equal(set->cookie_cnt, 3);
    assert_int_equal(set->cookies[0].kind, RULE_EXACT);
    assert_string_equal(set->cookies[0].lifetime, "2y");
    assert_int_equal(set->cookies[2].categories, CATEGORY_ANALYTICS | CATEGORY_MARKETING);
    assert_int_equal(set->url_cnt, 4);
    assert_true(str_eq_c(set->urls[1].label, "track-*"));
    assert_true(str_eq_c(set->urls[1].host, "x.com"));
    assert_int_equal(set->urls[2].query_cnt, 1);
    assert_true(set->urls[3].at_site);
    assert_true(set->inlines[0].config);
    assert_int_equal(set->storage_cnt, 1);
    assert_int_equal(set->global_cnt, 4);
    assert_int_equal(set->globals[0].stand, RULE_STAND_NONE);
    assert_true(str_eq_c(set->globals[1].name, "ga"));
    assert_int_equal(set->globals[1].stand, RULE_STAND_CALLED);
    assert_true(str_eq_c(set->globals[2].name, "$a") && set->globals[2].member.len == 0);
    assert_true(str_eq_c(set->globals[3].name, "g_1") && str_eq_c(set->globals[3].member, "cmd"));
    assert_int_equal(set->globals[3].stand, RULE_STAND_LIST);
    ruleset_free(set);
}

static void test_heads_that_are_refused(void **state)
{
    UNUSED(state);
    refuse("{", "", "");
    refuse("[]", "", "object");
    refuse("{}", "", "\"id\" is missing");
    refuse("{\"id\": \"y\"}", "", "file is named x.json");
    refuse("{\"id\": \"X!\"}", "", "a-z");
    refuse(HEAD ", \"cookie\": []}", "", "cookies");
    refuse("{\"id\": \"x\", \"name\": \"X\", \"vendor\": \"v\", \"category\": \"analytic\"}",
           "category", "analytics");
    refuse("{\"id\": \"x\", \"name\": \"X\", \"vendor\": \"v\", \"category\": "
           "[\"essential\", \"marketing\"]}",
           "category", "combined");
    refuse("{\"id\": \"x\", \"name\": \"X\", \"vendor\": \"v\", \"category\": []}", "category",
           "empty");
    refuse("{\"id\": \"x\", \"name\": 1}", "name", "string");
    refuse(HEAD ", \"privacy_policy\": \"http://x\"}", "privacy_policy", "https://");
}

static void test_cookies_that_are_refused(void **state)
{
    UNUSED(state);
    refuse(HEAD ", \"cookies\": {}}", "cookies", "array");
    refuse(HEAD ", \"cookies\": [{}]}", "cookies[0]", "exactly one");
    refuse(HEAD ", \"cookies\": [{\"name\": \"a\", \"prefix\": \"ab\"}]}", "cookies[0]",
           "exactly one");
    refuse(HEAD ", \"cookies\": [{\"name\": \"\"}]}", "cookies[0].name", "1 to");
    refuse(HEAD ", \"cookies\": [{\"name\": \"ok\"}, {\"prefix\": \"a\"}]}", "cookies[1]",
           "too short");
    refuse(HEAD ", \"cookies\": [{\"regex\": \"a(\"}]}", "cookies[0].regex", "not a valid");
    refuse(HEAD ", \"cookies\": [{\"regex\": \"(a+)+b\"}]}", "cookies[0].regex", "runs away");
    refuse(HEAD ", \"cookies\": [{\"name\": \"a\", \"lifetime\": \"2 years\"}]}", "cookies[0]",
           "lifetime");
    refuse(HEAD ", \"cookies\": [{\"nam\": \"a\"}]}", "cookies[0]", "nam");
    refuse(HEAD ", \"storage\": [{\"name\": 1}]}", "storage[0].name", "string");
}

/* They become text of a script. */
static void test_globals_that_are_refused(void **state)
{
    static const char *const bad[] = {"",     "()",   "a b",     "a\\\"]", "1a()",  "a.b()",
                                      "a.[]", ".a[]", "a.b.c[]", "a[]()",  "a-b[]", "a.b"};

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char text[256];

        (void)snprintf(text, sizeof(text), HEAD ", \"globals\": [\"ok()\", \"%s\"]}", bad[i]);
        refuse(text, "globals[1]", "no name of a global");
    }
}

static void test_urls_that_are_refused(void **state)
{
    UNUSED(state);
    refuse(HEAD ", \"urls\": [{}]}", "urls[0]", "\"host\" is missing");
    refuse(HEAD ", \"urls\": [{\"host\": \"https://x.com\"}]}", "urls[0]", "host name");
    refuse(HEAD ", \"urls\": [{\"host\": \"com\"}]}", "urls[0]", "host name");
    refuse(HEAD ", \"urls\": [{\"host\": \"a.*.com\"}]}", "urls[0]", "host name");
    refuse(HEAD ", \"urls\": [{\"host\": \"X.com\"}]}", "urls[0]", "host name");
    refuse(HEAD ", \"urls\": [{\"host\": \"x.com\", \"path\": \"a\"}]}", "urls[0]",
           "begins with /");
    refuse(HEAD ", \"urls\": [{\"host\": \"x.com\", \"path\": \"/a\", \"regex\": \"abc\"}]}",
           "urls[0]", "more than one");
    refuse(HEAD ", \"urls\": [{\"host\": \"x.com\", \"query\": {}}]}", "urls[0].query", "1 to");
    refuse(HEAD ", \"urls\": [{\"host\": \"@site\"}]}", "urls[0]", "@site needs");
    refuse(HEAD ", \"urls\": [{\"host\": \"@site\", \"regex\": \"[a-z]+\"}]}", "urls[0]",
           "every request");
}

static void test_inlines_that_are_refused(void **state)
{
    UNUSED(state);
    refuse(HEAD ", \"inline\": [{}]}", "inline[0]", "needs");
    refuse(HEAD ", \"inline\": [{\"contains\": [\"ab\"]}]}", "inline[0].contains[0]", "3 to");
    refuse(HEAD ", \"inline\": [{\"regex\": \"[a-z]+\\\\(\"}]}", "inline[0]", "contains");
    refuse(HEAD ", \"inline\": [{\"regex\": \"(x+x+)+yyy\"}]}", "inline[0].regex", "runs away");
}

static void test_elements_that_are_refused(void **state)
{
    UNUSED(state);
    refuse(HEAD ", \"amp\": [{}]}", "amp[0]", "\"element\" is missing");
    refuse(HEAD ", \"amp\": [{\"element\": \"amp-img\"}]}", "amp[0]", "expected amp-ad");
    refuse(HEAD ", \"amp\": [{\"element\": \"amp-ad\", \"type\": \"A9\"}]}", "amp[0]",
           "lower case");
    refuse(HEAD ", \"amp\": [{\"element\": \"amp-ad\", \"type\": \"\"}]}", "amp[0].type", "1 to");
    refuse(HEAD ", \"amp\": [{\"element\": \"amp-ad\", \"typ\": \"a9\"}]}", "amp[0]", "typ");
}

/* --- many sets ------------------------------------------------------------------ */

struct texts {
    const char *const *items; /* name, text, name, text, … NULL */
};

static bool next_text(void *arg, struct str *name_out, struct str *text_out)
{
    struct texts *t = arg;

    if (*t->items == NULL)
        return false;
    *name_out = str_c(*t->items++);
    *text_out = str_c(*t->items++);
    return true;
}

static struct rules *load(const char *const *items, const char *own, struct fault *f)
{
    struct texts texts = {.items = items};
    struct categories c;
    const struct rules_site site = {.name = "s", .own_json = own, .own_name = "consentd.json"};
    const struct rules_input input = {.categories = &c, .sites = &site, .site_cnt = 1};

    categories_init(&c);
    return rules_load(next_text, &texts, &input, f);
}

#define SET(id, rest)                                                                              \
    "{\"id\": \"" id "\", \"name\": \"n\", \"vendor\": \"v\", \"category\": \"analytics\", "       \
    "\"purpose\": \"p\", \"sources\": [\"s\"], " rest "}"

static void refuse_all(const char *a, const char *b, const char *own, const char *why)
{
    const char *const items[] = {"sets/a.json", a, "sets/b.json", b, NULL};
    struct fault f = {0};

    assert_null(load(items, own, &f));
    if (strstr(f.text, why) == NULL)
        fail_msg("expected \"%s\" in \"%s\"", why, f.text);
}

static void test_sets_that_contradict_each_other(void **state)
{
    UNUSED(state);
    refuse_all(SET("a", "\"cookies\": [{\"name\": \"_x\"}]"),
               SET("b", "\"cookies\": [{\"name\": \"_y\"}, {\"name\": \"_x\"}]"), NULL,
               "sets/b.json: cookies[1]: \"_x\" is also claimed by sets/a.json");
    refuse_all(SET("a", "\"urls\": [{\"host\": \"x.com\", \"path_prefix\": \"/a\"}]"),
               SET("b", "\"urls\": [{\"host\": \"x.com\", \"path_prefix\": \"/a\"}]"), NULL,
               "sets/b.json: urls[0]");
    refuse_all(SET("a", "\"inline\": [{\"contains\": [\"abc\"]}]"),
               SET("b", "\"inline\": [{\"contains\": [\"abc\"]}]"), NULL, "sets/b.json: inline[0]");
    refuse_all(SET("a", "\"cookies\": [{\"name\": \"_x\"}, {\"name\": \"_x\"}]"),
               SET("b", "\"note\": \"n\""), NULL, "twice");
    refuse_all(SET("a", "\"note\": \"n\""), SET("b", "\"note\": \"n\""), "[{\"id\": \"own\"}]",
               "consentd.json");
    refuse_all(SET("a", "\"note\": \"n\""), SET("c", "\"note\": \"n\""), NULL,
               "file is named b.json");
}

static void test_similar_is_no_contradiction(void **state)
{
    const char *const items[] = {
        "sets/a.json",
        SET("a", "\"cookies\": [{\"prefix\": \"_x\"}], \"urls\": [{\"host\": \"x.com\"}]"),
        "sets/b.json",
        SET("b", "\"cookies\": [{\"name\": \"_x\"}], \"urls\": [{\"host\": \"x.com\", "
                 "\"exact_host\": true}]"),
        NULL};
    struct fault f = {0};
    struct rules *rules = load(
        items,
        "[{\"id\": \"own\", \"category\": \"essential\", \"cookies\": [{\"name\": \"_x\"}]}]", &f);

    UNUSED(state);
    if (rules == NULL)
        fail_msg("%s", f.text);
    assert_int_equal(rules_set_cnt(rules), 3);
    assert_int_equal(rules_find(rules, STR("b")), 1);
    assert_int_equal(rules_find(rules, STR("own")), -1);
    assert_string_equal(rules_nearest(rules, "bb"), "b");
    assert_null(rules_nearest(rules, "owm")); /* a site's own set is not switched by its id */
    assert_int_equal(rules_set_site(rules, 2), 0);
    rules_give(rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_set),
        cmocka_unit_test(test_heads_that_are_refused),
        cmocka_unit_test(test_cookies_that_are_refused),
        cmocka_unit_test(test_globals_that_are_refused),
        cmocka_unit_test(test_urls_that_are_refused),
        cmocka_unit_test(test_inlines_that_are_refused),
        cmocka_unit_test(test_elements_that_are_refused),
        cmocka_unit_test(test_sets_that_contradict_each_other),
        cmocka_unit_test(test_similar_is_no_contradiction),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
