/*
 * rewriter.c - contract in consentd/rewriter.h, inside in rewriter_priv.h.
 *
 *   window: | sent (left or gone) | kept: an unfinished tag or held element | scanned |
 *                                 ^ rw->sent                                          ^ len
 *
 * The window is the caller's chunk itself when nothing was kept before, else the carry
 * buffer, filled in small pieces until what was kept is finished and the chunk can be
 * used directly again. Bytes leave as slices of the window, cut at what is dropped.
 */
#include "consentd/rewriter.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"
#include "rewriter_priv.h"
#include "tokenizer_priv.h"

#define PIECE_MAX      ((size_t)8 << 10)
#define PIECE_MIN      ((size_t)1 << 10)
#define ATTRS_FIRST    32 /* attributes that there is room for at first */
#define KEEP_SMALL(rw) ((rw)->limits.tag_max + PIECE_MIN)

/* --- tags ------------------------------------------------------------------------- */

/* A raw text that goes, but may hide where another reading ends. */
static void hold_doomed(struct rewriter *rw, const struct judged *j)
{
    rw->hold = (struct hold){.kind = HOLD_RAW,
                             .elem = (uint8_t)j->elem,
                             .doomed = true,
                             .note = rw->note,
                             .depth = rw->sim.depth,
                             .in_select = rw->sim.in_select,
                             .select_level = rw->sim.select_level,
                             .start = rw->tok.start,
                             .text = rw->tok.pos};
}

/* Data for it may stand in it, as a script of JSON. */
static bool is_amp(enum html_element elem)
{
    return (element_rows[elem].flags & ELEM_F_VENDOR) != 0 || elem == ELEM_AMP_PIXEL;
}

static void drop_tag(struct rewriter *rw, const struct judged *j, size_t start, size_t end)
{
    bool raw = (element_rows[j->elem].flags & ELEM_F_RAW) != 0 && j->space == SIM_HTML &&
               !rw->sim.xml && j->elem != ELEM_NOSCRIPT && !hold_unwraps(rw, (uint8_t)j->elem);
    const struct sim_tag st = {.elem = (uint8_t)j->elem};

    if (raw && rw->hidden[HIDDEN_SCRIPTING].len > 0 && start < end) {
        tokenizer_set_text(&rw->tok, treesim_text_of(j->elem), str_c(element_rows[j->elem].name));
        hold_doomed(rw, j);
        return;
    }
    out_flush(rw, start);
    rw->sent = end;
    rw->counts.removed++;
    if (treesim_breaks_out(&rw->sim, &st))
        out_stand(rw, STAND_HEAD);
    out_stand(rw, body_stand_for(rw, j));
    if (!rw->sim.frameset_void && treesim_voids_frameset(&st))
        rw->frameset_gone = true;
    rw->amp_gone = is_amp(j->elem);
    if (!raw) {
        out_comment(rw);
        return;
    }
    tokenizer_set_text(&rw->tok, treesim_text_of(j->elem), str_c(element_rows[j->elem].name));
    rw->skip = true; /* the comment comes with the end tag */
}

static void hide(struct hidden *hidden, enum html_element elem)
{
    if (hidden->len > 0)
        return;
    hidden->len = element_rows[elem].len;
    memcpy(hidden->name, element_rows[elem].name, hidden->len);
}

static enum hold_kind hold_for(struct rewriter *rw, const struct judged *j, bool foreign)
{
    struct str src;
    bool mixed =
        hidden_active(rw) || rw->sim.in_select || rw->sim.in_frameset || rw->sim.columns > 0;

    if (j->elem == ELEM_STYLE)
        return foreign ? HOLD_SVG_STYLE : HOLD_STYLE;
    if (j->elem == ELEM_SCRIPT && judge_script_type(rw, j, &rw->hold.type) &&
        (foreign || !judge_find(rw, j, ATTR_SRC, &src)))
        return foreign ? HOLD_SVG_SCRIPT : HOLD_SCRIPT;
    return mixed && !foreign ? HOLD_RAW : HOLD_NONE;
}

