/*
 * treesim.c - contract in treesim_priv.h; sections are of HTML 13.2.6.
 */
#include "treesim_priv.h"

#include "names_priv.h"

static const struct sim_node *top(const struct treesim *sim)
{
    return sim->depth > 0 ? &sim->stack[sim->depth - 1] : NULL;
}

static uint16_t flags_of(uint8_t elem)
{
    return element_rows[elem].flags;
}

enum tok_text treesim_text_of(enum html_element elem)
{
    switch ((unsigned)elem) {
    case ELEM_TITLE:
    case ELEM_TEXTAREA:
        return TOK_RCDATA;
    case ELEM_SCRIPT:
        return TOK_SCRIPT;
    case ELEM_PLAINTEXT:
        return TOK_PLAINTEXT;
    case ELEM_STYLE:
    case ELEM_XMP:
    case ELEM_IFRAME:
    case ELEM_NOEMBED:
    case ELEM_NOFRAMES:
    case ELEM_NOSCRIPT:
        return TOK_RAWTEXT;
    default:
        return TOK_DATA;
    }
}

/* 13.2.6, the dispatcher: is this start tag handled by the rules for HTML content? */
static bool uses_html_rules(const struct treesim *sim, const struct sim_tag *tag)
{
    const struct sim_node *node = top(sim);

    if (node == NULL || node->space == SIM_HTML || node->html_point)
        return true;
    if (node->math_point)
        return tag->elem != ELEM_MGLYPH && tag->elem != ELEM_MALIGNMARK;
    return node->space == SIM_MATH && node->elem == ELEM_ANNOTATION_XML && tag->elem == ELEM_SVG;
}

bool treesim_allows_cdata(const struct treesim *sim)
{
    return sim->xml || (sim->depth > 0 && top(sim)->space != SIM_HTML);
}

static bool breaks_out(const struct sim_tag *tag)
{
    return (flags_of(tag->elem) & ELEM_F_BREAKOUT) != 0 ||
           (tag->elem == ELEM_FONT && tag->font_breaks);
}

bool treesim_breaks_out(const struct treesim *sim, const struct sim_tag *tag)
{
    return !sim->xml && !uses_html_rules(sim, tag) && breaks_out(tag);
}

/* 13.2.6.5: pop until an integration point or an HTML element. */
static void leave_foreign(struct treesim *sim)
{
    while (sim->depth > 0) {
        const struct sim_node *node = top(sim);

        if (node->space == SIM_HTML || node->html_point || node->math_point)
            return;
        sim->depth--;
    }
}

static bool is_svg_point(uint8_t elem)
{
    return elem == ELEM_FOREIGNOBJECT || elem == ELEM_DESC || elem == ELEM_TITLE;
}

static bool is_math_point(uint8_t elem)
{
    return elem == ELEM_MI || elem == ELEM_MO || elem == ELEM_MN || elem == ELEM_MS ||
           elem == ELEM_MTEXT;
}

static bool push(struct treesim *sim, const struct sim_tag *tag, enum sim_space space)
{
    struct sim_node node = {.hash = tag->hash, .space = (uint8_t)space, .elem = tag->elem};

    if (sim->depth >= sim->depth_max)
        return false;
    node.html_point = (space == SIM_SVG && is_svg_point(tag->elem)) ||
                      (space == SIM_MATH && tag->elem == ELEM_ANNOTATION_XML && tag->html_content);
    node.math_point = space == SIM_MATH && is_math_point(tag->elem);
    sim->stack[sim->depth++] = node;
    return true;
}

enum sim_space treesim_space(const struct treesim *sim, const struct sim_tag *tag)
{
    if (!uses_html_rules(sim, tag))
        return breaks_out(tag) ? SIM_HTML : (enum sim_space)top(sim)->space;
    if (tag->elem == ELEM_SVG)
        return SIM_SVG;
    return tag->elem == ELEM_MATH ? SIM_MATH : SIM_HTML;
}

