/* test_sheet.c - style sheets: what a browser would fetch, and what stands there instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "sheet_run.h"

struct row {
    const char *in;
    const char *out; /* NULL: as it came */
};

static void same(struct str got, struct str want)
{
    if (!str_eq(got, want))
        fail_msg("got:\n%.*s\nwant:\n%.*s", STR_ARGS(got), STR_ARGS(want));
}

/* Whole, byte by byte, and cut once at every place. */
static void check(struct str in, struct str want, enum css_pairs pairs)
{
    struct sheet_run run = {.pairs = pairs};

    assert_true(sheet_run(&run, in, 0, in.len));
    same(buf_str(&run.out), want);
    assert_true(sheet_run(&run, in, 0, 1));
    same(buf_str(&run.out), want);
    for (size_t at = 1; at < in.len; at++) {
        assert_true(sheet_run(&run, in, at, in.len));
        same(buf_str(&run.out), want);
    }
    sheet_run_fini(&run);
}

static void check_rows(const struct row *rows, size_t cnt)
{
    for (size_t i = 0; i < cnt; i++)
        check(str_c(rows[i].in), str_c(rows[i].out != NULL ? rows[i].out : rows[i].in),
              CSS_PAIRS_NONE);
}

static void test_urls(void **state)
{
    static const struct row rows[] = {
        {"", NULL},
        {"p{background:url(//evil/)}", "p{background:url()}"},
        {"p{background:url( //evil/ )}", "p{background:url( )}"},
        {"p{background:url(\"//evil/\")}", "p{background:url(\"\")}"},
        {"p{background:URL('//evil/' x(')') )}", "p{background:URL(\"\" x(')') )}"},
        {"p{background:url(//good/),url(//evil/),none}", "p{background:url(//good/),url(),none}"},
        {"p{background:u\\72l(//evil/)}", "p{background:u\\72l()}"},
        {"p{background:\\000075\r\nrl(//evil/)}", "p{background:\\000075\r\nrl()}"},
        {"p{background:url(//ev\\69 l/)}", "p{background:url()}"},
        {"p{background:url('//ev\\\nil/')}", "p{background:url(\"\")}"},
        {"p{background:url('//ev\\\r\nil/')}", "p{background:url(\"\")}"},
        {"p{background:url(//a\\)/ \\65vil)}", "p{background:url()}"},
        {"p{background:url(//evil/", "p{background:url("},
        {"p{background:url('//evil/", "p{background:url(\"\""},
        {"p{background:url(", NULL},
        {"p{background:url()}", NULL},
        {"p{background:url(data:image/png,evil)}", NULL},
        {"p{fill:url(#evil)}", NULL},
        {"@font-face{src:url(//evil/a.eot);src:url(/a.woff) format('woff')}",
         "@font-face{src:url();src:url(/a.woff) format('woff')}"},
        {"p{background:image-set('//evil/' 1x,'/a' 2x)}",
         "p{background:image-set(url() 1x,'/a' 2x)}"},
        {"p{background:-webkit-image-set(url(/a) 1x,\"//evil/\" 2x)}",
         "p{background:-webkit-image-set(url(/a) 1x,url() 2x)}"},
        {"p{background:image-set(linear-gradient(red,blue) 1x,\"//evil/\" 2x type('image/png'))}",
         "p{background:image-set(linear-gradient(red,blue) 1x,url() 2x type('image/png'))}"},
        {"p{background:image(\"//evil/\")} q{content:\"//evil/\"}",
         "p{background:image(url())} q{content:\"//evil/\"}"},
        {"p{--a:url(//evil/)}", "p{--a:url()}"},
    };

    (void)state;
    check_rows(rows, COUNT_OF(rows));
}

