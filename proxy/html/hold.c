/*
 * hold.c - elements whose text is held until it is judged, and what other readings hide.
 */
#include <string.h>

#include "rewriter_priv.h"
#include "scan_priv.h"
#include "tokenizer_priv.h"

/* "</name" and what ends a name, or the text ends there: NULL when there is none. */
static const char *find_end_tag(struct str text, const struct hidden *hidden)
{
    size_t need = hidden->len + 2u;

    while (hidden->len > 0 && text.len >= need) {
        const char *lt = memchr(text.ptr, '<', text.len - need + 1);
        size_t at = lt != NULL ? (size_t)(lt - text.ptr) : 0;
        char behind;

        if (lt == NULL)
            return NULL;
        behind = at + need < text.len ? lt[need] : '>';
        if (lt[1] == '/' &&
            str_eq_fold(str_make(lt + 2, hidden->len), str_make(hidden->name, hidden->len)) &&
            (tok_is_space((uint8_t)behind) || behind == '/' || behind == '>'))
            return lt;
        text = str_slice(text, at + 1, text.len);
    }
    return NULL;
}

bool hidden_in(const struct rewriter *rw, struct str text)
{
    return find_end_tag(text, &rw->hidden[HIDDEN_BLIND]) != NULL ||
           find_end_tag(text, &rw->hidden[HIDDEN_SCRIPTING]) != NULL;
}

bool hidden_meet(struct rewriter *rw, struct str piece)
{
    bool meets[HIDDEN_CNT] = {false};

    for (size_t i = 0; i < HIDDEN_CNT; i++) {
        struct hidden *hidden = &rw->hidden[i];
        const char *end = find_end_tag(piece, hidden);

        if (end == NULL)
            continue;
        if (end + hidden->len + 2 == piece.ptr + piece.len ||
            (i == HIDDEN_SCRIPTING && rw->sim.depth > 0) ||
            hidden->len == 6 || /* script, whose text has states of its own */
            !value_is_inert(rw, str_slice(piece, (size_t)(end - piece.ptr), piece.len)))
            return false;
        meets[i] = true;
    }
    for (size_t i = 0; i < HIDDEN_CNT; i++) {
        if (meets[i])
            rw->hidden[i].len = 0;
    }
    return true;
}

/*
 * Reads again from window[at], of what was read up to window[end]; false: too much was, and it
 * would take more than linear time.
 */
static bool go_back(struct rewriter *rw, size_t at, size_t end)
{
    if (rw->reread + (end - at) > (rw->origin + end) * REREAD_FACTOR)
        return false;
    rw->reread += end - at;
    rw->counts.partings++;
    rw->counts.removed++;
    rw->hold.kind = HOLD_NONE;
    tokenizer_back(&rw->tok, rw->origin + at);
    return true;
}

bool hidden_switch(struct rewriter *rw, size_t start, size_t end)
{
    struct str piece = str_make(rw->win + start, end - start);
    const char *lt;
    size_t at;

    if (rw->hidden[HIDDEN_SCRIPTING].len == 0 || rw->hidden[HIDDEN_BLIND].len > 0 ||
        rw->sim.depth > 0 || rw->tail)
        return false;
    lt = find_end_tag(str_slice(piece, 1, piece.len), &rw->hidden[HIDDEN_SCRIPTING]);
    if (lt == NULL)
        return false;
    at = start + (size_t)(lt - piece.ptr);
    if (!go_back(rw, at, end))
        return false;
    out_flush(rw, start);
    rw->sent = at;
    return true;
}

bool hidden_ends_in(struct rewriter *rw, size_t start, size_t end)
{
    struct str piece = str_make(rw->win + start, end - start);
    bool over = piece.len > rw->limits.tag_max;

    if (!hidden_active(rw) || (!over && (!hidden_in(rw, piece) || hidden_meet(rw, piece))))
        return false;
    if (hidden_switch(rw, start, over ? start + rw->limits.tag_max : end))
        return true;
    out_flush(rw, start);
    rw->sent = end;
    rw->counts.removed++;
    return true;
}

/* Some "<" in it would begin a tag, a comment or the like where it is data. */
static bool has_markup(struct str text)
{
    for (size_t i = 0; i + 1 < text.len; i++) {
        const char *lt = memchr(text.ptr + i, '<', text.len - i - 1);

        if (lt == NULL)
            return false;
        i = (size_t)(lt - text.ptr);
        if (ascii_is_alpha(lt[1]) || lt[1] == '/' || lt[1] == '!' || lt[1] == '?')
            return true;
    }
    return false;
}

