/*
 * The chunked coding: what is written is read back, wherever the input is cut, and whatever two
 * readers could take differently is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "consentd/buf.h"
#include "consentd/chunked.h"

struct result {
    enum chunked_status status;
    size_t used; /* bytes of the input up to the end or the error */
    struct buf data;
};

/* Decodes an exact heap copy of in[from..to). */
static bool feed(struct chunked_decoder *d, struct str in, size_t from, size_t to, struct result *r)
{
    size_t len = to - from;
    uint8_t *copy = malloc(len > 0 ? len : 1);
    size_t at = 0;

    assert_non_null(copy);
    if (len > 0)
        memcpy(copy, in.ptr + from, len);
    do {
        struct str data;
        size_t used;

        r->status = chunked_decode(d, copy + at, len - at, &used, &data);
        assert_true(used <= len - at);
        assert_int_equal(data.len > 0, r->status == CHUNKED_DATA);
        assert_true(buf_append_str(&r->data, data));
        at += used;
    } while (at < len && (r->status == CHUNKED_DATA || r->status == CHUNKED_MORE));
    r->used += at;
    free(copy);
    return r->status == CHUNKED_DATA || r->status == CHUNKED_MORE;
}

static struct result decode_split(struct str in, size_t at)
{
    struct chunked_decoder d = {0};
    struct result r = {0};

    buf_init(&r.data, 1 << 20);
    if (feed(&d, in, 0, at, &r))
        feed(&d, in, at, in.len, &r);
    return r;
}

static struct result decode_bytes(struct str in)
{
    struct chunked_decoder d = {0};
    struct result r = {0};

    buf_init(&r.data, 1 << 20);
    for (size_t at = 0; at < in.len && feed(&d, in, at, at + 1, &r);)
        at++;
    return r;
}

static void same(const struct result *a, struct result *b)
{
    bool going = a->status == CHUNKED_DATA || a->status == CHUNKED_MORE;

    /* Data that ends exactly with the input is DATA now and MORE on the next, empty call. */
    assert_true(a->status == b->status ||
                (going && (b->status == CHUNKED_DATA || b->status == CHUNKED_MORE)));
    assert_int_equal(a->used, b->used);
    assert_true(str_eq(buf_str(&a->data), buf_str(&b->data)));
    buf_free(&b->data);
}

/* The result, the same for every way to cut the input. Free .data. */
static struct result decode(struct str in)
{
    struct result whole = decode_split(in, in.len);
    struct result other = decode_bytes(in);

    same(&whole, &other);
    for (size_t at = 0; at < in.len; at++) {
        other = decode_split(in, at);
        same(&whole, &other);
    }
    return whole;
}

static void check_ok(const char *text, const char *data, size_t left)
{
    struct result r = decode(str_c(text));

    assert_int_equal(r.status, CHUNKED_END);
    assert_true(str_eq_c(buf_str(&r.data), data));
    assert_int_equal(r.used + left, strlen(text));
    buf_free(&r.data);
}

static void check_bad(struct str text)
{
    struct result r = decode(text);

    if (r.status != CHUNKED_BAD)
        print_error("accepted: %.*s\n", STR_ARGS(text));
    assert_int_equal(r.status, CHUNKED_BAD);
    buf_free(&r.data);
}

static void check_more(const char *text)
{
    struct result r = decode(str_c(text));

    assert_true(r.status == CHUNKED_MORE || r.status == CHUNKED_DATA);
    assert_int_equal(r.used, strlen(text));
    buf_free(&r.data);
}

