/* test_coding.c - content codings: round trips at any chunking, damage, bombs, negotiation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <brotli/encode.h>
#include <cmocka.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/buf.h"
#include "consentd/coding.h"
#include "consentd/sanitized.h"

#if SANITIZED
size_t __sanitizer_get_current_allocated_bytes(void); /* gcc has no header for it */
#endif

#define TEXT_LEN   200000
#define OUTPUT_MAX (64u * 1024 * 1024)

static const enum coding all[] = {CODING_GZIP, CODING_DEFLATE, CODING_BR, CODING_ZSTD};
static char text[TEXT_LEN];

static int make_text(void **state)
{
    uint32_t seed = 1;

    UNUSED(state);
    for (size_t i = 0; i < sizeof(text); i++) {
        seed = seed * 1664525u + 1013904223u;
        text[i] = seed >> 31 ? (char)('a' + (seed >> 16) % 26) : ' ';
    }
    return 0;
}

static bool collect(void *arg, const uint8_t *data, size_t len)
{
    return buf_append(arg, data, len);
}

static void encode(enum coding coding, struct str in, enum encoder_flush each, size_t step,
                   struct buf *out)
{
    struct encoder *encoder = encoder_new(coding);

    assert_non_null(encoder);
    for (size_t at = 0; at < in.len; at += step)
        assert_int_equal(encoder_push(encoder, str_slice(in, at, step), each, collect, out),
                         CODING_OK);
    assert_int_equal(encoder_push(encoder, STR(""), ENCODER_END, collect, out), CODING_OK);
    encoder_free(encoder);
}

static enum coding_status decode(enum coding coding, struct str in, size_t step, struct buf *out)
{
    struct decoder *decoder = decoder_new(coding, 0, 0);
    enum coding_status status = CODING_OK;

    assert_non_null(decoder);
    for (size_t at = 0; at < in.len && status == CODING_OK; at += step)
        status = decoder_push(decoder, str_slice(in, at, step), false, collect, out);
    if (status == CODING_OK)
        status = decoder_push(decoder, STR(""), true, collect, out);
    decoder_free(decoder);
    return status;
}

static void test_round_trip_at_every_chunking(void **state)
{
    static const size_t steps[] = {1, 2, 3, 7, 1000, 16384, TEXT_LEN};
    struct str in = str_make(text, sizeof(text));

    UNUSED(state);
    for (size_t c = 0; c < COUNT_OF(all); c++) {
        struct buf coded, plain;

        buf_init(&coded, OUTPUT_MAX);
        encode(all[c], in, ENCODER_BUFFER, 5000, &coded);
        assert_true(coded.len < sizeof(text) * 3 / 4);
        for (size_t s = 0; s < COUNT_OF(steps); s++) {
            buf_init(&plain, OUTPUT_MAX);
            assert_int_equal(decode(all[c], buf_str(&coded), steps[s], &plain), CODING_OK);
            assert_int_equal(plain.len, sizeof(text));
            assert_memory_equal(plain.data, text, sizeof(text));
            buf_free(&plain);
        }
        buf_free(&coded);
    }
}

static void test_flush_makes_everything_so_far_readable(void **state)
{
    UNUSED(state);
    for (size_t c = 0; c < COUNT_OF(all); c++) {
        struct encoder *encoder = encoder_new(all[c]);
        struct decoder *decoder = decoder_new(all[c], 0, 0);
        struct buf coded, plain;

        buf_init(&coded, OUTPUT_MAX);
        buf_init(&plain, OUTPUT_MAX);
        assert_int_equal(encoder_push(encoder, STR("first words"), ENCODER_FLUSH, collect, &coded),
                         CODING_OK);
        assert_int_equal(decoder_push(decoder, buf_str(&coded), false, collect, &plain), CODING_OK);
        assert_true(str_eq_c(buf_str(&plain), "first words"));
        buf_free(&coded);
        buf_free(&plain);
        encoder_free(encoder);
        decoder_free(decoder);
    }
}

static void test_a_body_cut_off_is_corrupt_at_every_place(void **state)
{
    UNUSED(state);
    for (size_t c = 0; c < COUNT_OF(all); c++) {
        struct buf coded;

        buf_init(&coded, OUTPUT_MAX);
        encode(all[c], str_make(text, 300), ENCODER_BUFFER, 300, &coded);
        for (size_t len = 1; len < coded.len; len++) {
            struct buf plain;

            buf_init(&plain, OUTPUT_MAX);
            assert_int_equal(decode(all[c], str_make(coded.data, len), 64, &plain), CODING_CORRUPT);
            buf_free(&plain);
        }
        buf_free(&coded);
    }
}