/* Depth index of the nearest HTML element of this kind above an integration point, or -1. */
static int find_html(const struct treesim *sim, const struct sim_tag *tag, bool stop_at_special)
{
    for (int i = (int)sim->depth - 1; i >= 0; i--) {
        const struct sim_node *node = &sim->stack[i];

        if (node->space == SIM_HTML && node->hash == tag->hash && node->elem == tag->elem)
            return i;
        if (node->html_point || node->math_point)
            return -1;
        if (stop_at_special && node->space == SIM_HTML &&
            (flags_of(node->elem) & ELEM_F_SPECIAL) != 0)
            return -1;
    }
    return -1;
}

/* An open element that the start tag closes first: p, and li, dd, dt, option by themselves. */
static void close_implied(struct treesim *sim, const struct sim_tag *tag)
{
    static const struct sim_tag p = {.hash = 'p', .elem = ELEM_P};
    const struct sim_node *node = top(sim);

    if (node == NULL || node->space != SIM_HTML)
        return;
    if ((tag->elem == ELEM_LI || tag->elem == ELEM_DD || tag->elem == ELEM_DT ||
         tag->elem == ELEM_OPTION) &&
        node->elem == tag->elem)
        sim->depth--;
    if ((flags_of(tag->elem) & ELEM_F_CLOSE_P) != 0) {
        int at = find_html(sim, &p, true);

        if (at >= 0)
            sim->depth = (unsigned)at;
    }
}

bool treesim_voids_frameset(const struct sim_tag *tag)
{
    switch ((unsigned)tag->elem) {
    case ELEM_AREA:
    case ELEM_BODY:
    case ELEM_BR:
    case ELEM_BUTTON:
    case ELEM_DD:
    case ELEM_DT:
    case ELEM_EMBED:
    case ELEM_HR:
    case ELEM_IFRAME:
    case ELEM_IMAGE:
    case ELEM_IMG:
    case ELEM_KEYGEN:
    case ELEM_LI:
    case ELEM_LISTING:
    case ELEM_OBJECT:
    case ELEM_PRE:
    case ELEM_SELECT:
    case ELEM_TABLE:
    case ELEM_TEMPLATE:
    case ELEM_TEXTAREA:
    case ELEM_WBR:
    case ELEM_XMP:
        return true;
    default: /* input depends on its type: not counted */
        return false;
    }
}

/*
 * The select of the old rules, in which no template begun inside it ends (13.2.6.4.22: it has
 * an insertion mode of its own). Foreign elements are not there for those rules, so
 * behind a foreign template it is open to which the rest belongs: it stays in select.
 */
static void begin_select(struct treesim *sim)
{
    if (!sim->in_select)
        sim->select_level = sim->templates;
    sim->in_select = !sim->in_select || sim->select_level != sim->templates;
}

static void end_select(struct treesim *sim)
{
    if (sim->select_level == sim->templates)
        sim->in_select = false;
}

/* What the innermost template holds (13.2.6.4.22). */
static void note_template(struct treesim *sim, const struct sim_tag *tag)
{
    if (tag->elem == ELEM_COL && sim->templates > 0 && sim->fresh && sim->columns == 0)
        sim->columns = sim->templates; /* 13.2.6.4.18: "in column group" without a colgroup */
    if (tag->elem == ELEM_TEMPLATE) {
        sim->templates++;
        sim->fresh = true;
        sim->frameset_void = sim->frameset_void || !sim->aside;
    } else if ((flags_of(tag->elem) & ELEM_F_HEAD) == 0) {
        sim->fresh = false;
    }
}

static void note_counters(struct treesim *sim, const struct sim_tag *tag)
{
    note_template(sim, tag);
    if (tag->elem == ELEM_SELECT)
        begin_select(sim);
    else if (tag->elem == ELEM_INPUT || tag->elem == ELEM_KEYGEN || tag->elem == ELEM_TEXTAREA)
        end_select(sim);
    else if (tag->elem == ELEM_FRAMESET && !sim->frameset_void)
        sim->in_frameset = true;
    if (sim->aside || sim->templates > 0 || sim->in_frameset || tag->elem == ELEM_HTML)
        return;
    sim->head_begun = true;
    sim->after_body = false;
    if (!sim->frameset_void)
        sim->frameset_void = treesim_voids_frameset(tag);
    if ((flags_of(tag->elem) & ELEM_F_HEAD) == 0)
        sim->body_begun = true;
}

