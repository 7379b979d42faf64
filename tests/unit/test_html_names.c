/* test_html_names.c - the printed tables know what the lists of names say, and entities.c all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "../../proxy/html/entities_priv.h"
#include "../../proxy/html/names_priv.h"

static enum html_element look_up(const char *name)
{
    uint32_t hash = 0;

    for (size_t i = 0; name[i] != '\0'; i++)
        hash = element_hash(hash, (uint8_t)name[i]);
    return element_lookup(str_c(name), hash);
}

/* The name in capitals. */
static const char *upper(const char *name)
{
    static char text[32];
    size_t i;

    for (i = 0; name[i] != '\0'; i++)
        text[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 0x20 : name[i]);
    text[i] = '\0';
    return text;
}

static void test_every_element_is_found(void **state)
{
    (void)state;
#define X(id, name, flags)                                                                         \
    assert_int_equal(look_up(name), ELEM_##id);                                                    \
    assert_int_equal(look_up(upper(name)), ELEM_##id);                                             \
    assert_int_equal(look_up(name "x"), ELEM_OTHER);
    HTML_ELEMENTS(X)
#undef X
}

static bool has_pair(const uint32_t *pairs, const char *name)
{
    return strlen(name) > 2 && (pairs[name[0] & 31] >> (name[1] & 31) & 1) != 0;
}

/* What is missing here would be passed over unread. */
static void test_every_element_of_interest_has_its_letters(void **state)
{
    (void)state;
    for (unsigned id = ELEM_OTHER + 1; id < ELEM_COUNT; id++) {
        const struct html_element_info *row = &element_rows[id];

        if ((row->flags & ELEM_F_STARTS) != 0)
            assert_true(has_pair(element_starts, row->name));
        if ((row->flags & ELEM_F_ENDS) != 0)
            assert_true(has_pair(element_ends, row->name));
    }
}

static void test_every_attribute_is_found(void **state)
{
    (void)state;
#define X(id, name)                                                                                \
    assert_int_equal(attr_lookup(STR(name)), ATTR_##id);                                           \
    assert_int_equal(attr_lookup(str_c(upper(name))), ATTR_##id);                                  \
    assert_int_equal(attr_lookup(STR(name "_")), ATTR_OTHER);
    HTML_ATTRS(X)
#undef X
    assert_int_equal(attr_lookup(STR("onx")), ATTR_HANDLER);
    assert_int_equal(attr_lookup(STR("ON")), ATTR_OTHER);
    assert_int_equal(attr_lookup(STR("x")), ATTR_OTHER);
    assert_int_equal(attr_lookup(STR("")), ATTR_OTHER);
}

/* Every name of the table, with ";" and without. */
static void test_every_reference_is_decoded(void **state)
{
    const char *p = entity_table;
    unsigned names = 0, legacy = 0;

    (void)state;
    while (*p != '\0') {
        size_t len = strcspn(p, "\1\2");
        const char *value = p + len + 1;
        size_t value_len = strcspn(value, "\3");
        bool is_legacy = p[len] == 1;
        struct buf in, out;

        buf_init(&in, 64);
        buf_init(&out, 64);
        assert_true(buf_append_c(&in, "&") && buf_append(&in, p, len) && buf_append_c(&in, ";"));
        assert_true(entities_decode(buf_str(&in), true, &out));
        assert_int_equal(out.len, value_len);
        assert_memory_equal(out.data, value, value_len);
        buf_clear(&out);
        assert_true(entities_decode(str_slice(buf_str(&in), 0, len + 1), true, &out));
        assert_int_equal(out.len == value_len && memcmp(out.data, value, value_len) == 0,
                         is_legacy);
        buf_free(&in);
        buf_free(&out);
        names++;
        legacy += is_legacy;
        p = value + value_len + 1;
    }
    assert_int_equal(names, 2125);
    assert_int_equal(legacy, 106);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_element_is_found),
        cmocka_unit_test(test_every_element_of_interest_has_its_letters),
        cmocka_unit_test(test_every_attribute_is_found),
        cmocka_unit_test(test_every_reference_is_decoded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
