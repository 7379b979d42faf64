/* test_html_engine.c - pages through the rewriter with the shipped rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/buf.h"
#include "consentd/category.h"
#include "consentd/file.h"
#include "consentd/html_engine.h"
#include "consentd/mem.h"
#include "consentd/rules.h"
#include "consentd/snapshot.h"

#define SETS_MAX 512
#define PAGE_MAX (4u << 20)

static struct rules *rules;
static struct snapshot *snapshot;
static struct arena arena;

struct texts {
    char *names[SETS_MAX];
    struct buf texts[SETS_MAX];
    size_t cnt, next;
    const char *dir;
};

static bool on_file(void *arg, const char *name)
{
    struct texts *t = arg;
    char *path = file_resolve(t->dir, name);
    bool ok;

    t->names[t->cnt] = path;
    buf_init(&t->texts[t->cnt], PAGE_MAX);
    ok = file_read(path, PAGE_MAX, &t->texts[t->cnt], NULL);
    t->cnt++;
    return ok;
}

static bool next_set(void *arg, struct str *name_out, struct str *text_out)
{
    struct texts *t = arg;

    if (t->next == t->cnt)
        return false;
    *name_out = str_c(t->names[t->next]);
    *text_out = buf_str(&t->texts[t->next++]);
    return true;
}

static int load(void **state)
{
    const char *source = getenv("CONSENTD_SOURCE");
    const char *const hosts[] = {"www.example.test"};
    const struct rules_site site = {.name = "test", .hosts = hosts, .host_cnt = 1};
    struct categories categories;
    struct rules_input input = {.categories = &categories, .sites = &site, .site_cnt = 1};
    struct texts *t = mem_new(struct texts);
    struct fault fault = {""};
    char dir[4096];

    UNUSED(state);
    snprintf(dir, sizeof(dir), "%s/rules/sets", source != NULL ? source : ".");
    t->dir = dir;
    categories_init(&categories);
    categories.defined = CATEGORY_ESSENTIAL | CATEGORY_ANALYTICS | CATEGORY_MARKETING;
    if (!file_each(dir, ".json", on_file, t, &fault))
        fail_msg("%s", fault.text);
    rules = rules_load(next_set, t, &input, &fault);
    for (size_t i = 0; i < t->cnt; i++) {
        free(t->names[i]);
        buf_free(&t->texts[i]);
    }
    free(t);
    if (rules == NULL)
        fail_msg("%s", fault.text);
    snapshot = snapshot_new(rules, 0, NULL, NULL, 0);
    arena_init(&arena, NULL, 65536);
    return 0;
}

static int unload(void **state)
{
    UNUSED(state);
    snapshot_give(snapshot);
    rules_give(rules);
    arena_fini(&arena);
    return 0;
}

static bool on_output(void *owner, const uint8_t *data, size_t len)
{
    return buf_append(owner, data, len);
}

static bool on_frame(void *owner, const struct ruleset *set, const struct html_ref *ref,
                     struct buf *out)
{
    UNUSED(owner);
    assert_true(str_starts(ref->tag, STR("<iframe")));
    return buf_printf(out, "data-set=\"%s\" srcdoc=\"x\"", set->id);
}

static const struct html_engine_ops plain = {.on_output = on_output};
static const struct html_engine_ops framed = {.on_output = on_output, .on_frame = on_frame};

static void filter_with(const struct html_engine_ops *ops, struct str page, uint16_t grants,
                        size_t step, struct buf *out)
{
    struct html_engine_setup setup = {.decider = {.snapshot = snapshot, .grants = grants}};
    struct html_engine *engine;

    assert_true(url_parse(STR("https://www.example.test/a/b.html"), NULL, &arena, &setup.page));
    buf_init(out, PAGE_MAX);
    engine = html_engine_new(&setup, ops, out);
    for (size_t at = 0; at < page.len; at += step)
        assert_true(html_engine_push(engine, str_slice(page, at, step)));
    assert_true(html_engine_end(engine));
    html_engine_free(engine);
}

/* The page after filtering, fed in slices of `step` bytes. */
static void filter(struct str page, uint16_t grants, size_t step, struct buf *out)
{
    filter_with(&plain, page, grants, step, out);
}

