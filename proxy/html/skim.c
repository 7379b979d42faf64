/*
 * skim.c - the tags that do not matter, and the text between them, in one go.
 *
 *   text <b>text</b> <p class="x" id=y>text <img …
 *   └────────────── skimmed ─────────────────┘└ the state machine's
 *
 * In HTML content only a few dozen element names and a few attributes on any element
 * matter. The rest, nine tags in ten, is passed over here without a state between two
 * bytes. Whatever is out of the ordinary (a tag that the window cuts, a comment, a missing
 * quote, a name or an attribute of interest) is left to the state machine in tokenizer.c,
 * which begins at the same "<" again: so this file can be fast and stay simple.
 */
#include "names_priv.h"
#include "scan_priv.h"
#include "tokenizer_priv.h"

/* In place of an index: why a tag is not passed over. Both are below any index behind a tag. */
enum {
    SKIM_ODD = 0,     /* the state machine shall look */
    SKIM_SUSPECT = 1, /* it has an attribute that matters on any element */
    SKIM_CODE = 2,    /* a value that may be code; matters in a link */
};

/* Behind "=": index behind the value, or why not. */
static size_t skim_value(const uint8_t *w, size_t i, size_t len, bool is_link)
{
    uint8_t quote = w[i];

    if (quote == '"' || quote == '\'') {
        if (i + 1 == len)
            return SKIM_ODD;
        if (is_link & tok_may_be_code(w[i + 1]))
            return SKIM_CODE;
        i = scan_to(w, i + 1, len, quote);
        return i < len ? i + 1 : SKIM_ODD;
    }
    if (tok_is_space(quote))
        return SKIM_ODD;
    if (is_link && tok_may_be_code(quote))
        return SKIM_CODE;
    while (i < len && w[i] != '>' && !tok_is_space(w[i]))
        i++;
    return i < len ? i : SKIM_ODD;
}

/* Behind the name: index behind ">", or why not. */
static size_t skim_attrs(const uint8_t *w, size_t i, size_t len, bool is_link)
{
    while (i < len) {
        if (w[i] == '>')
            return i + 1;
        if (w[i] == '/' || tok_is_space(w[i])) {
            i++;
            continue;
        }
        if (i + 1 < len && tok_is_suspect(w[i], w[i + 1]))
            return SKIM_SUSPECT;
        i = scan_name(w, i + 1, len, SCAN_ATTR_NAME); /* "=" first is part of a name: .32 */
        if (i + 1 >= len)
            return SKIM_ODD;
        if (tok_is_space(w[i])) {
            while (i < len && tok_is_space(w[i]))
                i++;
            if (i < len && w[i] == '=')
                return SKIM_ODD;
        } else if (w[i] == '=') {
            i = skim_value(w, i + 1, len, is_link);
            if (i <= SKIM_CODE)
                return i;
        }
    }
    return SKIM_ODD;
}

/* Reads the name w[name, end) into *tok; what the engine knows of it. */
static unsigned read_name(struct tokenizer *tok, const uint8_t *w, size_t name, size_t end)
{
    uint32_t hash = 0;

    for (size_t k = name; k < end; k++)
        hash = element_hash(hash, w[k]);
    tok->hash = hash;
    tok->elem = (uint8_t)element_lookup((struct str){(const char *)w + name, end - name}, hash);
    return element_rows[tok->elem].flags;
}

static bool is_of_interest(struct tokenizer *tok, const uint8_t *w, size_t name, size_t end)
{
    bool is_end = w[name - 1] == '/';
    const uint32_t *pairs = is_end ? element_ends : element_starts;
    uint32_t pair = pairs[w[name] & 31] >> (w[name + 1] & 31) & 1;

    if ((pair & (end - name > 2)) == 0) /* one or two letters are of no interest by themselves */
        return false;
    return (read_name(tok, w, name, end) & (is_end ? ELEM_F_ENDS : ELEM_F_STARTS)) != 0;
}

/*
 * The start tag at w[i], its name before w[end], is for the caller to look at: TOK_NAME. If only
 * the rest of the tag can tell, for the state machine: so both report the same tags.
 */
static size_t hand_over(struct tokenizer *tok, const uint8_t *w, size_t i, size_t end, size_t why)
{
    unsigned flags = read_name(tok, w, i + 1, end);
    uint32_t hash = tok->hash;

    if ((tok->tag_max != 0 && end - i >= tok->tag_max) ||
        ((flags & ELEM_F_STARTS) == 0 && why != SKIM_SUSPECT &&
         (why != SKIM_CODE || (flags & ELEM_F_LINK) == 0)))
        return i;
    tok->start = tok->pos + i;
    tok_begin_tag(tok, false);
    tok->hash = hash;
    tok->name_end = tok->pos + end;
    tok->state = ST_ATTR_BEFORE;
    tok->event = TOK_NAME;
    return end;
}

/*
 * Maybe one of the elements with ELEM_F_LINK, a and area; without a branch, as nobody can tell
 * which tag comes next. For others of four letters the state machine looks once more.
 */
static bool is_link(const uint8_t *w, size_t name, size_t len)
{
    return ((w[name] | 0x20) == 'a') & ((len == 1) | (len == 4));
}

/*
 * The tag at the "<" in w[*i]: index behind it, or 0 when the state machine shall look: at
 * the same "<" again or, with TOK_NAME, behind the name at *i.
 */
static size_t skim_tag(struct tokenizer *tok, const uint8_t *w, size_t *i, size_t len)
{
    bool is_end = w[*i + 1] == '/';
    size_t name = *i + 1 + is_end;
    size_t end, behind;

    if (!tok_is_alpha(w[name]))
        return 0;
    end = scan_name(w, name + 1, len, SCAN_TAG_NAME);
    if (end == len)
        return 0;
    if (is_of_interest(tok, w, name, end))
        behind = SKIM_ODD;
    else if (w[end] == '>')
        return end + 1;
    else
        behind = skim_attrs(w, end, len, is_link(w, name, end - name));
    if (behind <= SKIM_CODE && !is_end)
        *i = hand_over(tok, w, *i, end, behind);
    return behind > SKIM_CODE ? behind : 0;
}

size_t skim_run(struct tokenizer *tok, const uint8_t *w, size_t i, size_t len)
{
    size_t stop = len > 3 ? len - 3 : 0; /* a "<" with room behind it for "</x" */

    while (i < stop) {
        size_t end;

        i = scan_to(w, i, stop, '<');
        if (i >= stop)
            break;
        end = skim_tag(tok, w, &i, len);
        if (end == 0 || (tok->tag_max != 0 && end - i > tok->tag_max))
            break;
        i = end;
    }
    return i;
}
