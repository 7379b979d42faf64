/*
 * The policy document: what is read, what is refused, which language is picked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/policy.h"

#define ESSENTIAL                                                                                  \
    "{\"id\": \"essential\", \"title\": {\"en\": \"E\"}, \"purpose\": {\"en\": \"p\"}, "           \
    "\"legal_basis\": {\"en\": \"l\"}}"
#define ANALYTICS                                                                                  \
    "{\"id\": \"analytics\", \"title\": {\"en\": \"A\", \"de\": \"Ä\"}, \"purpose\": "            \
    "{\"en\": \"p\"}, \"legal_basis\": {\"en\": \"l\"}}"

static const char rest[] =
    "\"version\": \"1\", \"effective\": \"2026-11-24\", \"title\": {\"en\": \"T\"}, "
    "\"controller\": {\"name\": \"N\", \"address\": \"A\", \"email\": \"e@x\"}, "
    "\"purposes\": [{\"purpose\": {\"en\": \"p\"}, \"legal_basis\": {\"en\": \"l\"}}], "
    "\"providers\": [{\"name\": \"P\", \"role\": {\"en\": \"r\"}, \"category\": \"analytics\"}], "
    "\"transfers\": {\"en\": \"t\"}, \"retention\": {\"en\": \"r\"}, \"rights\": [{\"en\": "
    "\"x\"}], "
    "\"changes\": [{\"version\": \"1\", \"date\": \"2026-11-24\", \"summary\": {\"en\": \"s\"}}], "
    "\"texts\": {\"en\": {\"hello\": \"Hello\", \"bye\": \"Bye\"}, \"de\": {\"hello\": \"Hallo\"}}";

static struct policy *parse(const char *epoch, const char *languages, const char *categories,
                            struct fault *f)
{
    char text[8192];

    snprintf(text, sizeof(text), "{\"epoch\": %s, \"languages\": %s, \"categories\": [%s], %s}",
             epoch, languages, categories, rest);
    return policy_parse("policy.json", str_c(text), f);
}

static struct policy *good(void)
{
    struct fault f = {0};
    struct policy *p = parse("7", "[\"en\", \"de\"]", ESSENTIAL "," ANALYTICS, &f);

    if (p == NULL)
        fail_msg("%s", f.text);
    return p;
}

static void test_what_is_read(void **state)
{
    struct policy *p = good();

    UNUSED(state);
    assert_int_equal(p->epoch, 7);
    assert_int_equal(p->categories.defined, CATEGORY_ESSENTIAL | CATEGORY_ANALYTICS);
    assert_int_equal(p->categories.required, CATEGORY_ESSENTIAL);
    assert_int_equal(p->providers[0].category, CATEGORY_ANALYTICS);
    assert_string_equal(policy_text(&p->category[1].title, 1), "Ä");
    assert_string_equal(policy_text(&p->category[0].title, 1), "E"); /* falls back */
    assert_string_equal(policy_ui_text(p, 1, "hello"), "Hallo");
    assert_string_equal(policy_ui_text(p, 1, "bye"), "Bye");
    assert_null(policy_ui_text(p, 0, "nothing"));
    assert_null(policy_category_of(p, CATEGORY_MARKETING));
    policy_free(p);
}

static void test_the_hash_is_of_the_content(void **state)
{
    struct policy *a = good(), *b = good();
    struct policy *c = parse("8", "[\"en\", \"de\"]", ESSENTIAL "," ANALYTICS, NULL);

    UNUSED(state);
    assert_memory_equal(a->doc_hash, b->doc_hash, 32);
    assert_memory_not_equal(a->doc_hash, c->doc_hash, 32);
    assert_true(str_starts(a->document, STR("{\"categories\":[{\"id\":")));
    policy_free(a);
    policy_free(b);
    policy_free(c);
}

static void refuse(const char *epoch, const char *languages, const char *categories,
                   const char *why)
{
    struct fault f = {0};

    assert_null(parse(epoch, languages, categories, &f));
    if (strstr(f.text, why) == NULL)
        fail_msg("expected \"%s\" in \"%s\"", why, f.text);
}

static void test_what_is_refused(void **state)
{
    UNUSED(state);
    refuse("0", "[\"en\"]", ESSENTIAL, "epoch");
    refuse("1.5", "[\"en\"]", ESSENTIAL, "epoch");
    refuse("1", "[]", ESSENTIAL, "languages");
    refuse("1", "[\"de\"]", ESSENTIAL, "title");
    refuse("1", "[\"en\", \"de\"]", ANALYTICS, "essential");
    refuse("1", "[\"en\", \"de\"]", ESSENTIAL "," ANALYTICS "," ANALYTICS, "twice");
    refuse("1", "[\"en\", \"de\"]", ESSENTIAL ",{\"id\": \"ads\"}", "bit");
    refuse("1", "[\"en\", \"de\"]", ESSENTIAL ",{\"id\": \"ads\", \"bit\": 1}", "belongs to");
    refuse("1", "[\"en\", \"de\"]", ESSENTIAL ",{\"id\": \"marketing\", \"bit\": 4}", "has bit 2");
    refuse("1", "[\"en\", \"de\"]", ESSENTIAL, "analytics"); /* named by a provider */
}

static void test_the_language(void **state)
{
    static const char *const regions[] = {"en", "pt-BR", "zh-Hans"};
    struct policy *p = good();

    UNUSED(state);
    assert_int_equal(policy_language(p, STR("")), 0);
    assert_int_equal(policy_language(p, STR("de")), 1);
    assert_int_equal(policy_language(p, STR("de-AT, en;q=0.9")), 1);
    assert_int_equal(policy_language(p, STR("fr, en;q=0.5, de;q=0.8")), 1);
    assert_int_equal(policy_language(p, STR("de;q=0, en;q=0.1")), 0);
    assert_int_equal(policy_language(p, STR("DE")), 1);
    assert_int_equal(policy_language(p, STR("*;q=1, zz")), 0);
    assert_int_equal(policy_language(p, STR("de;q=x")), 0);
    assert_int_equal(language_choose(regions, 3, STR("pt, en;q=0.9")), 1);
    assert_int_equal(language_choose(regions, 3, STR("pt-PT, en;q=0.9")), 0);
    assert_int_equal(language_choose(regions, 3, STR("zh-hans-CN")), 2);
    assert_int_equal(language_choose(regions, 3, STR("p, z, pt-B")), 0);
    assert_int_equal(language_choose(regions, 0, STR("pt")), 0);
    assert_null(policy_text_given(&p->category[1].purpose, 1));
    assert_string_equal(policy_text_given(&p->category[1].title, 1), "Ä");
    assert_string_equal(policy_text_given(&p->category[1].purpose, 0), "p");
    assert_null(policy_ui_given(p, 1, "bye"));
    assert_string_equal(policy_ui_text(p, 1, "bye"), "Bye");
    policy_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_read),
        cmocka_unit_test(test_the_hash_is_of_the_content),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_the_language),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