static const char page[] =
    "<!doctype html><html><head><title>t</title>\n"
    "<link rel=preconnect href=https://www.google-analytics.com>\n"
    "<script async src=\"https://www.googletagmanager.com/gtag/js?id=G-ABC123\"></script>\n"
    "<script>window.dataLayer=window.dataLayer||[];function gtag(){dataLayer.push(arguments);}"
    "gtag('js',new Date());gtag('config','G-ABC123');</script>\n"
    "<script src=/js/site.js></script></head>\n"
    "<body><h1>Hello</h1><img src=/logo.png alt=logo>\n"
    "<script src=\"//js.hs-scripts.com/123.js\"></script>\n"
    "<noscript><img height=1 src=\"https://www.facebook.com/tr?id=1&amp;ev=PageView\"></noscript>\n"
    "<p>See <a href=\"https://www.google-analytics.com/\">analytics</a>.</p></body></html>\n";

static bool has(const struct buf *out, const char *text)
{
    return str_find(buf_str(out), str_c(text)) >= 0;
}

static void test_undecided_has_no_tracker_and_keeps_the_rest(void **state)
{
    struct buf out;

    UNUSED(state);
    filter(str_make(page, sizeof(page) - 1), CATEGORY_ESSENTIAL, sizeof(page), &out);
    assert_false(has(&out, "gtag/js?id="));
    assert_false(has(&out, "preconnect"));
    assert_false(has(&out, "hs-scripts.com"));
    assert_false(has(&out, "facebook.com/tr"));
    assert_true(has(&out, "<!--consentd: removed google-analytics (analytics)-->"));
    assert_true(has(&out, "<script src=/js/site.js></script></head>\n<body><h1>Hello</h1>"));
    assert_true(has(&out, "<a href=\"https://www.google-analytics.com/\">analytics</a>"));
    buf_free(&out);
}

static void test_analytics_alone_lets_analytics_pass(void **state)
{
    struct buf out;

    UNUSED(state);
    filter(str_make(page, sizeof(page) - 1), CATEGORY_ESSENTIAL | CATEGORY_ANALYTICS, sizeof(page),
           &out);
    assert_true(has(&out, "gtag/js?id=G-ABC123"));
    assert_false(has(&out, "facebook.com/tr"));
    buf_free(&out);
}

static void test_all_granted_is_the_origins_page_byte_for_byte(void **state)
{
    struct buf out;

    UNUSED(state);
    filter(str_make(page, sizeof(page) - 1), UINT16_MAX, sizeof(page), &out);
    assert_int_equal(out.len, sizeof(page) - 1);
    assert_memory_equal(out.data, page, out.len);
    buf_free(&out);
}

static void test_chunking_does_not_matter(void **state)
{
    struct buf whole, cut;

    UNUSED(state);
    filter(str_make(page, sizeof(page) - 1), CATEGORY_ESSENTIAL, sizeof(page), &whole);
    for (size_t step = 1; step < 40; step++) {
        filter(str_make(page, sizeof(page) - 1), CATEGORY_ESSENTIAL, step, &cut);
        assert_int_equal(cut.len, whole.len);
        assert_memory_equal(cut.data, whole.data, whole.len);
        buf_free(&cut);
    }
    buf_free(&whole);
}

static void expect(const char *in, const char *want)
{
    struct buf out;

    for (size_t step = 1; step < 200; step += 66) {
        filter(str_c(in), CATEGORY_ESSENTIAL, step, &out);
        assert_string_equal(buf_cstr(&out), want);
        buf_free(&out);
    }
}

static void test_addresses_in_json(void **state)
{
    UNUSED(state);
    expect("<body><script type=importmap>{\"imports\": {\"a\": \"/a.js\", \"hj\": "
           "\"https:\\/\\/static.hotj\\u0061r.com\\/c\"}}</script>",
           "<body><script type=importmap>{\"imports\": {\"a\": \"/a.js\", \"hj\": "
           "\"data:text/javascript,\"}}</script>");
    expect("<body><script type=importmap>{\"imports\":{\"//static.hotjar.com/c\":\"/h.js\"}}"
           "</script>",
           "<body><script type=importmap>{\"imports\":{\"//static.hotjar.com/c\":\"/h.js\"}}"
           "</script>");
    expect("<body><script type=speculationrules>{\"prefetch\":[{\"urls\":[\"/a\","
           "\"//static.hotjar.com/c\"]}]}</script><p>",
           "<body><!--consentd: removed hotjar (analytics)--><p>");
    expect("<body><script type=speculationrules>{\"prefetch\":[{\"urls\":[\"/a\"]}]}</script>",
           "<body><script type=speculationrules>{\"prefetch\":[{\"urls\":[\"/a\"]}]}</script>");
}

