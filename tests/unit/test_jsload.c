/* Addresses that a script loads from, and those that it only mentions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/buf.h"
#include "consentd/jsload.h"
#include "consentd/mem.h"

/* `want`: the addresses found, each with a space behind it. */
static void check(const char *in, const char *want)
{
    size_t len = strlen(in), pos = 0;
    char *exact = mem_dup(in, len); /* no byte behind: a read over the end is caught */
    struct str address;
    struct buf got;

    buf_init(&got, 512);
    while (jsload_next(str_make(exact, len), &pos, &address)) {
        assert_true(buf_append_str(&got, address));
        assert_true(buf_append_char(&got, ' '));
    }
    if (!str_eq_c(buf_str(&got), want))
        fail_msg("<%s> gives <%s>, not <%s>", in, buf_cstr(&got), want);
    buf_free(&got);
    free(exact);
}

static void test_what_loads_is_found(void **state)
{
    UNUSED(state);
    check("i.src='https://a.b/c'", "https://a.b/c ");
    check("i . src\n=\n\"//a.b/c?d\";", "//a.b/c?d ");
    check("new Image().src=` HTTP://a.b/${c}`", " HTTP://a.b/ ");
    check("fetch('//a.b');navigator.sendBeacon(\"//c.d\")", "//a.b //c.d ");
    check("import('https://a.b/m')", "https://a.b/m ");
    check("import 'https://a.b/m'", "https://a.b/m ");
    check("import {x as y} from\"//a.b/m\"", "//a.b/m ");
    check("let a\nexport * from '//a.b/m'", "//a.b/m ");
    check("new WebSocket('wss://a.b/')", "wss://a.b/ ");
    check("x.open('GET', \"https://a.b/c\", true)", "https://a.b/c ");
    check("x . open ( \"post\" , '//a.b')", "//a.b ");
    check("x.src='//a.b/unfinished", "//a.b/unfinished ");
}

static void test_what_is_only_mentioned_is_not(void **state)
{
    UNUSED(state);
    check("var a='//a.b/c'", "");
    check("tell('see https://a.b/c')", "");
    check("if (a.src=='//a.b/c') b()", "");
    check("src='//a.b/c'", "");
    check("x.dataSrc='//a.b/c'", "");
    check("prefetch('//a.b/c')", "");
    check("e.setAttribute('src','//a.b/c')", ""); /* in a page's own code as often as not */
    check("window.open('name','//a.b/c')", "");
    check("open('GET','//a.b/c')", "");
    check("x.open('GET\",'//a.b/c')", "");
    check("',//a.b", "");
    check("',\"//a.b", "");
    check("'GET','//a.b", "");
    check("('GET','//a.b", "");
    check("'import' + from '//a.b'", "");
    check("x.src=/a/;//a.b/c", "");
    check("//", "");
    check("'//", "");
    check("", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_loads_is_found),
        cmocka_unit_test(test_what_is_only_mentioned_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