static enum sim_result start_html(struct treesim *sim, const struct sim_tag *tag)
{
    enum sim_space space = SIM_HTML;

    if (tag->elem == ELEM_SVG || tag->elem == ELEM_MATH) {
        space = tag->elem == ELEM_SVG ? SIM_SVG : SIM_MATH;
        if (tag->self_closing)
            return SIM_DATA;
        return push(sim, tag, space) ? SIM_DATA : SIM_DROP;
    }
    note_counters(sim, tag);
    if (sim->depth > 0) {
        close_implied(sim, tag);
        if ((flags_of(tag->elem) & ELEM_F_VOID) == 0 && !push(sim, tag, SIM_HTML))
            return SIM_DROP;
    }
    return (flags_of(tag->elem) & ELEM_F_RAW) != 0 ? SIM_RAW : SIM_DATA;
}

enum sim_result treesim_start(struct treesim *sim, const struct sim_tag *tag)
{
    if (sim->xml)
        return SIM_DATA;
    if (uses_html_rules(sim, tag))
        return start_html(sim, tag);
    if (breaks_out(tag)) {
        leave_foreign(sim);
        return start_html(sim, tag);
    }
    if (sim->in_select && tag->elem == ELEM_TEMPLATE)
        sim->select_level = SIM_NO_LEVEL;
    if (tag->self_closing)
        return SIM_DATA;
    return push(sim, tag, (enum sim_space)top(sim)->space) ? SIM_DATA : SIM_DROP;
}

/* 13.2.6.4.3-6: the end tags that imply a body before they end it. */
static void note_body_end(struct treesim *sim, const struct sim_tag *tag)
{
    bool ends = tag->elem == ELEM_BODY || tag->elem == ELEM_HTML;

    if (sim->aside || sim->depth > 0 || sim->templates > 0 || sim->in_frameset)
        return;
    if (ends || tag->elem == ELEM_BR)
        sim->head_begun = sim->body_begun = true;
    sim->after_body = ends || (sim->after_body && tag->elem != ELEM_BR);
}

static void end_template(struct treesim *sim)
{
    if (sim->in_select && sim->select_level == sim->templates)
        sim->in_select = false; /* it was inside */
    if (sim->columns == sim->templates)
        sim->columns = 0;
    sim->templates--;
}

static void end_html(struct treesim *sim, const struct sim_tag *tag)
{
    int at;

    note_body_end(sim, tag);
    if (tag->elem == ELEM_TEMPLATE && sim->templates > 0) {
        end_template(sim);
    } else if (tag->elem == ELEM_SELECT) {
        end_select(sim);
    }
    if (sim->depth == 0)
        return;
    /* 13.2.6.4.7 "any other end tag" stops at special elements, block end tags at scopes. */
    at = find_html(sim, tag, (flags_of(tag->elem) & ELEM_F_SPECIAL) == 0);
    if (at >= 0)
        sim->depth = (unsigned)at;
}

void treesim_end(struct treesim *sim, const struct sim_tag *tag)
{
    const struct sim_node *node = top(sim);

    if (node == NULL || node->space == SIM_HTML) {
        end_html(sim, tag);
        return;
    }
    if (tag->elem == ELEM_P || tag->elem == ELEM_BR) {
        leave_foreign(sim);
        return;
    }
    /* 13.2.6.5 "any other end tag" */
    for (unsigned i = sim->depth; i-- > 0;) {
        if (sim->stack[i].space == SIM_HTML) {
            end_html(sim, tag);
            return;
        }
        if (sim->stack[i].hash == tag->hash && sim->stack[i].elem == tag->elem) {
            sim->depth = i;
            return;
        }
    }
    end_html(sim, tag);
}