static struct str window_str(const struct rewriter *rw, size_t from, size_t to)
{
    return str_make(rw->win + from, to - from);
}

/* Text of the kind `kind` between two pieces of markup. */
static bool add_text(struct buf *out, struct str text, uint8_t kind)
{
    return kind == TOK_CDATA ? buf_append_str(out, text) : tag_text_decode(text, out);
}

/* The markup that has just ended at tok->pos, in the tree below the held element. */
static void follow(struct tokenizer *tok, struct treesim *sim)
{
    const struct sim_tag st = {
        .hash = tok->hash, .elem = tok->elem, .self_closing = tok->self_closing};

    if (tok->event == TOK_CDATA_OPEN)
        tokenizer_cdata(tok, true);
    else if (tok->event == TOK_TAG && tok->is_end)
        treesim_end(sim, &st);
    else if (tok->event == TOK_TAG)
        (void)treesim_start(sim, &st);
}

/* Where the text ends before what ended at i or was left unfinished there. */
static size_t text_end(const struct tokenizer *tok, size_t i)
{
    if (tok->event == TOK_CDATA_END)
        return i - 3;
    return tok->event != TOK_MORE || tokenizer_in_tag(tok) ? (size_t)tok->start : i;
}

/*
 * The child text content (DOM 4.11) of a script or style in foreign content: sections
 * unwrapped, references decoded, without comments and without what is in inner elements.
 */
static bool foreign_text(const struct rewriter *rw, struct str raw, struct buf *out)
{
    struct treesim sim = rw->sim;
    struct tokenizer tok;
    size_t from = 0;
    bool ok = true;

    tokenizer_init(&tok);
    sim.depth = sim.xml ? 0 : rw->hold.depth + 1;
    for (size_t i = 0; i < raw.len && ok;) {
        bool child = sim.xml || sim.depth == rw->hold.depth + 1;
        uint8_t kind = tok.text;
        size_t end;

        i = tokenizer_run(&tok, (const uint8_t *)raw.ptr, i, raw.len);
        end = text_end(&tok, i);
        ok = !child || add_text(out, str_slice(raw, from, end - from), kind);
        follow(&tok, &sim);
        from = i;
    }
    return ok;
}

/* The next piece of markup in text, from *i on; *i moves behind it. */
static struct tokenizer *next_markup(struct tokenizer *tok, struct str text, size_t *i)
{
    if (tok->event == TOK_CDATA_OPEN)
        tokenizer_cdata(tok, true);
    tok->event = TOK_MORE;
    if (*i < text.len)
        *i = tokenizer_run(tok, (const uint8_t *)text.ptr, *i, text.len);
    return tok;
}

/* What was changed in the text of a style is in no tag or comment: the markup is the same. */
static bool same_markup(struct str before, struct str after)
{
    struct tokenizer a, b;
    size_t i = 0, k = 0;

    tokenizer_init(&a);
    tokenizer_init(&b);
    do {
        const struct tokenizer *x = next_markup(&a, before, &i);
        const struct tokenizer *y = next_markup(&b, after, &k);

        if (x->event != y->event || x->state != y->state ||
            (x->event != TOK_CDATA_END && x->pos - x->start != y->pos - y->start))
            return x->event == TOK_MORE && y->event == TOK_MORE && x->state == y->state &&
                   !tokenizer_is_inside(x);
    } while (a.event != TOK_MORE);
    return true;
}

static bool drops_script(struct rewriter *rw, struct str text)
{
    return judge_inline(rw, text, rw->hold.type, "script", "") == HTML_DROP;
}

static bool drops_foreign_script(struct rewriter *rw, struct str raw)
{
    struct buf text;
    bool drop;

    buf_init(&text, rw->limits.inline_max * 2);
    drop = !foreign_text(rw, raw, &text) || drops_script(rw, buf_str(&text)) ||
           (!str_eq(raw, buf_str(&text)) && drops_script(rw, raw));
    buf_free(&text);
    return drop;
}

/* The held start tag leaves: it stays, without its cuts. */
static void send_start(struct rewriter *rw)
{
    if (rw->hold.edited)
        out_edited(rw, out_index(rw, rw->hold.start));
    rw->hold.edited = false;
}