/* Behind a start tag that stays and whose element's text is not plain data everywhere. */
static void enter_raw(struct rewriter *rw, const struct judged *j, bool foreign, unsigned depth)
{
    bool was_blind = rw->hidden[HIDDEN_BLIND].len > 0;
    enum hold_kind kind;

    if (!foreign && j->elem == ELEM_NOSCRIPT) {
        hide(&rw->hidden[HIDDEN_SCRIPTING], ELEM_NOSCRIPT);
        return;
    }
    kind = rw->hold.kind == HOLD_NONE ? hold_for(rw, j, foreign) : HOLD_NONE;
    if (foreign && j->elem != ELEM_PLAINTEXT && !rw->sim.xml)
        hide(&rw->hidden[HIDDEN_BLIND], j->elem);
    if (!foreign)
        tokenizer_set_text(&rw->tok, treesim_text_of(j->elem), str_c(element_rows[j->elem].name));
    if (kind == HOLD_NONE || (foreign && rw->tok.self_closing))
        return;
    rw->hold.kind = kind;
    rw->hold.broken = rw->hold.doomed = false;
    rw->hold.edited = rw->cut_cnt > 0;
    rw->hold.elem = (uint8_t)j->elem;
    rw->hold.start = rw->tok.start;
    rw->hold.text = rw->tok.pos;
    rw->hold.depth = depth;
    rw->hold.sets_blind = foreign && !was_blind;
}

void rewriter_parse(struct rewriter *rw, struct str tag, uint32_t name_end, struct tag_end *end_out)
{
    for (;;) {
        rw->attr_cnt = tag_parse(tag, name_end, rw->attrs, rw->attrs_cap, end_out);
        if (rw->attr_cnt <= rw->attrs_cap || rw->attrs_cap == rw->limits.attrs_max)
            break;
        rw->attrs_cap *= 2;
        if (rw->attrs_cap > rw->limits.attrs_max)
            rw->attrs_cap = rw->limits.attrs_max;
        rw->attrs = mem_realloc(rw->attrs, rw->attrs_cap * sizeof(*rw->attrs));
    }
    if (rw->sim.xml)
        xml_name_attrs(rw, tag);
}

/* font and annotation-xml decide by their attributes. */
static void read_deciding(struct rewriter *rw, const struct judged *j, struct sim_tag *st)
{
    struct str text;

    if (j->elem != ELEM_FONT && j->elem != ELEM_ANNOTATION_XML)
        return;
    rewriter_parse(rw, j->tag, j->name_end, NULL);
    if (rw->attr_cnt > rw->limits.attrs_max)
        rw->attr_cnt = rw->limits.attrs_max;
    st->font_breaks = judge_find(rw, j, ATTR_COLOR, &text) || judge_find(rw, j, ATTR_FACE, &text) ||
                      judge_find(rw, j, ATTR_SIZE, &text);
    st->html_content =
        judge_find(rw, j, ATTR_ENCODING, &text) &&
        (str_eq_fold_c(text, "text/html") || str_eq_fold_c(text, "application/xhtml+xml"));
}

static bool needs_judgement(const struct rewriter *rw, const struct judged *j)
{
    if (rw->tok.suspect || (element_rows[j->elem].flags & ELEM_F_JUDGE) != 0)
        return true;
    if (j->tag.len <= j->name_end + 1) /* no attributes */
        return false;
    return j->space == SIM_MATH ||
           (j->space == SIM_SVG && (memchr(j->tag.ptr, '(', j->tag.len) != NULL ||
                                    memchr(j->tag.ptr, '&', j->tag.len) != NULL));
}

