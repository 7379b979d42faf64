/* Encoding of a page: order of the sources, families, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consentd/charset.h"

static enum html_charset sniff(struct str page, const char *label)
{
    return html_charset_sniff(page, true, str_c(label), NULL);
}

static void test_mark_wins_over_label(void **state)
{
    (void)state;
    assert_int_equal(sniff(STR("\xFF\xFE<\0"), "utf-8"), HTML_CHARSET_UTF16LE);
    assert_int_equal(sniff(STR("\xFE\xFF\0<"), NULL), HTML_CHARSET_UTF16BE);
    assert_int_equal(sniff(STR("\xEF\xBB\xBF<"), "utf-16"), HTML_CHARSET_BYTES);
}

static void test_label_wins_over_meta(void **state)
{
    struct str label;

    (void)state;
    assert_int_equal(sniff(STR("<meta charset=iso-2022-jp>"), " UTF-8 "), HTML_CHARSET_BYTES);
    assert_int_equal(sniff(STR("<p>"), "utf-16be"), HTML_CHARSET_UTF16BE);
    assert_int_equal(sniff(STR("<p>"), "ISO-2022-JP"), HTML_CHARSET_REFUSE);
    assert_int_equal(html_charset_sniff(STR("<p>"), true, STR("windows-1251"), &label),
                     HTML_CHARSET_BYTES);
    assert_true(str_eq_c(label, "windows-1251"));
}

static void test_meta_is_found_and_utf16_there_means_utf8(void **state)
{
    (void)state;
    assert_int_equal(sniff(STR("<!-- x --><META http-equiv=content-type content=\"text/html; "
                               "charset=iso-2022-jp\">"),
                           NULL),
                     HTML_CHARSET_REFUSE);
    assert_int_equal(sniff(STR("<meta charset=\"iso-2022-jp\">"), "nonsense"), HTML_CHARSET_REFUSE);
    assert_int_equal(sniff(STR("<meta charset=utf-16>"), NULL), HTML_CHARSET_BYTES);
    assert_int_equal(sniff(STR("<!-- <meta charset=iso-2022-jp> --><p>"), NULL),
                     HTML_CHARSET_BYTES);
}

static void test_waits_for_enough_bytes(void **state)
{
    (void)state;
    assert_int_equal(html_charset_sniff(STR("<p>"), false, STR(""), NULL), HTML_CHARSET_MORE);
    assert_int_equal(html_charset_sniff(STR("<p>x"), false, STR("utf-8"), NULL),
                     HTML_CHARSET_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mark_wins_over_label),
        cmocka_unit_test(test_label_wins_over_meta),
        cmocka_unit_test(test_meta_is_found_and_utf16_there_means_utf8),
        cmocka_unit_test(test_waits_for_enough_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
