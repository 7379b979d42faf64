/* The configuration: defaults, every kind of error with its place, and that the example
 * in conf/ names every key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consentd/config.h"
#include "consentd/file.h"
#include "consentd/json.h"

#define SITE                                                                                       \
    "{\"name\":\"s\",\"hosts\":[\"a.example\"],\"origins\":[\"http://"                             \
    "h:1\"],\"policy\":\"p.json\"}"
#define BODY                                                                                       \
    "\"keys\":\"./k.json\",\n\"listen\":[{\"address\":\"127.0.0.1:1\"}],\n"                        \
    "\"ledger\":{\"journal\":\"j\"}"
#define GOOD "{" BODY ",\n\"sites\":[" SITE "]}"

static struct config *parse(const char *text, struct fault *f)
{
    return config_parse("c.json", "/etc/x", str_c(text), f);
}

static void assert_refused(const char *text, const char *why)
{
    struct fault f = {0};
    struct config *c = parse(text, &f);

    assert_null(c);
    if (strstr(f.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", f.text, why);
}

static void test_defaults_and_paths(void **state)
{
    struct fault f = {0};
    struct config *c = parse(GOOD, &f);

    UNUSED(state);
    if (c == NULL)
        fail_msg("%s", f.text);
    assert_int_equal(c->workers, 0);
    assert_int_equal(c->drain_timeout_ms, 30000);
    assert_int_equal(c->limits.header_size, 65536);
    assert_int_equal(c->limits.fields, 200);
    assert_null(c->access_log);
    assert_string_equal(c->keys, "/etc/x/k.json");
    assert_string_equal(c->sites[0].policy, "/etc/x/p.json");
    assert_string_equal(c->sites[0].prefix, "/.consent/");
    assert_string_equal(c->sites[0].rules_json, "[]");
    assert_string_equal(c->ledger.journal, "/etc/x/j");
    assert_int_equal(strncmp(c->ledger.name, "log-", 4), 0); /* says no host */
    assert_int_equal(strlen(c->ledger.name), 20);
    assert_int_equal(c->sites[0].unknown_cookies, CONFIG_UNKNOWN_ALLOW);
    assert_true(c->sites[0].banner);
    assert_false(c->listens[0].has_tls);
    assert_int_equal(c->sites[0].max_age_ms, UINT64_C(180) * 86400000);
    assert_ptr_equal(config_site_of(c, STR("a.example")), &c->sites[0]);
    assert_null(config_site_of(c, STR("b.example")));
    config_free(c);
}

static void test_errors_say_where_and_what(void **state)
{
    UNUSED(state);
    assert_refused("{\n\"worker\": 1,\n" BODY ",\"sites\":[" SITE "]}",
                   "c.json:2: worker: unknown key; did you mean \"workers\"?");
    assert_refused("{\"sites\":[" SITE "]}", "\"keys\" is missing");
    assert_refused("{" BODY ",\n\"workers\": 1000,\"sites\":[" SITE "]}",
                   "c.json:4: workers: 1000");
    assert_refused("{" BODY ",\n\"workers\": \"2\",\"sites\":[" SITE "]}",
                   "workers: expected a whole number from 1 to 128, or \"auto\"");
    assert_refused("{" BODY ",\"drain_timeout\":30,\"sites\":[" SITE "]}", "duration such as");
    assert_refused("{" BODY ",\"drain_timeout\":\"5 s\",\"sites\":[" SITE "]}", "duration such as");
    assert_refused("{" BODY ",\"drain_timeout\":\"2h\",\"sites\":[" SITE "]}",
                   "out of range: 0ms to 1h");
    assert_refused("{" BODY ",\"log\":{\"level\":\"loud\"},\"sites\":[" SITE "]}",
                   "log.level: expected one of \"error\", \"warn\"");
    assert_refused("{" BODY ",\"sites\":[" SITE "," SITE "]}",
                   "sites[1].name: a second site named");
    assert_refused("{" BODY ",\"sites\":[]}", "sites: 0 entries");
    assert_refused("{" BODY ",\"sites\":[{}]}", "sites[0]: \"name\" is missing");
    assert_refused("{\n,", "c.json:2:");
    assert_refused("{" BODY ",\"keys\":\"x\"}", "duplicate");
}