/* An end tag that another reading waits for and that no cut takes away. */
static bool still_hides(const struct rewriter *rw, const struct judged *j)
{
    size_t from = 2;

    for (size_t i = 0; i < rw->cut_cnt; i++) {
        if (hidden_in(rw, str_slice(j->tag, from, rw->cuts[i].start - from)))
            return true;
        from = rw->cuts[i].end;
    }
    return hidden_in(rw, str_slice(j->tag, from, j->tag.len));
}

/* The verdict on a start tag, and what another reading finds inside the tag. */
static enum verdict_kind judge_start(struct rewriter *rw, struct judged *j)
{
    bool hiding = hidden_active(rw) && hidden_in(rw, str_slice(j->tag, 2, j->tag.len));
    enum verdict_kind verdict = TAG_KEEP;

    rw->cut_cnt = 0;
    if (needs_judgement(rw, j))
        verdict = judge_tag(rw, j);
    if (!hiding || verdict == TAG_DROP || verdict == TAG_DROP_RAW ||
        (verdict == TAG_KEEP && (element_rows[j->elem].flags & ELEM_F_STARTS) == 0 &&
         hidden_meet(rw, j->tag)))
        return verdict;
    j->hiding = true;
    verdict = judge_tag(rw, j);
    if ((verdict == TAG_KEEP || verdict == TAG_EDIT) && still_hides(rw, j))
        return TAG_DROP_RAW;
    return verdict;
}

/* A tag that goes although nothing in it is denied. */
static bool is_remnant(struct rewriter *rw, const struct judged *j)
{
    if (j->elem == ELEM_FRAMESET)
        return rw->frameset_gone && !rw->sim.frameset_void && body_in_plain_html(rw);
    if (j->elem == ELEM_SCRIPT && rw->tok.self_closing && rw->sim.in_select &&
        j->space != SIM_HTML && !rw->sim.xml)
        return true; /* by the old rules of select it is no svg script, and does not end here */
    return rw->amp_gone && j->elem == ELEM_SCRIPT;
}

static enum verdict_kind verdict_on(struct rewriter *rw, struct judged *j)
{
    enum verdict_kind verdict = is_remnant(rw, j) ? TAG_DROP : judge_start(rw, j);

    if (verdict == TAG_DROP_RAW && j->elem == ELEM_SCRIPT && j->space != SIM_HTML &&
        !rw->tok.self_closing && !j->hiding)
        return TAG_DOOM;
    return verdict;
}

static void on_start(struct rewriter *rw, size_t start, size_t end)
{
    struct sim_tag st = {
        .hash = rw->tok.hash, .elem = rw->tok.elem, .self_closing = rw->tok.self_closing};
    struct judged j = {.tag = str_make(rw->win + start, end - start),
                       .name_end = (uint32_t)(rw->tok.name_end - rw->tok.start),
                       .elem = rw->tok.elem};
    bool amp_gone = rw->amp_gone, in_select = rw->sim.in_select;
    unsigned depth = rw->sim.depth, select_level = rw->sim.select_level;
    enum stand stand = STAND_NONE;
    enum verdict_kind verdict;
    enum sim_result result;

    rw->note = (struct html_note){0};
    read_deciding(rw, &j, &st);
    j.space = rw->sim.xml ? SIM_SVG : treesim_space(&rw->sim, &st);
    verdict = verdict_on(rw, &j);
    rw->amp_gone = false;
    if ((j.hiding || verdict < TAG_EDIT) && hidden_switch(rw, start, end))
        return;
    if (verdict == TAG_DROP || verdict == TAG_DROP_RAW) {
        drop_tag(rw, &j, start, end);
        rw->amp_gone = rw->amp_gone || (amp_gone && j.elem == ELEM_SCRIPT);
        return;
    }
    if ((element_rows[j.elem].flags & ELEM_F_RAW) != 0)
        stand = body_stand_for(rw, &j);
    rw->sim.aside = rw->hidden[HIDDEN_SCRIPTING].len > 0;
    result = treesim_start(&rw->sim, &st);
    if (result == SIM_DROP) {
        rw->counts.over_depth++;
        drop_tag(rw, &j, start, end);
        return;
    }
    if ((element_rows[j.elem].flags & ELEM_F_RAW) != 0) {
        rw->cut_cnt = verdict == TAG_EDIT ? rw->cut_cnt : 0;
        enter_raw(rw, &j, result == SIM_DATA, depth);
        rw->hold.stand = (uint8_t)stand;
        rw->hold.in_select = in_select;
        rw->hold.select_level = select_level;
        rw->hold.doomed = verdict == TAG_DOOM;
        rw->hold.note = rw->note;
    }
    if (verdict == TAG_EDIT && rw->hold.kind == HOLD_NONE)
        out_edited(rw, start);
    if (j.elem == ELEM_BODY && rw->waits && body_in_plain_html(rw))
        body_inject(rw, end);
}

