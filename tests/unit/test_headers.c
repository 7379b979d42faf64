/*
 * The field list: known names, order, removal, and what Connection may and may not take away.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "consentd/headers.h"

struct list {
    struct arena arena;
    struct headers h;
};

static void list_init(struct list *list, const char *const (*fields)[2], size_t cnt)
{
    arena_init(&list->arena, NULL, 1 << 20);
    headers_init(&list->h, NULL, 0);
    for (size_t i = 0; i < cnt; i++)
        assert_true(headers_add(&list->h, &list->arena, str_c(fields[i][0]), str_c(fields[i][1])));
}

/* "name=value name=value": what is left, in order. */
static void check_left(struct list *list, const char *want)
{
    char got[1024] = "";
    size_t len = 0;

    for (unsigned i = 0; i < list->h.cnt; i++) {
        const struct header *item = &list->h.items[i];

        if (!item->removed)
            len += (size_t)snprintf(got + len, sizeof(got) - len, "%s%.*s=%.*s", len > 0 ? " " : "",
                                    STR_ARGS(item->name), STR_ARGS(item->value));
    }
    assert_string_equal(got, want);
    arena_fini(&list->arena);
}

static void test_every_known_name_in_any_case(void **state)
{
    (void)state;
    for (int id = 1; id < HDR_CNT; id++) {
        struct str name = header_name((enum header_id)id);
        char other[64];

        assert_in_range(name.len, 1, sizeof(other) - 1);
        assert_int_equal(header_id_of(name), id);
        for (size_t i = 0; i < name.len; i++)
            other[i] = (char)toupper((unsigned char)name.ptr[i]);
        assert_int_equal(header_id_of(str_make(other, name.len)), id);
        /* One byte less, one more or one different: another name. */
        assert_int_not_equal(header_id_of(str_make(other, name.len - 1)), id);
        other[name.len] = 'x';
        assert_int_equal(header_id_of(str_make(other, name.len + 1)), HDR_OTHER);
        other[name.len / 2] = '!';
        assert_int_equal(header_id_of(str_make(other, name.len)), HDR_OTHER);
    }
}

