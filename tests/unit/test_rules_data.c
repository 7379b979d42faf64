/*
 * The rules that are shipped: every set loads, no two contradict each other, and every example of
 * rules/tests has the verdict it promises.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/attr.h"
#include "consentd/mem.h"
#include "consentd/policy.h"
#include "consentd/rules.h"
#include "consentd/rules_test.h"

#define SETS_MIN 60 /* what is promised to be there */

struct folder {
    char path[512];
    struct dirent **names;
    int cnt, at;
    char name[800];
    char *text;
};

static const char *source_dir(void)
{
    const char *dir = getenv("CONSENTD_SOURCE");

    return dir != NULL ? dir : ".";
}

static int is_json(const struct dirent *entry)
{
    return str_ends(str_c(entry->d_name), STR(".json"));
}

static void folder_open(struct folder *d, const char *sub)
{
    memset(d, 0, sizeof(*d));
    snprintf(d->path, sizeof(d->path), "%s/rules/%s", source_dir(), sub);
    d->cnt = scandir(d->path, &d->names, is_json, alphasort);
}

static void folder_close(struct folder *d)
{
    for (int i = 0; i < d->cnt; i++)
        free(d->names[i]);
    free(d->names);
    free(d->text);
}

static char *slurp(const char *path, size_t *len_out)
{
    FILE *f = fopen(path, "rb");
    char *text = mem_alloc(4u << 20);

    assert_non_null(f);
    *len_out = fread(text, 1, (4u << 20) - 1, f);
    text[*len_out] = '\0';
    fclose(f);
    return text;
}

static bool next_file(void *arg, struct str *name_out, struct str *text_out)
{
    struct folder *d = arg;
    size_t len;

    if (d->at >= d->cnt)
        return false;
    free(d->text);
    snprintf(d->name, sizeof(d->name), "%s/%s", d->path, d->names[d->at++]->d_name);
    d->text = slurp(d->name, &len);
    *name_out = str_c(d->name);
    *text_out = str_make(d->text, len);
    return true;
}

static struct rules *load(void)
{
    static const char *const hosts[] = {"www.netstreem.com", "netstreem.com"};
    const struct rules_site site = {.name = "netstreem", .hosts = hosts, .host_cnt = 2};
    struct categories categories;
    struct rules_input input = {.categories = &categories, .sites = &site, .site_cnt = 1};
    struct folder dir;
    struct fault f = {0};
    struct rules *rules;

    categories_init(&categories);
    categories.defined = 7;
    folder_open(&dir, "sets");
    rules = rules_load(next_file, &dir, &input, &f);
    if (rules == NULL)
        fail_msg("%s", f.text);
    folder_close(&dir);
    return rules;
}

static void test_all_sets_load(void **state)
{
    struct rules *rules = load();
    struct rules_stats stats;

    UNUSED(state);
    rules_stats(rules, &stats);
    print_message("%zu sets, %zu cookies, %zu urls, %zu inline, %zu patterns, %zu KiB automaton\n",
                  stats.sets, stats.cookies, stats.urls, stats.inlines, stats.patterns,
                  stats.automaton_bytes / 1024);
    assert_true(stats.sets >= SETS_MIN);
    rules_give(rules);
}

static void test_all_examples_have_their_verdict(void **state)
{
    struct rules *rules = load();
    struct rules_test_counts counts = {0};
    struct folder dir;
    struct buf report;
    struct str name, text;
    struct fault f = {0};

    UNUSED(state);
    buf_init(&report, 1u << 20);
    folder_open(&dir, "tests");
    while (next_file(&dir, &name, &text)) {
        if (!rules_test_run(rules, dir.name, text, &counts, &report, &f))
            fail_msg("%s", f.text);
    }
    print_message("%zu examples\n", counts.run);
    if (counts.failed > 0)
        print_message("%.*s", STR_ARGS(buf_str(&report)));
    assert_int_equal(counts.failed, 0);
    assert_true(counts.run >= SETS_MIN * 2);
    folder_close(&dir);
    buf_free(&report);
    rules_give(rules);
}

static void test_the_policy_parses(void **state)
{
    char path[600];
    size_t len;
    char *text;
    struct fault f = {0};
    struct policy *p;

    UNUSED(state);
    snprintf(path, sizeof(path), "%s/conf/policy.json", source_dir());
    text = slurp(path, &len);
    p = policy_parse("conf/policy.json", str_make(text, len), &f);
    if (p == NULL)
        fail_msg("%s", f.text);
    assert_true(p->category_cnt >= 3);
    assert_non_null(policy_category_of(p, CATEGORY_ANALYTICS));
    assert_non_null(policy_category_of(p, CATEGORY_MARKETING));
    policy_free(p);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_sets_load),
        cmocka_unit_test(test_all_examples_have_their_verdict),
        cmocka_unit_test(test_the_policy_parses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