static void reveal(struct rewriter *rw, struct str name)
{
    for (size_t i = 0; i < HIDDEN_CNT; i++) {
        struct hidden *hidden = &rw->hidden[i];

        if (hidden->len > 0 && str_eq_fold(name, str_make(hidden->name, hidden->len)))
            hidden->len = 0;
    }
}

/* A foreign script or style is held, in which this tag may be, and it is not too long yet. */
static bool may_hold_on(const struct rewriter *rw)
{
    return (rw->hold.kind == HOLD_SVG_SCRIPT || rw->hold.kind == HOLD_SVG_STYLE) && !rw->sim.xml &&
           rw->tok.pos - rw->hold.start <= rw->limits.inline_max;
}

/* The end tag of another element ends the held foreign element too. */
static bool closes_held(const struct rewriter *rw, const struct sim_tag *st)
{
    struct treesim after = rw->sim;

    treesim_end(&after, st);
    return after.depth <= rw->hold.depth || after.in_select != rw->sim.in_select ||
           after.templates != rw->sim.templates;
}

/* The end tag of what was held. It stays in its short form where another reading ends in it. */
static void own_end(struct rewriter *rw, size_t start, size_t end)
{
    const struct sim_tag st = {.hash = rw->tok.hash, .elem = rw->tok.elem};
    size_t name_end = out_index(rw, rw->tok.name_end);
    struct str attrs = str_make(rw->win + name_end, end - name_end);

    treesim_end(&rw->sim, &st);
    if (rw->hold.dropped) /* no reading sees this end tag */
        return;
    reveal(rw, str_make(rw->win + start + 2, name_end - start - 2));
    if (!hidden_active(rw) || !hidden_in(rw, attrs) ||
        hidden_meet(rw, str_make(rw->win + start, end - start)))
        return;
    out_flush(rw, name_end);
    out_send(rw, STR(">"));
    rw->sent = name_end;
    if (!hidden_switch(rw, name_end, end)) {
        rw->sent = end;
        rw->counts.removed++;
    }
}

static void on_end(struct rewriter *rw, size_t start, size_t end)
{
    const struct sim_tag st = {.hash = rw->tok.hash, .elem = rw->tok.elem};
    size_t name_end = out_index(rw, rw->tok.name_end);
    struct str name = str_make(rw->win + start + 2, name_end - start - 2);

    if (rw->hold.kind != HOLD_NONE) {
        bool own = rw->tok.elem == rw->hold.elem;

        if (!own && may_hold_on(rw) && !closes_held(rw, &st)) {
            treesim_end(&rw->sim, &st);
            return;
        }
        rw->hold.broken = !own && (!closes_held(rw, &st) ||
                                   hidden_in(rw, str_make(rw->win + name_end, end - name_end)));
        if (!hold_finish(rw, start, own ? end : start))
            return;
        if (own) {
            own_end(rw, start, end);
            return;
        }
    }
    reveal(rw, name);
    if (rw->amp_gone && is_amp(rw->tok.elem)) {
        out_flush(rw, start);
        rw->sent = end;
        rw->amp_gone = false;
        return;
    }
    if (hidden_active(rw) && hidden_in(rw, str_make(rw->win + name_end, end - name_end)) &&
        !hidden_meet(rw, str_make(rw->win + start, end - start))) {
        if (hidden_switch(rw, start, end))
            return;
        out_flush(rw, start);
        rw->sent = end;
        rw->counts.removed++;
        return;
    }
    rw->sim.aside = rw->hidden[HIDDEN_SCRIPTING].len > 0;
    treesim_end(&rw->sim, &st);
}

