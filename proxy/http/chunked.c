/*
 * chunked.c - contract in consentd/chunked.h.
 *
 *      SIZE ──';'──▶ EXT ─CR─▶ SIZE_LF ─LF─▶ DATA ──▶ DATA_CR ▶ DATA_LF ──▶ SIZE
 *        └────CR───────────────▲       └─(size 0)─▶ LINE ─CR─▶ END_LF ─LF─▶ END
 *                                    token ▼  ▲─LF─ VALUE_LF ◀─CR─ VALUE ◀─':'─ NAME
 *
 * One function per group of states; each takes one byte. Only DATA takes many.
 */
#include "consentd/chunked.h"

#include "consentd/chars.h"

const struct str chunked_crlf = STR_INIT("\r\n");
const struct str chunked_last = STR_INIT("0\r\n\r\n");

enum { DIGITS_MAX = 16 };

enum state {
    ST_SIZE = 0, /* digits of the size */
    ST_EXT,      /* an extension: ignored up to CR */
    ST_SIZE_LF,  /* the LF of the size line */
    ST_DATA,     /* data bytes */
    ST_DATA_CR,  /* the CR behind the data */
    ST_DATA_LF,  /* and its LF */
    ST_LINE,     /* first byte of a trailer line, or the CR of the empty line */
    ST_NAME,     /* a trailer's name */
    ST_VALUE,    /* its value */
    ST_VALUE_LF, /* the LF of its line */
    ST_END_LF,   /* the LF of the empty line */
    ST_END,      /* done */
    ST_BAD,      /* refused; stays so */
};

static enum state step_size(struct chunked_decoder *d, char c)
{
    int digit = char_hex(c);

    if (digit >= 0 && d->digits < DIGITS_MAX) {
        d->digits++;
        d->left = d->left << 4 | (unsigned)digit;
        return ST_SIZE;
    }
    if (digit >= 0 || d->digits == 0 || d->left > INT64_MAX)
        return ST_BAD;
    if (c == '\r')
        return ST_SIZE_LF;
    /* RFC 9112 7.1.1: white space may only come before ';', and is bad practice: refused */
    return c == ';' ? ST_EXT : ST_BAD;
}

static enum state step_ext(struct chunked_decoder *d, char c)
{
    if (++d->line_len > CHUNKED_LINE_MAX || ++d->ext_total > CHUNKED_EXT_TOTAL_MAX)
        return ST_BAD;
    if (c == '\r')
        return ST_SIZE_LF;
    return char_is(c, CHAR_VALUE) ? ST_EXT : ST_BAD;
}

static enum state step_trailer(struct chunked_decoder *d, char c)
{
    if (++d->line_len > CHUNKED_TRAILER_MAX)
        return ST_BAD;
    switch ((enum state)d->state) {
    case ST_LINE:
        if (c == '\r')
            return ST_END_LF;
        return char_is(c, CHAR_TOKEN) ? ST_NAME : ST_BAD;
    case ST_NAME:
        if (c == ':')
            return ST_VALUE;
        return char_is(c, CHAR_TOKEN) ? ST_NAME : ST_BAD;
    case ST_SIZE:
    case ST_EXT:
    case ST_SIZE_LF:
    case ST_DATA:
    case ST_DATA_CR:
    case ST_DATA_LF:
    case ST_VALUE:
    case ST_VALUE_LF:
    case ST_END_LF:
    case ST_END:
    case ST_BAD:
        break;
    }
    if (c == '\r')
        return ST_VALUE_LF;
    return char_is(c, CHAR_VALUE) ? ST_VALUE : ST_BAD;
}

/* The size line is complete. */
static enum state start_chunk(struct chunked_decoder *d)
{
    d->line_len = 0;
    d->digits = 0;
    return d->left > 0 ? ST_DATA : ST_LINE;
}

static enum state step(struct chunked_decoder *d, char c)
{
    switch ((enum state)d->state) {
    case ST_SIZE:
        return step_size(d, c);
    case ST_EXT:
        return step_ext(d, c);
    case ST_SIZE_LF:
        return c == '\n' ? start_chunk(d) : ST_BAD;
    case ST_DATA_CR:
        return c == '\r' ? ST_DATA_LF : ST_BAD;
    case ST_DATA_LF:
        return c == '\n' ? ST_SIZE : ST_BAD;
    case ST_LINE:
    case ST_NAME:
    case ST_VALUE:
        return step_trailer(d, c);
    case ST_VALUE_LF:
        return c == '\n' ? ST_LINE : ST_BAD;
    case ST_END_LF:
        return c == '\n' ? ST_END : ST_BAD;
    case ST_DATA:
    case ST_END:
    case ST_BAD:
        break;
    }
    return ST_BAD;
}

static enum chunked_status take_data(struct chunked_decoder *d, struct str in, size_t *used,
                                     struct str *data_out)
{
    size_t len = in.len - *used;

    if (len > d->left)
        len = (size_t)d->left;
    *data_out = str_slice(in, *used, len);
    *used += len;
    d->left -= len;
    if (d->left == 0)
        d->state = ST_DATA_CR;
    return CHUNKED_DATA;
}

enum chunked_status chunked_decode(struct chunked_decoder *d, const uint8_t *in, size_t len,
                                   size_t *used_out, struct str *data_out)
{
    struct str text = str_make(in, len);
    size_t used = 0;
    enum chunked_status status = CHUNKED_MORE;

    *data_out = (struct str){0};
    while (status == CHUNKED_MORE && d->state < ST_END && used < len) {
        if (d->state == ST_DATA)
            status = take_data(d, text, &used, data_out);
        else
            d->state = (uint8_t)step(d, text.ptr[used++]);
    }
    *used_out = used;
    if (d->state == ST_BAD)
        return CHUNKED_BAD;
    return d->state == ST_END ? CHUNKED_END : status;
}

size_t chunked_head(char out[CHUNKED_HEAD_MAX], uint64_t len)
{
    static const char digits[] = "0123456789abcdef";
    size_t cnt = 0;
    unsigned shift = 60;

    while (shift > 0 && len >> shift == 0)
        shift -= 4;
    for (;; shift -= 4) {
        out[cnt++] = digits[len >> shift & 15];
        if (shift == 0)
            break;
    }
    out[cnt++] = '\r';
    out[cnt++] = '\n';
    return cnt;
}
