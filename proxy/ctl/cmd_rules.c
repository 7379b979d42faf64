/*
 * cmd_rules.c - consentctl rules check | test | match: what needs the files only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/decide.h"
#include "consentd/file.h"
#include "consentd/mem.h"
#include "consentd/rules_test.h"
#include "ctl_priv.h"

#define REPORT_MAX (16u << 20)

int cmd_rules_check(struct ctl_args *args)
{
    const char *dir = NULL;
    const struct ctl_option options[] = {{"--rules", &dir, NULL}};
    struct fault f = {0};
    struct rules_stats stats;
    struct rules *rules;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    rules = ctl_load_rules(args, dir, NULL, 0, &f);
    if (rules == NULL)
        return ctl_fail("%s", f.text);
    rules_stats(rules, &stats);
    printf("%zu rule sets: %zu cookies, %zu addresses, %zu signatures, %zu patterns; all fine\n",
           stats.sets, stats.cookies, stats.urls, stats.inlines, stats.patterns);
    rules_give(rules);
    return CTL_OK;
}

struct test_run {
    struct rules *rules;
    const char *dir;
    struct rules_test_counts counts;
    struct buf report;
    struct fault fault;
    bool broken;
};

static bool on_test_file(void *arg, const char *name)
{
    struct test_run *t = arg;
    char *path = file_resolve(t->dir, name);
    struct buf text;

    buf_init(&text, RULES_TEST_TEXT_MAX + 1);
    t->broken = !file_read(path, RULES_TEST_TEXT_MAX, &text, &t->fault) ||
                !rules_test_run(t->rules, path, buf_str(&text), &t->counts, &t->report, &t->fault);
    buf_free(&text);
    free(path);
    return !t->broken;
}

int cmd_rules_test(struct ctl_args *args)
{
    const char *dir = NULL;
    const struct ctl_option options[] = {{"--rules", &dir, NULL}};
    struct test_run t = {0};
    char *folder, *tests;
    bool read;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    t.rules = ctl_load_rules(args, dir, NULL, 0, &t.fault);
    if (t.rules == NULL)
        return ctl_fail("%s", t.fault.text);
    buf_init(&t.report, REPORT_MAX);
    folder = ctl_rules_folder(args, dir);
    tests = file_resolve(folder, "tests");
    t.dir = tests;
    read = file_each(tests, ".json", on_test_file, &t, &t.fault);
    if (t.report.len > 0)
        fwrite(t.report.data, 1, t.report.len, stdout);
    if (read && !t.broken)
        printf("%zu examples, %zu failed\n", t.counts.run, t.counts.failed);
    free(tests);
    free(folder);
    buf_free(&t.report);
    rules_give(t.rules);
    if (!read || t.broken)
        return ctl_fail("%s", t.fault.text);
    return t.counts.failed == 0 ? CTL_OK : CTL_FAILED;
}

struct question {
    const char *cookie, *url, *file, *amp;
};

static void print_verdict(const struct rules *rules, const struct verdict *v)
{
    static const char *const actions[] = {"removed", "passes (report only)", "passes"};
    char list[CATEGORY_LIST_MAX];

    if (v->set == NULL) {
        printf("%s: %s\n", actions[v->action], v->rule);
        return;
    }
    printf("%s\n  set       %s (%s, %s)\n  category  %s\n  rule      %s\n  file      %s\n",
           actions[v->action], v->set->id, v->set->name, v->set->vendor,
           categories_list(rules_categories(rules), v->categories, list), v->rule, v->set->file);
}

static bool ask_url(const struct decider *d, const char *text, struct verdict *out)
{
    struct arena arena;
    struct url url;
    bool ok = true;

    arena_init(&arena, NULL, 1u << 20);
    if (text[0] == '/' && text[1] != '/')
        *out = decide_site_path(d, str_c(text));
    else if (url_parse(str_c(text), NULL, &arena, &url))
        *out = decide_url(d, &url);
    else
        ok = false;
    arena_fini(&arena);
    return ok;
}

static bool read_stdin(struct buf *out, struct fault *f)
{
    char chunk[4096];
    size_t len;

    while ((len = fread(chunk, 1, sizeof(chunk), stdin)) > 0) {
        if (!buf_append(out, chunk, len)) {
            fault_set(f, "stdin: more than %u bytes", DECIDE_INLINE_MAX);
            return false;
        }
    }
    return true;
}

static bool ask_file(const struct decider *d, const char *path, struct verdict *out,
                     struct fault *f)
{
    struct buf text;
    bool ok;

    buf_init(&text, DECIDE_INLINE_MAX);
    ok = strcmp(path, "-") == 0 ? read_stdin(&text, f)
                                : file_read(path, DECIDE_INLINE_MAX, &text, f);
    if (ok)
        *out = decide_inline(d, buf_str(&text));
    buf_free(&text);
    return ok;
}

static int answer(const struct rules *rules, const struct decider *d, const struct question *q)
{
    struct verdict v = {0};
    struct fault f = {0};

    if (q->cookie != NULL)
        v = decide_cookie(d, str_c(q->cookie));
    else if (q->amp != NULL)
        v = decide_amp(d, str_c(q->amp));
    else if (q->url != NULL && !ask_url(d, q->url, &v))
        return ctl_fail("\"%s\" is neither a complete URL nor a path that begins with /", q->url);
    else if (q->file != NULL && !ask_file(d, q->file, &v, &f))
        return ctl_fail("%s", f.text);
    print_verdict(rules, &v);
    return v.set != NULL ? CTL_OK : CTL_FAILED;
}

int cmd_rules_match(struct ctl_args *args)
{
    const char *dir = NULL, *consent = "none";
    struct question q = {0};
    const struct ctl_option options[] = {
        {"--rules", &dir, NULL}, {"--consent", &consent, NULL}, {"--cookie", &q.cookie, NULL},
        {"--url", &q.url, NULL}, {"--inline", &q.file, NULL},   {"--amp", &q.amp, NULL}};
    struct decider d = {0};
    struct snapshot *snapshot;
    struct fault f = {0};
    struct rules *rules;
    int status = CTL_FAILED;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if ((q.cookie != NULL) + (q.url != NULL) + (q.file != NULL) + (q.amp != NULL) != 1) {
        ctl_fail("rules match needs one of --cookie, --url, --inline and --amp");
        return CTL_USAGE;
    }
    rules = ctl_load_rules(args, dir, NULL, 0, &f);
    if (rules == NULL)
        return ctl_fail("%s", f.text);
    snapshot = snapshot_new(rules, 0, NULL, NULL, 0);
    d.snapshot = snapshot;
    if (categories_parse(rules_categories(rules), str_c(consent), &d.grants, &f)) {
        status = answer(rules, &d, &q);
    } else {
        ctl_fail("--consent: %s", f.text);
        status = CTL_USAGE;
    }
    snapshot_give(snapshot);
    rules_give(rules);
    return status;
}