static void test_imports(void **state)
{
    static const struct row rows[] = {
        {"@import \"//evil/\";p{}", "@import url();p{}"},
        {"@import'//evil/'screen;", "@importurl()screen;"},
        {"@IM\\50ORT/**/url(//evil/) layer(a);", "@IM\\50ORT/**/url() layer(a);"},
        {"@import url(\"//evil/\") supports(background:url(//evil/));",
         "@import url(\"\") supports(background:url());"},
        {"@import \"/a.css\" \"//evil/\";", NULL},
        {"@imports \"//evil/\";", NULL},
        {"@import;\"//evil/\"", NULL},
        {"@import{}\"//evil/\"", NULL},
        {"@import url(data:text/css,p{});", NULL},
        {"@import url(\"data:text/css,@import '//evil/'\");", "@import url(\"\");"},
        {"@import 'data:text/css;base64,QGltcG9ydCAnLy9ldmlsLyc7';", "@import url();"},
        {"@import 'data:text/css,@import \"data:text/css,p{a:url(/%65vil)}\"';", "@import url();"},
    };

    (void)state;
    check_rows(rows, COUNT_OF(rows));
}

/* A token that is read as another one would hide what is behind it, or show what is not there. */
static void test_tokens(void **state)
{
    static const struct row rows[] = {
        {"/* url(//evil/) */p{}", NULL},
        {"/* * / url(//evil/) **/p{a:url(//evil/)}", "/* * / url(//evil/) **/p{a:url()}"},
        {"/*/ url(//evil/) */a{b:url(//evil/)}", "/*/ url(//evil/) */a{b:url()}"},
        {"a{b:/url(//evil/)}", "a{b:/url()}"},
        {"a{b:'\"' url(//evil/) '\"'}", "a{b:'\"' url() '\"'}"},
        {"a{b:'\\'url(//evil/)'}", NULL},
        {"a{b:'x\nurl(//evil/)}", "a{b:'x\nurl()}"},
        {"a{b:'x\\\nurl(//evil/)'}", NULL},
        {"a{b:'x\\\\'url(//evil/)'}", "a{b:'x\\\\'url()'}"},
        {"#url(a\"b) \"url(//evil/)", "#url(a\"b) \"url()"},
        {"<!--url(a\"b) \"url(//evil/)", NULL},
        {"<!-url(//evil/)", NULL},
        {"-->url(//evil/)", "-->url()"},
        {"1url(a\"b) \"url(//evil/)", "1url(a\"b) \"url()"},
        {"1.url(a\"b) \"url(//evil/)\"", NULL},
        {"1.5url(a\"b) \"url(//evil/)", "1.5url(a\"b) \"url()"},
        {"@url(a\"b) \"url(//evil/)", "@url(a\"b) \"url()"},
        {"-url(a\"b) \"url(//evil/)", "-url(a\"b) \"url()"},
        {"url(a\"b) \"url(//evil/)\"", NULL},
        {"url(a b\\)) url(//evil/)", "url(a b\\)) url()"},
        {"url(\"a\" \"b)c\") url(//evil/)", "url(\"a\" \"b)c\") url()"},
        {"myurl(a\"b) \"url(//evil/)", "myurl(a\"b) \"url()"},
        {"\xc3\xa9url(a\"b) \"url(//evil/)", "\xc3\xa9url(a\"b) \"url()"},
        {"\\\nurl(//evil/)", "\\\nurl()"},
        {"url (//evil/)", NULL},
        {"url/**/(//evil/)", NULL},
    };

    (void)state;
    check_rows(rows, COUNT_OF(rows));
    check(STR("\0url(a\"b) \"url(//evil/)"), STR("\0url(a\"b) \"url()"), CSS_PAIRS_NONE);
}

