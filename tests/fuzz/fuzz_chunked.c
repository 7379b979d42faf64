/*
 * Any bytes as a chunked body: byte by byte gives what the whole gives, and what was decoded
 * is encoded and decoded to the same bytes.
 */
#include <stdint.h>

#include "consentd/buf.h"
#include "consentd/chunked.h"
#include "consentd/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Steps of at most `step` bytes. Returns how many bytes were taken. */
static size_t decode(const uint8_t *in, size_t len, size_t step, struct buf *out,
                     enum chunked_status *status)
{
    struct chunked_decoder d = {0};
    size_t at = 0;

    *status = CHUNKED_MORE;
    while (at < len && (*status == CHUNKED_MORE || *status == CHUNKED_DATA)) {
        struct str piece;
        size_t used;

        *status = chunked_decode(&d, in + at, len - at < step ? len - at : step, &used, &piece);
        ASSERT(used > 0 && used <= len - at && (piece.len > 0) == (*status == CHUNKED_DATA));
        ASSERT(buf_append_str(out, piece));
        at += used;
    }
    if (*status == CHUNKED_DATA)
        *status = CHUNKED_MORE;
    return at;
}

static void encode(struct str text, struct buf *out)
{
    char head[CHUNKED_HEAD_MAX];

    if (text.len > 0) {
        ASSERT(buf_append(out, head, chunked_head(head, text.len)));
        ASSERT(buf_append_str(out, text) && buf_append_str(out, chunked_crlf));
    }
    ASSERT(buf_append_str(out, chunked_last));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    enum chunked_status status, other;
    struct buf whole, bytes, again, coded;
    size_t used;

    buf_init(&whole, 1 << 20);
    buf_init(&bytes, 1 << 20);
    buf_init(&again, 1 << 20);
    buf_init(&coded, 1 << 21);
    used = decode(data, len, len, &whole, &status);
    ASSERT(decode(data, len, 1, &bytes, &other) == used && status == other);
    ASSERT(str_eq(buf_str(&whole), buf_str(&bytes)));
    encode(buf_str(&whole), &coded);
    ASSERT(decode(coded.data, coded.len, 7, &again, &other) == coded.len && other == CHUNKED_END);
    ASSERT(str_eq(buf_str(&whole), buf_str(&again)));
    buf_free(&whole);
    buf_free(&bytes);
    buf_free(&again);
    buf_free(&coded);
    return 0;
}
