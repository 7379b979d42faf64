/*
 * chunked.c - contract in consentd/chunked.h.
 *
 *      SIZE ──';'──▶ EXT ─CR─▶ SIZE_LF ─LF─▶ DATA ──▶ DATA_CR ▶ DATA_LF ──▶ SIZE
 *        └────CR───────────────▲       └─(size 0)─▶ LINE ─CR─▶ END_LF ─LF─▶ END
 *                                    token ▼  ▲─LF─ VALUE_LF ◀─CR─ VALUE ◀─':'─ NAME
 *
 * EXT stands for the states of chunk-ext, RFC 9112 7.1.1: ;name ;name=token ;name="text", with
 * white space behind ";" and around "=".
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
    ST_EXT,      /* behind ';': white space, then the name of an extension */
    ST_EXT_NAME,
    ST_EXT_EQUALS, /* white space behind the name: '=' or ';' comes */
    ST_EXT_VALUE,  /* behind '=' */
    ST_EXT_TOKEN,
    ST_EXT_QUOTED,
    ST_EXT_ESCAPED, /* behind a backslash in it */
    ST_EXT_DONE,    /* behind its closing quote */
    ST_EXT_GAP,     /* white space behind a value: ';' comes */
    ST_SIZE_LF,     /* the LF of the size line */
    ST_DATA,        /* data bytes */
    ST_DATA_CR,     /* the CR behind the data */
    ST_DATA_LF,     /* and its LF */
    ST_LINE,        /* first byte of a trailer line, or the CR of the empty line */
    ST_NAME,        /* a trailer's name */
    ST_VALUE,       /* its value */
    ST_VALUE_LF,    /* the LF of its line */
    ST_END_LF,      /* the LF of the empty line */
    ST_END,         /* done */
    ST_BAD,         /* refused; stays so */
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

/* What a byte is to an extension outside of quotes. */
enum ext_class { EXT_OTHER = 0, EXT_TCHAR, EXT_SPACE, EXT_EQUALS, EXT_SEMI, EXT_QUOTE, EXT_CR };

static enum ext_class class_of(char c)
{
    if (char_is(c, CHAR_TOKEN))
        return EXT_TCHAR;
    switch (c) {
    case ' ':
    case '\t':
        return EXT_SPACE;
    case '=':
        return EXT_EQUALS;
    case ';':
        return EXT_SEMI;
    case '"':
        return EXT_QUOTE;
    case '\r':
        return EXT_CR;
    default:
        return EXT_OTHER;
    }
}

static enum state step_quoted(enum state state, char c)
{
    if (!char_is(c, CHAR_VALUE))
        return ST_BAD;
    if (state == ST_EXT_ESCAPED)
        return ST_EXT_QUOTED;
    return c == '"' ? ST_EXT_DONE : c == '\\' ? ST_EXT_ESCAPED : ST_EXT_QUOTED;
}

/* What is not in the table (0) a less careful reader might take for another end: refused. */
static enum state step_ext(struct chunked_decoder *d, char c)
{
    static const uint8_t next[ST_END + 1][EXT_CR + 1] = {
        [ST_EXT] = {[EXT_TCHAR] = ST_EXT_NAME, [EXT_SPACE] = ST_EXT},
        [ST_EXT_NAME] = {[EXT_TCHAR] = ST_EXT_NAME,
                         [EXT_SPACE] = ST_EXT_EQUALS,
                         [EXT_EQUALS] = ST_EXT_VALUE,
                         [EXT_SEMI] = ST_EXT,
                         [EXT_CR] = ST_SIZE_LF},
        [ST_EXT_EQUALS] =
            {[EXT_SPACE] = ST_EXT_EQUALS, [EXT_EQUALS] = ST_EXT_VALUE, [EXT_SEMI] = ST_EXT},
        [ST_EXT_VALUE] =
            {[EXT_TCHAR] = ST_EXT_TOKEN, [EXT_SPACE] = ST_EXT_VALUE, [EXT_QUOTE] = ST_EXT_QUOTED},
        [ST_EXT_TOKEN] = {[EXT_TCHAR] = ST_EXT_TOKEN,
                          [EXT_SPACE] = ST_EXT_GAP,
                          [EXT_SEMI] = ST_EXT,
                          [EXT_CR] = ST_SIZE_LF},
        [ST_EXT_DONE] = {[EXT_SPACE] = ST_EXT_GAP, [EXT_SEMI] = ST_EXT, [EXT_CR] = ST_SIZE_LF},
        [ST_EXT_GAP] = {[EXT_SPACE] = ST_EXT_GAP, [EXT_SEMI] = ST_EXT},
    };
    enum state state = (enum state)d->state, to;

    if (++d->line_len > CHUNKED_LINE_MAX || ++d->ext_total > CHUNKED_EXT_TOTAL_MAX)
        return ST_BAD;
    if (state == ST_EXT_QUOTED || state == ST_EXT_ESCAPED)
        return step_quoted(state, c);
    to = (enum state)next[state][class_of(c)];
    return to != ST_SIZE ? to : ST_BAD;
}

static enum state step_trailer(struct chunked_decoder *d, char c)
{
    if (++d->line_len > CHUNKED_TRAILER_MAX)
        return ST_BAD;
    if (d->state == ST_LINE && c == '\r')
        return ST_END_LF;
    if (d->state == ST_NAME && c == ':')
        return ST_VALUE;
    if (d->state != ST_VALUE)
        return char_is(c, CHAR_TOKEN) ? ST_NAME : ST_BAD;
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
    case ST_EXT_NAME:
    case ST_EXT_EQUALS:
    case ST_EXT_VALUE:
    case ST_EXT_TOKEN:
    case ST_EXT_QUOTED:
    case ST_EXT_ESCAPED:
    case ST_EXT_DONE:
    case ST_EXT_GAP:
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
