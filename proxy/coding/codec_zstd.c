/*
 * codec_zstd.c - zstd (RFC 8878) by the reference library; see codec_priv.h.
 *
 * RFC 9659 limits the window of the "zstd" content coding to 8 MiB: a frame
 * that wants more is refused, so the size of a decoder is bounded.
 */
#include <zstd.h>

#include "codec_priv.h"

#define LEVEL          3
#define WINDOW_LOG_MAX 23
#define MAGIC_FIRST    0x28 /* of a frame, little endian 0xFD2FB528 */
#define SKIP_SECOND    0x2a /* of a skippable frame: 0x184D2A5?, second byte */

static void *zstd_dec_open(enum coding coding)
{
    ZSTD_DCtx *state = ZSTD_createDCtx();

    UNUSED(coding);
    if (state != NULL)
        ZSTD_DCtx_setParameter(state, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
    return state;
}

static enum codec_step zstd_dec_step(void *state, struct str *in, enum encoder_flush flush,
                                     struct codec_block *out)
{
    ZSTD_inBuffer input = {in->ptr, in->len, 0};
    ZSTD_outBuffer output = {out->data, out->cap, 0};
    size_t rc = ZSTD_decompressStream(state, &output, &input);

    UNUSED(flush);
    if (ZSTD_isError(rc))
        return CODEC_FAIL;
    out->len = output.pos;
    *in = str_slice(*in, input.pos, in->len - input.pos);
    if (rc == 0)
        return CODEC_DONE;
    return output.pos == output.size || in->len > 0 ? CODEC_MORE : CODEC_HUNGRY;
}

/* RFC 8878 3: frames may follow each other, skippable ones among them. */
static bool zstd_dec_again(void *state, struct str rest)
{
    uint8_t first = rest.len > 0 ? (uint8_t)rest.ptr[0] : 0;
    bool skippable = (first & 0xf0) == 0x50;

    if (first != MAGIC_FIRST && !skippable)
        return false;
    if (skippable && rest.len > 1 && (uint8_t)rest.ptr[1] != SKIP_SECOND)
        return false;
    return !ZSTD_isError(ZSTD_DCtx_reset(state, ZSTD_reset_session_only));
}

static void zstd_dec_close(void *state)
{
    ZSTD_freeDCtx(state);
}

static void *zstd_enc_open(enum coding coding)
{
    ZSTD_CCtx *state = ZSTD_createCCtx();

    UNUSED(coding);
    if (state != NULL)
        ZSTD_CCtx_setParameter(state, ZSTD_c_compressionLevel, LEVEL);
    return state;
}

static enum codec_step zstd_enc_step(void *state, struct str *in, enum encoder_flush flush,
                                     struct codec_block *out)
{
    static const ZSTD_EndDirective how[] = {[ENCODER_BUFFER] = ZSTD_e_continue,
                                            [ENCODER_FLUSH] = ZSTD_e_flush,
                                            [ENCODER_END] = ZSTD_e_end};
    ZSTD_inBuffer input = {in->ptr, in->len, 0};
    ZSTD_outBuffer output = {out->data, out->cap, 0};
    size_t rc = ZSTD_compressStream2(state, &output, &input, how[flush]);

    if (ZSTD_isError(rc))
        return CODEC_FAIL;
    out->len = output.pos;
    *in = str_slice(*in, input.pos, in->len - input.pos);
    if (flush == ENCODER_BUFFER)
        return in->len > 0 ? CODEC_MORE : CODEC_HUNGRY;
    if (rc > 0)
        return CODEC_MORE;
    return flush == ENCODER_END ? CODEC_DONE : CODEC_HUNGRY;
}

static void zstd_enc_close(void *state)
{
    ZSTD_freeCCtx(state);
}

const struct codec_ops codec_zstd_dec = {zstd_dec_open, zstd_dec_step, zstd_dec_again,
                                         zstd_dec_close};
const struct codec_ops codec_zstd_enc = {zstd_enc_open, zstd_enc_step, NULL, zstd_enc_close};
