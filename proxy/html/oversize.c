/*
 * oversize.c - tags longer than the limit.
 *
 * Such a tag is dropped, with one exception that real pages need: an attribute value that
 * can be passed while it comes, because it is of no interest on this element (a form's
 * hidden state, an SVG path) or a data: URL of an image. Then the head of the tag leaves,
 * the value streams, and the rest of the tag behind the value is judged by itself.
 */
#include <string.h>

#include "rewriter_priv.h"
#include "tokenizer_priv.h"

static bool is_data_image(const struct judged *j, const struct tag_attr *a)
{
    static const uint8_t elems[] = {ELEM_IMG,   ELEM_IMAGE, ELEM_FEIMAGE,
                                    ELEM_VIDEO, ELEM_INPUT, ELEM_SOURCE};

    if (!str_starts_fold(tag_attr_value(j->tag, a), STR("data:")))
        return false;
    return (a->id == ATTR_SRC || a->id == ATTR_HREF || a->id == ATTR_XLINK_HREF) &&
           memchr(elems, (int)j->elem, sizeof(elems)) != NULL;
}

/* The unfinished tag may pass up to here: only its last value is open, and it is harmless. */
static bool can_pass(struct rewriter *rw, struct judged *j)
{
    struct tag_attr last;
    uint32_t pos = (uint32_t)(rw->tok.attr - rw->tok.start);

    if (rw->tok.is_end || rw->tail || hidden_active(rw) || rw->sim.depth >= rw->limits.depth_max ||
        !tokenizer_in_quotes(&rw->tok) || !tag_next(j->tag, &pos, &last))
        return false;
    last.id = (uint8_t)attr_lookup(tag_attr_name(j->tag, &last));
    if (judge_is_judged(j->elem, (enum html_attr)last.id, SIM_SVG) && !is_data_image(j, &last))
        return false;
    if ((element_rows[j->elem].flags & ELEM_F_RAW) != 0 || j->elem == ELEM_LINK ||
        j->elem == ELEM_META || j->elem == ELEM_BASE)
        return false;        /* what they are is said by other attributes, perhaps later */
    j->tag.len = last.start; /* what stands before the value's attribute is judged now */
    return judge_tag(rw, j) == TAG_KEEP;
}

void oversize_begin(struct rewriter *rw, size_t len)
{
    size_t start = out_index(rw, rw->tok.start);
    struct judged j = {.tag = str_make(rw->win + start, len - start),
                       .name_end = (uint32_t)(rw->tok.name_end - rw->tok.start),
                       .elem = rw->tok.elem,
                       .partial = true,
                       .space = rw->sim.depth > 0 ? SIM_SVG : SIM_HTML};

    rw->note = (struct html_note){0};
    if (!rw->tail && tokenizer_in_tag(&rw->tok) && can_pass(rw, &j)) {
        out_flush(rw, len);
        rw->tail = rw->tail_value = true;
        return;
    }
    rw->counts.over_tag++;
    if (rw->tail) { /* the tag that left must end: its quote, then ">" */
        out_flush(rw, out_index(rw, rw->tail_from) + 1);
        out_send(rw, STR(">"));
    } else {
        out_flush(rw, start);
    }
    rw->sent = len;
    rw->skip_tag = true;
    rw->tail = rw->tail_value = false;
}

/* The value passes; stops in front of its closing quote. */
size_t oversize_value(struct rewriter *rw, size_t from, size_t len)
{
    uint8_t quote = rw->tok.state == ST_VALUE_DOUBLE ? '"' : '\'';
    const uint8_t *end = memchr(rw->win + from, quote, len - from);

    if (end == NULL) {
        rw->tok.pos += len - from;
        return len;
    }
    rw->tok.pos += (size_t)(end - (rw->win + from));
    rw->tail_value = false;
    rw->tail_from = rw->tok.limit_from = rw->tok.pos;
    rw->tok.was_long = false;
    return (size_t)(end - rw->win);
}

/* The rest of the tag, from the closing quote on: it stays only as it is. */
void oversize_tail(struct rewriter *rw, size_t end)
{
    size_t from = out_index(rw, rw->tail_from);
    struct judged j = {.tag = str_make(rw->win + from, end - from),
                       .name_end = 1,
                       .elem = rw->tok.elem,
                       .partial = true,
                       .space = rw->sim.depth > 0 ? SIM_SVG : SIM_HTML};
    const struct sim_tag st = {
        .hash = rw->tok.hash, .elem = rw->tok.elem, .self_closing = rw->tok.self_closing};

    rw->tail = false;
    if (judge_tag(rw, &j) != TAG_KEEP) {
        rw->counts.over_tag++;
        out_flush(rw, from + 1);
        out_send(rw, rw->tok.self_closing ? STR("/>") : STR(">"));
        rw->sent = end;
    }
    (void)treesim_start(&rw->sim, &st);
}