static void test_names_of_a_site(void **state)
{
    static const struct {
        const char *keys, *why;
    } rows[] = {
        {"\"hosts\":[\"a.example\",\"b.example:80\"]", "sites[0].hosts[1]: \"b.example:80\" is no"},
        {"\"hosts\":[\"http://a.example\"]", "sites[0].hosts[0]: \"http:"},
        {"\"hosts\":[\"A.example\"]", "lower case"},
        {"\"hosts\":[\"::1\"]", "is no host name"},
        {"\"hosts\":[\"[::1]:80\"]", "is no host name"},
        {"\"hosts\":[\"a.example\",\"a.example\"]",
         "sites[0].hosts[1]: \"a.example\" is listed twice"},
        {"\"hosts\":[\"a.example\"],\"cookie_domain\":\".a.example\"", "without a dot in front"},
        {"\"hosts\":[\"127.0.0.1\"],\"cookie_domain\":\"127.0.0.1\"", "is no domain"},
        {"\"hosts\":[\"a.example\"],\"cookie_domain\":\"a.example; Path=/x\"", "is no domain"},
        {"\"hosts\":[\"a.example\",\"ab.example\"],\"cookie_domain\":\"b.example\"",
         "from \"a.example\""},
        {"\"hosts\":[\"b.example\",\"ab.example\"],\"cookie_domain\":\"b.example\"",
         "from \"ab.example\""},
        {"\"hosts\":[\"a.example\"],\"prefix\":\"/a b/\"", "sites[0].prefix: expected letters"},
        {"\"hosts\":[\"a.example\"],\"prefix\":\"//x/\"", "sites[0].prefix"},
        {"\"hosts\":[\"a.example\"],\"prefix\":\"consent\"", "sites[0].prefix"},
        {"\"hosts\":[\"a.b.example\",\"b.example\",\"[2001:db8::1]\"]", NULL},
        {"\"hosts\":[\"a.b.example\",\"b.example\"],\"cookie_domain\":\"b.example\"", NULL},
    };
    char text[1024];

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct fault f = {0};
        struct config *c;

        snprintf(text, sizeof(text),
                 "{" BODY
                 ",\"sites\":[{\"name\":\"s\",%s,\"policy\":\"p\",\"origins\":[\"http://h:1\"]}]}",
                 rows[i].keys);
        if (rows[i].why != NULL) {
            assert_refused(text, rows[i].why);
            continue;
        }
        c = parse(text, &f);
        if (c == NULL)
            fail_msg("%s", f.text);
        config_free(c);
    }
}

#define ORIGINS(list)                                                                              \
    "{" BODY ",\"sites\":[{\"name\":\"s\",\"hosts\":[\"a.example\"],\"policy\":\"p.json\",\n"      \
    "\"origins\":[" list "]}]}"

static void test_an_origin_is_a_text_or_an_object(void **state)
{
    struct fault f = {0};
    struct config *c = parse(ORIGINS("\"http://h:1\",{\"url\":\"http://i:1\",\"weight\":5,"
                                     "\"backup\":true,\"max_connections\":7}"),
                             &f);

    UNUSED(state);
    if (c == NULL)
        fail_msg("%s", f.text);
    assert_int_equal(c->sites[0].origin_cnt, 2);
    assert_string_equal(c->sites[0].origins[0].url, "http://h:1");
    assert_int_equal(c->sites[0].origins[0].weight, 1);
    assert_int_equal(c->sites[0].origins[0].max_connections, 512);
    assert_false(c->sites[0].origins[0].backup);
    assert_string_equal(c->sites[0].origins[1].url, "http://i:1");
    assert_int_equal(c->sites[0].origins[1].weight, 5);
    assert_int_equal(c->sites[0].origins[1].max_connections, 7);
    assert_true(c->sites[0].origins[1].backup);
    assert_int_equal(c->sites[0].health.status_low, 200);
    assert_int_equal(c->sites[0].health.status_high, 399);
    assert_string_equal(c->sites[0].health.host, "a.example");
    assert_null(c->sites[0].health.path);
    config_free(c);
    assert_refused(ORIGINS("1"), "sites[0].origins[0]: expected an object");
    assert_refused(ORIGINS("\"\""), "sites[0].origins[0]: must not be empty");
    assert_refused(ORIGINS("{\"wieght\":1}"), "did you mean \"weight\"?");
    assert_refused(ORIGINS("{\"weight\":1}"), "c.json:4: sites[0].origins[0]: \"url\" is missing");
    assert_refused(ORIGINS("\"http://h:1\",\"http://h:1\""), "listed twice");
    assert_refused(ORIGINS("{\"url\":\"http://h:1\",\"backup\":true}"), "must be no backup");
}