static void test_garbage_is_corrupt(void **state)
{
    UNUSED(state);
    for (size_t c = 0; c < COUNT_OF(all); c++) {
        struct buf plain;

        buf_init(&plain, OUTPUT_MAX);
        assert_int_equal(decode(all[c], STR("<html><script src=//t.example>"), 8, &plain),
                         CODING_CORRUPT);
        buf_free(&plain);
    }
}

static void test_an_empty_body_is_empty(void **state)
{
    struct buf plain;

    UNUSED(state);
    buf_init(&plain, OUTPUT_MAX);
    for (size_t c = 0; c < COUNT_OF(all); c++)
        assert_int_equal(decode(all[c], STR(""), 1, &plain), CODING_OK);
    assert_int_equal(plain.len, 0);
    buf_free(&plain);
}

static void test_members_follow_each_other_and_garbage_after_the_end_is_dropped(void **state)
{
    static const enum coding series[] = {CODING_GZIP, CODING_ZSTD};

    UNUSED(state);
    for (size_t c = 0; c < COUNT_OF(series); c++) {
        struct buf coded;

        buf_init(&coded, OUTPUT_MAX);
        encode(series[c], STR("one "), ENCODER_BUFFER, 4, &coded);
        encode(series[c], STR("two"), ENCODER_BUFFER, 3, &coded);
        assert_true(buf_append_str(&coded, STR("\0\0garbage")));
        for (size_t step = 1; step <= coded.len; step++) {
            struct buf plain;

            buf_init(&plain, OUTPUT_MAX);
            assert_int_equal(decode(series[c], buf_str(&coded), step, &plain), CODING_OK);
            assert_true(str_eq_c(buf_str(&plain), "one two"));
            buf_free(&plain);
        }
        buf_free(&coded);
    }
}

/* RFC 1951 without its wrapper, as some servers send "deflate". */
static void test_raw_deflate_is_recognised(void **state)
{
    static const uint8_t raw[] = {0x4b, 0x4c, 0x4a, 0x06, 0x00}; /* "abc" */

    UNUSED(state);
    for (size_t step = 1; step <= sizeof(raw); step++) {
        struct buf plain;

        buf_init(&plain, OUTPUT_MAX);
        assert_int_equal(decode(CODING_DEFLATE, str_make(raw, sizeof(raw)), step, &plain),
                         CODING_OK);
        assert_true(str_eq_c(buf_str(&plain), "abc"));
        buf_free(&plain);
    }
}

static void test_bombs_meet_the_ratio_and_the_size_limit(void **state)
{
    static char zeros[4u * 1024 * 1024];

    UNUSED(state);
    for (size_t c = 0; c < COUNT_OF(all); c++) {
        struct decoder *by_ratio = decoder_new(all[c], 0, 50);
        struct decoder *by_size = decoder_new(all[c], 3u * 1024 * 1024, 0);
        struct buf coded, plain;

        buf_init(&coded, OUTPUT_MAX);
        buf_init(&plain, OUTPUT_MAX);
        encode(all[c], str_make(zeros, sizeof(zeros)), ENCODER_BUFFER, sizeof(zeros), &coded);
        assert_int_equal(decoder_push(by_ratio, buf_str(&coded), true, collect, &plain),
                         CODING_LIMIT);
        assert_true(plain.len <= 2u * 1024 * 1024);
        assert_int_equal(decoder_push(by_size, buf_str(&coded), true, collect, &plain),
                         CODING_LIMIT);
        buf_free(&coded);
        buf_free(&plain);
        decoder_free(by_ratio);
        decoder_free(by_size);
    }
}

static bool refuse(void *arg, const uint8_t *data, size_t len)
{
    UNUSED(arg);
    UNUSED(data);
    UNUSED(len);
    return false;
}

static void test_a_callback_that_says_no_stops(void **state)
{
    struct encoder *encoder = encoder_new(CODING_GZIP);
    struct decoder *decoder = decoder_new(CODING_IDENTITY, 0, 0);

    UNUSED(state);
    assert_int_equal(encoder_push(encoder, STR("x"), ENCODER_FLUSH, refuse, NULL), CODING_STOPPED);
    assert_int_equal(decoder_push(decoder, STR("x"), false, refuse, NULL), CODING_STOPPED);
    encoder_free(encoder);
    decoder_free(decoder);
}

