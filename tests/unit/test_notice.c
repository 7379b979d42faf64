/*
 * test_notice.c - the notice document, and what a change of it means (consentd/notice.h).
 */
#include "consentd/notice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD                                                                                       \
    "\"epoch\":1,\"effective\":\"2026-11-24\",\"title\":{\"en\":\"P\"},\"languages\":[\"en\"],"    \
    "\"transfers\":{\"en\":\"None.\"},\"retention\":{\"en\":\"For 180 days.\"},"                   \
    "\"rights\":[{\"en\":\"Ask us.\"}],\"changes\":[{\"version\":\"1\",\"date\":\"2026-11-24\","   \
    "\"summary\":{\"en\":\"First.\"}}],"
#define CONTROLLER "\"controller\":{\"name\":\"N\",\"address\":\"A\",\"email\":\"e@x\"},"
#define ESSENTIAL                                                                                  \
    "{\"id\":\"essential\",\"title\":{\"en\":\"E\"},\"purpose\":{\"en\":\"It works.\"},"           \
    "\"legal_basis\":{\"en\":\"Contract.\"}}"
#define ANALYTICS(purpose, basis)                                                                  \
    "{\"id\":\"analytics\",\"title\":{\"en\":\"Analytics\"},\"purpose\":{\"en\":\"" purpose        \
    "\"},\"legal_basis\":{\"en\":\"" basis "\"}}"
#define PURPOSES                                                                                   \
    "\"purposes\":[{\"purpose\":{\"en\":\"Provide services\"},\"legal_basis\":{\"en\":\"C\"}}],"
#define PROVIDER(name) "{\"name\":\"" name "\",\"role\":{\"en\":\"Hosting.\"}}"
#define POLICY(controller, analytics, purposes, providers)                                         \
    "{\"version\":\"1\"," HEAD controller "\"categories\":[" ESSENTIAL "," analytics "]," purposes \
    "\"providers\":[" providers "]}"

#define COUNTS "Counts which pages are visited."
#define PLAIN  POLICY(CONTROLLER, ANALYTICS(COUNTS, "Your consent."), PURPOSES, PROVIDER("AWS"))

/* Whether the change needs a new epoch; -1: nothing differs. */
static int epoch_of(const char *before, const char *after)
{
    struct fault f = {{0}};
    struct notice_diff *d = notice_diff(str_c(before), str_c(after), &f);
    int result;

    if (d == NULL)
        fail_msg("%s", f.text);
    result = d->cnt == 0 ? -1 : d->epoch;
    for (size_t i = 0; i < d->cnt; i++) {
        assert_non_null(d->items[i].place);
        assert_non_null(d->items[i].why);
    }
    notice_diff_free(d);
    return result;
}

static void test_words(void **state)
{
    (void)state;
    assert_false(notice_says_more(STR("We count visits."), STR("We count vistis")));
    assert_true(notice_says_more(STR("We count visits."), STR("We count visits and clicks.")));
    assert_false(notice_says_more(STR("We count visits and clicks."), STR("We count visits.")));
    assert_true(notice_says_more(STR("Kept for 30 days."), STR("Kept for 90 days.")));
    assert_true(notice_says_more(STR("We do not sell it."), STR("We do sell it.")));
    assert_false(notice_says_more(STR("anonymised data"), STR("anonymized data")));
    assert_true(notice_says_more(STR(""), STR("Everything.")));
    assert_false(notice_says_more(STR("Everything."), STR("")));
}

static void test_nothing_differs(void **state)
{
    (void)state;
    assert_int_equal(epoch_of(PLAIN, PLAIN), -1);
}

static void test_a_typo_asks_nobody(void **state)
{
    (void)state;
    assert_int_equal(
        epoch_of(POLICY(CONTROLLER, ANALYTICS("Conuts which pages are visited.", "Your consent."),
                        PURPOSES, PROVIDER("AWS")),
                 PLAIN),
        0); /* two letters that changed places */
    assert_int_equal(
        epoch_of(POLICY(CONTROLLER, ANALYTICS("Counts which pages are visted.", "Your consent."),
                        PURPOSES, PROVIDER("AWS")),
                 PLAIN),
        0);
    assert_int_equal(
        epoch_of(PLAIN,
                 POLICY("\"controller\":{\"name\":\"N\",\"address\":\"B\",\"email\":\"f@x\"},",
                        ANALYTICS(COUNTS, "Your consent."), PURPOSES, PROVIDER("AWS"))),
        0);
}