/* Blanks URLs in place; true when the element has to go instead (always if `whole`). */
static bool drops_style(struct rewriter *rw, size_t from, size_t to, bool whole)
{
    struct str raw = window_str(rw, from, to);
    struct buf out, text;
    bool drop = false;

    buf_init(&out, rw->limits.inline_max * 2);
    buf_init(&text, rw->limits.inline_max * 2);
    if (value_css(rw, ELEM_STYLE, ATTR_OTHER, raw, &out)) {
        drop = whole || (rw->hold.kind == HOLD_SVG_STYLE && !same_markup(raw, buf_str(&out)));
        if (!drop) {
            send_start(rw);
            out_flush(rw, from);
            out_send(rw, buf_str(&out));
            rw->sent = to;
        }
    }
    if (rw->hold.kind == HOLD_SVG_STYLE && rw->sent != to && !drop) {
        buf_clear(&out);
        drop = !foreign_text(rw, raw, &text) ||
               (!str_eq(raw, buf_str(&text)) &&
                value_css(rw, ELEM_STYLE, ATTR_OTHER, buf_str(&text), &out));
    }
    buf_free(&out);
    buf_free(&text);
    return drop;
}

/* The characters of a section as plain text: the same text in the tree, markup to no reading. */
static void send_as_text(struct rewriter *rw, struct str text)
{
    const uint8_t *bytes = (const uint8_t *)text.ptr;

    for (size_t i = 0; i < text.len;) {
        size_t at = scan_any(bytes, i, text.len, "<&", 2);

        out_send(rw, str_slice(text, i, at - i));
        if (at < text.len)
            out_send(rw, text.ptr[at] == '<' ? STR("&lt;") : STR("&amp;"));
        i = at + 1;
    }
}

/*
 * A section in which the tree-blind reading would find markup. Where that is harmless and
 * ends with the section, it stays; else it becomes plain text. XML has no such reading.
 */
static void finish_cdata(struct rewriter *rw, size_t text, size_t end)
{
    size_t start = out_index(rw, rw->hold.start);
    bool ended = rw->tok.event == TOK_CDATA_END;

    if (rw->sim.xml || !has_markup(window_str(rw, text, end)))
        return;
    if (!hidden_in(rw, window_str(rw, text, end)) && (ended || rw->ended) &&
        value_is_inert(rw, window_str(rw, start, end)))
        return;
    out_flush(rw, start);
    out_send(rw, STR("<![CDATA[]]>")); /* nothing, but no reference or tag goes on behind it */
    send_as_text(rw, window_str(rw, text, ended ? end - 3 : end));
    rw->sent = end;
}

/* An import map that stays, with the owner's text in place of its own. */
static bool text_stands_in(struct rewriter *rw, size_t text_from, size_t text_end)
{
    struct str text = rw->note.instead;

    if (rw->hold.kind != HOLD_SCRIPT || rw->hold.type != HTML_SCRIPT_IMPORTMAP || text.len == 0 ||
        hidden_active(rw) || str_find_char(text, '<') >= 0)
        return false;
    send_start(rw);
    out_flush(rw, text_from);
    out_send(rw, text);
    rw->sent = text_end;
    rw->counts.urls_blanked++;
    return true;
}

static bool is_ignored(const struct rewriter *rw, uint8_t elem)
{
    return rw->sim.columns > 0 || (rw->sim.in_select && elem != ELEM_SCRIPT) ||
           (rw->sim.in_frameset && elem != ELEM_NOFRAMES);
}

bool hold_unwraps(const struct rewriter *rw, uint8_t elem)
{
    return elem != ELEM_SCRIPT && is_ignored(rw, elem);
}

/* The start tag goes, and the text is read again as markup. */
static bool unwrap(struct rewriter *rw, size_t text)
{
    if (rw->hold.kind == HOLD_SVG_STYLE || !hold_unwraps(rw, rw->hold.elem) ||
        !go_back(rw, text, out_index(rw, rw->tok.pos)))
        return false;
    out_flush(rw, out_index(rw, rw->hold.start));
    rw->sent = text;
    if (rw->sim.depth > rw->hold.depth)
        rw->sim.depth = rw->hold.depth;
    out_comment(rw);
    return true;
}

