/*
 * rules_test.c - contract in consentd/rules_test.h.
 */
#include "consentd/rules_test.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/decide.h"
#include "consentd/json.h"
#include "consentd/mem.h"

#define URL_ARENA_MAX (1u << 20)

struct runner {
    const struct rules *rules;
    struct snapshot *snapshot;
    struct rules_test_counts *counts;
    struct buf *report;
    struct fault *f;
};

/* One kind of example: where it stands, what its text is called, who decides. */
struct kind {
    const char *list, *key;
    struct verdict (*decide)(const struct runner *run, const struct decider *d, struct str text);
};

static struct verdict ask_cookie(const struct runner *run, const struct decider *d, struct str text)
{
    UNUSED(run);
    return decide_cookie(d, text);
}

static struct verdict ask_amp(const struct runner *run, const struct decider *d, struct str text)
{
    UNUSED(run);
    return decide_amp(d, text);
}

static struct verdict ask_inline(const struct runner *run, const struct decider *d, struct str text)
{
    UNUSED(run);
    return decide_inline(d, text);
}

static struct verdict ask_url(const struct runner *run, const struct decider *d, struct str text)
{
    struct arena arena;
    struct url url;
    struct verdict v = {.action = VERDICT_STRIP, .rule = "not a URL"};

    UNUSED(run);
    arena_init(&arena, NULL, URL_ARENA_MAX);
    if (text.len > 0 && text.ptr[0] == '/' && !str_starts(text, STR("//")))
        v = decide_site_path(d, text);
    else if (url_parse(text, NULL, &arena, &url))
        v = decide_url(d, &url);
    arena_fini(&arena);
    return v;
}

static const struct kind kinds[] = {
    {"cookies", "name", ask_cookie},
    {"urls", "url", ask_url},
    {"inline", "text", ask_inline},
    {"amp", "element", ask_amp},
};

static bool verdict_is(const struct verdict *v, const char *want, uint16_t category)
{
    if (want == NULL)
        return v->set == NULL && v->action == VERDICT_PASS;
    return v->set != NULL && strcmp(v->set->id, want) == 0 &&
           (v->action == VERDICT_PASS) == ((v->categories & CATEGORY_ESSENTIAL) != 0) &&
           (category == 0 || category == v->categories);
}

static void report_failure(struct runner *run, const struct json_at *at, struct str text,
                           const char *want, const struct verdict *v)
{
    char path[JSON_PATH_MAX], list[CATEGORY_LIST_MAX];
    const struct json_at *root = at;
    bool full;

    while (root->above != NULL)
        root = root->above;
    run->counts->failed++;
    full =
        !buf_printf(run->report, "%s:%u: %s: \"%.*s\": expected %s, got %s (%s; %s)\n", root->name,
                    json_at_line(at), json_at_path(at, path), STR_ARGS(str_slice(text, 0, 60)),
                    want != NULL ? want : "no verdict", v->set != NULL ? v->set->id : "no verdict",
                    categories_list(rules_categories(run->rules), v->categories, list), v->rule);
    UNUSED(full); /* a cut report still has the counts */
}

/* The expected verdict: *want_out NULL for null. */
static bool read_verdict(struct runner *run, const struct json_at *at, const char **want_out,
                         uint16_t *category_out)
{
    struct json_at child;
    struct str id = {0}, category = {0};
    struct fault why = {0};

    *want_out = NULL;
    *category_out = 0;
    if (!json_at_get(at, "verdict", &child))
        return json_at_fault(at, run->f, "\"verdict\" is missing: a set's id, or null");
    if (json_is_null(child.value))
        return true;
    if (!json_at_str(&child, &id, run->f))
        return false;
    if (rules_find(run->rules, id) < 0)
        return json_at_fault(&child, run->f, "there is no set \"%.*s\"", STR_ARGS(id));
    *want_out = json_string_value(child.value);
    if (!json_at_key_str(at, "category", JSON_MAY, &category, run->f))
        return false;
    if (category.len > 0 &&
        !categories_parse(rules_categories(run->rules), category, category_out, &why))
        return json_at_fault(at, run->f, "category: %s", why.text);
    return true;
}

static bool run_example(struct runner *run, const struct kind *kind, const struct json_at *at)
{
    const char *const keys[] = {kind->key, "verdict", "category", "note"};
    struct decider d = {.snapshot = run->snapshot};
    struct verdict v, granted;
    struct str text = {0};
    const char *want;
    uint16_t category;

    if (!json_at_object(at, run->f) || !json_at_only(at, keys, COUNT_OF(keys), run->f) ||
        !json_at_key_str(at, kind->key, JSON_NEED, &text, run->f) ||
        !read_verdict(run, at, &want, &category))
        return false;
    run->counts->run++;
    v = kind->decide(run, &d, text);
    if (!verdict_is(&v, want, category)) {
        report_failure(run, at, text, want, &v);
        return true;
    }
    d.grants = UINT16_MAX;
    granted = kind->decide(run, &d, text);
    if (granted.action != VERDICT_PASS)
        report_failure(run, at, text, "to pass with everything granted", &granted);
    return true;
}

static bool run_lists(struct runner *run, const struct json_at *at)
{
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct json_at list;

        if (!json_at_get(at, kinds[k].list, &list))
            continue;
        if (!json_at_array(&list, run->f))
            return false;
        for (size_t i = 0; i < json_at_count(&list); i++) {
            struct json_at item = json_at_index(&list, i);

            if (!run_example(run, &kinds[k], &item))
                return false;
        }
    }
    return true;
}

static bool run_file(struct runner *run, const struct json_at *at)
{
    static const char *const keys[] = {"set", "cookies", "urls", "inline", "amp", "note"};
    struct str id = {0};

    if (!json_at_object(at, run->f) || !json_at_only(at, keys, COUNT_OF(keys), run->f) ||
        !json_at_key_str(at, "set", JSON_NEED, &id, run->f))
        return false;
    if (rules_find(run->rules, id) < 0)
        return json_at_fault(at, run->f, "set: there is no set \"%.*s\"", STR_ARGS(id));
    return run_lists(run, at);
}

bool rules_test_run(struct rules *rules, const char *name, struct str text,
                    struct rules_test_counts *counts, struct buf *report, struct fault *f)
{
    struct runner run = {.rules = rules, .counts = counts, .report = report, .f = f};
    struct json_at at;
    json_t *root;
    bool ok;

    if (text.len > RULES_TEST_TEXT_MAX) {
        fault_set(f, "%s: longer than %u bytes", name, RULES_TEST_TEXT_MAX);
        return false;
    }
    root = json_load_text(name, text, JSON_COMMENTS, f);
    if (root == NULL)
        return false;
    at = json_at_root(name, text, root);
    run.snapshot = snapshot_new(rules, 0, NULL, NULL, 0);
    ok = run_file(&run, &at);
    snapshot_give(run.snapshot);
    json_decref(root);
    return ok;
}