/* The end of what is being dropped: a raw text element or a tag that is too long. */
static void end_skip(struct rewriter *rw, size_t end)
{
    bool was_tag = rw->skip_tag;
    struct judged j = {.elem = rw->tok.elem};

    rw->sent = end;
    rw->skip = rw->skip_tag = rw->skip_cdata = false;
    if (was_tag && rw->tok.event == TOK_TAG && rw->tok.is_end) {
        out_send(rw, STR("</")); /* it may end a raw text: the short form stays */
        out_send(rw, str_c(element_rows[j.elem].name));
        out_send(rw, j.elem != ELEM_OTHER ? STR(">") : STR(" >"));
        return;
    }
    if (was_tag && rw->tok.event == TOK_TAG) {
        drop_tag(rw, &j, end, end);
        return;
    }
    if (rw->tok.event == TOK_TAG)
        out_comment(rw);
}

/* A tag that may stay inside a held foreign script or style: an element in its text. */
static bool joins_held(struct rewriter *rw, struct sim_tag *st, size_t start, size_t end)
{
    struct judged j = {.tag = str_make(rw->win + start, end - start),
                       .name_end = (uint32_t)(rw->tok.name_end - rw->tok.start),
                       .elem = st->elem};

    if (!may_hold_on(rw) || st->elem == ELEM_SCRIPT || st->elem == ELEM_STYLE || rw->hold.edited ||
        hidden_in(rw, j.tag)) /* edited: rw->cuts are its own */
        return false;
    read_deciding(rw, &j, st);
    j.space = treesim_space(&rw->sim, st);
    return j.space != SIM_HTML && verdict_on(rw, &j) == TAG_KEEP &&
           treesim_start(&rw->sim, st) != SIM_DROP;
}

static void on_tag(struct rewriter *rw, size_t end)
{
    struct sim_tag st = {
        .hash = rw->tok.hash, .elem = rw->tok.elem, .self_closing = rw->tok.self_closing};
    size_t start = out_index(rw, rw->tok.start);

    if (rw->tail) {
        oversize_tail(rw, end);
        return;
    }
    body_watch_tag(rw, start);
    if (rw->tok.is_end) {
        on_end(rw, start, end);
        return;
    }
    if (joins_held(rw, &st, start, end))
        return;
    if (rw->hold.kind != HOLD_NONE) { /* a tag inside a foreign script, or one that leaves it */
        rw->hold.broken = !treesim_breaks_out(&rw->sim, &st);
        if (!hold_finish(rw, start, start))
            return;
    }
    on_start(rw, start, end);
}

/* --- the other pieces ---------------------------------------------------------------- */

static void on_cdata_open(struct rewriter *rw)
{
    bool allowed = treesim_allows_cdata(&rw->sim);

    tokenizer_cdata(&rw->tok, allowed);
    if (!allowed || rw->hold.kind != HOLD_NONE || rw->skip)
        return;
    rw->counts.partings++;
    rw->hold.kind = HOLD_CDATA;
    rw->hold.broken = rw->hold.edited = rw->hold.doomed = false;
    rw->hold.elem = ELEM_OTHER;
    rw->hold.start = rw->tok.start;
    rw->hold.text = rw->tok.pos;
}

static void on_long(struct rewriter *rw, size_t start, size_t end)
{
    if (rw->hold.kind != HOLD_NONE || rw->skip)
        return;
    if (!rw->tail)
        body_watch_text(rw, start);
    oversize_begin(rw, end);
}