static void test_unknown_names(void **state)
{
    static const char *const names[] = {"", "x", "hosts", "coo kie", "set_cookie", "\x80", "x-y-z"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_int_equal(header_id_of(str_c(names[i])), HDR_OTHER);
}

static void test_find_keeps_order_and_skips_removed(void **state)
{
    static const char *const fields[][2] = {
        {"Cookie", "a"}, {"X-Foo", "b"}, {"cookie", "c"}, {"COOKIE", "d"}, {"x-foo", "e"}};
    struct list list;
    unsigned iter = 0;

    (void)state;
    list_init(&list, fields, COUNT_OF(fields));
    assert_true(str_eq_c(headers_value(&list.h, HDR_COOKIE), "a"));
    headers_find(&list.h, HDR_COOKIE)->removed = true;
    assert_true(str_eq_c(headers_next(&list.h, HDR_COOKIE, &iter)->value, "c"));
    assert_true(str_eq_c(headers_next(&list.h, HDR_COOKIE, &iter)->value, "d"));
    assert_null(headers_next(&list.h, HDR_COOKIE, &iter));
    assert_true(str_eq_c(headers_find_name(&list.h, STR("X-FOO"))->value, "b"));
    headers_find_name(&list.h, STR("X-FOO"))->removed = true;
    assert_true(str_eq_c(headers_find_name(&list.h, STR("X-FOO"))->value, "e"));
    assert_null(headers_find_name(&list.h, STR("x-fo")));
    assert_true(str_eq_c(headers_find_name(&list.h, STR("CookIE"))->value, "c"));
    assert_null(headers_find(&list.h, HDR_HOST));
    assert_int_equal(headers_value(&list.h, HDR_HOST).len, 0);
    assert_non_null(headers_value(&list.h, HDR_HOST).ptr);
    check_left(&list, "cookie=c COOKIE=d x-foo=e");
}

static void test_remove_and_set(void **state)
{
    static const char *const fields[][2] = {{"A", "1"}, {"Via", "2"}, {"B", "3"}, {"via", "4"}};
    struct list list;

    (void)state;
    list_init(&list, fields, COUNT_OF(fields));
    assert_true(headers_set(&list.h, &list.arena, HDR_VIA, STR("5")));
    check_left(&list, "A=1 Via=5 B=3");
    list_init(&list, fields, COUNT_OF(fields));
    assert_int_equal(headers_remove(&list.h, HDR_VIA), 2);
    assert_int_equal(headers_remove(&list.h, HDR_VIA), 0);
    assert_int_equal(headers_remove(&list.h, HDR_HOST), 0);
    assert_true(headers_set(&list.h, &list.arena, HDR_VIA, STR("6")));
    check_left(&list, "A=1 B=3 via=6");
}

static void test_growth_stops_at_the_limit(void **state)
{
    struct header items[2];
    struct headers h;

    (void)state;
    headers_init(&h, items, COUNT_OF(items));
    assert_true(headers_add(&h, NULL, STR("a"), STR("b")));
    assert_true(headers_add_id(&h, NULL, HDR_VIA, STR("c")));
    assert_false(headers_add(&h, NULL, STR("d"), STR("e")));
    assert_false(headers_add_id(&h, NULL, HDR_HOST, STR("e")));
    assert_false(headers_set(&h, NULL, HDR_HOST, STR("e")));
    assert_int_equal(h.cnt, 2);
    assert_null(headers_find(&h, HDR_HOST));
}

static void test_tokens(void **state)
{
    static const char *const fields[][2] = {
        {"Connection", " ,Keep-Alive ,, x;q=1"}, {"connection", "close"}, {"TE", "trailers-x"}};
    struct list list;

    (void)state;
    list_init(&list, fields, COUNT_OF(fields));
    assert_true(headers_has_token(&list.h, HDR_CONNECTION, "keep-alive"));
    assert_true(headers_has_token(&list.h, HDR_CONNECTION, "close"));
    assert_true(headers_has_token(&list.h, HDR_CONNECTION, "X"));
    assert_false(headers_has_token(&list.h, HDR_CONNECTION, "keep"));
    assert_false(headers_has_token(&list.h, HDR_CONNECTION, ""));
    assert_false(headers_has_token(&list.h, HDR_TE, "trailers"));
    assert_false(headers_has_token(&list.h, HDR_UPGRADE, "websocket"));
    arena_fini(&list.arena);
}

static void check_strip(const char *const (*fields)[2], size_t cnt, const char *left)
{
    struct list list;

    list_init(&list, fields, cnt);
    headers_strip_hop_by_hop(&list.h);
    check_left(&list, left);
}

static void test_hop_by_hop_goes(void **state)
{
    static const char *const fields[][2] = {
        {"Host", "a"},
        {"Connection", "close"},
        {"Keep-Alive", "x"},
        {"Proxy-Connection", ""},
        {"TE", "trailers"},
        {"Trailer", "X"},
        {"Upgrade", "h2c"},
        {"HTTP2-Settings", "AAM"},
        {"Transfer-Encoding", "chunked"},
        {"Accept", "b"},
        {"Proxy-Authorization", "x"},
        {"Proxy-Authenticate", "x"},
    };

    (void)state;
    check_strip(fields, COUNT_OF(fields), "Host=a Accept=b");
}

static void test_nominated_fields_go(void **state)
{
    static const char *const fields[][2] = {
        {"Connection", "x-one, X-TWO ,,accept"},
        {"X-One", "1"},
        {"x-two", "2"},
        {"X-One", "3"},
        {"Accept", "4"},
        {"X-Three", "5"},
        {"connection", "X-Four"},
        {"x-four", "6"},
    };
    static const char *const self[][2] = {{"Connection", "connection, x"}, {"X", "1"}, {"Y", "2"}};

    (void)state;
    check_strip(fields, COUNT_OF(fields), "X-Three=5");
    check_strip(self, COUNT_OF(self), "Y=2");
}

/* Naming these would take protection away from the origin (HTTP.md 3). */
static void test_essential_fields_survive_being_named(void **state)
{
    static const char *const kept[] = {"Host",
                                       "Content-Length",
                                       "Content-Type",
                                       "Content-Encoding",
                                       "Cookie",
                                       "Set-Cookie",
                                       "Authorization",
                                       "Via",
                                       "Forwarded",
                                       "X-Real-IP",
                                       "X-Consent",
                                       "Sec-GPC",
                                       "X-Forwarded-For",
                                       "X-Forwarded-Host",
                                       "X-Forwarded-Port",
                                       "Cache-Control",
                                       "X-Forwarded-Proto",
                                       "X-Forwarded-New"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(kept); i++) {
        const char *const fields[][2] = {{kept[i], "v"}, {"Connection", kept[i]}};
        char left[64];

        snprintf(left, sizeof(left), "%s=v", kept[i]);
        check_strip(fields, COUNT_OF(fields), left);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_known_name_in_any_case),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_find_keeps_order_and_skips_removed),
        cmocka_unit_test(test_remove_and_set),
        cmocka_unit_test(test_growth_stops_at_the_limit),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_hop_by_hop_goes),
        cmocka_unit_test(test_nominated_fields_go),
        cmocka_unit_test(test_essential_fields_survive_being_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
