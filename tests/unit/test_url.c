/*
 * URLs: every way to write an address gives one spelling, and what is in doubt says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/url.h"

#define BASE "https://example.com/a/b?q"

/* CJK letters, three bytes each */
#define LETTERS_8                                                                                  \
    "\xe4\xbe\x8b\xe5\xad\x90\xe4\xbe\x8b\xe5\xad\x90\xe4\xbe\x8b\xe5\xad\x90\xe4\xbe\x8b\xe5\xad" \
    "\x90"
#define LETTERS_64 LETTERS_8 LETTERS_8 LETTERS_8 LETTERS_8 LETTERS_8 LETTERS_8 LETTERS_8 LETTERS_8

struct row {
    const char *in;
    const char *want; /* "SCHEME HOST PORT PATH[?QUERY]", "suspect" (any host), or "none" */
};

static void describe(const struct url *url, bool ok, char out[1024])
{
    static const char *const schemes[] = {"none", "http", "https", "ws",         "wss",   "ftp",
                                          "file", "data", "blob",  "javascript", "about", "other"};

    if (url->flags & URL_SUSPECT)
        snprintf(out, 1024, "suspect");
    else if (!ok)
        snprintf(out, 1024, "none");
    else
        snprintf(out, 1024, "%s %.*s %u %.*s%s%.*s", schemes[url->scheme], STR_ARGS(url->host),
                 url->port, STR_ARGS(url->path), url->query.len > 0 ? "?" : "",
                 STR_ARGS(url->query));
}

static void check_rows(const struct row *rows, size_t cnt)
{
    unsigned bad = 0;

    for (size_t i = 0; i < cnt; i++) {
        struct arena arena;
        struct url base, url;
        char got[1024];
        size_t len = strlen(rows[i].in);
        char *copy = malloc(len + 1);

        assert_non_null(copy);
        copy = realloc(copy, len > 0 ? len : 1); /* exact, so that a sanitizer sees an overread */
        if (len > 0)
            memcpy(copy, rows[i].in, len);
        arena_init(&arena, NULL, 1 << 20);
        assert_true(url_parse(STR(BASE), NULL, &arena, &base));
        describe(&url, url_parse(str_make(copy, len), &base, &arena, &url), got);
        free(copy);
        if (strcmp(got, rows[i].want) != 0) {
            print_error("%s: got %s, want %s\n", rows[i].in, got, rows[i].want);
            bad++;
        }
        arena_fini(&arena);
    }
    assert_int_equal(bad, 0);
}

#define CHECK_ROWS(rows) check_rows(rows, COUNT_OF(rows))

