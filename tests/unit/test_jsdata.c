/* Scripts that are data alone, and what only looks like it. */
#include "consentd/jsdata.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_a_page_s_state_is_data(void **state)
{
    static const char *const texts[] = {
        "",
        "self.__next_f.push([1,\"3:[\\\"$\\\",\\\"script\\\",{\\\"src\\\":\\\"https://t/"
        "a.js\\\"}]\"])",
        "(self.__next_f=self.__next_f||[]).push([0]);self.__next_f.push([2,null])",
        "window.__STATE__ = {\"tags\":[\"https://t/a.js\"],'b':-1.5e-3,c:!0,d:void 0}; // end",
        "window[\"__STATE__\"]=JSON.parse('{\"a\":\"https:\\/\\/t\\/a.js\"}')",
        "var a = 1, data = {href: \"https://t/\", class: `b\nc`, new: [], in: 0}\nlet b = a ? 'x' "
        ": \"y\"",
        "window.__NUXT__=(function(a,b){b.c=a;return "
        "{data:[a],config:{u:\"https://t/a.js\"}}}(null,{}));",
        "!function(){window.x={}}()",
        "a=a||{};a.b=a.b||[];a.b.push({'u':'//t/a.js'},[])/* done */",
        "window.allowed=['https://t/','//u/'].concat(a.b).join(' ')",
        "a==b;a!==c;a<=d;x={y:function(z){return z+'//t/'}}",
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (!jsdata_is_all(str_c(texts[i])))
            fail_msg("code: %s", texts[i]);
    }
}

static void test_what_could_run_is_not(void **state)
{
    static const char *const texts[] = {
        /* calls */
        "go('https://t/a.js')",
        "a.go('//t/')",
        "(go)('//t/')",
        "(0,go)('//t/')",
        "go`//t/`",
        "a['go']('//t/')",
        "(function(){},go)('//t/')",
        "(function(){}?go:function(){})('//t/')",
        "(function(){go('//t/')})()",
        "(function(){return go}())('//t/')",
        "function(){return go}()('//t/')",
        "a?.go('//t/')",
        "push('//t/')",
        "x={push:go};x.push('//t/')",
        "x={'push':go};x.push('//t/')",
        "a.push=go;a.push('//t/')",
        "a['push']=go",
        "a?.(1)",
        "a.b ?.\n(1)",
        "x=1.('//t/')",
        "'JSON'.parse(1)",
        "a={set function(b){}}",
        "a['x'in b]=1",
        "a.replace('//t/',go)",
        "['//t/'].map(go)",
        "a={join:go};a.join('//t/')",
        "a.parse('x')",
        "JSON={}",
        "function x(){}(go)('//t/')",
        "if(a)b",
        "a.push(1)('//t/')",
        "x=`${go('//t/')}`",
        "x=()=>go",
        "b=JSON.parse(a)(1)",
        "function a(b=go(1)){}",
        /* assignments */
        "location='//t/'",
        "window.location='//t/'",
        "a.src='//t/'",
        "a['src']='//t/'",
        "a['s\\x72c']='//t/'",
        "a['s'+'rc']='//t/'",
        "a['x','src']='//t/'",
        "a[b]='//t/'",
        "[a.src]=['//t/']",
        "({b:a.src}={b:'//t/'})",
        "document.cookie='a=1'",
        "a.href='//t/'",
        "a.style.background='url(//t/)'",
        "a.src+='x'",
        "a.src||='x'",
        "for(a.src of ['//t/'])b",
        "localStorage.a='1'",
        /* words */
        "import '//t/a.js'",
        "import a from '//t/a.js'",
        "new Image",
        "await x",
        "x=new Image;",
        "throw 1",
        /* what could be read in two ways, or is not whole */
        "a=/'/;go('//t/')",
        "<!-- x\na=1",
        "a\n--> x",
        "a='x",
        "a='\n'",
        "(a",
        "a)",
        "(a]",
        "\\u0061=1",
        "a=\xc2\xa0",
        "a=`x$`",
        "// x\xe2\x80\xa8go('//t/')",
        "function a()",
        "/* a",
        "a/b",
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (jsdata_is_all(str_c(texts[i])))
            fail_msg("data: %s", texts[i]);
    }
}

static void test_brackets_have_a_limit(void **state)
{
    char text[2 * JSDATA_NESTING_MAX + 2];

    UNUSED(state);
    memset(text, '[', JSDATA_NESTING_MAX + 1);
    memset(text + JSDATA_NESTING_MAX + 1, ']', JSDATA_NESTING_MAX + 1);
    assert_false(jsdata_is_all(str_make(text, sizeof(text))));
    assert_true(jsdata_is_all(str_make(text + 1, sizeof(text) - 2)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_page_s_state_is_data),
        cmocka_unit_test(test_what_could_run_is_not),
        cmocka_unit_test(test_brackets_have_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
