/*
 * body.c - where the body begins, and what a tag that goes leaves in its place.
 *
 * The owner's text goes right behind the body's start, written or implied; so what implies a
 * body is watched until it is there. And a tag that is removed must not move what follows: if
 * it would have begun the head or the body, an empty start tag does so instead.
 */
#include "rewriter_priv.h"
#include "tokenizer_priv.h"

bool body_in_plain_html(const struct rewriter *rw)
{
    return rw->sim.depth == 0 && rw->sim.templates == 0 && !rw->sim.in_frameset && !rw->skip &&
           rw->hold.kind == HOLD_NONE && !hidden_active(rw);
}

void body_inject(struct rewriter *rw, size_t at)
{
    struct buf text;

    rw->waits = false;
    out_flush(rw, at);
    buf_init(&text, VALUE_MAX);
    if (rw->ops.on_body_start(rw->owner, &text) && text.len > 0) {
        out_send(rw, buf_str(&text));
        rw->counts.injected = true;
        rw->sim.head_begun = rw->sim.body_begun = true;
    }
    buf_free(&text);
}

/* Not yet in the body, or behind it: what comes next says where it belongs. */
bool body_is_off(const struct rewriter *rw)
{
    return !rw->sim.body_begun || rw->sim.after_body;
}

/* Text other than white space implies a body (HTML 13.2.6.4.1-6). A BOM is none. */
void body_watch_text(struct rewriter *rw, size_t upto)
{
    size_t i = out_index(rw, rw->text_from);

    if ((!rw->waits && !body_is_off(rw)) || !body_in_plain_html(rw) || rw->text_kind != TOK_DATA)
        return;
    for (; i < upto; i++) {
        bool bom = rw->origin + i < 3 && rw->win[i] == (uint8_t) "\xEF\xBB\xBF"[rw->origin + i];

        if (!tok_is_space(rw->win[i]) && !bom) {
            rw->sim.head_begun = rw->sim.body_begun = rw->sim.frameset_void = true;
            rw->sim.after_body = false;
            if (rw->waits)
                body_inject(rw, i);
            return;
        }
    }
}

void body_watch_tag(struct rewriter *rw, size_t start)
{
    uint8_t elem = rw->tok.elem;

    if (!rw->waits || !body_in_plain_html(rw) || (!rw->tok.is_end && elem == ELEM_BODY))
        return;
    if (rw->tok.is_end) {
        if (elem == ELEM_BODY || elem == ELEM_HTML || elem == ELEM_BR)
            body_inject(rw, start);
    } else if (elem == ELEM_FRAMESET && !rw->sim.frameset_void) {
        rw->waits = false;
    } else if ((element_rows[elem].flags & ELEM_F_HEAD) == 0) {
        body_inject(rw, start);
    }
}

/*
 * What a tag does to the tree beside making its element: begin the head or the body, or go
 * back into it. A second head or body tag does just that and makes nothing.
 */
enum stand body_stand_for(const struct rewriter *rw, const struct judged *j)
{
    if (rw->sim.templates > 0 && rw->sim.fresh && rw->sim.depth == 0)
        return (element_rows[j->elem].flags & ELEM_F_HEAD) == 0 ? STAND_BODY : STAND_NONE;
    if (!body_in_plain_html(rw) || j->space != SIM_HTML)
        return STAND_NONE;
    if ((element_rows[j->elem].flags & ELEM_F_HEAD) == 0)
        return body_is_off(rw) ? STAND_BODY : STAND_NONE;
    if (rw->sim.after_body)
        return STAND_BODY;
    return rw->sim.head_begun ? STAND_NONE : STAND_HEAD;
}

void out_stand(struct rewriter *rw, enum stand stand)
{
    const struct sim_tag st = {.elem = stand == STAND_HEAD ? ELEM_HEAD : ELEM_BODY};

    if (stand == STAND_NONE)
        return;
    out_send(rw, stand == STAND_HEAD ? STR("<head>") : STR("<body>"));
    (void)treesim_start(&rw->sim, &st);
}
