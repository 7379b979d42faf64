/*
 * tokenizer.c - contract in consentd/tokenizer.h; the states are in tokenizer_priv.h.
 *
 * One function per state (or family of states): it consumes from w[i] as long as it
 * stays, then sets the next state and returns the index. The driver calls on. Numbers
 * in comments are sections of HTML 13.2.5.
 */
#include "consentd/tokenizer.h"

#include <string.h>

#include "names_priv.h"
#include "scan_priv.h"
#include "tokenizer_priv.h"

typedef size_t (*state_fn)(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len);

/* Stream position of window index i: pos is kept at the index the run began with. */
static uint64_t position(const struct tokenizer *tok, size_t i)
{
    return tok->pos + i;
}

/* The piece ends before index i. */
static size_t report(struct tokenizer *tok, enum tok_event event, size_t i)
{
    tok->event = (uint8_t)event;
    tok->state = ST_TEXT;
    return i;
}

/* A piece that is neither tag nor section: of no interest in quiet mode. */
static size_t report_other(struct tokenizer *tok, enum tok_event event, size_t i)
{
    return report(tok, tok->quiet ? TOK_MORE : event, i);
}

/* ">" of a tag is at i - 1. Raw texts end with their end tag. */
static size_t finish_tag(struct tokenizer *tok, size_t i)
{
    unsigned flags;

    if (tok->text != TOK_DATA) {
        tok->text = TOK_DATA;
        tok->elem = tok->raw_elem;
        tok->escape = 0;
        return report(tok, TOK_TAG, i);
    }
    flags = element_rows[tok->elem].flags & (tok->is_end ? ELEM_F_ENDS : ELEM_F_STARTS);
    if (tok->quiet && flags == 0 && (tok->is_end || !tok->suspect))
        return report(tok, TOK_MORE, i);
    return report(tok, TOK_TAG, i);
}

/* The first byte of a name is at i; a window may end behind it: tok->match keeps it. */
static void begin_attr(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    tok->attr = position(tok, i);
    if (i + 1 == len)
        tok->match = w[i];
    else if (tok_is_suspect(w[i], w[i + 1]))
        tok->suspect = true;
    tok->state = ST_ATTR_NAME;
}

/* The first byte of a value. */
static void begin_value(struct tokenizer *tok, uint8_t c)
{
    if ((element_rows[tok->elem].flags & ELEM_F_LINK) != 0 && tok_may_be_code(c))
        tok->suspect = true;
}

/*
 * .32, with the common attribute (name="value") taken in one go: the other states are for
 * what is written otherwise, and for what the window cuts.
 */
static size_t st_attr_before(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    for (;;) {
        while (i < len && tok_is_space(w[i]))
            i++;
        if (i == len)
            return i;
        if (w[i] == '>')
            return finish_tag(tok, i + 1);
        if (w[i] == '/') {
            tok->state = ST_SELF_CLOSING;
            return i + 1;
        }
        begin_attr(tok, w, i, len); /* "=" too: 13.2.5.32 begins a name with it */
        i = scan_name(w, i + 1, len, SCAN_ATTR_NAME);
        if (i + 1 >= len || w[i] != '=' || (w[i + 1] != '"' && w[i + 1] != '\''))
            return i;
        tok->state = w[i + 1] == '"' ? ST_VALUE_DOUBLE : ST_VALUE_SINGLE;
        tok->match = 1; /* its first byte comes */
        i += 2;
        if (i == len)
            return i;
        tok->match = 0;
        begin_value(tok, w[i]);
        i = scan_to(w, i, len, w[i - 1]) + 1;
        if (i > len)
            return len;
        tok->state = ST_ATTR_BEFORE;
    }
}

static size_t st_attr_name(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    if (tok->match != 0) {
        tok->suspect = tok->suspect || tok_is_suspect(tok->match, w[i]);
        tok->match = 0;
    }
    i = scan_name(w, i, len, SCAN_ATTR_NAME);
    if (i == len)
        return i;
    if (w[i] == '=') {
        tok->state = ST_VALUE_BEFORE;
        return i + 1;
    }
    tok->state = ST_ATTR_AFTER;
    return i;
}

static size_t st_attr_after(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    while (i < len && tok_is_space(w[i]))
        i++;
    if (i == len)
        return i;
    if (w[i] == '=') {
        tok->state = ST_VALUE_BEFORE;
        return i + 1;
    }
    tok->state = ST_ATTR_BEFORE;
    return i;
}

static size_t st_value_before(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    while (i < len && tok_is_space(w[i]))
        i++;
    if (i == len)
        return i;
    if (w[i] == '>')
        return finish_tag(tok, i + 1);
    if (w[i] == '"' || w[i] == '\'') {
        tok->state = w[i] == '"' ? ST_VALUE_DOUBLE : ST_VALUE_SINGLE;
        tok->match = 1;
        return i + 1;
    }
    tok->state = ST_VALUE_BARE;
    begin_value(tok, w[i]);
    return i;
}