static void test_pairs_of_bytes(void **state)
{
    static const char in[] = "a{b:'\x83\\' url(//evil/) '\x83\\'}";
    static const char out[] = "a{b:'\x83\\' url() '\x83\\'}";

    (void)state;
    check(str_c(in), str_c(in), CSS_PAIRS_NONE);
    check(str_c(in), str_c(out), CSS_PAIRS_SJIS);
    check(str_c(in), str_c(out), CSS_PAIRS_GB);
    check(STR("a{b:'\xb1\\' url(//evil/)'}"), STR("a{b:'\xb1\\' url(//evil/)'}"), CSS_PAIRS_SJIS);
    assert_int_equal(css_pairs_of(STR("Shift_JIS")), CSS_PAIRS_SJIS);
    assert_int_equal(css_pairs_of(STR("gb18030")), CSS_PAIRS_GB);
    assert_int_equal(css_pairs_of(STR("big5-hkscs")), CSS_PAIRS_GB);
    assert_int_equal(css_pairs_of(STR("utf-8")), CSS_PAIRS_NONE);
    assert_int_equal(css_pairs_of(STR("")), CSS_PAIRS_NONE);
}

static void test_escapes_are_utf8(void **state)
{
    struct sheet_run run = {0};

    (void)state;
    assert_true(sheet_run(&run, STR("a{b:url(//\\ff45 \\76il.\\e9\\1f600/\\0)}"), 0, 1));
    same(buf_str(&run.seen), STR("//\xef\xbd\x85vil.\xc3\xa9\xf0\x9f\x98\x80/?\n"));
    sheet_run_fini(&run);
}

/* head, len times c, tail. */
static struct buf long_sheet(const char *head, char c, size_t len, const char *tail)
{
    struct buf b;
    uint8_t *room;

    buf_init(&b, SHEET_RUN_MAX);
    assert_true(buf_append_c(&b, head));
    room = buf_reserve(&b, len);
    assert_non_null(room);
    memset(room, c, len);
    buf_commit(&b, len);
    assert_true(buf_append_c(&b, tail));
    return b;
}

static void test_bounds(void **state)
{
    static const struct {
        const char *head, *tail;
        char fill;
        const char *left; /* NULL: all of it stays */
        size_t held;      /* at most */
    } rows[] = {
        {"a{b:url(data:,", ");c:url(//evil/)}", 'x', NULL, 2 * SHEET_URL_MAX + 4096},
        {"a{b:url(\"data:,", "\");c:url(//evil/)}", ')', NULL, 2 * SHEET_URL_MAX + 4096},
        {"a{b:url(//evil/", ");c:url(//evil/)}", 'x', "a{b:url();c:url()}",
         2 * SHEET_URL_MAX + 4096},
        {"a{b:url('/", "');c:url(//evil/)}", 'x', "a{b:url(\"\");c:url()}",
         2 * SHEET_URL_MAX + 4096},
        {"@import 'data:,", "';a{c:url(//evil/)}", 'x', "@import url();a{c:url()}",
         2 * SHEET_URL_MAX + 4096},
        {"/*", "*/a{c:url(//evil/)}", '*', NULL, 8},
        {"a{b:'", "';c:url(//evil/)}", 'x', NULL, 8},
        {"a{b:", ";c:url(//evil/)}", 'x', NULL, CSS_NAME_STAYS + 4096},
        {"a{b:@", ";c:url(//evil/)}", 'x', NULL, CSS_NAME_STAYS + 4096},
        {"a{b:url(", "//evil/);c:url(//evil/)}", ' ', NULL, 8},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf in = long_sheet(rows[i].head, rows[i].fill, 300000, rows[i].tail);
        struct sheet_run whole = {0};
        struct sheet_run cut = {0};

        assert_true(sheet_run(&whole, buf_str(&in), 0, in.len));
        assert_true(sheet_run(&cut, buf_str(&in), 0, 997));
        same(buf_str(&cut.out), buf_str(&whole.out));
        assert_true(str_find(buf_str(&cut.out), STR("evil")) < 0);
        assert_true(cut.held_max <= rows[i].held);
        if (rows[i].left != NULL)
            same(buf_str(&whole.out), str_c(rows[i].left));
        else
            assert_true(whole.out.len > 300000);
        sheet_run_fini(&whole);
        sheet_run_fini(&cut);
        buf_free(&in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_imports),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_pairs_of_bytes),
        cmocka_unit_test(test_escapes_are_utf8),
        cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
