/*
 * Decisions: precedence, modes, grants, and what is removed when in doubt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/attr.h"
#include "consentd/decide.h"
#include "consentd/mem.h"

#define SET(id, category, rest)                                                                    \
    "{\"id\": \"" id "\", \"name\": \"n\", \"vendor\": \"v\", \"category\": " category             \
    ", \"purpose\": \"p\", \"sources\": [\"s\"], " rest "}"

static const char *const set_texts[] = {
    "a.json",
    SET("a", "\"analytics\"",
        "\"cookies\": [{\"name\": \"_ga\"}, {\"prefix\": \"_ga\"}, {\"regex\": \"_ga_[A-Z]+\", "
        "\"category\": \"marketing\"}, {\"regex\": \"[a-z]{8}_z\"}, {\"name\": \"_g_x\"}],"
        "\"urls\": [{\"host\": \"ga.com\"}, {\"host\": \"t.com\", \"path\": \"/js\", "
        "\"query\": {\"id\": \"G-*\"}}, {\"host\": \"one.org\", \"exact_host\": true}, "
        "{\"host\": \"track-*.hub.com\"}, {\"host\": \"@site\", \"regex\": \"^/g/collect\\\\b\"}],"
        "\"inline\": [{\"contains\": [\"ga.com/a.js\"]}, {\"contains\": [\"gtag('config'\"], "
        "\"config\": true}, {\"regex\": \"load\\\\(\\\\s*'G-\"}],"
        "\"amp\": [{\"element\": \"amp-analytics\"}]"),
    "e.json",
    SET("e", "\"essential\"",
        "\"cookies\": [{\"prefix\": \"_ga_keep\"}, {\"name\": \"sess.id\"}],"
        "\"urls\": [{\"host\": \"ga.com\", \"path_prefix\": \"/*/safe/\"}, {\"host\": "
        "\"s.ga.com\"}, {\"host\": \"both.org\", \"path\": \"/login\"}]"),
    "p.json",
    SET("p", "\"marketing\"",
        "\"urls\": [{\"host\": \"path.org\", \"path\": \"/tr\"}, {\"host\": \"both.org\", "
        "\"path\": \"/ads\"}]"),
    "m.json",
    SET("m", "\"marketing\"",
        "\"cookies\": [{\"name\": \"sess_id\"}], \"urls\": [{\"host\": \"t.com\", \"path\": "
        "\"/js\"}],"
        "\"inline\": [{\"contains\": [\"fbq(\", \"init\"]}],"
        "\"amp\": [{\"element\": \"amp-ad\"}, {\"element\": \"amp-analytics\", \"type\": "
        "\"pixel\"}]"),
    "t.json",
    SET("t", "[\"analytics\", \"marketing\"]",
        "\"cookies\": [{\"name\": \"_tm\"}], \"urls\": [{\"host\": \"t.com\"}]"),
    NULL};

#define OWN                                                                                        \
    "[{\"id\": \"own\", \"category\": \"essential\", \"cookies\": [{\"prefix\": \"_ga_own\"}], "   \
    "\"inline\": [{\"contains\": [\"our own\"]}]}]"

struct world {
    struct rules *rules;
    struct rules_state *modes;
    struct snapshot *snapshot; /* of site 0, with own rules */
    struct snapshot *other;    /* of site 1 */
};

static bool next_text(void *arg, struct str *name_out, struct str *text_out)
{
    const char *const **items = arg;

    if (**items == NULL)
        return false;
    *name_out = str_c(*(*items)++);
    *text_out = str_c(*(*items)++);
    return true;
}

static void remake(struct world *w)
{
    snapshot_give(w->snapshot);
    snapshot_give(w->other);
    w->snapshot = snapshot_new(w->rules, 0, w->modes, NULL, 0);
    w->other = snapshot_new(w->rules, 1, w->modes, NULL, 0);
}