static void test_health_is_checked(void **state)
{
    static const struct {
        const char *health, *why;
    } rows[] = {
        {"\"status\":\"399-200\"", "health.status"},
        {"\"status\":\"abc\"", "health.status"},
        {"\"status\":\"100\"", "health.status"},
        {"\"status\":\"200-\"", "health.status"},
        {"\"path\":\"health\"", "health.path"},
        {"\"path\":\"/a b\"", "health.path"},
        {"\"path\":\"/a\\r\\nX: y\"", "health.path"},
        {"\"host\":\"a b\"", "health.host"},
        {"\"rise\":0", "rise"},
    };
    char text[1024];

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        snprintf(text, sizeof(text),
                 "{" BODY ",\"sites\":[{\"name\":\"s\",\"hosts\":[\"a.example\"],\"policy\":\"p\","
                 "\"origins\":[\"http://h:1\"],\"health\":{%s}}]}",
                 rows[i].health);
        assert_refused(text, rows[i].why);
    }
}

static void test_measures(void **state)
{
    uint64_t v;

    UNUSED(state);
    assert_true(config_duration(STR("250ms"), &v) && v == 250);
    assert_true(config_duration(STR("2m"), &v) && v == 120000);
    assert_false(config_duration(STR("5"), &v));
    assert_false(config_duration(STR("s"), &v));
    assert_false(config_duration(STR("1.5s"), &v));
    assert_false(config_duration(STR("18446744073709551615d"), &v));
    assert_true(config_size(STR("64KiB"), &v) && v == 65536);
    assert_true(config_size(STR("512"), &v) && v == 512);
    assert_false(config_size(STR("64KB"), &v));
}

/* Walks a path of the table ("sites[].hosts") down the example. */
static void assert_named(void *arg, const struct config_doc *doc)
{
    const json_t *at = arg;
    struct str rest = str_c(doc->path), part;

    assert_true(doc->doc[0] != '\0');
    while (str_cut(&rest, '.', &part)) {
        bool list = str_ends(part, STR("[]"));
        char *key = str_dup(list ? str_slice(part, 0, part.len - 2) : part);
        const json_t *next = json_object_get(at, key);
        for (size_t i = 0; json_is_array(at) && next == NULL && i < json_array_size(at); i++)
            next = json_object_get(json_array_get(at, i), key);
        if (next == NULL)
            fail_msg("conf/consentd.json does not name %s", doc->path);
        at = next;
        free(key);
    }
}

static void test_example_names_every_key(void **state)
{
    char *path = file_resolve(getenv("CONSENTD_SOURCE"), "conf/consentd.json");
    struct fault f = {0};
    struct buf text;

    UNUSED(state);
    buf_init(&text, CONFIG_TEXT_MAX);
    if (!file_read(path, CONFIG_TEXT_MAX, &text, &f))
        fail_msg("%s", f.text);
    json_t *root = json_load_text(path, buf_str(&text), JSON_COMMENTS, &f);
    assert_non_null(root);
    config_each_key(assert_named, root);
    struct config *c = config_load(path, &f);
    if (c == NULL)
        fail_msg("%s", f.text);
    config_free(c);
    json_decref(root);
    buf_clear(&text);
    assert_true(config_reference(&text));
    assert_true(str_find(buf_str(&text), STR("sites[].connect_timeout\n")) > 0);
    buf_free(&text);
    free(path);
}

static void test_canonical_json(void **state)
{
    struct fault f;
    struct buf out;
    json_t *v =
        json_load_text("t", STR("{\"b\":[1,true,null],\"a\":\"\\u0001\\n\\\"\xc3\xa9/\"}"), 0, &f);

    UNUSED(state);
    buf_init(&out, 1024);
    assert_non_null(v);
    assert_true(json_canonical(v, &out));
    assert_string_equal(buf_cstr(&out), "{\"a\":\"\\u0001\\n\\\"\xc3\xa9/\",\"b\":[1,true,null]}");
    json_decref(v);
    v = json_load_text("t", STR("[1.5] // no"), JSON_COMMENTS, &f);
    assert_false(json_canonical(v, &out));
    json_decref(v);
    assert_null(json_load_text("t", STR("{} x"), 0, &f));
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_and_paths),
        cmocka_unit_test(test_errors_say_where_and_what),
        cmocka_unit_test(test_measures),
        cmocka_unit_test(test_example_names_every_key),
        cmocka_unit_test(test_canonical_json),
        cmocka_unit_test(test_names_of_a_site),
        cmocka_unit_test(test_an_origin_is_a_text_or_an_object),
        cmocka_unit_test(test_health_is_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