/* A comment, a processing instruction or a declaration of an XML page. */
static void on_xml_markup(struct rewriter *rw, size_t start, size_t end)
{
    if (!xml_drops(rw, str_make(rw->win + start, end - start)))
        return;
    out_flush(rw, start);
    rw->sent = end;
    rw->counts.removed++;
}

static void on_event(struct rewriter *rw, size_t end)
{
    size_t start = out_index(rw, rw->tok.start);

    if (rw->tok.event == TOK_CDATA_OPEN) {
        on_cdata_open(rw);
        return;
    }
    if (rw->tok.event == TOK_LONG) {
        on_long(rw, start, end);
        return;
    }
    if (rw->skip || rw->skip_tag) {
        bool section = rw->tok.event == TOK_CDATA_END;

        if (rw->skip_tag || (rw->skip_cdata ? section : rw->tok.event == TOK_TAG))
            end_skip(rw, end);
    } else {
        if (rw->tok.event != TOK_CDATA_END && !rw->tail)
            body_watch_text(rw, start);
        if (rw->tok.event == TOK_TAG) {
            on_tag(rw, end);
        } else if (rw->tok.event == TOK_CDATA_END) {
            if (rw->hold.kind == HOLD_CDATA)
                (void)hold_finish(rw, end, end);
        } else if (rw->hold.kind == HOLD_NONE && rw->sim.xml) {
            on_xml_markup(rw, start, end);
        } else if (rw->hold.kind == HOLD_NONE) {
            (void)hidden_ends_in(rw, start, end);
        }
    }
    rw->text_from = rw->tok.pos;
    rw->text_kind = rw->tok.text;
}

/* --- driving ---------------------------------------------------------------------- */

/* Index from which the window must be kept. */
static size_t keep_from(const struct rewriter *rw, size_t len)
{
    if (rw->skip || rw->skip_tag || rw->tail_value)
        return len;
    if (rw->hold.kind != HOLD_NONE)
        return out_index(rw, rw->hold.start);
    if (rw->tail)
        return out_index(rw, rw->tail_from);
    if (tokenizer_is_inside(&rw->tok) &&
        (hidden_active(rw) || rw->sim.xml || !tokenizer_is_streaming(&rw->tok)))
        return out_index(rw, rw->tok.start);
    return len;
}

static void check_limits(struct rewriter *rw, size_t keep, size_t len)
{
    if (rw->hold.kind != HOLD_NONE) {
        if (len - keep > rw->limits.inline_max)
            hold_over(rw, len);
    } else if (!tokenizer_in_tag(&rw->tok) && len - keep > rw->limits.tag_max &&
               !hidden_switch(rw, keep, keep + rw->limits.tag_max)) {
        oversize_begin(rw, len); /* a comment that another reading may end */
    }
}

/* Behind a name that matters: reads the whole tag at once if the window holds it. */
static size_t take_tag(struct rewriter *rw, size_t i, size_t len)
{
    size_t start = out_index(rw, rw->tok.start);
    uint32_t name_end = (uint32_t)(i - start);
    size_t max = len - start < rw->limits.tag_max ? len - start : rw->limits.tag_max;
    struct tag_end end;

    rw->tok.event = TOK_MORE;
    if (rw->tok.start < rw->origin)
        return i;
    if (i < len && rw->win[i] == '>' && i - start < rw->limits.tag_max) { /* no attributes */
        rw->attr_cnt = 0;
        rw->parsed = true;
        tokenizer_take_tag(&rw->tok, 1, false);
        return i + 1;
    }
    rewriter_parse(rw, str_make(rw->win + start, max), name_end, &end);
    if (rw->attr_cnt > rw->limits.attrs_max || end.at == 0)
        return i;
    rw->parsed = true;
    tokenizer_take_tag(&rw->tok, end.at + 1 - name_end, end.self_closing);
    return start + end.at + 1;
}