/*
 * A script in svg in a select: by the old rules there is no svg, and its text goes on to the
 * next </script>. Where that is not its end here, it goes.
 */
static bool parts_in_select(const struct rewriter *rw, struct str text)
{
    bool own = rw->tok.event == TOK_TAG && rw->tok.is_end && rw->tok.elem == ELEM_SCRIPT;

    return rw->hold.kind == HOLD_SVG_SCRIPT && rw->sim.in_select &&
           (!(own || rw->ended) || has_markup(text));
}

static bool must_drop(struct rewriter *rw, size_t text_from, size_t text_end)
{
    struct str text = window_str(rw, text_from, text_end);
    bool ignored = is_ignored(rw, rw->hold.elem);
    bool is_style = rw->hold.kind == HOLD_STYLE || rw->hold.kind == HOLD_SVG_STYLE;

    if (rw->hold.doomed) {
        rw->note = rw->hold.note;
        return true;
    }
    if (rw->hold.broken || (hidden_in(rw, text) && is_style) ||
        (ignored && has_markup(text) && !value_is_inert(rw, text)))
        return true;
    if (is_style)
        return drops_style(rw, text_from, text_end, ignored && has_markup(text));
    if (rw->hold.kind == HOLD_SCRIPT
            ? drops_script(rw, text)
            : rw->hold.kind == HOLD_SVG_SCRIPT && drops_foreign_script(rw, text))
        return !text_stands_in(rw, text_from, text_end);
    if (parts_in_select(rw, text))
        return true;
    return hidden_in(rw, text) && !hidden_meet(rw, text); /* last: what meets must stay */
}

/* A start tag that goes ends no select: textarea, and what stood in foreign content. */
static void restore_select(struct rewriter *rw)
{
    rw->sim.in_select = rw->hold.in_select;
    rw->sim.select_level = rw->hold.select_level;
}

/* The start tag of a foreign element leaves nothing behind: not on the stack, not hidden. */
static void forget_start(struct rewriter *rw)
{
    if (rw->hold.kind != HOLD_SVG_SCRIPT && rw->hold.kind != HOLD_SVG_STYLE)
        return;
    if (rw->sim.depth > rw->hold.depth)
        rw->sim.depth = rw->hold.depth;
    if (rw->hold.sets_blind)
        rw->hidden[HIDDEN_BLIND].len = 0;
}

/*
 * The held text ends at text_end; end is behind its end tag, or text_end without one.
 * False: it was over the limit, and the tag that ended it goes with it, or it is read again
 * from a place inside it. The limit is
 * compared with the position of the event, so that it does not depend on the windows.
 */
bool hold_finish(struct rewriter *rw, size_t text_end, size_t end)
{
    size_t text = out_index(rw, rw->hold.text);

    rw->note = (struct html_note){0};
    rw->hold.dropped = false;
    if (rw->tok.pos - rw->hold.start > rw->limits.inline_max) {
        bool section = rw->hold.kind == HOLD_CDATA;

        hold_over(rw, out_index(rw, rw->tok.pos));
        rw->skip = rw->skip_cdata = false;
        if (!section)
            out_comment(rw);
        return false;
    }
    if (rw->hold.kind == HOLD_CDATA) {
        finish_cdata(rw, text, end);
    } else if (must_drop(rw, text, text_end)) {
        restore_select(rw);
        if (hidden_switch(rw, out_index(rw, rw->hold.start), text_end) || unwrap(rw, text))
            return false;
        out_flush(rw, out_index(rw, rw->hold.start));
        rw->sent = end;
        rw->hold.dropped = true;
        rw->counts.removed++;
        out_stand(rw, (enum stand)rw->hold.stand);
        out_comment(rw);
        forget_start(rw);
    } else {
        send_start(rw);
    }
    rw->hold.kind = HOLD_NONE;
    return true;
}

void hold_over(struct rewriter *rw, size_t len)
{
    rw->note = (struct html_note){0};
    out_flush(rw, out_index(rw, rw->hold.start));
    rw->sent = len;
    rw->counts.over_inline++;
    rw->counts.removed++;
    if (rw->hold.kind != HOLD_CDATA) {
        restore_select(rw);
        out_stand(rw, (enum stand)rw->hold.stand);
    }
    forget_start(rw);
    rw->skip = true;
    rw->skip_cdata = rw->hold.kind == HOLD_CDATA;
    rw->hold.kind = HOLD_NONE;
}