static size_t st_value_quoted(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    if (tok->match != 0)
        begin_value(tok, w[i]);
    tok->match = 0;
    i = scan_to(w, i, len, tok->state == ST_VALUE_DOUBLE ? '"' : '\'');
    if (i == len)
        return len;
    tok->state = ST_VALUE_AFTER;
    return i + 1;
}

static size_t st_value_bare(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    while (i < len && w[i] != '>' && !tok_is_space(w[i]))
        i++;
    if (i < len)
        tok->state = ST_ATTR_BEFORE;
    return i;
}

/* .39: white space, "/", ">" or a missing space: all as before an attribute name. */
static size_t st_value_after(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    (void)w;
    (void)len;
    tok->state = ST_ATTR_BEFORE;
    return i;
}

static size_t st_self_closing(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    (void)len;
    if (w[i] == '>') {
        tok->self_closing = true;
        return finish_tag(tok, i + 1);
    }
    tok->state = ST_ATTR_BEFORE;
    return i;
}

/* The element named behind a prefix, or ELEM_OTHER. */
static enum html_element prefixed_lookup(struct str name)
{
    uint32_t hash = 0;

    for (size_t i = 0; i < name.len; i++) {
        hash = name.ptr[i] == ':' ? 0 : element_hash(hash, (uint8_t)name.ptr[i]);
        if (name.ptr[i] == ':') {
            name = str_slice(name, i + 1, name.len);
            i = (size_t)-1;
        }
    }
    return element_lookup(name, hash);
}

/* The name is complete in the window or in what the caller kept: look it up late. */
static void resolve_name(struct tokenizer *tok, const uint8_t *w)
{
    size_t from = (size_t)(tok->start - tok->pos) + (tok->is_end ? 2 : 1);
    size_t end = (size_t)(tok->name_end - tok->pos);

    if (tok->start < tok->pos) { /* a name longer than what was kept: none that is known */
        tok->elem = ELEM_OTHER;
        return;
    }
    tok->elem = (uint8_t)element_lookup(str_make(w + from, end - from), tok->hash);
    if (tok->prefixes && tok->elem == ELEM_OTHER)
        tok->elem = (uint8_t)prefixed_lookup(str_make(w + from, end - from));
}

static size_t st_tag_name(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    uint32_t hash = tok->hash;

    while (i < len && w[i] != '>' && w[i] != '/' && !tok_is_space(w[i]))
        hash = element_hash(hash, w[i++]);
    tok->hash = hash;
    if (i == len)
        return i;
    tok->name_end = position(tok, i);
    tok->state = ST_ATTR_BEFORE;
    resolve_name(tok, w);
    if (tok->names && !tok->is_end && (element_rows[tok->elem].flags & ELEM_F_STARTS) != 0) {
        tok->event = TOK_NAME;
        return i;
    }
    return st_attr_before(tok, w, i, len);
}

void tok_begin_tag(struct tokenizer *tok, bool is_end)
{
    tok->is_end = is_end;
    tok->hash = 0;
    tok->suspect = false;
    tok->self_closing = false;
    tok->was_long = false;
    tok->limit_from = tok->start;
    tok->attr = 0;
    tok->match = 0;
    tok->state = ST_TAG_NAME;
}

static size_t st_tag_open(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    (void)len;
    if (tok_is_alpha(w[i])) {
        tok_begin_tag(tok, false);
        return i;
    }
    if (w[i] == '/' || w[i] == '!') {
        tok->state = w[i] == '/' ? ST_END_TAG_OPEN : ST_MARKUP;
        tok->match = 0;
        return i + 1;
    }
    tok->state = w[i] == '?' ? ST_BOGUS : ST_TEXT;
    return i;
}

static size_t st_end_tag_open(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    (void)len;
    if (tok_is_alpha(w[i])) {
        tok_begin_tag(tok, true);
        return i;
    }
    if (w[i] == '>')
        return report_other(tok, TOK_EMPTY_END, i + 1);
    tok->state = ST_BOGUS;
    return i;
}

static size_t st_bogus(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    const uint8_t *gt = memchr(w + i, '>', len - i);

    if (gt == NULL)
        return len;
    return report_other(tok, tok->state == ST_DOCTYPE ? TOK_DOCTYPE : TOK_BOGUS,
                        (size_t)(gt - w) + 1);
}