/* What AMP's elements are stands in their names, with a vendor or without one. */
static void test_amp(void **state)
{
    static const char amp[] =
        "<body><amp-analytics><script type=application/json>{}</script></amp-analytics>"
        "<amp-analytics type=FacebookPixel></amp-analytics><amp-ad type=a9></amp-ad>"
        "<amp-sticky-ad></amp-sticky-ad><amp-story-auto-ads></amp-story-auto-ads>"
        "<amp-story-auto-analytics gtag-id=G-1></amp-story-auto-analytics>"
        "<amp-pixel src=https://www.facebook.com/tr?id=1></amp-pixel>"
        "<amp-pixel src=/own></amp-pixel><amp-consent id=c></amp-consent><amp-img src=a></amp-img>";
    struct buf out;

    UNUSED(state);
    expect(amp,
           "<body><!--consentd: removed amp (analytics)--><!--consentd: removed-->"
           "<!--consentd: removed meta-pixel (marketing)--><!--consentd: removed amp (marketing)-->"
           "<!--consentd: removed amp (marketing)--><!--consentd: removed amp (marketing)-->"
           "<!--consentd: removed amp (analytics)--><!--consentd: removed meta-pixel (marketing)-->"
           "<amp-pixel src=/own></amp-pixel><amp-consent id=c></amp-consent><amp-img "
           "src=a></amp-img>");
    filter(str_c(amp), CATEGORY_ESSENTIAL | CATEGORY_ANALYTICS, 4096, &out);
    assert_non_null(strstr(buf_cstr(&out), "<amp-analytics><script type=application/json>"));
    assert_null(strstr(buf_cstr(&out), "FacebookPixel"));
    assert_non_null(strstr(buf_cstr(&out), "gtag-id"));
    assert_null(strstr(buf_cstr(&out), "<amp-ad"));
    buf_free(&out);
}

/* Own files may be other ones here: their digests go, those of others stay (HTML 8.1.6.2). */
static void test_digests_in_an_import_map(void **state)
{
    UNUSED(state);
    expect("<body><script type=importmap>{\"imports\": {\"integrity\": \"/a.js\"}, "
           "\"integrity\": {\"/a.js\": \"sha384-x\", \"https://cdn.other/b.js\": \"sha384-y\", "
           "\".\\/c.js\" : \"sha384-z\"}, \"scopes\": {\"/x/\": {\"/a.js\": \"/b.js\"}}}</script>",
           "<body><script type=importmap>{\"imports\": {\"integrity\": \"/a.js\"}, "
           "\"integrity\": {\"/a.js\": \"\", \"https://cdn.other/b.js\": \"sha384-y\", "
           "\".\\/c.js\" : \"\"}, \"scopes\": {\"/x/\": {\"/a.js\": \"/b.js\"}}}</script>");
    expect(
        "<body><script type=importmap>{\"scopes\":{\"integrity\":{\"/a.js\":\"/b.js\"}}}</script>",
        "<body><script type=importmap>{\"scopes\":{\"integrity\":{\"/a.js\":\"/b.js\"}}}"
        "</script>");
    expect("<body><base href=https://cdn.other/><script type=importmap>"
           "{\"integrity\":{\"./a.js\":\"sha384-x\",\"b\":{\"/c\":\"d\"}}}</script>",
           "<body><base href=https://cdn.other/><script type=importmap>"
           "{\"integrity\":{\"./a.js\":\"sha384-x\",\"b\":{\"/c\":\"d\"}}}</script>");
}