static void test_bodies(void **state)
{
    (void)state;
    check_ok("0\r\n\r\n", "", 0);
    check_ok("5\r\nhello\r\n0\r\n\r\n", "hello", 0);
    check_ok("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", 0);
    check_ok("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0);
    check_ok("a\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0);
    check_ok("0000000000000003\r\nabc\r\n0000\r\n\r\n", "abc", 0);
    check_ok("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", 0);
    check_ok("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", 0);
}

/* Bytes behind the end belong to the next message. */
static void test_end_is_exact(void **state)
{
    (void)state;
    check_ok("0\r\n\r\nGET / HTTP/1.1\r\n", "", 16);
    check_ok("1\r\na\r\n0\r\nX: y\r\n\r\n0\r\n\r\n", "a", 5);
}

static void test_extensions_are_dropped(void **state)
{
    (void)state;
    check_ok("5;a=b\r\nhello\r\n0;x\r\n\r\n", "hello", 0);
    check_ok("5;a=\"q;\t q\"\r\nhello\r\n0\r\n\r\n", "hello", 0);
    check_ok("5; a = b\t; c=\"\\\"\\\\\";d\t=\t\"\";e ;f\r\nhello\r\n0\r\n\r\n", "hello", 0);
    check_bad(STR("5;\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5; \r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;;a\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a;\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a \r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a=b \r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a=\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a= \r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;=b\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a b\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a=b c\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a=b=c\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a=\"b\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a=\"b\"c\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a=\"\\\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;\"a\"\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a\nb\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;a\r\rhello\r\n0\r\n\r\n"));
    check_bad(STR("5;\0\r\nhello\r\n0\r\n\r\n"));
    check_bad(STR("5;\x7f\r\nhello\r\n0\r\n\r\n"));
}

static void test_trailers_are_dropped(void **state)
{
    (void)state;
    check_ok("0\r\nX: y\r\n\r\n", "", 0);
    check_ok("0\r\nCookie: _ga=1\r\nSet-Cookie: a=b\r\nTransfer-Encoding: x\r\n\r\n", "", 0);
    check_ok("0\r\nX:\r\nY:\t\xe9\r\n\r\n", "", 0);
    check_bad(STR("0\r\nX : y\r\n\r\n"));
    check_bad(STR("0\r\n X: y\r\n\r\n"));
    check_bad(STR("0\r\nX\r\n\r\n"));
    check_bad(STR("0\r\n: y\r\n\r\n"));
    check_bad(STR("0\r\nX: y\n\r\n"));
    check_bad(STR("0\r\nX: y\rZ\r\n\r\n"));
    check_bad(STR("0\r\nX: \0\r\n\r\n"));
    check_bad(STR("0\r\nX: a\r\n b\r\n\r\n"));
    check_bad(STR("0\r\nGET / HTTP/1.1\r\n\r\n"));
}

static void test_ambiguous_sizes_are_refused(void **state)
{
    static const struct str bad[] = {
        STR_INIT("\r\n\r\n"),
        STR_INIT(" 5\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("5 \r\nhello\r\n0\r\n\r\n"),
        STR_INIT("5\t\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("5 ;a\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("+5\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("-5\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("0x5\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("5_\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("5h\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("5.0\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("g\r\n"),
        STR_INIT(";a\r\n"),
        STR_INIT("\xd9\xa5\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("5\0\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("\n5\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("5\nhello\n0\n\n"),
        STR_INIT("5\rhello\r0\r\r"),
        STR_INIT("5\r\r\nhello\r\n0\r\n\r\n"),
        STR_INIT("5\r\nhello\n0\r\n\r\n"),
        STR_INIT("5\r\nhello\r0\r\n\r\n"),
        STR_INIT("5\r\nhelloX\r\n0\r\n\r\n"),
        STR_INIT("5\r\nhello0\r\n\r\n"),
        STR_INIT("5\r\nhelloXX0\r\n\r\n"),
        STR_INIT("0\r\n\n"),
        STR_INIT("0\r\n\rX"),
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        check_bad(bad[i]);
}

static void test_size_overflow(void **state)
{
    (void)state;
    check_more("7fffffffffffffff\r\n");
    check_bad(STR("8000000000000000\r\n"));
    check_bad(STR("ffffffffffffffff\r\n"));
    check_bad(STR("10000000000000005\r\nhello\r\n"));
    check_bad(STR("00000000000000005\r\nhello\r\n"));
}

static void test_incomplete_is_not_the_end(void **state)
{
    static const char text[] = "5;x\r\nhello\r\n0\r\nX: y\r\n\r\n";

    (void)state;
    for (size_t len = 1; len + 1 < sizeof(text); len++) {
        char prefix[sizeof(text)] = {0};

        memcpy(prefix, text, len);
        check_more(prefix);
    }
    check_ok(text, "hello", 0);
}

/* Feeds head, then the unit until refused, at most `times` times; how often it was accepted. */
static size_t accepted(const char *head, const char *unit, size_t times)
{
    struct chunked_decoder d = {0};
    struct result r = {0};
    size_t cnt = 0;

    buf_init(&r.data, 1 << 20);
    assert_true(feed(&d, str_c(head), 0, strlen(head), &r));
    while (cnt < times && feed(&d, str_c(unit), 0, strlen(unit), &r))
        cnt++;
    buf_free(&r.data);
    return cnt;
}

static void test_limits(void **state)
{
    const char *many = "1;12345678901234567890123456789\r\nx\r\n"; /* 31 bytes with ; and CR */
    size_t cnt = accepted("", many, 100000);

    (void)state;
    assert_int_equal(accepted("5;", "x", 100000), CHUNKED_LINE_MAX);
    assert_int_equal(accepted("0\r\nX:", "x", 100000), CHUNKED_TRAILER_MAX - 2);
    assert_in_range(accepted("0\r\n", "X: y\r\n", 100000), 3000, CHUNKED_TRAILER_MAX / 4);
    assert_in_range(cnt, CHUNKED_EXT_TOTAL_MAX / 32, CHUNKED_EXT_TOTAL_MAX / 29);
    assert_int_equal(accepted("", "1\r\nx\r\n", 100000), 100000);
}

static void test_refused_stays_refused(void **state)
{
    struct chunked_decoder d = {0};
    struct str data;
    size_t used;

    (void)state;
    assert_int_equal(chunked_decode(&d, (const uint8_t *)"x", 1, &used, &data), CHUNKED_BAD);
    assert_int_equal(chunked_decode(&d, (const uint8_t *)"0\r\n\r\n", 5, &used, &data),
                     CHUNKED_BAD);
    assert_int_equal(used, 0);
}

static void test_encode_decode(void **state)
{
    static const size_t sizes[] = {1, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 65536};
    struct chunked_decoder d = {0};
    struct result r = {0};
    struct buf text;
    size_t total = 0;

    (void)state;
    buf_init(&text, 1 << 20);
    buf_init(&r.data, 1 << 20);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char head[CHUNKED_HEAD_MAX];

        assert_true(buf_append(&text, head, chunked_head(head, sizes[i])));
        memset(buf_reserve(&text, sizes[i]), 'a' + (int)i, sizes[i]);
        buf_commit(&text, sizes[i]);
        assert_true(buf_append_str(&text, chunked_crlf));
        total += sizes[i];
    }
    assert_true(buf_append_str(&text, chunked_last));
    feed(&d, buf_str(&text), 0, text.len, &r);
    assert_int_equal(r.status, CHUNKED_END);
    assert_int_equal(r.data.len, total);
    assert_int_equal(r.data.data[total - 1], 'a' + (int)COUNT_OF(sizes) - 1);
    buf_free(&r.data);
    buf_free(&text);
}

static void test_head_of_any_size(void **state)
{
    char head[CHUNKED_HEAD_MAX];

    (void)state;
    assert_int_equal(chunked_head(head, 1), 3);
    assert_memory_equal(head, "1\r\n", 3);
    assert_int_equal(chunked_head(head, 0xabcdef), 8);
    assert_memory_equal(head, "abcdef\r\n", 8);
    assert_int_equal(chunked_head(head, UINT64_MAX), 18);
    assert_memory_equal(head, "ffffffffffffffff\r\n", 18);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_end_is_exact),
        cmocka_unit_test(test_extensions_are_dropped),
        cmocka_unit_test(test_trailers_are_dropped),
        cmocka_unit_test(test_ambiguous_sizes_are_refused),
        cmocka_unit_test(test_size_overflow),
        cmocka_unit_test(test_incomplete_is_not_the_end),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_refused_stays_refused),
        cmocka_unit_test(test_encode_decode),
        cmocka_unit_test(test_head_of_any_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