/* Reads win[i, len). */
static void advance(struct rewriter *rw, size_t i, size_t len)
{
    while (i < len && !rw->failed) {
        if (rw->tail_value) {
            i = oversize_value(rw, i, len);
            continue;
        }
        rw->tok.names =
            !rw->sim.xml && rw->hold.kind == HOLD_NONE && !rw->skip && !rw->skip_tag && !rw->tail;
        rw->tok.quiet = rw->tok.names && !rw->waits && !body_is_off(rw) && !rw->amp_gone &&
                        rw->sim.depth == 0 && !hidden_active(rw);
        i = tokenizer_run(&rw->tok, rw->win, i, len);
        if (rw->tok.event == TOK_NAME)
            i = take_tag(rw, i, len);
        if (rw->tok.event != TOK_MORE) {
            on_event(rw, i);
            i = out_index(rw, rw->tok.pos); /* behind the event, or back inside it */
        }
        rw->parsed = false;
    }
}

/* Runs window[from, len); returns the index from which it must be kept. */
static size_t run(struct rewriter *rw, const uint8_t *window, size_t from, size_t len)
{
    size_t keep;

    rw->win = window;
    rw->sent = 0;
    rw->origin = rw->tok.pos - from;
    for (size_t i = from; i < len && !rw->failed; i = out_index(rw, rw->tok.pos)) {
        advance(rw, i, len);
        check_limits(rw, keep_from(rw, len), len);
    }
    keep = keep_from(rw, len);
    if (rw->skip || rw->skip_tag)
        rw->sent = len;
    if (!rw->tail && !tokenizer_is_inside(&rw->tok)) {
        body_watch_text(rw, keep);
        rw->text_from = rw->tok.pos;
    } else if (!rw->tail) {
        body_watch_text(rw, keep < len ? keep : out_index(rw, rw->tok.start));
    }
    out_flush(rw, keep);
    return keep;
}

/*
 * Keeps more of the stream. The buffer doubles up to the limit of a tag and one piece, and
 * beyond it only for what is held.
 */
static bool keep_more(struct rewriter *rw, const uint8_t *data, size_t len)
{
    if (rw->carry.len + len > KEEP_SMALL(rw))
        rw->carry.max = rw->limits.inline_max + rw->limits.tag_max + ((size_t)16 << 20);
    return buf_append(&rw->carry, data, len);
}

/* What was held has left: its memory goes, too. */
static void keep_less(struct rewriter *rw)
{
    if (rw->carry.len > 0 || rw->carry.max == KEEP_SMALL(rw))
        return;
    buf_free(&rw->carry);
    buf_init(&rw->carry, KEEP_SMALL(rw));
}

/* How much of the next len bytes is read at once while something is kept. */
static size_t next_piece(const struct rewriter *rw, size_t len)
{
    size_t max = PIECE_MAX;

    if (rw->carry.len < KEEP_SMALL(rw) && KEEP_SMALL(rw) - rw->carry.len < max)
        max = KEEP_SMALL(rw) - rw->carry.len;
    return len < max ? len : max;
}

bool rewriter_push(struct rewriter *rw, const uint8_t *data, size_t len)
{
    while (len > 0 && !rw->failed) {
        size_t had = rw->carry.len;
        size_t piece = next_piece(rw, len);
        const uint8_t *gt;

        if (had == 0) {
            size_t keep = run(rw, data, 0, len);

            keep_less(rw);
            return !rw->failed && keep_more(rw, data + keep, len - keep);
        }
        gt = memchr(data, '>', piece);
        if (gt != NULL)
            piece = (size_t)(gt - data) + 1;
        if (!keep_more(rw, data, piece)) {
            rw->failed = true;
            break;
        }
        buf_consume(&rw->carry, run(rw, rw->carry.data, had, rw->carry.len));
        data += piece;
        len -= piece;
    }
    return !rw->failed;
}