static int setup(void **state)
{
    static const char *const hosts[] = {"www.netstreem.com"};
    const struct rules_site sites[] = {
        {.name = "one", .hosts = hosts, .host_cnt = 1, .own_json = OWN}, {.name = "two"}};
    struct categories c;
    const struct rules_input input = {.categories = &c, .sites = sites, .site_cnt = 2};
    struct world *w = mem_new(struct world);
    const char *const *items = set_texts;
    struct fault f = {0};

    categories_init(&c);
    c.defined = CATEGORY_ESSENTIAL | CATEGORY_ANALYTICS | CATEGORY_MARKETING;
    w->rules = rules_load(next_text, &items, &input, &f);
    if (w->rules == NULL)
        fail_msg("%s", f.text);
    w->modes = rules_state_new();
    remake(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    snapshot_give(w->snapshot);
    snapshot_give(w->other);
    rules_state_free(w->modes);
    rules_give(w->rules);
    free(w);
    return 0;
}

static void set_mode(struct world *w, const char *set, enum rules_choice choice)
{
    const struct rules_author author = {.who = "test", .from = "test"};

    assert_true(rules_state_set(w->modes, set, NULL, choice, &author, NULL));
    remake(w);
}

static void check(struct verdict v, enum verdict_action action, const char *set)
{
    assert_int_equal(v.action, action);
    if (set == NULL)
        assert_null(v.set);
    else
        assert_string_equal(v.set != NULL ? v.set->id : "nobody", set);
}

static struct verdict cookie(struct world *w, uint16_t grants, const char *name)
{
    const struct decider d = {.snapshot = w->snapshot, .grants = grants};

    return decide_cookie(&d, str_c(name));
}

static struct verdict ask(const struct world *w, uint16_t grants, const char *text,
                          struct verdict (*decide)(const struct decider *, const struct url *))
{
    const struct decider d = {.snapshot = w->snapshot, .grants = grants};
    struct arena arena;
    struct url u;
    struct verdict v;

    arena_init(&arena, NULL, 1u << 20);
    assert_true(url_parse(str_c(text), NULL, &arena, &u));
    v = decide(&d, &u);
    arena_fini(&arena);
    return v;
}

static struct verdict url(struct world *w, uint16_t grants, const char *text)
{
    return ask(w, grants, text, decide_url);
}

static struct verdict host(struct world *w, uint16_t grants, const char *text)
{
    return ask(w, grants, text, decide_host);
}

static struct verdict script(struct world *w, uint16_t grants, const char *text)
{
    const struct decider d = {.snapshot = w->snapshot, .grants = grants};

    return decide_inline(&d, str_c(text));
}

static void test_undecided_is_denied(void **state)
{
    struct world *w = *state;
    const struct decider none = {.snapshot = NULL, .grants = UINT16_MAX};

    check(cookie(w, 0, "_ga"), VERDICT_STRIP, "a");
    check(cookie(w, CATEGORY_ANALYTICS, "_ga"), VERDICT_PASS, "a");
    check(cookie(w, CATEGORY_MARKETING, "_ga"), VERDICT_STRIP, "a");
    check(cookie(w, 0, "theme"), VERDICT_PASS, NULL);
    check(decide_cookie(&none, STR("theme")), VERDICT_STRIP, NULL);
}

static void test_cookie_precedence(void **state)
{
    struct world *w = *state;
    const struct decider other = {.snapshot = w->other};

    check(cookie(w, CATEGORY_ANALYTICS, "_ga_ABC"), VERDICT_STRIP, "a"); /* regex over prefix */
    check(cookie(w, CATEGORY_MARKETING, "_ga_ABC"), VERDICT_PASS, "a");
    check(cookie(w, 0, "_gax"), VERDICT_STRIP, "a");
    check(cookie(w, 0, "_ga_keep1"), VERDICT_PASS, "e"); /* essential before the rest */
    check(cookie(w, 0, "_ga_own"), VERDICT_PASS, "own");
    check(decide_cookie(&other, STR("_ga_own")), VERDICT_STRIP, "a");
    check(cookie(w, 0, "abcdefgh_z"), VERDICT_STRIP, "a"); /* a pattern without a head */
    check(cookie(w, 0, "_GA"), VERDICT_PASS, NULL);
    check(cookie(w, 0, ""), VERDICT_PASS, NULL);
}

static void test_a_connection_is_for_what_rules_say_of_the_host(void **state)
{
    struct world *w = *state;

    check(url(w, 0, "https://path.org/"), VERDICT_PASS, NULL); /* only one path of it is known */
    check(host(w, 0, "https://path.org/"), VERDICT_STRIP, "p");
    check(host(w, 0, "https://www.path.org"), VERDICT_STRIP, "p");
    check(host(w, 0, "https://sub.path.org"), VERDICT_PASS, NULL); /* for something else */
    check(host(w, 0, "https://wwwxpath.org"), VERDICT_PASS, NULL);
    check(host(w, CATEGORY_MARKETING, "https://path.org/"), VERDICT_PASS, "p");
    check(host(w, 0, "https://both.org/"), VERDICT_PASS, "e"); /* it may be for what passes */
    check(host(w, 0, "https://s.ga.com/"), VERDICT_PASS, "e");
    check(host(w, 0, "https://ga.com/"), VERDICT_STRIP, "a");
    check(host(w, 0, "https://elsewhere.org/"), VERDICT_PASS, NULL);
    check(host(w, 0, "data:,x"), VERDICT_PASS, NULL);
}

static void test_any_category_of_several(void **state)
{
    struct world *w = *state;

    check(cookie(w, 0, "_tm"), VERDICT_STRIP, "t");
    check(cookie(w, CATEGORY_ANALYTICS, "_tm"), VERDICT_PASS, "t");
    check(cookie(w, CATEGORY_MARKETING, "_tm"), VERDICT_PASS, "t");
}

static void test_unknown_cookies_can_be_denied(void **state)
{
    struct world *w = *state;
    const struct decider d = {.snapshot = w->snapshot, .unknown_cookies_deny = true};

    check(decide_cookie(&d, STR("theme")), VERDICT_STRIP, NULL);
    check(decide_cookie(&d, STR("sess.id")), VERDICT_PASS, "e");
    check(decide_cookie_alias(&d, STR("theme")), VERDICT_PASS, NULL);
}

static void test_other_readings_can_only_remove(void **state)
{
    struct world *w = *state;
    const struct decider d = {.snapshot = w->snapshot};
    struct cookie_pair pair = {.name = STR("sess.id"), .trust = COOKIE_ODD};

    check(decide_cookie(&d, STR("sess.id")), VERDICT_PASS, "e");
    pair.raw = pair.name;
    check(decide_cookie_pair(&d, &pair), VERDICT_STRIP, "m"); /* PHP reads sess_id */
    check(decide_cookie_alias(&d, STR("_ga_keep1")), VERDICT_STRIP, "a");
    pair.trust = COOKIE_DROP;
    check(decide_cookie_pair(&d, &pair), VERDICT_STRIP, NULL);
}

static void test_modes(void **state)
{
    struct world *w = *state;

    set_mode(w, "a", RULES_CHOICE_REPORT);
    check(cookie(w, 0, "_ga"), VERDICT_REPORT, "a");
    check(cookie(w, CATEGORY_ANALYTICS, "_ga"), VERDICT_PASS, NULL);
    check(url(w, 0, "https://t.com/js?id=G-1"), VERDICT_REPORT, "a");
    check(url(w, 0, "https://s.ga.com/x"), VERDICT_PASS, "e"); /* a would not have removed it */
    set_mode(w, "a", RULES_CHOICE_OFF);
    check(cookie(w, 0, "_ga"), VERDICT_PASS, NULL);
    check(url(w, 0, "https://t.com/js?id=G-1"), VERDICT_PASS, NULL); /* not left to m and t */
    check(url(w, 0, "https://t.com/js?id=AW-1"), VERDICT_STRIP, "m");
    check(script(w, 0, "load('G-1');fbq('init')"), VERDICT_STRIP, "m"); /* a claims a part only */
    check(decide_cookie_alias(&(struct decider){.snapshot = w->snapshot}, STR("sess_id")),
          VERDICT_STRIP, "m");
    set_mode(w, "a", RULES_CHOICE_CONFIG);
    check(cookie(w, 0, "_ga"), VERDICT_STRIP, "a");
}

static struct verdict amp(const struct world *w, uint16_t grants, const char *text)
{
    const struct decider d = {.snapshot = w->snapshot, .grants = grants};

    return decide_amp(&d, str_c(text));
}

static void test_elements_of_amp(void **state)
{
    struct world *w = *state;
    char long_type[200] = "amp-analytics ";

    check(amp(w, 0, "amp-ad"), VERDICT_STRIP, "m");
    check(amp(w, 0, "amp-ad doubleclick"), VERDICT_STRIP, "m");
    check(amp(w, 0, "amp-analytics"), VERDICT_STRIP, "a");
    check(amp(w, 0, "amp-analytics other"), VERDICT_STRIP, "a");
    check(amp(w, 0, "amp-analytics Pixel"), VERDICT_STRIP, "m");
    check(amp(w, CATEGORY_ANALYTICS, "amp-analytics pixel"), VERDICT_STRIP, "m");
    check(amp(w, CATEGORY_MARKETING, "amp-analytics pixel"), VERDICT_PASS, "m");
    check(amp(w, CATEGORY_MARKETING, "amp-analytics pixels"), VERDICT_STRIP, "a");
    check(amp(w, 0, "amp-img"), VERDICT_PASS, NULL);
    check(amp(w, 0, ""), VERDICT_PASS, NULL);
    memset(long_type + 14, 'x', sizeof(long_type) - 15);
    check(amp(w, 0, long_type), VERDICT_STRIP, "a");
    check(decide_amp(&(struct decider){0}, STR("amp-img")), VERDICT_STRIP, NULL);
    set_mode(w, "m", RULES_CHOICE_OFF);
    check(amp(w, 0, "amp-analytics pixel"), VERDICT_PASS, NULL); /* not left to a */
    check(amp(w, 0, "amp-analytics"), VERDICT_STRIP, "a");
    set_mode(w, "m", RULES_CHOICE_REPORT);
    check(amp(w, 0, "amp-ad"), VERDICT_REPORT, "m");
    set_mode(w, "m", RULES_CHOICE_CONFIG);
}

static void test_hosts(void **state)
{
    struct world *w = *state;

    check(url(w, 0, "https://ga.com/"), VERDICT_STRIP, "a");
    check(url(w, 0, "https://x.y.ga.com/"), VERDICT_STRIP, "a");
    check(url(w, 0, "https://xga.com/"), VERDICT_PASS, NULL);
    check(url(w, 0, "https://ga.com.evil.org/"), VERDICT_PASS, NULL);
    check(url(w, 0, "https://one.org/"), VERDICT_STRIP, "a");
    check(url(w, 0, "https://www.one.org/"), VERDICT_PASS, NULL);
    check(url(w, 0, "https://track-eu1.hub.com/"), VERDICT_STRIP, "a");
    check(url(w, 0, "https://a.track-eu1.hub.com/"), VERDICT_STRIP, "a");
    check(url(w, 0, "https://hub.com/"), VERDICT_PASS, NULL);
    check(url(w, 0, "https://www.hub.com/"), VERDICT_PASS, NULL);
    check(url(w, 0, "https://s.ga.com/x"), VERDICT_PASS, "e"); /* the longer host */
    check(url(w, 0, "https://ga.com/de/safe/x"), VERDICT_PASS, "e");
    check(url(w, 0, "https://ga.com/a/b/safe/x"), VERDICT_STRIP, "a");
}

static void test_paths_and_parameters(void **state)
{
    struct world *w = *state;

    check(url(w, CATEGORY_ANALYTICS, "https://t.com/js?id=G-1"), VERDICT_PASS, "a");
    check(url(w, CATEGORY_ANALYTICS, "https://t.com/js?x=1&id=G-1"), VERDICT_PASS, "a");
    check(url(w, CATEGORY_ANALYTICS, "https://t.com/js?id=AW-1"), VERDICT_STRIP, "m");
    check(url(w, CATEGORY_ANALYTICS, "https://t.com/other"), VERDICT_PASS, "t");
}

static void test_the_sites_own_paths(void **state)
{
    struct world *w = *state;
    const struct decider d = {.snapshot = w->snapshot};

    check(decide_site_path(&d, STR("/g/collect?v=2")), VERDICT_STRIP, "a");
    check(decide_site_path(&d, STR("/x/g/collect")), VERDICT_PASS, NULL);
    check(decide_site_path(&d, STR("/")), VERDICT_PASS, NULL);
    check(url(w, 0, "https://www.netstreem.com/g/collect?v=2"), VERDICT_STRIP, "a");
    check(url(w, 0, "https://example.org/g/collect?v=2"), VERDICT_PASS, NULL);
}

static void test_addresses_in_doubt(void **state)
{
    struct world *w = *state;
    struct decider d = {.snapshot = w->snapshot};
    struct url u = {.flags = URL_SUSPECT, .host = STR("?")};

    check(decide_url(&d, &u), VERDICT_STRIP, NULL);
    d.grants = UINT16_MAX;
    check(decide_url(&d, &u), VERDICT_PASS, NULL);
    d.grants = 0;
    u.flags = 0;
    check(decide_url(&d, &u), VERDICT_PASS, NULL);
}

static void test_scripts(void **state)
{
    struct world *w = *state;

    check(script(w, 0, "s.src='https://ga.com/a.js'"), VERDICT_STRIP, "a");
    check(script(w, CATEGORY_ANALYTICS, "s.src='https://ga.com/a.js'"), VERDICT_PASS, "a");
    check(script(w, 0, "s.src='https:\\/\\/ga.com\\/a.js'"), VERDICT_STRIP, "a");
    check(script(w, 0, "s.src='ga.com\\u002fa.js'"), VERDICT_STRIP, "a");
    check(script(w, 0, "// was ga.com/a.js\nmenu()"), VERDICT_PASS, NULL);
    check(script(w, 0, "/* fbq('init') */ menu()"), VERDICT_PASS, NULL);
    check(script(w, 0, "fbq('init')"), VERDICT_STRIP, "m");
    check(script(w, 0, "fbq('track')"), VERDICT_PASS, NULL);
    check(script(w, 0, "load( 'G-1')"), VERDICT_STRIP, "a");
    check(script(w, 0, "load(x,'G-1')"), VERDICT_PASS, NULL);
    check(script(w, CATEGORY_ANALYTICS, "fbq('init');s='ga.com/a.js'"), VERDICT_STRIP, "m");
    check(script(w, 0, "fbq('init') // our own"), VERDICT_STRIP, "m");
    check(script(w, 0, "fbq('init'); 'our own'"), VERDICT_PASS, "own");
    check(script(w, 0, ""), VERDICT_PASS, NULL);
}

static void test_inert_configuration_stays(void **state)
{
    struct world *w = *state;

    check(script(w, 0, "gtag('config','G-1')"), VERDICT_PASS, NULL);
    check(script(w, 0, "gtag('config','G-1');document.createElement('script')"), VERDICT_STRIP,
          "a");
}

static void test_snapshots_are_independent(void **state)
{
    struct world *w = *state;
    struct snapshot *old = snapshot_take(w->snapshot);
    const struct decider d = {.snapshot = old};
    uint64_t before = snapshot_fingerprint(old);

    set_mode(w, "a", RULES_CHOICE_OFF);
    check(decide_cookie(&d, STR("_ga")), VERDICT_STRIP, "a");
    check(cookie(w, 0, "_ga"), VERDICT_PASS, NULL);
    assert_int_not_equal(snapshot_fingerprint(w->snapshot), before);
    assert_int_equal(snapshot_revision(w->snapshot), snapshot_revision(old) + 1);
    set_mode(w, "a", RULES_CHOICE_CONFIG);
    assert_int_equal(snapshot_fingerprint(w->snapshot), before);
    snapshot_give(old);
}

/* The second answer comes from memory: it must be the first one's for every grant and mode. */
static void test_inline_verdicts_are_remembered_rightly(void **state)
{
    struct world *w = *state;
    char text[96];

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 3000; i++) { /* more than fit */
            struct decider d = {.snapshot = w->snapshot,
                                .grants = i % 3 == 0 ? CATEGORY_ANALYTICS : 0};
            bool tracker = i % 2 == 0;
            struct verdict v;

            snprintf(text, sizeof(text), "load('https://%s/a.js'); /* number %u of many */",
                     tracker ? "ga.com" : "my.org", i / 12);
            v = decide_inline(&d, str_c(text));
            assert_int_equal(v.action, tracker && d.grants == 0 ? VERDICT_STRIP : VERDICT_PASS);
            assert_int_equal(v.set != NULL, tracker);
        }
    }
    {
        struct decider d = {.snapshot = w->snapshot};

        assert_int_equal(decide_inline(&d, str_c("load('https://ga.com/a.js') // the same")).action,
                         VERDICT_STRIP);
        set_mode(w, "a", RULES_CHOICE_OFF);
        d.snapshot = w->snapshot;
        assert_int_equal(decide_inline(&d, str_c("load('https://ga.com/a.js') // the same")).action,
                         VERDICT_PASS);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_undecided_is_denied),
        CASE(test_cookie_precedence),
        CASE(test_a_connection_is_for_what_rules_say_of_the_host),
        CASE(test_any_category_of_several),
        CASE(test_unknown_cookies_can_be_denied),
        CASE(test_other_readings_can_only_remove),
        CASE(test_modes),
        CASE(test_elements_of_amp),
        CASE(test_hosts),
        CASE(test_paths_and_parameters),
        CASE(test_the_sites_own_paths),
        CASE(test_addresses_in_doubt),
        CASE(test_scripts),
        CASE(test_inert_configuration_stays),
        CASE(test_inline_verdicts_are_remembered_rightly),
        CASE(test_snapshots_are_independent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
