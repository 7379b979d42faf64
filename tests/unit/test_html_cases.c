/*
 * Runs tests/cases/html/\*.case: each page whole, byte by byte and at every two-way split.
 *
 * Form of a file: "=== title" begins a case; then optional lines "deny: word word",
 * "inject: text", "xml", "tag-max: n", "inline-max: n"; "--- in", the page; "--- out",
 * what must come out ("--- same" instead: nothing changes). Backslash escapes \0 \r \f \\
 * are resolved in pages; the last line end before a marker does not belong to a page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "consentd/file.h"
#include "html_page.h"

struct example {
    struct str title;
    struct page page;
    struct buf in, want;
    bool same;
};

static unsigned failures, examples_run;

static void unescape(struct str text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        char next = i + 1 < text.len ? text.ptr[i + 1] : '\0';

        if (c == '\\' && next != '\0' && strchr("0rf\\", next) != NULL) {
            c = next == '0' ? '\0' : next == 'r' ? '\r' : next == 'f' ? '\f' : '\\';
            i++;
        }
        assert_true(buf_append_char(out, c));
    }
}

static void report(const struct example *ex, const char *how, size_t at)
{
    failures++;
    print_error("%.*s: %s %zu\n  want: %.*s\n  got:  %.*s\n", STR_ARGS(ex->title), how, at,
                (int)ex->want.len, (const char *)ex->want.data, (int)ex->page.out.len,
                (const char *)ex->page.out.data);
}

static bool matches(struct example *ex, size_t first, size_t step)
{
    return page_run(&ex->page, buf_str(&ex->in), first, step) &&
           str_eq(buf_str(&ex->page.out), buf_str(&ex->want));
}

static void run_example(struct example *ex)
{
    size_t len = ex->in.len;

    examples_run++;
    if (!matches(ex, 0, len + 1)) {
        report(ex, "whole", len);
        return;
    }
    if (!matches(ex, 0, 1)) {
        report(ex, "byte by byte", 1);
        return;
    }
    for (size_t at = 1; at < len && len < 4096; at++) {
        if (!matches(ex, at, len)) {
            report(ex, "split at", at);
            return;
        }
    }
    if (ex->page.inject.len == 0 && !ex->page.limits.xml) { /* a second pass changes nothing */
        struct buf once = ex->page.out;

        ex->page.out = (struct buf){0};
        buf_clear(&ex->in);
        assert_true(buf_append(&ex->in, once.data, once.len));
        if (!matches(ex, 0, len + 1))
            report(ex, "second pass", 0);
        buf_free(&once);
    }
}

static void read_option(struct example *ex, struct str line)
{
    struct str word, rest = line;
    uint64_t n = 0;

    if (str_eq_c(line, "xml")) {
        ex->page.limits.xml = true;
    } else if (str_starts(line, STR("inject: "))) {
        ex->page.inject = str_slice(line, 8, line.len);
    } else if (str_starts(line, STR("tag-max: "))) {
        assert_true(str_to_u64(str_slice(line, 9, line.len), 1u << 30, &n));
        ex->page.limits.tag_max = n;
    } else if (str_starts(line, STR("inline-max: "))) {
        assert_true(str_to_u64(str_slice(line, 12, line.len), 1u << 30, &n));
        ex->page.limits.inline_max = n;
    } else if (str_starts(line, STR("deny: "))) {
        rest = str_slice(line, 6, line.len);
        ex->page.deny_cnt = 0;
        while (str_cut(&rest, ' ', &word))
            ex->page.deny[ex->page.deny_cnt++] = word;
    }
}

static void run_case(struct str text, struct str file)
{
    struct example ex = {.page = {.deny = {STR_INIT("evil")}, .deny_cnt = 1}};
    ptrdiff_t in = str_find(text, STR("--- in\n"));
    ptrdiff_t out = str_find(text, STR("\n--- out\n"));
    ptrdiff_t same = str_find(text, STR("\n--- same"));
    struct str head, line;
    size_t end = out >= 0 ? (size_t)out : (size_t)same;

    (void)file;
    assert_true(in >= 0 && (out >= 0 || same >= 0));
    head = str_slice(text, 0, (size_t)in);
    assert_true(str_cut(&head, '\n', &ex.title));
    while (str_cut(&head, '\n', &line))
        read_option(&ex, line);
    ex.in.max = ex.want.max = 1 << 20;
    if ((size_t)in + 7 < end)
        unescape(str_slice(text, (size_t)in + 7, end - (size_t)in - 7), &ex.in);
    if (out >= 0)
        unescape(str_slice(text, (size_t)out + 9, text.len), &ex.want);
    else
        assert_true(buf_append(&ex.want, ex.in.data, ex.in.len));
    while (out >= 0 && ex.want.len > 0 && ex.want.data[ex.want.len - 1] == '\n')
        ex.want.len--;
    run_example(&ex);
    buf_free(&ex.in);
    buf_free(&ex.want);
    buf_free(&ex.page.out);
}

static void run_file(const char *path)
{
    struct buf text;
    struct str rest;
    ptrdiff_t at;

    buf_init(&text, 1 << 22);
    assert_true(file_read(path, 1 << 22, &text, NULL));
    rest = buf_str(&text);
    at = str_find(rest, STR("=== "));
    while (at >= 0) {
        ptrdiff_t next;

        rest = str_slice(rest, (size_t)at + 4, rest.len);
        next = str_find(rest, STR("\n=== "));
        run_case(str_slice(rest, 0, next < 0 ? rest.len : (size_t)next), str_c(path));
        at = next < 0 ? -1 : next + 1;
    }
    buf_free(&text);
}

static void test_cases_come_out_as_written(void **state)
{
    const char *source = getenv("CONSENTD_SOURCE");
    char pattern[512];
    glob_t found;

    (void)state;
    snprintf(pattern, sizeof(pattern), "%s/tests/cases/html/*.case", source ? source : ".");
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++)
        run_file(found.gl_pathv[i]);
    globfree(&found);
    print_message("%u cases\n", examples_run);
    assert_int_equal(failures, 0);
    assert_true(examples_run >= 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases_come_out_as_written)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
