/* test_imports.c - what scripts import: found by its letters, replaced as a literal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/buf.h"
#include "consentd/imports.h"

static enum html_action on_ref(void *owner, const struct html_ref *ref, struct html_note *note_out)
{
    UNUSED(owner);
    UNUSED(note_out);
    assert_int_equal(ref->use, HTML_USE_SCRIPT);
    return str_find(ref->value, STR("//evil/")) >= 0 ? HTML_DROP : HTML_KEEP;
}

static bool on_output(void *owner, const uint8_t *data, size_t len)
{
    return buf_append(owner, data, len);
}

/* In pieces of step bytes, the first of first bytes. */
static void run(struct str in, size_t first, size_t step, struct buf *out)
{
    const struct html_ops ops = {.on_ref = on_ref, .on_output = on_output};
    struct imports *imports = imports_new(&ops, STR("/e"), out);

    buf_clear(out);
    for (size_t at = 0; at < in.len;) {
        struct str piece = str_slice(in, at, at == 0 ? first : step);
        char *copy = malloc(piece.len);

        assert_non_null(copy);
        memcpy(copy, piece.ptr, piece.len);
        assert_true(imports_push(imports, str_make(copy, piece.len)));
        free(copy);
        at += piece.len;
    }
    assert_true(imports_end(imports));
    imports_free(imports);
}

static void check(const char *in, const char *want)
{
    struct str text = str_c(in);
    struct buf out;

    buf_init(&out, 1u << 20);
    for (size_t at = 1; at <= text.len; at++) {
        run(text, at, text.len, &out);
        if (!str_eq_c(buf_str(&out), want))
            fail_msg("cut at %zu, got:\n%.*s\nwant:\n%s", at, STR_ARGS(buf_str(&out)), want);
    }
    run(text, 1, 1, &out);
    assert_true(str_eq_c(buf_str(&out), want));
    buf_free(&out);
}

static void test_found(void **state)
{
    UNUSED(state);
    check("import('//evil/')", "import('/e')");
    check("a=await import ( /* x */ // y\n \"//evil/a\" )",
          "a=await import ( /* x */ // y\n \"/e\" )");
    check("import(`//evil/`);import('//evil/',{with:{}})", "import(`/e`);import('/e',{with:{}})");
    check("import('\\/\\/ev\\x69l\\u002f')", "import('/e')");
    check("import'//evil/';import a from\"//evil/\";export*from'//evil/'",
          "import'/e';import a from\"/e\";export*from'/e'");
    check("say(\"write import '//evil/' once\")", "say(\"write import '/e' once\")");
    check("x(\"from \");import(\"//evil/\")", "x(\"from \");import(\"/e\")");
    check("import('//evil/')import('//good/')import('//evil/')",
          "import('/e')import('//good/')import('/e')");
}

static void test_not_found(void **state)
{
    static const char *const rows[] = {
        "",
        "import('//good/')",
        "x.import('//evil/')",
        "reimport('//evil/')",
        "$import('//evil/')",
        "imports('//evil/')",
        "import('a' + '//evil/')",
        "import(`${a}//evil/`)",
        "import(x, '//evil/')",
        "import(\n'//evil/\n')",
        "import.meta.url + '//evil/'",
        "Array.from('//evil/')",
        "import(/* '//evil/') ",
        "import('//evil/",
        "from",
        "if (i) { f(i) }",
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        check(rows[i], rows[i]);
}

static void test_bounds(void **state)
{
    struct buf in, out;

    UNUSED(state);
    buf_init(&in, 1u << 20);
    buf_init(&out, 1u << 20);
    assert_true(buf_append_c(&in, "import('//evil/"));
    for (size_t i = 0; i < 2 * IMPORTS_HELD_MAX; i++)
        assert_true(buf_append_char(&in, 'i'));
    assert_true(buf_append_c(&in, "');import('//evil/')"));
    run(buf_str(&in), in.len, in.len, &out);
    assert_true(out.len == in.len - strlen("//evil/") + strlen("/e"));
    {
        struct buf cut;

        buf_init(&cut, 1u << 20);
        run(buf_str(&in), 7, 100, &cut);
        assert_true(str_eq(buf_str(&cut), buf_str(&out)));
        buf_free(&cut);
    }
    buf_free(&in);
    buf_free(&out);
}

/* A gap of this many bytes, whatever way it comes; true: the import behind it was found. */
static bool found_behind(size_t gap)
{
    struct buf in, out, cut;
    bool found;

    buf_init(&in, 1u << 20);
    buf_init(&out, 1u << 20);
    buf_init(&cut, 1u << 20);
    assert_true(buf_append_c(&in, "import/*"));
    for (size_t i = 4; i < gap; i++)
        assert_true(buf_append_char(&in, 'i'));
    assert_true(buf_append_c(&in, "*/'//evil/'"));
    run(buf_str(&in), in.len, in.len, &out);
    run(buf_str(&in), 1, 1, &cut);
    assert_true(str_eq(buf_str(&cut), buf_str(&out)));
    found = str_find(buf_str(&out), STR("'/e'")) >= 0;
    assert_true(found || str_eq(buf_str(&out), buf_str(&in)));
    buf_free(&in);
    buf_free(&out);
    buf_free(&cut);
    return found;
}

static void test_gap(void **state)
{
    UNUSED(state);
    assert_true(found_behind(4));
    assert_true(found_behind(IMPORTS_GAP_MAX - 1));
    assert_false(found_behind(IMPORTS_GAP_MAX));
    assert_false(found_behind(2 * IMPORTS_HELD_MAX));
}

/* Words that each might begin one cost no more than their gaps: this ends in no time, or never. */
static void test_many_words(void **state)
{
    struct buf in, out;

    UNUSED(state);
    buf_init(&in, 4u << 20);
    buf_init(&out, 4u << 20);
    while (in.len < (4u << 20))
        assert_true(buf_append_c(&in, "import/*"));
    run(buf_str(&in), 1, 1u << 16, &out);
    assert_true(str_eq(buf_str(&out), buf_str(&in)));
    buf_free(&in);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),      cmocka_unit_test(test_not_found),
        cmocka_unit_test(test_bounds),     cmocka_unit_test(test_gap),
        cmocka_unit_test(test_many_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
