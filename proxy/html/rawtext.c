/*
 * rawtext.c - texts that are not data: RCDATA, RAWTEXT, script data, PLAINTEXT, CDATA.
 *
 * Script data has three levels (HTML 13.2.5.15-31), kept in tok->escape:
 *   0 plain      "<!--" leads to 1
 *   1 escaped    "<script" + [ws / >] leads to 2, "-->" back to 0, "</script" ends the text
 *   2 double     "</script" + [ws / >] leads back to 1, "-->" back to 0
 * tok->match counts the dashes before the current byte on levels 1 and 2.
 */
#include <string.h>

#include "names_priv.h"
#include "tokenizer_priv.h"

static bool ends_name(uint8_t c)
{
    return tok_is_space(c) || c == '/' || c == '>';
}

static size_t begin_less(struct tokenizer *tok, size_t i)
{
    tok->start = tok->pos + i;
    tok->state = ST_RAW_LESS;
    return i + 1;
}

/* .20-22, .27-29: escaped text; dashes are counted, "-->" leaves. */
static size_t run_escaped(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    for (; i < len; i++) {
        if (w[i] == '<')
            return begin_less(tok, i);
        if (w[i] == '-') {
            tok->match = tok->match < 2 ? tok->match + 1 : 2;
            continue;
        }
        if (w[i] == '>' && tok->match == 2) {
            tok->escape = 0;
            tok->match = 0;
            return i + 1;
        }
        tok->match = 0;
    }
    return i;
}

/* 13.2.5.69-71: "]]>", any number of brackets before it. */
static size_t run_cdata(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    for (; i < len; i++) {
        if (w[i] == ']') {
            tok->match = tok->match < 2 ? tok->match + 1 : 2;
            continue;
        }
        if (w[i] == '>' && tok->match == 2) {
            tok->match = 0;
            tok->text = TOK_DATA;
            tok->event = TOK_CDATA_END;
            return i + 1;
        }
        tok->match = 0;
    }
    return i;
}

static size_t run_plain(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    const uint8_t *lt;

    if (tok->text == TOK_PLAINTEXT)
        return len;
    if (tok->text == TOK_CDATA)
        return run_cdata(tok, w, i, len);
    if (tok->escape > 0)
        return run_escaped(tok, w, i, len);
    do { /* a "<" that begins nothing is passed over, if the window shows it */
        lt = memchr(w + i, '<', len - i);
        if (lt == NULL)
            return len;
        i = (size_t)(lt - w) + 1;
    } while (i < len && w[i] != '/' && w[i] != '!');
    return begin_less(tok, i - 1);
}

static size_t back_to_text(struct tokenizer *tok, size_t i)
{
    tok->state = ST_TEXT;
    tok->match = 0;
    return i;
}

/* .12 .15 .23 .30: after "<". */
static size_t run_less(struct tokenizer *tok, const uint8_t *w, size_t i)
{
    tok->match = 0;
    if (w[i] == '/') {
        /* on level 2 an end tag only leads back to level 1: .30 */
        tok->state = tok->escape == 2 ? ST_SCRIPT_WORD : ST_RAW_END_OPEN;
        return i + 1;
    }
    if (tok->text == TOK_SCRIPT && tok->escape == 0 && w[i] == '!') {
        tok->state = ST_SCRIPT_BANG;
        return i + 1;
    }
    if (tok->escape == 1 && tok_is_alpha(w[i])) {
        tok->state = ST_SCRIPT_WORD;
        return i;
    }
    return back_to_text(tok, i);
}

/* .18-19: "<!--" enters level 1 with two dashes seen (so "<!-->" leaves at once). */
static size_t run_bang(struct tokenizer *tok, const uint8_t *w, size_t i)
{
    if (w[i] != '-')
        return back_to_text(tok, i);
    if (++tok->match < 2)
        return i + 1;
    tok->escape = 1;
    tok->state = ST_TEXT;
    return i + 1;
}

/* .26 .31: "script" behind "<" enters level 2, behind "</" leaves it. */
static size_t run_word(struct tokenizer *tok, const uint8_t *w, size_t i)
{
    static const char word[] = "script";

    if (tok->match < 6 && ascii_lower((char)w[i]) == word[tok->match]) {
        tok->match++;
        return i + 1;
    }
    if (tok->match == 6 && ends_name(w[i])) {
        tok->escape = tok->escape == 1 ? 2 : 1;
        return back_to_text(tok, i + 1);
    }
    return back_to_text(tok, i);
}

/* .11 .14 .17: the appropriate end tag's name, then what ends a name. */
static size_t run_end_name(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    while (i < len && tok->match < tok->raw_len &&
           ascii_lower((char)w[i]) == tok->raw[tok->match]) {
        tok->match++;
        i++;
    }
    if (i == len)
        return i;
    if (tok->match < tok->raw_len || !ends_name(w[i]))
        return back_to_text(tok, i);
    tok->is_end = true;
    tok->suspect = false;
    tok->self_closing = false;
    tok->was_long = false;
    tok->limit_from = tok->start;
    tok->attr = 0;
    tok->name_end = tok->pos + i;
    tok->hash = tok->raw_hash;
    tok->match = 0;
    tok->state = ST_ATTR_BEFORE;
    return i;
}

size_t rawtext_run(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    switch (tok->state) {
    case ST_RAW_LESS:
        return run_less(tok, w, i);
    case ST_RAW_END_OPEN:
        if (!tok_is_alpha(w[i]))
            return back_to_text(tok, i);
        tok->state = ST_RAW_END_NAME;
        return i;
    case ST_RAW_END_NAME:
        return run_end_name(tok, w, i, len);
    case ST_SCRIPT_BANG:
        return run_bang(tok, w, i);
    case ST_SCRIPT_WORD:
        return run_word(tok, w, i);
    default:
        return run_plain(tok, w, i, len);
    }
}
