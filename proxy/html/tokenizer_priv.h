/*
 * tokenizer_priv.h - the states of the tokenizer, shared by tokenizer.c and rawtext.c.
 */
#ifndef CONSENTD_HTML_TOKENIZER_PRIV_H
#define CONSENTD_HTML_TOKENIZER_PRIV_H

#include "consentd/tokenizer.h"

enum tok_state {
    ST_TEXT = 0,        /* 13.2.5.1-5: any text; what kind is in tok->text */
    ST_TAG_OPEN,        /* .6: after "<" */
    ST_END_TAG_OPEN,    /* .7: after "</" */
    ST_TAG_NAME,        /* .8 */
    ST_ATTR_BEFORE,     /* .32 before attribute name */
    ST_ATTR_NAME,       /* .33 */
    ST_ATTR_AFTER,      /* .34 after attribute name */
    ST_VALUE_BEFORE,    /* .35 */
    ST_VALUE_DOUBLE,    /* .36 */
    ST_VALUE_SINGLE,    /* .37 */
    ST_VALUE_BARE,      /* .38 */
    ST_VALUE_AFTER,     /* .39 after quoted value */
    ST_SELF_CLOSING,    /* .40: after "/" */
    ST_BOGUS,           /* .41 bogus comment */
    ST_MARKUP,          /* .42: after "<!", matching "--", "doctype", "[CDATA[" */
    ST_COMMENT_START,   /* .43 */
    ST_COMMENT_START_1, /* .44 comment start dash */
    ST_COMMENT,         /* .45 */
    ST_COMMENT_DASH,    /* .50 comment end dash */
    ST_COMMENT_END,     /* .51 */
    ST_COMMENT_BANG,    /* .52 */
    ST_DOCTYPE,         /* .53-68: every one of them ends at the first ">" */
    ST_RAW_LESS,        /* .9 .12 .15: after "<" in RCDATA, RAWTEXT, script data */
    ST_RAW_END_OPEN,    /* .10: after "</" there */
    ST_RAW_END_NAME,    /* .11: matching the name */
    ST_SCRIPT_BANG,     /* .18: after "<!" in script data, matching "--" */
    ST_SCRIPT_WORD,     /* .26 .31: matching "script" to enter or leave double escaped */
    ST_CDATA_WAIT,      /* TOK_CDATA_OPEN was reported, no answer yet */
    ST_COUNT
};

/* True for TAB LF FF CR SPACE: HTML's white space (no VT). */
static inline bool tok_is_space(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f';
}

static inline bool tok_is_alpha(uint8_t c)
{
    return (uint8_t)((c | 0x20) - 'a') < 26;
}

/*
 * Names that matter on every element, by their first two letters: style, on…, ping,
 * background, attributionsrc, formaction, http-equiv.
 */
static inline bool tok_is_suspect(uint8_t a, uint8_t b)
{
    static const uint8_t second[32] = {['s' & 31] = 't', ['o' & 31] = 'n', ['p' & 31] = 'i',
                                       ['b' & 31] = 'a', ['a' & 31] = 't', ['f' & 31] = 'o',
                                       ['h' & 31] = 't'};

    return a >= 'A' && second[a & 31] == (b | 0x20);
}

/* A link's value that could be a javascript: URL, seen from its first byte. */
static inline bool tok_may_be_code(uint8_t c)
{
    return c <= ' ' || c == '&' || (c | 0x20) == 'j';
}

/* The "<" is at tok->start, the name begins. */
void tok_begin_tag(struct tokenizer *tok, bool is_end);

/* Passes over text and tags of no interest; index of the "<" to look at, or near len. */
size_t skim_run(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len);

/* Texts other than data; index where it stopped. */
size_t rawtext_run(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len);

#endif
