/*
 * Heads as they are written: one canonical form, framing from the caller alone, and no byte in
 * a field that could end its line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "consentd/chars.h"
#include "consentd/h1_write.h"

struct list {
    struct header items[16];
    struct headers h;
};

static void list_init(struct list *list, const char *const (*fields)[2], size_t cnt)
{
    headers_init(&list->h, list->items, COUNT_OF(list->items));
    for (size_t i = 0; i < cnt; i++)
        assert_true(headers_add(&list->h, NULL, str_c(fields[i][0]), str_c(fields[i][1])));
}

static void check_response(const struct list *list, unsigned status, const char *reason,
                           struct h1_framing framing, const char *want)
{
    struct buf out;

    buf_init(&out, 4096);
    assert_true(h1_write_response_head(&out, status, str_c(reason), &list->h, &framing));
    assert_string_equal(buf_cstr(&out), want);
    buf_free(&out);
}

static void check_request(const struct list *list, struct h1_framing framing, const char *want)
{
    struct buf out;

    buf_init(&out, 4096);
    assert_true(h1_write_request_head(&out, STR("POST"), STR("/x?y"), &list->h, &framing));
    assert_string_equal(buf_cstr(&out), want);
    buf_free(&out);
}

static void test_request_is_canonical(void **state)
{
    static const char *const fields[][2] = {
        {"Accept", "a"}, {"Host", "h"}, {"X-Empty", ""}, {"Cookie", "c=d"}, {"x-low", "\t"}};
    struct list list;

    (void)state;
    list_init(&list, fields, COUNT_OF(fields));
    list.items[3].removed = true;
    check_request(&list, (struct h1_framing){0},
                  "POST /x?y HTTP/1.1\r\nHost: h\r\nAccept: a\r\nX-Empty: \r\nx-low: \t\r\n\r\n");
}

/* What frames a message in the list is never copied. */
static void test_framing_comes_from_the_caller(void **state)
{
    static const char *const fields[][2] = {
        {"Host", "h"},       {"Content-Length", "7"}, {"Transfer-Encoding", "gzip"},
        {"Connection", "x"}, {"Keep-Alive", "y"},     {"Proxy-Connection", "z"},
        {"Upgrade", "h2c"},  {"content-length", "8"}, {"Accept", "a"},
    };
    struct list list;

    (void)state;
    list_init(&list, fields, COUNT_OF(fields));
    check_request(&list, (struct h1_framing){.body = H1_BODY_LENGTH, .length = 0},
                  "POST /x?y HTTP/1.1\r\nHost: h\r\nAccept: a\r\nContent-Length: 0\r\n\r\n");
    check_request(&list, (struct h1_framing){.body = H1_BODY_LENGTH, .length = UINT64_MAX},
                  "POST /x?y HTTP/1.1\r\nHost: h\r\nAccept: a\r\n"
                  "Content-Length: 18446744073709551615\r\n\r\n");
    check_request(
        &list, (struct h1_framing){.body = H1_BODY_CHUNKED},
        "POST /x?y HTTP/1.1\r\nHost: h\r\nAccept: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    check_request(&list, (struct h1_framing){.persist = H1_PERSIST_UPGRADE},
                  "POST /x?y HTTP/1.1\r\nHost: h\r\nAccept: a\r\n"
                  "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n");
}