static void test_what_asks_again(void **state)
{
    (void)state;
    assert_int_equal(epoch_of(PLAIN, POLICY(CONTROLLER, ANALYTICS(COUNTS, "Your consent."),
                                            PURPOSES, PROVIDER("AWS") "," PROVIDER("Hotjar"))),
                     1); /* a provider */
    assert_int_equal(epoch_of(PLAIN, POLICY(CONTROLLER, ANALYTICS(COUNTS, "Legitimate interest."),
                                            PURPOSES, PROVIDER("AWS"))),
                     1); /* a legal basis */
    assert_int_equal(
        epoch_of(PLAIN,
                 POLICY(CONTROLLER, ANALYTICS(COUNTS " And recognises you.", "Your consent."),
                        PURPOSES, PROVIDER("AWS"))),
        1); /* a purpose says more */
    assert_int_equal(
        epoch_of(
            PLAIN,
            POLICY(CONTROLLER, ANALYTICS(COUNTS, "Your consent."),
                   "\"purposes\":[{\"purpose\":{\"en\":\"Provide services\"},\"legal_basis\":"
                   "{\"en\":\"C\"}},{\"purpose\":{\"en\":\"Train models\"},\"legal_basis\":{\"en\":"
                   "\"C\"}}],",
                   PROVIDER("AWS"))),
        1); /* a purpose */
    assert_int_equal(
        epoch_of(PLAIN,
                 POLICY("\"controller\":{\"name\":\"M\",\"address\":\"A\",\"email\":\"e@x\"},",
                        ANALYTICS(COUNTS, "Your consent."), PURPOSES, PROVIDER("AWS"))),
        1); /* another controller */
}

static void test_less_asks_nobody(void **state)
{
    (void)state;
    assert_int_equal(epoch_of(POLICY(CONTROLLER, ANALYTICS(COUNTS, "Your consent."), PURPOSES,
                                     PROVIDER("AWS") "," PROVIDER("Hotjar")),
                              PLAIN),
                     0);
}

static void test_vendors(void **state)
{
    static const char *const form = "{\"policy\":" PLAIN ",\"vendors\":[%s]}";
    char one[4096], two[4096], three[4096];

    (void)state;
    snprintf(one, sizeof(one), form,
             "{\"id\":\"a\",\"name\":\"A\",\"vendor\":\"A "
             "Ltd\",\"categories\":\"analytics\",\"purpose\":"
             "\"Counts.\",\"cookies\":[]}");
    snprintf(two, sizeof(two), form,
             "{\"id\":\"a\",\"name\":\"A\",\"vendor\":\"A "
             "Ltd\",\"categories\":\"analytics\",\"purpose\":"
             "\"Counts.\",\"cookies\":[{\"name\":\"_a\"}]}");
    snprintf(three, sizeof(three), form,
             "{\"id\":\"a\",\"name\":\"A\",\"vendor\":\"A "
             "Ltd\",\"categories\":\"analytics\",\"purpose\":"
             "\"Counts.\",\"cookies\":[]},{\"id\":\"b\",\"name\":\"B\",\"vendor\":\"B "
             "Ltd\",\"categories\":"
             "\"analytics\",\"purpose\":\"Counts.\",\"cookies\":[]}");
    assert_int_equal(epoch_of(one, two), 0);
    assert_int_equal(epoch_of(one, three), 1);
    assert_int_equal(epoch_of(PLAIN, three), -1); /* a bare policy has no vendors to compare */
}

static void test_none_of_ours(void **state)
{
    struct fault f = {{0}};

    (void)state;
    assert_null(notice_diff(STR("{}"), STR(PLAIN), &f));
    assert_null(notice_diff(STR(PLAIN), STR("[]"), &f));
    assert_null(notice_diff(STR("no json"), STR(PLAIN), &f));
}

static void test_the_document(void **state)
{
    struct fault f = {{0}};
    struct policy *p = policy_parse("policy.json", STR(PLAIN), &f);
    uint8_t bare[32];

    (void)state;
    assert_non_null(p);
    memcpy(bare, p->doc_hash, sizeof(bare));
    assert_true(notice_build(p, NULL, 0, NULL, &f));
    assert_true(str_starts(p->document, STR("{\"form\":\"consentd.notice.v1\",\"policy\":{\"cat")));
    assert_memory_not_equal(bare, p->doc_hash, sizeof(bare));
    assert_int_equal(epoch_of(PLAIN, "{\"form\":\"consentd.notice.v1\",\"policy\":" PLAIN "}"), -1);
    policy_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_nothing_differs),
        cmocka_unit_test(test_a_typo_asks_nobody),
        cmocka_unit_test(test_what_asks_again),
        cmocka_unit_test(test_less_asks_nobody),
        cmocka_unit_test(test_vendors),
        cmocka_unit_test(test_none_of_ours),
        cmocka_unit_test(test_the_document),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
