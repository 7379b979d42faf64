/*
 * Cookies: pairs as the RFC splits them, every name that some reader could see, and a filter
 * that leaves the rest byte for byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/cookie.h"

/* "name=value/trust;..." for a field. */
static void check_pairs(const char *field, const char *want)
{
    static const char *const trusts[] = {"drop", "odd", "plain"};
    struct str rest = str_c(field);
    struct cookie_pair pair;
    char got[1024] = "";
    size_t len = 0;

    while (cookie_next(&rest, &pair))
        len += (size_t)snprintf(got + len, sizeof(got) - len, "%s%.*s=%.*s/%s", len > 0 ? ";" : "",
                                STR_ARGS(pair.name), STR_ARGS(pair.value), trusts[pair.trust]);
    assert_string_equal(got, want);
}

static void test_pairs(void **state)
{
    (void)state;
    check_pairs("a=b; c=d", "a=b/plain;c=d/plain");
    check_pairs("a=b;c=d;;; ;", "a=b/plain;c=d/plain");
    check_pairs(" \ta = b \t; c", "a=b/plain;=c/odd");
    check_pairs("a=b=c", "a=b=c/plain");
    check_pairs("a=", "a=/plain");
    check_pairs("=a", "=a/odd");
    check_pairs("=", "=/odd");
    check_pairs("a=\"b;c\"", "a=\"b/odd;=c\"/odd");
    check_pairs("a=1, b=2", "a=1, b=2/odd");
    check_pairs("session.id=1", "session.id=1/odd");
    check_pairs("$Version=1; a=b", "$Version=1/drop;a=b/plain");
    check_pairs("a\x01=b; c=\x7f; d=e", "a\x01=b/drop;c=\x7f/drop;d=e/plain");
    check_pairs("a=\xe9; \xe9=b", "a=\xe9/odd;\xe9=b/odd");
    check_pairs("", "");
    check_pairs(" ; ;", "");
}

/* Whether some reader of the first pair of the field could see the name. */
static bool sees(const char *field, const char *name)
{
    struct str rest = str_c(field);
    struct cookie_pair pair;
    struct cookie_names it;
    struct str seen;
    bool found = false;

    assert_true(cookie_next(&rest, &pair));
    cookie_names_init(&it, &pair);
    while (cookie_names_next(&it, &seen))
        found |= str_eq_c(seen, name);
    return found || pair.trust == COOKIE_DROP;
}

static void test_every_reader_is_asked(void **state)
{
    static const char *const hidden[] = {
        "_ga=1",
        "=_ga=1",
        "_ga",
        "_ga =1",
        "a=1, _ga=2",
        "a=1,_ga=2",
        "a=1 _ga=2",
        "a=1\t_ga=2",
        "%5Fga=1",
        "%5fga=1",
        "_g%61=1",
        "_ga%00x=1",
        ".ga=1",
        "[ga=1",
        "_ga[x]=1",
        "_ga[]=1",
        "%2Ega=1",
        "\xc2\xa0_ga=1",
        "\xef\xbb\xbf_ga=1",
        "_ga\xc2\xa0=1",
        "\"_ga\"=1",
        "'_ga'=1",
        "a=\"x, _ga=1\"",
        "=a, _ga=1",
        "%20_ga=1",
        "$Path=/, _ga=1",
        "+_ga=1",
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(hidden); i++) {
        if (!sees(hidden[i], "_ga"))
            print_error("hidden: %s\n", hidden[i]);
        assert_true(sees(hidden[i], "_ga"));
    }
    assert_true(sees("a+b=1", "a_b"));
    assert_true(sees("a.b=1", "a_b"));
    assert_true(sees("a b=1", "a_b"));
    assert_false(sees("a=_gb", "_ga"));
    assert_false(sees("a=x_ga=1", "_ga"));
    assert_false(sees("x_ga=1", "_ga"));
    assert_false(sees("session_id=_ga", "_ga"));
}

