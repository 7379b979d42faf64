/*
 * codec_priv.h - what one library offers to coding.c: a step function.
 *
 * A step reads from *in, advances it, fills at most one output block and says
 * what it wants next. coding.c owns the loop, the limits and the callback.
 */
#ifndef CONSENTD_CODEC_PRIV_H
#define CONSENTD_CODEC_PRIV_H

#include "consentd/coding.h"

enum codec_step {
    CODEC_FAIL = 0, /* corrupt input, or the library failed */
    CODEC_MORE,     /* call again: the output block was full */
    CODEC_HUNGRY,   /* all input is used; output, if any, is in the block */
    CODEC_DONE,     /* the stream has ended; *in holds what follows it */
};

struct codec_block {
    uint8_t *data;
    size_t cap, len;
};

struct codec_ops {
    void *(*open)(enum coding coding);
    enum codec_step (*step)(void *state, struct str *in, enum encoder_flush flush,
                            struct codec_block *out);
    bool (*again)(void *state, struct str rest); /* decoders: another member follows? resets */
    void (*close)(void *state);
};

extern const struct codec_ops codec_inflate, codec_deflate;
extern const struct codec_ops codec_brotli_dec, codec_brotli_enc;
extern const struct codec_ops codec_zstd_dec, codec_zstd_enc;

#endif