/* What was begun and never ended. */
static void end_unfinished(struct rewriter *rw, size_t len)
{
    size_t start = keep_from(rw, len);

    if (rw->hold.kind != HOLD_NONE)
        (void)hold_finish(rw, len, len);
    else if (tokenizer_is_inside(&rw->tok))
        (void)hidden_ends_in(rw, start, len);
    if (rw->skip || rw->skip_tag)
        rw->sent = len;
    if (rw->skip && !rw->skip_cdata)
        out_comment(rw);
}

bool rewriter_end(struct rewriter *rw)
{
    size_t len = rw->carry.len;

    rw->win = rw->carry.len > 0 ? rw->carry.data : (const uint8_t *)"";
    rw->sent = 0;
    rw->origin = rw->tok.pos - len;
    rw->ended = true;
    end_unfinished(rw, len);
    while (!rw->failed && rw->tok.pos < rw->origin + len) { /* back inside it */
        rw->ended = false;
        advance(rw, out_index(rw, rw->tok.pos), len);
        rw->ended = true;
        end_unfinished(rw, len);
    }
    if (rw->waits && !rw->sim.in_select && body_in_plain_html(rw) && rw->tok.text == TOK_DATA &&
        !rw->tail && !rw->skip_tag && !tokenizer_is_streaming(&rw->tok))
        body_inject(rw, rw->sent);
    out_flush(rw, len);
    return !rw->failed;
}

static void set_defaults(struct html_limits *limits)
{
    if (limits->tag_max == 0)
        limits->tag_max = (size_t)64 << 10;
    if (limits->inline_max == 0)
        limits->inline_max = (size_t)2 << 20;
    if (limits->depth_max == 0)
        limits->depth_max = 128;
    if (limits->depth_max > SIM_DEPTH_MAX)
        limits->depth_max = SIM_DEPTH_MAX;
    if (limits->attrs_max == 0)
        limits->attrs_max = 512;
    if (limits->srcdoc_max == 0)
        limits->srcdoc_max = 3;
}

struct rewriter *rewriter_new(const struct html_limits *limits, const struct html_ops *ops,
                              void *owner)
{
    struct rewriter *rw = mem_new(struct rewriter);

    if (limits != NULL)
        rw->limits = *limits;
    set_defaults(&rw->limits);
    rw->ops = *ops;
    rw->owner = owner;
    rw->waits = ops->on_body_start != NULL;
    rw->sim.depth_max = rw->limits.depth_max;
    rw->sim.xml = rw->limits.xml;
    rw->attrs_cap = rw->limits.attrs_max < ATTRS_FIRST ? rw->limits.attrs_max : ATTRS_FIRST;
    rw->attrs = mem_calloc(rw->attrs_cap, sizeof(*rw->attrs));
    tokenizer_init(&rw->tok);
    rw->tok.prefixes = rw->limits.xml;
    rw->tok.tag_max = rw->limits.tag_max;
    buf_init(&rw->carry, KEEP_SMALL(rw));
    buf_init(&rw->patch, VALUE_MAX * 2);
    buf_init(&rw->value, VALUE_MAX);
    buf_init(&rw->other, VALUE_MAX);
    buf_init(&rw->base, BASE_MAX);
    buf_init(&rw->base_alt, BASE_MAX);
    return rw;
}

void rewriter_free(struct rewriter *rw)
{
    if (rw == NULL)
        return;
    buf_free(&rw->carry);
    buf_free(&rw->patch);
    buf_free(&rw->value);
    buf_free(&rw->other);
    buf_free(&rw->base);
    buf_free(&rw->base_alt);
    free(rw->attrs);
    free(rw->cuts);
    free(rw);
}

const struct html_counts *rewriter_counts(const struct rewriter *rw)
{
    return &rw->counts;
}

size_t rewriter_held(const struct rewriter *rw)
{
    return rw->carry.len;
}