/* A pair with more pieces than are looked at goes: the name could be behind them. */
static void test_pieces_without_end_are_dropped(void **state)
{
    for (unsigned cnt = 1; cnt < 600; cnt++) {
        char field[2048] = "a=";
        size_t len = 2;

        (void)state;
        for (unsigned i = 0; i < cnt; i++)
            len += (size_t)snprintf(field + len, sizeof(field) - len, "x%c", ", \t"[i % 3]);
        snprintf(field + len, sizeof(field) - len, "_ga=1");
        assert_true(sees(field, "_ga"));
    }
}

static void test_long_names_are_dropped(void **state)
{
    char field[COOKIE_NAME_MAX + 8];
    struct str rest;
    struct cookie_pair pair;

    (void)state;
    memset(field, 'a', sizeof(field));
    field[COOKIE_NAME_MAX] = '=';
    rest = str_make(field, COOKIE_NAME_MAX + 2);
    assert_true(cookie_next(&rest, &pair));
    assert_int_equal(pair.trust, COOKIE_PLAIN);
    field[COOKIE_NAME_MAX] = 'a';
    field[COOKIE_NAME_MAX + 1] = '=';
    rest = str_make(field, COOKIE_NAME_MAX + 3);
    assert_true(cookie_next(&rest, &pair));
    assert_int_equal(pair.trust, COOKIE_DROP);
}

static bool keep_unless_denied(void *arg, const struct cookie_pair *pair)
{
    unsigned *asked = arg;

    (*asked)++;
    assert_int_not_equal(pair->trust, COOKIE_DROP);
    return !str_starts(pair->name, STR("_"));
}

static bool keep_value_a(void *arg, const struct cookie_pair *pair)
{
    unsigned *asked = arg;

    (*asked)++;
    return str_eq_c(pair->value, "a");
}

/* fields: up to two Cookie fields; want NULL: none is left. */
static void check_filter(const char *first, const char *second, const char *want)
{
    struct arena arena;
    struct headers h;
    unsigned asked = 0;
    unsigned iter = 0;
    const struct header *item;

    arena_init(&arena, NULL, 65536);
    headers_init(&h, NULL, 0);
    assert_true(headers_add(&h, &arena, STR("Cookie2"), STR("$Version=1")));
    assert_true(headers_add(&h, &arena, STR("cookie"), str_c(first)));
    if (second != NULL)
        assert_true(headers_add(&h, &arena, STR("Cookie"), str_c(second)));
    assert_true(cookie_filter(&h, &arena, keep_unless_denied, &asked));
    item = headers_next(&h, HDR_COOKIE, &iter);
    assert_int_equal(item != NULL, want != NULL);
    if (item != NULL)
        assert_true(str_eq_c(item->value, want));
    assert_null(headers_next(&h, HDR_COOKIE, &iter));
    assert_null(headers_find(&h, HDR_COOKIE2));
    arena_fini(&arena);
}

static void test_filter(void **state)
{
    (void)state;
    check_filter("a=b; c=d", NULL, "a=b; c=d");
    check_filter("a=b;  c =d;", NULL, "a=b;  c =d;"); /* nothing denied: untouched */
    check_filter("a=b; _ga=1; c=d", NULL, "a=b; c=d");
    check_filter("_ga=1;a=\"q q\" ;c= d", NULL, "a=\"q q\"; c= d");
    check_filter("_ga=1", NULL, NULL);
    check_filter("_ga=1", "_gid=2", NULL);
    check_filter("a=1", "b=2", "a=1; b=2");
    check_filter("a=1; _x=1", "_y=2; b=2", "a=1; b=2");
    check_filter("_x=1", "b=2", "b=2");
    check_filter("a=1; a=2; a=1", "a=3", "a=1; a=2; a=1; a=3");
    check_filter("$Version=1; a=1", NULL, "a=1");
    check_filter("a=1; b=\x01", NULL, "a=1");
}