static void test_a_script_that_only_talks_of_a_tracker_stays(void **state)
{
    static const char *const talk[] = {
        "var text = 'We load https://www.google-analytics.com/analytics.js when you agree';",
        "box.innerHTML = \"<p>We load https://www.google-analytics.com/analytics.js, and\";",
        "var urls = 'https://www.google-analytics.com/analytics.js';",
        "fetch('/x'); // was: www.google-analytics.com/analytics.js\n",
        "// x.src = 'https://www.google-analytics.com/collect';\nfetch('/x');",
        "tell('from \"https://www.google-analytics.com/\"');fetch('/x');",
        "help('see //www.google-analytics.com/collect'); x.src = '/a.js';",
        "if (a.src == 'https://www.google-analytics.com/collect') fetch('/x');",
    };
    static const char *const load[] = {
        "s.src = 'https://www.google-analytics.com/analytics.js';",
        "s.src = ' https://www.google-analytics.com/analytics.js';",
        "load({url:'https://www.google-analytics.com/analytics.js'});",
        "new Image().src='https:\\/\\/www.google-analytics.com\\/collect?v=1';",
        "fetch(`https://www.google-analytics.com/${path}`)",
        "navigator.sendBeacon ( '//www.google-analytics.com/g/collect', data)",
        "import a, {b} from 'https://www.google-analytics.com/m.js';",
        "let x = 1\nimport \"https://www.google-analytics.com/m.js\"",
        "document.write('<script src= //www.google-analytics.com/analytics.js><\\/script>');",
    };
    struct buf in, out;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(talk) + COUNT_OF(load); i++) {
        bool stays = i < COUNT_OF(talk);

        buf_init(&in, PAGE_MAX);
        assert_true(buf_printf(&in, "<body><script>%s</script>",
                               stays ? talk[i] : load[i - COUNT_OF(talk)]));
        filter(buf_str(&in), CATEGORY_ESSENTIAL, in.len, &out);
        if (has(&out, "google-analytics.com/") != stays)
            fail_msg("%s", buf_cstr(&in));
        buf_free(&in);
        buf_free(&out);
    }
}

/* Twice is once: nothing that was left behind is a tracker. */
static void test_idempotent(void **state)
{
    struct buf once, twice;

    UNUSED(state);
    filter(str_make(page, sizeof(page) - 1), CATEGORY_ESSENTIAL, 100, &once);
    filter(buf_str(&once), CATEGORY_ESSENTIAL, 100, &twice);
    assert_int_equal(twice.len, once.len);
    assert_memory_equal(twice.data, once.data, once.len);
    buf_free(&once);
    buf_free(&twice);
}

/* A frame keeps its element only where one reading is sure of it, and only if the owner wants. */
static void test_what_stands_in_for_a_frame(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"<p>a<iframe width=1 src=\"https://www.youtube.com/embed/x\" title=t>b</iframe>c",
         "<p>a<iframe width=1 data-set=\"youtube\" srcdoc=\"x\"  title=t>b</iframe>c"},
        {"<p><iframe src=https://www.youtube.com/embed/x></iframe>c",
         "<p><iframe data-set=\"youtube\" srcdoc=\"x\" ></iframe>c"},
        {"<p><iframe src='https://www.youtube.com/embed/x'srcdoc=y></iframe>c",
         "<p><!--consentd: removed youtube (marketing)-->c"},
        {"<p><iframe src=/own></iframe>", "<p><iframe src=/own></iframe>"},
        {"<p><iframe src=\"https://www.youtube.com/embed/x\"src=\"//youtu.be/y\"></iframe>",
         "<p><iframe data-set=\"youtube\" srcdoc=\"x\" ></iframe>"},
        {"<p><noscript><iframe src=https://www.youtube.com/embed/x></iframe></noscript>",
         "<p><noscript><!--consentd: removed youtube (marketing)--></noscript>"},
        {"<p><object data=https://www.youtube.com/embed/x></object>", "<p><object ></object>"},
    };
    struct buf out;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (size_t step = 1; step < 100; step += 33) {
            filter_with(&framed, str_c(cases[i].in), CATEGORY_ESSENTIAL, step, &out);
            assert_true(buf_append_char(&out, '\0'));
            assert_string_equal((const char *)out.data, cases[i].out);
            buf_free(&out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_undecided_has_no_tracker_and_keeps_the_rest),
        cmocka_unit_test(test_analytics_alone_lets_analytics_pass),
        cmocka_unit_test(test_all_granted_is_the_origins_page_byte_for_byte),
        cmocka_unit_test(test_chunking_does_not_matter),
        cmocka_unit_test(test_idempotent),
        cmocka_unit_test(test_addresses_in_json),
        cmocka_unit_test(test_amp),
        cmocka_unit_test(test_digests_in_an_import_map),
        cmocka_unit_test(test_a_script_that_only_talks_of_a_tracker_stays),
        cmocka_unit_test(test_what_stands_in_for_a_frame),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