static void test_slashes_and_white_space(void **state)
{
    static const struct row rows[] = {
        {"http://h/p?q#f", "http h 80 /p?q"},
        {"HTTP://H/P", "http h 80 /P"},
        {"http:\\\\h\\p", "http h 80 /p"},
        {"http:/h/p", "http h 80 /p"},
        {"http:h/p", "http h 80 /p"},
        {"http:////h/p", "http h 80 /p"},
        {"http:\\/\\h", "http h 80 /"},
        {" \x01 http://h/p \x1f ", "http h 80 /p"},
        {"h\tt\ntp\r://\th\n/\rp", "http h 80 /p"},
        {"ht\ttps://h", "https h 443 /"},
        {"//h/p", "https h 443 /p"},
        {"\\\\h\\p", "https h 443 /p"},
        {"/\\h/p", "https h 443 /p"},
        {"\\/h/p", "https h 443 /p"},
        {"/\t/h/p", "https h 443 /p"},
        {"///h/p", "https h 443 /p"},
        {"https:///h/p", "https h 443 /p"},
        {"https:\\\\h", "https h 443 /"},
        {"https:/\\h", "https h 443 /"},
        {"https:/h/p", "https example.com 443 /h/p"}, /* same scheme as the base: a path */
        {"https:h", "https example.com 443 /a/h"},
        {"https:", "https example.com 443 /a/b?q"},
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void test_relative(void **state)
{
    static const struct row rows[] = {
        {"", "https example.com 443 /a/b?q"},
        {"#f", "https example.com 443 /a/b?q"},
        {"?x", "https example.com 443 /a/b?x"},
        {"?", "https example.com 443 /a/b"},
        {"c", "https example.com 443 /a/c"},
        {"c?d?e#f?g", "https example.com 443 /a/c?d?e"},
        {"/c", "https example.com 443 /c"},
        {"\\c\\d", "https example.com 443 /c/d"},
        {"..", "https example.com 443 /"},
        {"../../../c", "https example.com 443 /c"},
        {"./c/./d/../e/..", "https example.com 443 /a/c/"},
        {"%2e%2E/c", "https example.com 443 /c"},
        {".%2e/c", "https example.com 443 /c"},
        {"/a/%2E/b", "https example.com 443 /a/b"},
        {"c/..%2Fd", "https example.com 443 /a/c/..%2Fd"},
        {"/..\\..\\x", "https example.com 443 /x"},
        {"1:2", "https example.com 443 /a/1:2"},
        {":80", "https example.com 443 /a/:80"},
        {"%6A%6a/%7E%2D", "https example.com 443 /a/jj/~-"},
        {"x?%6A", "https example.com 443 /a/x?j"},
        {"%zz%6", "https example.com 443 /a/%zz%6"},
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void test_authority(void **state)
{
    static const struct row rows[] = {
        {"http://u@h/", "http h 80 /"},
        {"http://u:p@h:8080/", "http h 8080 /"},
        {"http://a@b@h/", "http h 80 /"},
        {"http://example.com:80@h/", "http h 80 /"},
        {"http://example.com\\@h/", "http example.com 80 /@h/"},
        {"http://example.com?@h/", "http example.com 80 /?@h/"},
        {"http://example.com#@h/", "http example.com 80 /"},
        {"http://h:", "http h 80 /"},
        {"http://h:80", "http h 80 /"},
        {"http://h:00080", "http h 80 /"},
        {"http://h:0", "http h 0 /"},
        {"http://h:65535", "http h 65535 /"},
        {"http://h:65536", "none"},
        {"http://h:8a", "none"},
        {"http://h:-1", "none"},
        {"http://h:8\t0", "http h 80 /"},
        {"http://", "none"},
        {"http://:80", "none"},
        {"http://u@", "none"},
        {"http://u@/x", "none"},
        {"https://", "none"},
        {"//", "none"},
        {"ws://h", "ws h 80 /"},
        {"wss://h/x", "wss h 443 /x"},
        {"ftp://h", "ftp h 21 /"},
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void test_hosts(void **state)
{
    static const struct row rows[] = {
        {"http://WWW.Example.COM", "http www.example.com 80 /"},
        {"http://h.", "http h 80 /"},
        {"http://ex%61mple.com", "http example.com 80 /"},
        {"http://%68", "http h 80 /"},
        {"http://\xef\xbd\x88\xef\xbc\x8e\xef\xbc\xa3", "http h.c 80 /"}, /* fullwidth h . C */
        {"http://%ef%bd%88", "http h 80 /"},
        {"http://a\xe3\x80\x82"
         "b",
         "http a.b 80 /"}, /* ideographic full stop */
        {"http://a\xef\xbd\xa1"
         "b",
         "http a.b 80 /"},
        {"http://a\xc2\xad"
         "b",
         "http ab 80 /"}, /* soft hyphen */
        {"http://a\xe2\x80\x8b\xe2\x81\xa0"
         "b",
         "http ab 80 /"},
        {"http://b\xc3\xbc"
         "cher.de",
         "http xn--bcher-kva.de 80 /"},
        {"http://B\xc3\x9c"
         "CHER.DE",
         "http xn--bcher-kva.de 80 /"},
        {"http://b%C3%BCcher.de", "http xn--bcher-kva.de 80 /"},
        {"http://xn--bcher-kva.de", "http xn--bcher-kva.de 80 /"},
        {"http://\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80", "http xn--e1afmkfd 80 /"},
        {"http://\xe4\xbe\x8b\xe5\xad\x90.jp", "http xn--fsqu00a.jp 80 /"},
        /* what a browser may map in its own way, or refuse */
        {"http://fa\xc3\x9f.de", "suspect"},            /* sharp s */
        {"http://a\xcf\x82", "suspect"},                /* final sigma */
        {"http://a\xc4\xb3", "suspect"},                /* ligature ij */
        {"http://a\xc4\xb0", "suspect"},                /* dotted capital I */
        {"http://\xc5\xbf", "suspect"},                 /* long s */
        {"http://\xe2\x93\x96\xe2\x93\x90", "suspect"}, /* circled letters */
        {"http://\xef\xac\x81", "suspect"},             /* ligature fi */
        {"http://a\xe2\x80\x8d"
         "b",
         "suspect"},                       /* joiner */
        {"http://e\xcc\x81", "suspect"},   /* combining accent */
        {"http://" LETTERS_64, "suspect"}, /* too long for a label, and for encoding it */
        {"http://" LETTERS_64 ".1", "suspect"},
        {"http://" LETTERS_64 LETTERS_64 LETTERS_64 ".com", "suspect"},
        {"http://\xff", "suspect"},
        {"http://a\xc0\xae"
         "b",
         "suspect"},                        /* overlong dot */
        {"http://\xed\xa0\x80", "suspect"}, /* a surrogate */
        {"http://a b", "suspect"},
        {"http://a%20b", "suspect"},
        {"http://a%00b", "suspect"},
        {"http://a%2fb", "suspect"},
        {"http://a%23b", "suspect"},
        {"http://a%zz", "suspect"},
        {"http://a<b", "suspect"},
        {"http://a:b:80", "suspect"},
        {"http://a^b", "suspect"},
        {"http://a|b", "suspect"},
        {"http://h..", "suspect"},
        {"http://a..b", "suspect"},
        {"http://.a", "suspect"},
        {"http://.", "suspect"},
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void test_addresses(void **state)
{
    static const struct row rows[] = {
        {"http://127.0.0.1", "http 127.0.0.1 80 /"},
        {"http://127.0.0.1.", "http 127.0.0.1 80 /"},
        {"http://127.1", "http 127.0.0.1 80 /"},
        {"http://127.0.1", "http 127.0.0.1 80 /"},
        {"http://2130706433", "http 127.0.0.1 80 /"},
        {"http://0x7f000001", "http 127.0.0.1 80 /"},
        {"http://0X7F.1", "http 127.0.0.1 80 /"},
        {"http://017700000001", "http 127.0.0.1 80 /"},
        {"http://0177.0.0.1", "http 127.0.0.1 80 /"},
        {"http://0x7f.0x0.0x0.0x1", "http 127.0.0.1 80 /"},
        {"http://%31%32%37.1", "http 127.0.0.1 80 /"},
        {"http://\xef\xbc\x91.1", "http 1.0.0.1 80 /"},
        {"http://0", "http 0.0.0.0 80 /"},
        {"http://0x", "http 0.0.0.0 80 /"},
        {"http://1.2.3.0x", "http 1.2.3.0 80 /"},
        {"http://4294967295", "http 255.255.255.255 80 /"},
        {"http://4294967296", "suspect"},
        {"http://256.1.1.1", "suspect"},
        {"http://1.1.1.256", "suspect"},
        {"http://1.2.3.4.5", "suspect"},
        {"http://08.1", "suspect"},
        {"http://1..2", "suspect"},
        {"http://a.1", "suspect"},
        {"http://1.a", "http 1.a 80 /"},
        {"http://0xg", "http 0xg 80 /"},
        {"http://[::1]", "http [::1] 80 /"},
        {"http://[0:0:0:0:0:0:0:1]:8080", "http [::1] 8080 /"},
        {"http://[2001:DB8::A]", "http [2001:db8::a] 80 /"},
        {"http://[::1", "none"},
        {"http://[::g]", "none"},
        {"http://[]", "none"},
        {"http://[1::2::3]", "none"},
        {"http://[::1%25lo]", "none"},
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void test_other_schemes(void **state)
{
    static const struct row rows[] = {
        {"data:text/html,<x>", "data  0 text/html,<x>"},
        {"JavaScript:alert(1)", "javascript  0 alert(1)"},
        {"java\nscript:x", "javascript  0 x"},
        {"about:blank", "about  0 blank"},
        {"blob:https://h/x", "blob  0 https://h/x"},
        {"mailto:a@b", "other  0 a@b"},
        {"x-app+1.2:y", "other  0 y"},
    };

    (void)state;
    CHECK_ROWS(rows);
}

static unsigned flags_of(const char *in)
{
    struct arena arena;
    struct url base, url;

    arena_init(&arena, NULL, 1 << 20);
    assert_true(url_parse(STR(BASE), NULL, &arena, &base));
    (void)url_parse(str_c(in), &base, &arena, &url);
    arena_fini(&arena);
    return url.flags;
}

static void test_flags(void **state)
{
    (void)state;
    assert_int_equal(flags_of("http://h/"), URL_NETWORK);
    assert_int_equal(flags_of("//h/"), URL_NETWORK);
    assert_int_equal(flags_of("x"), URL_NETWORK | URL_RELATIVE);
    assert_int_equal(flags_of("ws://u@1.2.3.4"), URL_NETWORK | URL_USERINFO | URL_HOST_IP);
    assert_int_equal(flags_of("http://[::1]"), URL_NETWORK | URL_HOST_IP);
    assert_int_equal(flags_of("data:x"), 0);
    assert_int_equal(flags_of("http://h:x"), 0);
}

static void test_without_a_base(void **state)
{
    struct arena arena;
    struct url url;

    (void)state;
    arena_init(&arena, NULL, 1 << 20);
    assert_false(url_parse(STR("x"), NULL, &arena, &url));
    assert_false(url_parse(STR("//h"), NULL, &arena, &url));
    assert_int_equal(url.flags, 0);
    assert_true(url_parse(STR("https:h/x"), NULL, &arena, &url));
    assert_true(str_eq_c(url.host, "h"));
    arena_fini(&arena);
}

/* A host that is long only by what browsers ignore still leads somewhere. */
static void test_what_is_too_long_is_suspect(void **state)
{
    struct arena arena;
    struct url url;
    struct str in;
    char *text = malloc(URL_MAX + 16);

    (void)state;
    assert_non_null(text);
    arena_init(&arena, NULL, 1 << 20);
    memcpy(text, "http://", 7);
    for (size_t i = 0; i < 2000; i += 2)
        memcpy(text + 7 + i, "\xc2\xad", 2);
    memcpy(text + 2007, "evil.com", 8);
    (void)url_parse(str_make(text, 2015), NULL, &arena, &url);
    assert_true(url.flags & URL_SUSPECT);
    memset(text + 7, 'a', URL_MAX);
    in = str_make(text, URL_MAX + 1);
    assert_false(url_parse(in, NULL, &arena, &url));
    assert_int_equal(url.flags, URL_SUSPECT);
    arena_fini(&arena);
    free(text);
}

/* However small the arena: the same answer, or one in doubt; never a harmless one. */
static void test_full_arena_is_suspect(void **state)
{
    static const char accented[] = "http://b\xc3\xbc"
                                   "cher.de/x?y";
    static const char *const urls[] = {"http://evil.com/a?b", accented,  "http://127.1/x?y",
                                       "http://[::1]/x?y",    "//h/x?y", "x/y?z"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(urls); i++) {
        struct arena full;
        struct url base, url;
        char want[1024];

        arena_init(&full, NULL, 1 << 20);
        assert_true(url_parse(STR(BASE), NULL, &full, &base));
        describe(&url, url_parse(str_c(urls[i]), &base, &full, &url), want);
        for (size_t max = 0; max < 8192; max += 16) {
            struct arena arena;
            char got[1024];

            arena_init(&arena, NULL, max);
            describe(&url, url_parse(str_c(urls[i]), &base, &arena, &url), got);
            if (strcmp(got, "suspect") != 0)
                assert_string_equal(got, want);
            arena_fini(&arena);
        }
        arena_fini(&full);
    }
}

static void test_host_in_domain(void **state)
{
    (void)state;
    assert_true(url_host_in(STR("a.b.com"), STR("b.com")));
    assert_true(url_host_in(STR("b.com"), STR("b.com")));
    assert_false(url_host_in(STR("ab.com"), STR("b.com")));
    assert_false(url_host_in(STR("b.com"), STR("a.b.com")));
    assert_false(url_host_in(STR("b.com"), STR("")));
    assert_false(url_host_in(STR("b.comx"), STR("b.com")));
}

static void test_query_pairs(void **state)
{
    struct str rest = STR("a=1&&b&=c&d=e=f&");
    struct str name, value;
    char got[128] = "";
    size_t len = 0;

    (void)state;
    while (url_query_next(&rest, &name, &value))
        len += (size_t)snprintf(got + len, sizeof(got) - len, "%.*s:%.*s ", STR_ARGS(name),
                                STR_ARGS(value));
    assert_string_equal(got, "a:1 b: :c d:e=f ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slashes_and_white_space),
        cmocka_unit_test(test_relative),
        cmocka_unit_test(test_authority),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_other_schemes),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_without_a_base),
        cmocka_unit_test(test_what_is_too_long_is_suspect),
        cmocka_unit_test(test_full_arena_is_suspect),
        cmocka_unit_test(test_host_in_domain),
        cmocka_unit_test(test_query_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