static void test_names(void **state)
{
    UNUSED(state);
    assert_int_equal(coding_of(STR("")), CODING_IDENTITY);
    assert_int_equal(coding_of(STR(" Identity ")), CODING_IDENTITY);
    assert_int_equal(coding_of(STR("X-GZIP")), CODING_GZIP);
    assert_int_equal(coding_of(STR("br")), CODING_BR);
    assert_int_equal(coding_of(STR("gzip, br")), CODING_UNKNOWN);
    assert_int_equal(coding_of(STR("compress")), CODING_UNKNOWN);
    assert_string_equal(coding_name(CODING_ZSTD), "zstd");
    assert_null(decoder_new(CODING_UNKNOWN, 0, 0));
    assert_null(encoder_new(CODING_IDENTITY));
}

static void test_negotiation(void **state)
{
    char out[CODING_ACCEPT_MAX];

    UNUSED(state);
    assert_int_equal(coding_negotiate(STR("")), CODING_IDENTITY);
    assert_int_equal(coding_negotiate(STR("gzip, deflate, br, zstd")), CODING_BR);
    assert_int_equal(coding_negotiate(STR("gzip;q=1.0, br;q=0.5")), CODING_GZIP);
    assert_int_equal(coding_negotiate(STR("*")), CODING_BR);
    assert_int_equal(coding_negotiate(STR("*;q=0.1, br;q=0, zstd;q=0.0")), CODING_GZIP);
    assert_int_equal(coding_negotiate(STR("identity, gzip;q=0.5")), CODING_IDENTITY);
    assert_true(coding_is_accepted(STR("gzip"), CODING_GZIP));
    assert_false(coding_is_accepted(STR("gzip;q=0"), CODING_GZIP));
    assert_true(coding_is_accepted(STR(""), CODING_IDENTITY));
    assert_false(coding_is_accepted(STR("gzip, *;q=0"), CODING_IDENTITY));
    assert_int_equal(coding_accept_known(STR("compress, gzip, dcb, br;q=0.2"), out), 8);
    assert_string_equal(out, "br, gzip");
    coding_accept_known(STR("compress"), out);
    assert_string_equal(out, "identity");
    coding_accept_known(STR("*"), out);
    assert_string_equal(out, "br, zstd, gzip, deflate");
}

/* What the heap has given out, with a sanitizer or without. */
static size_t held(void)
{
#if SANITIZED
    return __sanitizer_get_current_allocated_bytes();
#else
    struct mallinfo2 heap = mallinfo2();

    return heap.uordblks + heap.hblkhd;
#endif
}

struct most {
    size_t bytes, before;
};

static bool watch(void *arg, const uint8_t *data, size_t len)
{
    struct most *most = arg;
    size_t now = held() - most->before;

    UNUSED(data);
    UNUSED(len);
    most->bytes = now > most->bytes ? now : most->bytes;
    return true;
}

/* The sender chooses the window: the largest that the format has, and a page that fills it. */
static void test_a_decoder_holds_no_more_than_it_says(void **state)
{
    size_t plain_len = 40u << 20, len = BrotliEncoderMaxCompressedSize(plain_len);
    uint8_t *plain = malloc(plain_len), *coded = malloc(len);
    struct decoder *decoder;
    struct most most = {0};

    UNUSED(state);
    for (size_t i = 0; i < plain_len; i++)
        plain[i] = (uint8_t)text[i % TEXT_LEN] ^ (uint8_t)(i / TEXT_LEN & 1);
    assert_true(BrotliEncoderCompress(2, BROTLI_MAX_WINDOW_BITS, BROTLI_MODE_GENERIC, plain_len,
                                      plain, &len, coded));
    free(plain);
    most.before = held();
    decoder = decoder_new(CODING_BR, 0, 0);
    for (size_t at = 0; at < len; at += 65536)
        assert_int_equal(
            decoder_push(decoder, str_slice(str_make(coded, len), at, 65536), false, watch, &most),
            CODING_OK);
    assert_int_equal(decoder_push(decoder, STR(""), true, watch, &most), CODING_OK);
    decoder_free(decoder);
    free(coded);
    assert_in_range(most.bytes, 8u << 20, CODING_DECODER_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip_at_every_chunking),
        cmocka_unit_test(test_flush_makes_everything_so_far_readable),
        cmocka_unit_test(test_a_body_cut_off_is_corrupt_at_every_place),
        cmocka_unit_test(test_garbage_is_corrupt),
        cmocka_unit_test(test_an_empty_body_is_empty),
        cmocka_unit_test(test_members_follow_each_other_and_garbage_after_the_end_is_dropped),
        cmocka_unit_test(test_raw_deflate_is_recognised),
        cmocka_unit_test(test_bombs_meet_the_ratio_and_the_size_limit),
        cmocka_unit_test(test_a_decoder_holds_no_more_than_it_says),
        cmocka_unit_test(test_a_callback_that_says_no_stops),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_negotiation),
    };

    return cmocka_run_group_tests(tests, make_text, NULL);
}
