/*
 * codec_brotli.c - br (RFC 7932) by the reference library; see codec_priv.h.
 */
#include <brotli/decode.h>
#include <brotli/encode.h>

#include "codec_priv.h"

#define QUALITY     4  /* about gzip's time, a fifth smaller */
#define WINDOW_BITS 18 /* 256 KiB: pages are smaller than that, encoders many */

static void *brotli_dec_open(enum coding coding)
{
    UNUSED(coding);
    return BrotliDecoderCreateInstance(NULL, NULL, NULL);
}

static enum codec_step brotli_dec_step(void *state, struct str *in, enum encoder_flush flush,
                                       struct codec_block *out)
{
    const uint8_t *next_in = (const uint8_t *)in->ptr;
    uint8_t *next_out = out->data;
    size_t avail_in = in->len;
    size_t avail_out = out->cap;
    BrotliDecoderResult result;

    UNUSED(flush);
    result = BrotliDecoderDecompressStream(state, &avail_in, &next_in, &avail_out, &next_out, NULL);
    out->len = out->cap - avail_out;
    *in = str_slice(*in, in->len - avail_in, avail_in);
    switch (result) {
    case BROTLI_DECODER_RESULT_SUCCESS:
        return CODEC_DONE;
    case BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT:
        return CODEC_HUNGRY;
    case BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT:
        return CODEC_MORE;
    case BROTLI_DECODER_RESULT_ERROR:
        break;
    }
    return CODEC_FAIL;
}

static bool brotli_dec_again(void *state, struct str rest)
{
    UNUSED(state);
    UNUSED(rest);
    return false; /* RFC 7932: one stream */
}

static void brotli_dec_close(void *state)
{
    BrotliDecoderDestroyInstance(state);
}

static void *brotli_enc_open(enum coding coding)
{
    BrotliEncoderState *state = BrotliEncoderCreateInstance(NULL, NULL, NULL);

    UNUSED(coding);
    if (state != NULL) {
        BrotliEncoderSetParameter(state, BROTLI_PARAM_QUALITY, QUALITY);
        BrotliEncoderSetParameter(state, BROTLI_PARAM_LGWIN, WINDOW_BITS);
        BrotliEncoderSetParameter(state, BROTLI_PARAM_MODE, BROTLI_MODE_TEXT);
    }
    return state;
}

static enum codec_step brotli_enc_step(void *state, struct str *in, enum encoder_flush flush,
                                       struct codec_block *out)
{
    static const BrotliEncoderOperation how[] = {[ENCODER_BUFFER] = BROTLI_OPERATION_PROCESS,
                                                 [ENCODER_FLUSH] = BROTLI_OPERATION_FLUSH,
                                                 [ENCODER_END] = BROTLI_OPERATION_FINISH};
    const uint8_t *next_in = (const uint8_t *)in->ptr;
    uint8_t *next_out = out->data;
    size_t avail_in = in->len;
    size_t avail_out = out->cap;

    if (!BrotliEncoderCompressStream(state, how[flush], &avail_in, &next_in, &avail_out, &next_out,
                                     NULL))
        return CODEC_FAIL;
    out->len = out->cap - avail_out;
    *in = str_slice(*in, in->len - avail_in, avail_in);
    if (BrotliEncoderIsFinished(state))
        return CODEC_DONE;
    return avail_in > 0 || BrotliEncoderHasMoreOutput(state) ? CODEC_MORE : CODEC_HUNGRY;
}

static void brotli_enc_close(void *state)
{
    BrotliEncoderDestroyInstance(state);
}

const struct codec_ops codec_brotli_dec = {brotli_dec_open, brotli_dec_step, brotli_dec_again,
                                           brotli_dec_close};
const struct codec_ops codec_brotli_enc = {brotli_enc_open, brotli_enc_step, NULL,
                                           brotli_enc_close};
