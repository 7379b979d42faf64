/*
 * codec_zlib.c - gzip and deflate by zlib; the contract is in codec_priv.h.
 *
 * "deflate" means the zlib format (RFC 1950), but servers were written that
 * send raw RFC 1951: the first two bytes tell, as every browser does it.
 */
#include <stdlib.h>
#define ZLIB_CONST /* next_in is const */
#include <zlib.h>

#include "codec_priv.h"
#include "consentd/mem.h"

#define GZIP_BITS  (15 + 16) /* zlib: 16 added means the gzip wrapper */
#define ZLIB_BITS  15
#define RAW_BITS   (-15)
#define LEVEL      4 /* where the time per byte saved starts to rise steeply */
#define MEM_LEVEL  8
#define GZIP_ID1   0x1f
#define GZIP_ID2   0x8b
#define CM_DEFLATE 8

struct zlib_state {
    z_stream stream;
    enum coding coding;
    bool probed; /* deflate: the wrapper is known */
    bool ready;
    uint8_t first; /* deflate: the first byte, while only one was seen */
    bool has_first;
};

static void *inflate_open(enum coding coding)
{
    struct zlib_state *state = mem_new(struct zlib_state);

    state->coding = coding;
    if (coding == CODING_GZIP) {
        if (inflateInit2(&state->stream, GZIP_BITS) != Z_OK) {
            free(state);
            return NULL;
        }
        state->probed = state->ready = true;
    }
    return state;
}

/* RFC 1950 2.2: CM is 8 and the two header bytes are a multiple of 31. */
static bool inflate_probe(struct zlib_state *state, uint8_t second)
{
    unsigned header = (unsigned)state->first << 8 | second;
    bool wrapped = (state->first & 0x0f) == CM_DEFLATE && header % 31 == 0;

    if (inflateInit2(&state->stream, wrapped ? ZLIB_BITS : RAW_BITS) != Z_OK)
        return false;
    state->probed = state->ready = true;
    return true;
}

/* Runs zlib over one slice of input; what is left of it comes back in *in. */
static enum codec_step inflate_slice(struct zlib_state *state, struct str *in,
                                     struct codec_block *out)
{
    z_stream *stream = &state->stream;
    int rc;

    stream->next_in = (const Bytef *)in->ptr;
    stream->avail_in = (uInt)in->len;
    stream->next_out = out->data + out->len;
    stream->avail_out = (uInt)(out->cap - out->len);
    rc = inflate(stream, Z_NO_FLUSH);
    out->len = out->cap - stream->avail_out;
    *in = str_slice(*in, in->len - stream->avail_in, stream->avail_in);
    if (rc == Z_STREAM_END)
        return CODEC_DONE;
    if (rc != Z_OK && rc != Z_BUF_ERROR)
        return CODEC_FAIL;
    return stream->avail_out == 0 ? CODEC_MORE : CODEC_HUNGRY;
}

static enum codec_step inflate_step(void *arg, struct str *in, enum encoder_flush flush,
                                    struct codec_block *out)
{
    struct zlib_state *state = arg;

    UNUSED(flush);
    if (!state->probed) {
        struct str first = {(const char *)&state->first, 1};

        if (!state->has_first && in->len > 0) {
            state->first = (uint8_t)in->ptr[0];
            state->has_first = true;
            *in = str_slice(*in, 1, in->len);
        }
        if (in->len == 0)
            return CODEC_HUNGRY;
        if (!inflate_probe(state, (uint8_t)in->ptr[0]))
            return CODEC_FAIL;
        if (inflate_slice(state, &first, out) == CODEC_FAIL)
            return CODEC_FAIL;
    }
    return inflate_slice(state, in, out);
}

/* RFC 1952 2.2: a gzip file is a series of members. */
static bool inflate_again(void *arg, struct str rest)
{
    struct zlib_state *state = arg;

    if (state->coding != CODING_GZIP || rest.len == 0)
        return false;
    if ((uint8_t)rest.ptr[0] != GZIP_ID1 || (rest.len > 1 && (uint8_t)rest.ptr[1] != GZIP_ID2))
        return false;
    return inflateReset(&state->stream) == Z_OK;
}

static void inflate_close(void *arg)
{
    struct zlib_state *state = arg;

    if (state->ready)
        inflateEnd(&state->stream);
    free(state);
}

static void *deflate_open(enum coding coding)
{
    struct zlib_state *state = mem_new(struct zlib_state);
    int bits = coding == CODING_GZIP ? GZIP_BITS : ZLIB_BITS;

    if (deflateInit2(&state->stream, LEVEL, Z_DEFLATED, bits, MEM_LEVEL, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        free(state);
        return NULL;
    }
    return state;
}

static enum codec_step deflate_step(void *arg, struct str *in, enum encoder_flush flush,
                                    struct codec_block *out)
{
    static const int how[] = {
        [ENCODER_BUFFER] = Z_NO_FLUSH, [ENCODER_FLUSH] = Z_SYNC_FLUSH, [ENCODER_END] = Z_FINISH};
    struct zlib_state *state = arg;
    z_stream *stream = &state->stream;
    int rc;

    stream->next_in = (const Bytef *)in->ptr;
    stream->avail_in = (uInt)in->len;
    stream->next_out = out->data;
    stream->avail_out = (uInt)out->cap;
    rc = deflate(stream, how[flush]);
    out->len = out->cap - stream->avail_out;
    *in = str_slice(*in, in->len - stream->avail_in, stream->avail_in);
    if (rc == Z_STREAM_END)
        return CODEC_DONE;
    if (rc != Z_OK && rc != Z_BUF_ERROR)
        return CODEC_FAIL;
    return stream->avail_out == 0 || flush == ENCODER_END ? CODEC_MORE : CODEC_HUNGRY;
}

static void deflate_close(void *arg)
{
    struct zlib_state *state = arg;

    deflateEnd(&state->stream);
    free(state);
}

const struct codec_ops codec_inflate = {inflate_open, inflate_step, inflate_again, inflate_close};
const struct codec_ops codec_deflate = {deflate_open, deflate_step, NULL, deflate_close};
