/*
 * Escapes are undone; comments go only where they certainly are comments.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/attr.h"
#include "consentd/jstext.h"
#include "consentd/mem.h"

static void check(const char *in, const char *want)
{
    size_t len = strlen(in);
    char *exact = mem_dup(in, len); /* no byte behind: a read over the end is caught */
    char *out = mem_alloc(len + 1);
    size_t got = jstext_strip(str_make(exact, len), out);

    if (!str_eq_c(str_make(out, got), want))
        fail_msg("<%s> gives <%.*s>, not <%s>", in, (int)got, out, want);
    free(exact);
    free(out);
}

static void test_escapes_are_undone(void **state)
{
    UNUSED(state);
    check("s='https:\\/\\/x.com'", "s='https://x.com'");
    check("s='https:\\u002F\\u002Fx'", "s='https://x'");
    check("s='\\x2f\\x2F\\u{2f}'", "s='///'");
    check("s='a\\'b\"'", "s='a'b\"'");
    check("s='a\\\\/b'", "s='a\\\\/b'");
    check("s='a\\nb'", "s='a\\nb'");
    check("s='a\\\nb'", "s='ab'");
    check("s='\\u00e9\\x00'", "s='\\u00e9\\x00'");
    check("s='\\", "s='\\");
    check("s='\\u00", "s='\\u00");
}

static void test_comments_go(void **state)
{
    UNUSED(state);
    check("a // fbq('init')\nb", "a  \nb");
    check("a /* fbq( */ b", "a   b");
    check("//x", " ");
    check("/*x*/", " ");
    check("a // x\xe2\x80\xa8 b", "a  \xe2\x80\xa8 b");
    check("a=1// x\r\nb", "a=1 \r\nb");
    check("<!--\nfbq(1)\n//-->", "\nfbq(1)\n ");
}

static void test_strings_count(void **state)
{
    UNUSED(state);
    check("a='// not a comment'", "a='// not a comment'");
    check("a=\"/* no */\"//yes", "a=\"/* no */\" ");
    check("a=`// ${b /* yes */} // no`", "a=`// ${b  } // no`");
    check("a=`${{x:`}`}}`//yes", "a=`${{x:`}`}}` ");
}

static void test_regular_expressions_are_followed(void **state)
{
    UNUSED(state);
    check("a=/[/*]/;b='x'//y", "a=/[/*]/;b='x' ");
    check("a=/\\/\\//;fbq(1)", "a=////;fbq(1)");
    check("return/'/.test(x)//y", "return/'/.test(x) ");
    check("a=b/c//d", "a=b/c ");
    check("x.in/2+'a'//b", "x.in/2+'a' ");
}

static void test_doubt_keeps_everything(void **state)
{
    UNUSED(state);
    check("if(a)/x'/.test(b)//c", "if(a)/x'/.test(b)//c");
    check("(a+b)/2//c", "(a+b)/2//c");
    check("a='x\ny'//c", "a='x\ny'//c");
    check("a++/b//c", "a++/b//c");
    check("/* never closed fbq(", "/* never closed fbq(");
    check("<!-- x\nfbq(1)//c", "<!-- x\nfbq(1)//c");
    check("x--> 0//c", "x--> 0//c");
    check("#!/x\n//c", "#!/x\n//c");
    check("return\xc2\xa0/'/;x//c", "return\xc2\xa0/'/;x//c");
}

static void test_loading_is_recognised(void **state)
{
    UNUSED(state);
    assert_false(jstext_can_load(STR("window.dataLayer=window.dataLayer||[];"
                                     "function gtag(){dataLayer.push(arguments)}"
                                     "gtag('config','G-ABC')")));
    assert_true(jstext_can_load(STR("var s=document.createElement('script')")));
    assert_true(jstext_can_load(STR("go('//x.com/a.js')")));
    assert_true(jstext_can_load(STR("import('x')")));
    assert_false(jstext_is_idle(STR("var addresses = ['https://x.com/a.js'];")));
    assert_true(jstext_is_idle(STR("var text = 'https://x.com/a.js';")));
    assert_true(jstext_is_idle(STR("var html = '<script src=//x.com/a.js><' + '/script>';")));
    assert_false(jstext_is_idle(STR("jQuery(p).html('<script src=//x.com/a.js><' + '/script>')")));
    assert_false(jstext_can_load(STR("var addresses = ['https://x.com/a.js'];")));
}

static void test_a_mention_is_a_word_in_a_sentence(void **state)
{
    const struct str needle = STR("x.com/a.js");

    UNUSED(state);
    assert_true(jstext_only_mentions(STR("say('we load https://x.com/a.js when asked')"), needle));
    assert_true(jstext_only_mentions(STR("say('see x.com/a.js'); say('or x.com/a.js')"), needle));
    assert_false(jstext_only_mentions(STR("load('https://x.com/a.js')"), needle));
    assert_false(jstext_only_mentions(STR("load(' https://x.com/a.js')"), needle));
    assert_false(jstext_only_mentions(STR("say('see x.com/a.js'); load('//x.com/a.js')"), needle));
    assert_false(jstext_only_mentions(STR("d.write('<script src=//x.com/a.js>')"), needle));
    assert_false(
        jstext_only_mentions(STR("d.write('<img async src=https://x.com/a.js>')"), needle));
    assert_false(jstext_only_mentions(STR("say('nothing')"), needle));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes_are_undone),
        cmocka_unit_test(test_comments_go),
        cmocka_unit_test(test_strings_count),
        cmocka_unit_test(test_regular_expressions_are_followed),
        cmocka_unit_test(test_doubt_keeps_everything),
        cmocka_unit_test(test_loading_is_recognised),
        cmocka_unit_test(test_a_mention_is_a_word_in_a_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