static void test_response_forms(void **state)
{
    static const char *const fields[][2] = {
        {"Host", "kept"}, {"Set-Cookie", "a=b"}, {"Content-Length", "9"}, {"Set-Cookie", "c=d"}};
    const struct h1_framing five = {.body = H1_BODY_LENGTH, .length = 5};
    const struct h1_framing chunks = {.body = H1_BODY_CHUNKED, .persist = H1_PERSIST_CLOSE};
    struct list list;
    struct list none;

    (void)state;
    list_init(&none, NULL, 0);
    list_init(&list, fields, COUNT_OF(fields));
    check_response(&list, 200, "", five,
                   "HTTP/1.1 200 OK\r\nHost: kept\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n"
                   "Content-Length: 5\r\n\r\n");
    check_response(&none, 503, "Later", chunks,
                   "HTTP/1.1 503 Later\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    check_response(&none, 799, "", (struct h1_framing){.persist = H1_PERSIST_KEEP_ALIVE},
                   "HTTP/1.1 799 Unknown\r\nConnection: keep-alive\r\n\r\n");
    /* RFC 9110 8.6: no framing in 1xx and 204, whatever was asked for. */
    check_response(&none, 204, "", chunks, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    check_response(&none, 103, "", five, "HTTP/1.1 103 Early Hints\r\n\r\n");
    check_response(&none, 304, "", five, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n");
}

/* Every byte in every place: whatever is written parses back to one head with as many fields. */
static void check_place(struct str name, struct str value, struct str reason, unsigned byte)
{
    static const struct h1_limits limits = {4096, 1024, 20};
    struct list list;
    struct buf out;
    struct arena arena;
    struct h1_parser parser = {0};
    struct h1_response resp;

    list_init(&list, NULL, 0);
    assert_true(headers_add(&list.h, NULL, name, value));
    buf_init(&out, 4096);
    arena_init(&arena, NULL, 1 << 16);
    if (h1_write_response_head(&out, 200, reason, &list.h, &(struct h1_framing){0})) {
        enum h1_status status =
            h1_parse_response(&parser, &arena, buf_str(&out), &limits, false, &resp);

        /* Bytes that are no end of a line may give a head that is refused, never another one. */
        if (status == H1_HEAD) {
            assert_int_equal(parser.used, out.len);
            assert_int_equal(resp.headers.cnt, 1);
        }
        assert_true(byte >= ' ' || byte == '\t');
    } else {
        assert_int_equal(out.len, 0);
    }
    arena_fini(&arena);
    buf_free(&out);
}

static void test_no_byte_ends_a_line_early(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < 20; at++) { /* around the eight bytes of one step */
            char text[20];

            memset(text, 'a', sizeof(text));
            text[at] = (char)byte;
            check_place(STR("x"), str_make(text, sizeof(text)), STR("OK"), byte);
            check_place(str_make(text, sizeof(text)), STR("x"), STR("OK"), byte);
            check_place(STR("x"), STR("x"), str_make(text, sizeof(text)), byte);
        }
    }
}

static void test_method_and_target_are_checked(void **state)
{
    static const struct str bad[] = {STR_INIT(""),     STR_INIT("a b"), STR_INIT("a\r\nb"),
                                     STR_INIT("a\tb"), STR_INIT("a\0"), STR_INIT("12345678\n")};
    struct list list;
    struct buf out;

    (void)state;
    list_init(&list, NULL, 0);
    buf_init(&out, 4096);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const struct h1_framing none = {0};

        assert_false(h1_write_request_head(&out, bad[i], STR("/"), &list.h, &none));
        assert_false(h1_write_request_head(&out, STR("GET"), bad[i], &list.h, &none));
    }
    assert_int_equal(out.len, 0);
    buf_free(&out);
}

static void test_removed_fields_are_not_judged(void **state)
{
    static const char *const fields[][2] = {{"a", "b"}, {"c", "d\r\n"}};
    struct list list;

    (void)state;
    list_init(&list, fields, COUNT_OF(fields));
    list.items[1].removed = true;
    check_response(&list, 200, "", (struct h1_framing){0}, "HTTP/1.1 200 OK\r\na: b\r\n\r\n");
}

static void test_full_buffer_writes_nothing(void **state)
{
    static const char *const fields[][2] = {{"a", "0123456789012345678901234567890123456789"}};
    struct list list;
    struct buf out;

    (void)state;
    list_init(&list, fields, COUNT_OF(fields));
    buf_init(&out, 100);
    assert_false(h1_write_response_head(&out, 200, STR(""), &list.h, &(struct h1_framing){0}));
    assert_int_equal(out.len, 0);
    buf_free(&out);
}

/* chars_below is exact for every limit, byte and place. */
static void test_chars_below(void **state)
{
    (void)state;
    for (unsigned least = 1; least <= 0x80; least++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            char text[11];

            memset(text, 0xff, sizeof(text));
            text[byte % sizeof(text)] = (char)byte;
            assert_int_equal(chars_below(str_make(text, sizeof(text)), (unsigned char)least),
                             byte < least);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_is_canonical),
        cmocka_unit_test(test_framing_comes_from_the_caller),
        cmocka_unit_test(test_response_forms),
        cmocka_unit_test(test_no_byte_ends_a_line_early),
        cmocka_unit_test(test_method_and_target_are_checked),
        cmocka_unit_test(test_removed_fields_are_not_judged),
        cmocka_unit_test(test_full_buffer_writes_nothing),
        cmocka_unit_test(test_chars_below),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
