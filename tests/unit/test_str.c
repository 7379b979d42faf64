/* Slices, and what stands on them: numbers, cuts, the keyed hash, the nearest name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consentd/b64.h"
#include "consentd/str.h"

static void test_compare_and_fold(void **state)
{
    UNUSED(state);
    assert_true(str_eq(STR("abc"), STR("abc")));
    assert_false(str_eq(STR("abc"), STR("abd")));
    assert_true(str_eq(str_c(NULL), STR("")));
    assert_true(str_eq_fold(STR("AbC-1"), STR("aBc-1")));
    assert_false(str_eq_fold(STR("[a"), STR("{a"))); /* differ in the case bit alone */
    assert_true(str_starts(STR("abc"), STR("")));
    assert_true(str_starts_fold(STR("Content-Type"), STR("content-")));
    assert_true(str_ends(STR("a.example"), STR(".example")));
    assert_false(str_ends(STR("le"), STR("example")));
    assert_true(str_cmp(STR("ab"), STR("abc")) < 0);
}

static void test_cut_gives_every_part(void **state)
{
    struct str rest = STR("a,,b"), head;

    UNUSED(state);
    assert_true(str_cut(&rest, ',', &head) && str_eq_c(head, "a"));
    assert_true(str_cut(&rest, ',', &head) && str_eq_c(head, ""));
    assert_true(str_cut(&rest, ',', &head) && str_eq_c(head, "b"));
    assert_false(str_cut(&rest, ',', &head));
    rest = STR("a,");
    assert_true(str_cut(&rest, ',', &head) && str_eq_c(head, "a"));
    assert_true(str_cut(&rest, ',', &head) && str_eq_c(head, ""));
    assert_false(str_cut(&rest, ',', &head));
}

static void test_number_limits(void **state)
{
    uint64_t v = 0;

    UNUSED(state);
    assert_true(str_to_u64(STR("18446744073709551615"), UINT64_MAX, &v) && v == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), UINT64_MAX, &v));
    assert_true(str_to_u64(STR("255"), 255, &v) && v == 255);
    assert_false(str_to_u64(STR("256"), 255, &v));
    assert_false(str_to_u64(STR(""), 9, &v));
    assert_false(str_to_u64(STR("+1"), 9, &v));
    assert_false(str_to_u64(STR(" 1"), 9, &v));
}

static void test_ids(void **state)
{
    UNUSED(state);
    assert_true(str_is_id(STR("a"), 1));
    assert_true(str_is_id(STR("4you-2"), 6));
    assert_false(str_is_id(STR("4you-2"), 5));
    assert_false(str_is_id(STR(""), 5));
    assert_false(str_is_id(STR("-a"), 5));
    assert_false(str_is_id(STR("aB"), 5));
    assert_false(str_is_id(STR("a_b"), 5));
    assert_false(str_is_id(STR("a\0b"), 5));
}

static void test_slice_find_trim(void **state)
{
    UNUSED(state);
    assert_true(str_eq_c(str_slice(STR("abc"), 1, 99), "bc"));
    assert_int_equal(str_slice(STR("abc"), 9, 1).len, 0);
    assert_int_equal(str_find(STR("abcabc"), STR("ca")), 2);
    assert_int_equal(str_find(STR("ab"), STR("abc")), -1);
    assert_int_equal(str_find_last_char(STR("a/b/c"), '/'), 3);
    assert_true(str_eq_c(str_trim(STR(" \t a b\t ")), "a b"));
}

/* Differs for every length and key: a table's order can't be planned. */
static void test_hash_depends_on_all(void **state)
{
    uint8_t key[16] = {0}, other[16] = {1};
    const char text[] = "0123456789abcdefg";
    uint64_t last = 0;

    UNUSED(state);
    for (size_t len = 0; len < sizeof(text); len++) {
        uint64_t h = str_hash(str_make(text, len), key);
        assert_true(h != last);
        assert_true(h != str_hash(str_make(text, len), other));
        last = h;
    }
}

static void test_nearest(void **state)
{
    static const char *const names[] = {"workers", "listen", "ledger"};

    UNUSED(state);
    assert_string_equal(str_nearest(STR("worker"), names, 3), "workers");
    assert_string_equal(str_nearest(STR("leger"), names, 3), "ledger");
    assert_null(str_nearest(STR("colour"), names, 3));
}

static void test_b64_is_strict(void **state)
{
    char text[16];
    uint8_t bytes[4];
    struct buf out;

    UNUSED(state);
    assert_int_equal(b64url_encode(text, "\xff\xfe", 2), 3);
    assert_string_equal(text, "__4");
    assert_true(b64url_decode(STR("__4"), bytes, 2) && bytes[1] == 0xfe);
    assert_false(b64url_decode(STR("__5"), bytes, 2)); /* an unused bit is set */
    assert_false(b64url_decode(STR("__4="), bytes, 2));
    assert_false(b64url_decode(STR("//4"), bytes, 2));
    assert_int_equal(b64_encode(text, "a", 1), 4);
    assert_string_equal(text, "YQ==");
    buf_init(&out, 16);
    assert_true(b64_decode(STR("YWI="), &out) && str_eq_c(buf_str(&out), "ab"));
    assert_false(b64_decode(STR("YWI"), &out));
    assert_false(b64_decode(STR("Y==="), &out));
    buf_free(&out);
    assert_true(hex_decode(STR("0aFF"), bytes, 2) && bytes[0] == 10 && bytes[1] == 255);
    assert_false(hex_decode(STR("0aF"), bytes, 2));
    assert_false(hex_decode(STR("0g"), bytes, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare_and_fold),    cmocka_unit_test(test_cut_gives_every_part),
        cmocka_unit_test(test_number_limits),       cmocka_unit_test(test_slice_find_trim),
        cmocka_unit_test(test_hash_depends_on_all), cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_b64_is_strict),       cmocka_unit_test(test_ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
