/* Encoding of a page: order of the sources, families, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "consentd/charset.h"
#include "consentd/utf16.h"

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

/* The text as UTF-8, decoded whole and cut at every place. */
static void assert_utf16(struct str in, bool big, const char *want)
{
    for (size_t at = 0; at <= in.len; at++) {
        struct utf16_decoder d = {.big_endian = big};
        uint8_t *out = test_malloc(UTF16_OUT_MAX(at) + UTF16_OUT_MAX(in.len - at));
        size_t len = utf16_decode(&d, str_slice(in, 0, at), false, out);

        len += utf16_decode(&d, str_slice(in, at, in.len), true, out + len);
        assert_int_equal(len, strlen(want));
        assert_memory_equal(out, want, len);
        test_free(out);
    }
}

static void test_utf16_becomes_utf8(void **state)
{
    (void)state;
    assert_utf16(STR("\xff\xfe<\0b\0>\0"), false, "<b>");
    assert_utf16(STR("\0<\0b\0>"), true, "<b>");
    assert_utf16(STR("\xe9\0\xac\x20\x3d\xd8\x00\xde"), false,
                 "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_utf16(STR("\x3d\xd8\x3d\xd8<\0"), false, "\xef\xbf\xbd\xef\xbf\xbd<");
    assert_utf16(STR("\x00\xde<\0"), false, "\xef\xbf\xbd<");
    assert_utf16(STR("<\0<"), false, "<\xef\xbf\xbd");
    assert_utf16(STR("\x3d\xd8\x01"), false, "\xef\xbf\xbd");
    assert_utf16(STR("a\0\xff\xfe"), false, "a\xef\xbb\xbf"); /* not at the start: kept */
    assert_utf16(STR(""), false, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mark_wins_over_label),
        cmocka_unit_test(test_label_wins_over_meta),
        cmocka_unit_test(test_meta_is_found_and_utf16_there_means_utf8),
        cmocka_unit_test(test_waits_for_enough_bytes),
        cmocka_unit_test(test_utf16_becomes_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