/* "; " is longer than ';': what is joined may be longer than what came in. */
static void test_filter_may_lengthen(void **state)
{
    enum { PAIRS = 30000 }; /* more than a block of the arena: a sanitizer sees its end */
    char *field = malloc(PAIRS * 2);
    struct arena arena;
    struct headers h;
    unsigned asked = 0;

    (void)state;
    assert_non_null(field);
    for (size_t i = 0; i < PAIRS; i++)
        memcpy(field + i * 2, i == 500 ? "_;" : "a;", 2);
    arena_init(&arena, NULL, 1 << 20);
    headers_init(&h, NULL, 0);
    assert_true(headers_add(&h, &arena, STR("Cookie"), str_make(field, PAIRS * 2)));
    assert_true(cookie_filter(&h, &arena, keep_value_a, &asked));
    assert_int_equal(headers_value(&h, HDR_COOKIE).len, (PAIRS - 1) * 3 - 2);
    arena_fini(&arena);
    free(field);
}

/* No memory: no cookie passes. */
static void test_full_arena_lets_nothing_through(void **state)
{
    struct header items[1];
    struct arena arena;
    struct headers h;
    unsigned asked = 0;

    (void)state;
    arena_init(&arena, NULL, 0);
    headers_init(&h, items, 1);
    assert_true(headers_add(&h, NULL, STR("Cookie"), STR("a=1; _ga=2")));
    assert_false(cookie_filter(&h, &arena, keep_unless_denied, &asked));
    assert_null(headers_find(&h, HDR_COOKIE));
    arena_fini(&arena);
}

static void check_set(const char *field, const char *name, const char *value)
{
    struct cookie_pair pair;
    bool ok = set_cookie_name(str_c(field), &pair);

    assert_int_equal(ok, name != NULL);
    if (name == NULL)
        return;
    assert_true(str_eq_c(pair.name, name));
    assert_true(str_eq_c(pair.value, value));
}

static void test_set_cookie(void **state)
{
    (void)state;
    check_set("a=b", "a", "b");
    check_set("a=b; Path=/", "a", "b");
    check_set(" a = b ;", "a", "b");
    check_set("a=\"b\"; x", "a", "\"b\"");
    check_set("a", "", "a");
    check_set("=a=b", "", "a=b");
    check_set("a=", "a", "");
    check_set("", NULL, NULL);
    check_set(";Path=/", NULL, NULL);
    check_set("=", NULL, NULL);
    check_set(" ; a=b", NULL, NULL);
}

static void test_set_cookie_attributes(void **state)
{
    struct str rest = STR("a=b; Path = /x ;Secure;; =v;Max-Age=5");
    struct str name, value;

    (void)state;
    assert_true(set_cookie_attr_next(&rest, &name, &value));
    assert_true(str_eq_c(name, "Path") && str_eq_c(value, "/x"));
    assert_true(set_cookie_attr_next(&rest, &name, &value));
    assert_true(str_eq_c(name, "Secure") && value.len == 0);
    assert_true(set_cookie_attr_next(&rest, &name, &value));
    assert_true(name.len == 0 && value.len == 0);
    assert_true(set_cookie_attr_next(&rest, &name, &value));
    assert_true(name.len == 0 && str_eq_c(value, "v"));
    assert_true(set_cookie_attr_next(&rest, &name, &value));
    assert_true(str_eq_c(name, "Max-Age") && str_eq_c(value, "5"));
    assert_false(set_cookie_attr_next(&rest, &name, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_every_reader_is_asked),
        cmocka_unit_test(test_pieces_without_end_are_dropped),
        cmocka_unit_test(test_long_names_are_dropped),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_filter_may_lengthen),
        cmocka_unit_test(test_full_arena_lets_nothing_through),
        cmocka_unit_test(test_set_cookie),
        cmocka_unit_test(test_set_cookie_attributes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
