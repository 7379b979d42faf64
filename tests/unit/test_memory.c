/* Arena, buf, map and bundle: every limit, and what stays when one is hit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "consentd/arena.h"
#include "consentd/buf.h"
#include "consentd/bundle.h"
#include "consentd/map.h"

static void test_arena_stops_at_its_limit(void **state)
{
    struct arena_pool *pool = arena_pool_new(1024, 4);
    struct arena a;

    UNUSED(state);
    arena_init(&a, pool, 4096);
    for (int i = 0; i < 256; i++) {
        char *p = arena_alloc(&a, 16);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, i, 16);
    }
    assert_null(arena_alloc(&a, 1));
    arena_fini(&a);
    assert_non_null(arena_alloc(&a, 4096)); /* larger than a block */
    assert_null(arena_calloc(&a, SIZE_MAX / 2, 4));
    arena_fini(&a);
    assert_string_equal(arena_printf(&a, "%d-%s", 7, "x"), "7-x");
    arena_fini(&a);
    arena_pool_free(pool);
}

static void test_buf_keeps_what_it_had(void **state)
{
    struct buf b;

    UNUSED(state);
    buf_init(&b, 8);
    assert_true(buf_append_c(&b, "12345678"));
    assert_false(buf_append_char(&b, '9'));
    assert_string_equal(buf_cstr(&b), "12345678");
    buf_consume(&b, 6);
    assert_true(buf_append_c(&b, "abcdef"));
    assert_true(str_eq_c(buf_str(&b), "78abcdef"));
    assert_null(buf_reserve(&b, 1));
    buf_consume(&b, 8);
    assert_int_equal(b.len, 0);
    assert_false(buf_printf(&b, "%s", "123456789"));
    buf_free(&b);
}

static void test_buf_appends_its_own_bytes(void **state)
{
    struct buf b;

    UNUSED(state);
    buf_init(&b, 1 << 20);
    assert_true(buf_append_c(&b, "ab"));
    for (int i = 0; i < 12; i++)
        assert_true(buf_append(&b, b.data, b.len));
    assert_int_equal(b.len, 2 << 12);
    assert_memory_equal(b.data + b.len - 2, "ab", 2);
    buf_free(&b);
}

static void test_map_many(void **state)
{
    struct map *m = map_new();
    char key[16];
    int value;

    UNUSED(state);
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_true(map_put(m, str_c(key), &value));
        assert_false(map_put(m, str_c(key), &value));
    }
    for (int i = 0; i < 1000; i += 2) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_ptr_equal(map_del(m, str_c(key)), &value);
        assert_null(map_get(m, str_c(key)));
    }
    assert_int_equal(map_count(m), 500);
    assert_non_null(map_get(m, STR("k1")));
    assert_null(map_get(m, STR("k0")));
    assert_null(map_set(m, STR("k0"), &value));
    map_free(m, NULL);
}

static void test_bundle_round_trip(void **state)
{
    struct bundle *b = bundle_new();
    struct fault why;
    struct str data;

    UNUSED(state);
    assert_true(bundle_add(b, STR("/b"), STR("two")));
    assert_true(bundle_add(b, STR("/a"), STR("one")));
    assert_true(bundle_add(b, STR("/b"), STR("")));
    int fd = bundle_seal(b, &why);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), -1); /* sealed */
    struct bundle *read_back = bundle_open(fd, &why);
    assert_non_null(read_back);
    assert_true(bundle_get(read_back, STR("/a"), &data) && str_eq_c(data, "one"));
    assert_true(bundle_get(read_back, STR("/b"), &data) && data.len == 0);
    assert_false(bundle_get(read_back, STR("/c"), &data));
    bundle_free(read_back);
    bundle_free(b);
    close(fd);
    assert_null(bundle_open(0, &why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena_stops_at_its_limit),
        cmocka_unit_test(test_buf_keeps_what_it_had),
        cmocka_unit_test(test_buf_appends_its_own_bytes),
        cmocka_unit_test(test_map_many),
        cmocka_unit_test(test_bundle_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
