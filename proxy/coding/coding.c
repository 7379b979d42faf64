/*
 * coding.c - names and negotiation, and the loop around the libraries; the
 * contract is in consentd/coding.h, the libraries are behind codec_priv.h.
 */
#include "consentd/coding.h"

#include <stdlib.h>
#include <string.h>

#include "codec_priv.h"
#include "consentd/mem.h"

#define BLOCK_LEN     16384
#define RATIO_FROM    (1024u * 1024) /* plain bytes before the ratio counts */
#define WEIGHT_ONE    1000           /* q=1 */
#define WEIGHT_ABSENT (-1)

static const struct {
    enum coding coding;
    const char *name;
    const struct codec_ops *dec, *enc;
} codings[] = {
    /* In the order of our liking: smaller for the visitor first. */
    {CODING_BR, "br", &codec_brotli_dec, &codec_brotli_enc},
    {CODING_ZSTD, "zstd", &codec_zstd_dec, &codec_zstd_enc},
    {CODING_GZIP, "gzip", &codec_inflate, &codec_deflate},
    {CODING_DEFLATE, "deflate", &codec_inflate, &codec_deflate},
};

struct decoder {
    enum coding coding;
    const struct codec_ops *ops; /* NULL for identity */
    void *state;                 /* owned, the library's */
    uint64_t in_cnt, out_cnt;
    uint64_t max_out;
    unsigned max_ratio;
    bool started; /* inside a member */
    bool between; /* a member has ended; the next byte tells whether one follows */
    bool ended;   /* the stream is complete; the rest is dropped */
};

struct encoder {
    const struct codec_ops *ops;
    void *state; /* owned, the library's */
};

enum coding coding_of(struct str content_encoding)
{
    struct str name = str_trim(content_encoding);

    if (name.len == 0 || str_eq_fold_c(name, "identity"))
        return CODING_IDENTITY;
    if (str_eq_fold_c(name, "x-gzip"))
        return CODING_GZIP;
    for (size_t i = 0; i < COUNT_OF(codings); i++) {
        if (str_eq_fold_c(name, codings[i].name))
            return codings[i].coding;
    }
    return CODING_UNKNOWN;
}

const char *coding_name(enum coding coding)
{
    for (size_t i = 0; i < COUNT_OF(codings); i++) {
        if (codings[i].coding == coding)
            return codings[i].name;
    }
    return "identity";
}

/* RFC 9110 12.4.2: qvalue = "0" ["." 0*3DIGIT] / "1" ["." 0*3("0")]; in thousandths. */
static int weight_parse(struct str params)
{
    struct str param;

    while (str_cut(&params, ';', &param)) {
        param = str_trim(param);
        if (param.len < 3 || ascii_lower(param.ptr[0]) != 'q' || param.ptr[1] != '=')
            continue;
        if (param.ptr[2] == '1')
            return WEIGHT_ONE;
        int weight = 0;
        int digit = 100;

        for (size_t i = 4; i < param.len && i < 7 && ascii_is_digit(param.ptr[i]); i++) {
            weight += (param.ptr[i] - '0') * digit;
            digit /= 10;
        }
        return weight;
    }
    return WEIGHT_ONE;
}

/* The weight given to one coding; "*" speaks for those not named. */
static int weight_of(struct str accept, const char *name)
{
    int any = WEIGHT_ABSENT;
    struct str item;

    while (str_cut(&accept, ',', &item)) {
        struct str token = item;
        struct str params = {NULL, 0};
        ptrdiff_t semicolon = str_find_char(item, ';');

        if (semicolon >= 0) {
            token = str_slice(item, 0, (size_t)semicolon);
            params = str_slice(item, (size_t)semicolon + 1, item.len);
        }
        token = str_trim(token);
        if (str_eq_fold_c(token, name))
            return weight_parse(params);
        if (str_eq_c(token, "*"))
            any = weight_parse(params);
    }
    return any;
}

enum coding coding_negotiate(struct str accept_encoding)
{
    enum coding best = CODING_IDENTITY;
    int best_weight = 0;

    for (size_t i = 0; i < COUNT_OF(codings); i++) {
        int weight = weight_of(accept_encoding, codings[i].name);

        if (weight > best_weight) {
            best = codings[i].coding;
            best_weight = weight;
        }
    }
    /* A client may prefer the plain text by naming it with a higher weight. */
    return weight_of(accept_encoding, "identity") > best_weight ? CODING_IDENTITY : best;
}

bool coding_is_accepted(struct str accept_encoding, enum coding coding)
{
    int weight = weight_of(accept_encoding, coding_name(coding));

    if (coding == CODING_IDENTITY)
        return weight != 0; /* acceptable unless excluded by name or "*;q=0" */
    return coding != CODING_UNKNOWN && weight > 0;
}