/* .42: what was matched is kept in the upper bits: which word, how much of it. */
static size_t st_markup(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    static const char *const words[3] = {"--", "doctype", "[cdata["};
    unsigned word = tok->match >> 4;
    unsigned done = tok->match & 15;

    (void)len;
    if (done == 0)
        word = w[i] == '-' ? 0 : w[i] == '[' ? 2 : 1;
    if (word == 2 ? w[i] != (uint8_t) "[CDATA["[done]
                  : (uint8_t)ascii_lower((char)w[i]) != (uint8_t)words[word][done]) {
        tok->state = ST_BOGUS;
        return i;
    }
    done++;
    tok->match = (uint8_t)(word << 4 | done);
    if (words[word][done] != '\0')
        return i + 1;
    if (word == 2) {
        tok->event = TOK_CDATA_OPEN;
        tok->state = ST_CDATA_WAIT;
    } else {
        tok->state = word == 0 ? ST_COMMENT_START : ST_DOCTYPE;
    }
    return i + 1;
}

static size_t st_comment_start(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    bool dash = tok->state == ST_COMMENT_START_1;

    (void)len;
    if (w[i] == '>')
        return report_other(tok, TOK_COMMENT, i + 1);
    if (w[i] == '-') {
        tok->state = dash ? ST_COMMENT_END : ST_COMMENT_START_1;
        return i + 1;
    }
    tok->state = ST_COMMENT;
    return i;
}

/* Dashes that end nothing are passed over here; the states begin where one may. */
static size_t st_comment(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    for (;;) {
        i = scan_to(w, i, len, '-') + 1;
        if (i > len)
            return len;
        if (i == len || w[i] == '-')
            break;
    }
    while (i + 2 < len && w[i + 1] == '-') /* a row of dashes: its last two count */
        i++;
    tok->state = ST_COMMENT_DASH;
    return i;
}

static size_t st_comment_end(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    (void)len;
    switch (tok->state) {
    case ST_COMMENT_DASH:
        tok->state = w[i] == '-' ? ST_COMMENT_END : ST_COMMENT;
        return w[i] == '-' ? i + 1 : i;
    case ST_COMMENT_END:
        if (w[i] == '>')
            return report_other(tok, TOK_COMMENT, i + 1);
        if (w[i] == '!')
            tok->state = ST_COMMENT_BANG;
        else if (w[i] != '-')
            tok->state = ST_COMMENT;
        return w[i] == '!' || w[i] == '-' ? i + 1 : i;
    default: /* ST_COMMENT_BANG: "--!" was seen */
        if (w[i] == '>')
            return report_other(tok, TOK_COMMENT, i + 1);
        tok->state = w[i] == '-' ? ST_COMMENT_DASH : ST_COMMENT;
        return w[i] == '-' ? i + 1 : i;
    }
}

static size_t st_cdata_wait(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    (void)w;
    (void)len;
    tok->state = ST_BOGUS; /* nobody answered: the strict reading of HTML content */
    return i;
}

/* Where the state function must stop so that a long tag is noticed at the same byte always. */
static size_t tag_stop(const struct tokenizer *tok, size_t len)
{
    uint64_t stop = tok->limit_from + tok->tag_max - tok->pos;

    if (tok->tag_max == 0 || tok->was_long || tok->state < ST_TAG_NAME ||
        tok->state > ST_SELF_CLOSING)
        return len;
    return stop < len ? (size_t)stop : len;
}

static size_t st_text(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    if (tok->text != TOK_DATA)
        return rawtext_run(tok, w, i, len);
    for (;;) {
        i = scan_to(w, i, len, '<') + 1;
        if (i > len)
            return len;
        if (i == len || tok_is_alpha(w[i]) || w[i] == '/' || w[i] == '!' || w[i] == '?')
            break; /* anything else: the "<" is text */
    }
    tok->start = position(tok, i - 1);
    tok->state = ST_TAG_OPEN;
    if (i + 1 < len && (tok_is_alpha(w[i]) || (w[i] == '/' && tok_is_alpha(w[i + 1])))) {
        size_t stop; /* the states .6 and .7 for what is nearly always there */

        tok_begin_tag(tok, w[i] == '/');
        i += tok->is_end;
        stop = tag_stop(tok, len);
        return i < stop ? st_tag_name(tok, w, i, stop) : i;
    }
    return i;
}

