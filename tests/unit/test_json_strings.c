/* The strings of a JSON text, found in place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/json_strings.h"
#include "consentd/mem.h"

/* `want`: each value, "=" behind a member's name, "|" behind another. */
static void check(const char *in, const char *want)
{
    size_t len = strlen(in), pos = 0;
    char *exact = mem_dup(in, len); /* no byte behind: a read over the end is caught */
    struct buf scratch, got;
    struct json_string s;

    buf_init(&scratch, 64);
    buf_init(&got, 512);
    while (json_strings_next(str_make(exact, len), &pos, &scratch, &s)) {
        assert_int_equal(exact[s.start], '"');
        assert_int_equal(exact[s.end - 1], '"');
        assert_true(buf_append_str(&got, s.value));
        assert_true(buf_append_char(&got, s.is_key ? '=' : '|'));
    }
    if (!str_eq_c(buf_str(&got), want))
        fail_msg("<%s> gives <%s>, not <%s>", in, buf_cstr(&got), want);
    buf_free(&scratch);
    buf_free(&got);
    free(exact);
}

static void test_names_and_values(void **state)
{
    UNUSED(state);
    check("{\"a\": {\"b\" \n:\"c\"}, \"d\":[\"e\",\"\"]}", "a=b=c|d=e||");
    check("[1, true, null]", "");
    check("", "");
}

static void test_escapes(void **state)
{
    UNUSED(state);
    check("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]", "\"\\/\b\f\n\r\t|");
    check("[\"\\u0041\\u00e9\\u20AC\"]", "A\xC3\xA9\xE2\x82\xAC|");
    check("[\"\\uD83D\\uDE00\"]", "\xF0\x9F\x98\x80|");
    check("[\"\\uD83Dx\\uDE00\"]", "\xEF\xBF\xBDx\xEF\xBF\xBD|");
    check("[\"\\u12\"]", "u12|");
}

static void test_what_does_not_end(void **state)
{
    UNUSED(state);
    check("[\"a\", \"b", "a|");
    check("[\"a\\", "");
    check("[\"a\\\"", "");
}

static void test_a_long_value_is_cut(void **state)
{
    char text[102];
    struct buf scratch;
    struct json_string s;
    size_t pos = 0;

    UNUSED(state);
    memset(text, 'x', sizeof(text));
    text[0] = text[101] = '"';
    buf_init(&scratch, 64);
    assert_true(json_strings_next(str_make(text, sizeof(text)), &pos, &scratch, &s));
    assert_true(s.too_long);
    assert_int_equal(pos, sizeof(text));
    buf_free(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_values),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_what_does_not_end),
        cmocka_unit_test(test_a_long_value_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