size_t coding_accept_known(struct str accept_encoding, char out[CODING_ACCEPT_MAX])
{
    size_t len = 0;

    for (size_t i = 0; i < COUNT_OF(codings); i++) {
        const char *name = codings[i].name;
        size_t name_len = strlen(name);

        if (weight_of(accept_encoding, name) <= 0)
            continue;
        if (len > 0) {
            memcpy(out + len, ", ", 2);
            len += 2;
        }
        memcpy(out + len, name, name_len);
        len += name_len;
    }
    if (len == 0) {
        memcpy(out, "identity", 8);
        len = 8;
    }
    out[len] = '\0';
    return len;
}

static const struct codec_ops *codec_of(enum coding coding, bool decode)
{
    for (size_t i = 0; i < COUNT_OF(codings); i++) {
        if (codings[i].coding == coding)
            return decode ? codings[i].dec : codings[i].enc;
    }
    return NULL;
}

struct decoder *decoder_new(enum coding coding, uint64_t max_out, unsigned max_ratio)
{
    struct decoder *decoder;

    if (coding == CODING_UNKNOWN)
        return NULL;
    decoder = mem_new(struct decoder);
    decoder->coding = coding;
    decoder->ops = codec_of(coding, true);
    decoder->max_out = max_out;
    decoder->max_ratio = max_ratio;
    if (decoder->ops != NULL) {
        decoder->state = decoder->ops->open(coding);
        if (decoder->state == NULL) {
            free(decoder);
            return NULL;
        }
    }
    return decoder;
}

void decoder_free(struct decoder *decoder)
{
    if (decoder == NULL)
        return;
    if (decoder->ops != NULL)
        decoder->ops->close(decoder->state);
    free(decoder);
}

/* Counts the output against the limits before anyone sees it. */
static enum coding_status decoder_emit(struct decoder *decoder, const uint8_t *data, size_t len,
                                       coding_out_fn out, void *arg)
{
    if (len == 0)
        return CODING_OK;
    decoder->out_cnt += len;
    if (decoder->max_out != 0 && decoder->out_cnt > decoder->max_out)
        return CODING_LIMIT;
    if (decoder->max_ratio != 0 && decoder->out_cnt > RATIO_FROM &&
        decoder->out_cnt / decoder->max_ratio > decoder->in_cnt)
        return CODING_LIMIT;
    return out(arg, data, len) ? CODING_OK : CODING_STOPPED;
}

/* Runs the library until it is hungry or done; *in holds what was not used. */
static enum coding_status decoder_run(struct decoder *decoder, struct str *in, coding_out_fn out,
                                      void *arg)
{
    uint8_t data[BLOCK_LEN];

    for (;;) {
        struct codec_block block = {.data = data, .cap = sizeof(data)};
        enum codec_step step = decoder->ops->step(decoder->state, in, ENCODER_BUFFER, &block);
        enum coding_status status;

        if (step == CODEC_FAIL)
            return CODING_CORRUPT;
        status = decoder_emit(decoder, block.data, block.len, out, arg);
        if (status != CODING_OK)
            return status;
        if (step == CODEC_DONE) {
            decoder->started = false;
            decoder->between = true;
            return CODING_OK;
        }
        if (step == CODEC_HUNGRY)
            return CODING_OK;
    }
}

enum coding_status decoder_push(struct decoder *decoder, struct str in, bool end, coding_out_fn out,
                                void *arg)
{
    decoder->in_cnt += in.len;
    if (decoder->ops == NULL)
        return decoder_emit(decoder, (const uint8_t *)in.ptr, in.len, out, arg);
    while (in.len > 0 && !decoder->ended) {
        enum coding_status status;

        if (decoder->between && !decoder->ops->again(decoder->state, in)) {
            decoder->ended = true;
            break;
        }
        decoder->between = false;
        decoder->started = true;
        status = decoder_run(decoder, &in, out, arg);
        if (status != CODING_OK)
            return status;
    }
    if (end && decoder->started)
        return CODING_CORRUPT; /* cut off: never a silently shortened page */
    return CODING_OK;
}

struct encoder *encoder_new(enum coding coding)
{
    const struct codec_ops *ops = codec_of(coding, false);
    struct encoder *encoder;
    void *state = ops == NULL ? NULL : ops->open(coding);

    if (state == NULL)
        return NULL;
    encoder = mem_new(struct encoder);
    encoder->ops = ops;
    encoder->state = state;
    return encoder;
}

void encoder_free(struct encoder *encoder)
{
    if (encoder == NULL)
        return;
    encoder->ops->close(encoder->state);
    free(encoder);
}

enum coding_status encoder_push(struct encoder *encoder, struct str in, enum encoder_flush flush,
                                coding_out_fn out, void *arg)
{
    uint8_t data[BLOCK_LEN];

    for (;;) {
        struct codec_block block = {.data = data, .cap = sizeof(data)};
        enum codec_step step = encoder->ops->step(encoder->state, &in, flush, &block);

        if (step == CODEC_FAIL)
            return CODING_CORRUPT;
        if (block.len > 0 && !out(arg, block.data, block.len))
            return CODING_STOPPED;
        if (step != CODEC_MORE)
            return CODING_OK;
    }
}