static const state_fn states[ST_COUNT] = {
    [ST_TEXT] = st_text,
    [ST_TAG_OPEN] = st_tag_open,
    [ST_END_TAG_OPEN] = st_end_tag_open,
    [ST_TAG_NAME] = st_tag_name,
    [ST_ATTR_BEFORE] = st_attr_before,
    [ST_ATTR_NAME] = st_attr_name,
    [ST_ATTR_AFTER] = st_attr_after,
    [ST_VALUE_BEFORE] = st_value_before,
    [ST_VALUE_DOUBLE] = st_value_quoted,
    [ST_VALUE_SINGLE] = st_value_quoted,
    [ST_VALUE_BARE] = st_value_bare,
    [ST_VALUE_AFTER] = st_value_after,
    [ST_SELF_CLOSING] = st_self_closing,
    [ST_BOGUS] = st_bogus,
    [ST_MARKUP] = st_markup,
    [ST_COMMENT_START] = st_comment_start,
    [ST_COMMENT_START_1] = st_comment_start,
    [ST_COMMENT] = st_comment,
    [ST_COMMENT_DASH] = st_comment_end,
    [ST_COMMENT_END] = st_comment_end,
    [ST_COMMENT_BANG] = st_comment_end,
    [ST_DOCTYPE] = st_bogus,
    [ST_RAW_LESS] = rawtext_run,
    [ST_RAW_END_OPEN] = rawtext_run,
    [ST_RAW_END_NAME] = rawtext_run,
    [ST_SCRIPT_BANG] = rawtext_run,
    [ST_SCRIPT_WORD] = rawtext_run,
    [ST_CDATA_WAIT] = st_cdata_wait,
};

void tokenizer_init(struct tokenizer *tok)
{
    *tok = (struct tokenizer){0};
}

size_t tokenizer_run(struct tokenizer *tok, const uint8_t *window, size_t from, size_t len)
{
    size_t i = from;

    tok->event = TOK_MORE;
    tok->pos -= from; /* during the run: the position of window[0] */
    while (i < len && tok->event == TOK_MORE) {
        size_t stop;

        if (tok->quiet && tok->state == ST_TEXT && tok->text == TOK_DATA &&
            ((i = skim_run(tok, window, i, len)) == len || tok->event != TOK_MORE))
            break;
        stop = tag_stop(tok, len);
        if (i >= stop) {
            tok->was_long = true;
            tok->event = TOK_LONG;
            break;
        }
        i = states[tok->state](tok, window, i, stop);
    }
    tok->pos += i;
    return i;
}

void tokenizer_take_tag(struct tokenizer *tok, size_t rest, bool self_closing)
{
    tok->pos += rest;
    tok->self_closing = self_closing;
    tok->suspect = true; /* nobody looked: the caller shall */
    tok->event = TOK_TAG;
    tok->state = ST_TEXT;
}

void tokenizer_cdata(struct tokenizer *tok, bool allowed)
{
    tok->state = allowed ? ST_TEXT : ST_BOGUS;
    tok->text = allowed ? TOK_CDATA : tok->text;
    tok->match = 0;
}

void tokenizer_back(struct tokenizer *tok, uint64_t pos)
{
    tok->pos = pos;
    tok->state = ST_TEXT;
    tok->text = TOK_DATA;
    tok->match = 0;
    tok->escape = 0;
    tok->event = TOK_MORE;
}

void tokenizer_set_text(struct tokenizer *tok, enum tok_text text, struct str name)
{
    uint32_t hash = 0;

    tok->text = (uint8_t)text;
    tok->raw_len = (uint8_t)(name.len < TOK_RAW_NAME_MAX ? name.len : TOK_RAW_NAME_MAX);
    for (size_t i = 0; i < tok->raw_len; i++) {
        tok->raw[i] = ascii_lower(name.ptr[i]);
        hash = element_hash(hash, (uint8_t)tok->raw[i]);
    }
    tok->raw_hash = hash;
    tok->raw_elem = (uint8_t)element_lookup(str_make(tok->raw, tok->raw_len), hash);
    tok->match = 0;
    tok->escape = 0;
}

bool tokenizer_is_resting(const struct tokenizer *tok)
{
    return tok->state == ST_TEXT && tok->text == TOK_DATA;
}

bool tokenizer_in_tag(const struct tokenizer *tok)
{
    return tok->state >= ST_TAG_OPEN && tok->state <= ST_SELF_CLOSING;
}

bool tokenizer_is_inside(const struct tokenizer *tok)
{
    return tok->state != ST_TEXT;
}

bool tokenizer_is_streaming(const struct tokenizer *tok)
{
    return tok->state == ST_BOGUS || (tok->state >= ST_COMMENT_START && tok->state <= ST_DOCTYPE);
}

bool tokenizer_in_quotes(const struct tokenizer *tok)
{
    return tok->state == ST_VALUE_DOUBLE || tok->state == ST_VALUE_SINGLE;
}

enum tok_event tokenizer_end(const struct tokenizer *tok)
{
    if (tok->state == ST_DOCTYPE)
        return TOK_DOCTYPE;
    if (tok->state == ST_BOGUS || tok->state == ST_MARKUP || tok->state == ST_CDATA_WAIT)
        return TOK_BOGUS;
    if (tok->state >= ST_COMMENT_START && tok->state <= ST_COMMENT_BANG)
        return TOK_COMMENT;
    if (tok->state >= ST_TAG_NAME && tok->state <= ST_SELF_CLOSING)
        return TOK_TAG; /* 13.2.5: eof-in-tag, nothing is emitted */
    return TOK_MORE;
}
