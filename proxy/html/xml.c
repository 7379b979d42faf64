/*
 * xml.c - what an XML page has beside HTML's tags: prefixed names, processing instructions and
 * entities of its own (XML 1.0, Namespaces in XML, Associating Style Sheets with XML).
 *
 * The tokenizer reads XML as HTML: what ends a comment, a value or a section for HTML ends it
 * for XML or sooner, so it sees at least the tags that an XML parser sees. The exceptions are
 * here: they are judged as a whole, and go when they cannot be.
 */
#include <string.h>

#include "rewriter_priv.h"
#include "tokenizer_priv.h"

struct str xml_local_name(struct str name)
{
    const char *colon = name.len > 0 ? memchr(name.ptr, ':', name.len) : NULL;

    return colon == NULL ? STR("") : str_slice(name, (size_t)(colon - name.ptr) + 1, name.len);
}

void xml_name_attrs(struct rewriter *rw, struct str tag)
{
    size_t cnt = rw->attr_cnt < rw->attrs_cap ? rw->attr_cnt : rw->attrs_cap;

    for (size_t i = 0; i < cnt; i++) {
        struct tag_attr *a = &rw->attrs[i];

        if (a->id == ATTR_OTHER && str_eq_fold_c(xml_local_name(tag_attr_name(tag, a)), "href"))
            a->id = ATTR_XLINK_HREF;
    }
}

/* <?xml-stylesheet href="..."?>; one that does not end where HTML's reading does goes, too. */
static bool drops_stylesheet(struct rewriter *rw, struct str text)
{
    struct judged j = {.tag = text, .elem = ELEM_LINK, .space = SIM_SVG};
    enum html_use use = HTML_USE_STYLESHEET;
    struct str href, type;

    if (text.len < 4 || text.ptr[text.len - 2] != '?')
        return true;
    rewriter_parse(rw, text, 2, NULL);
    if (rw->attr_cnt > rw->limits.attrs_max)
        return true;
    if (judge_find(rw, &j, ATTR_TYPE, &type) && !str_eq_fold_c(type, "text/css"))
        use = HTML_USE_OBJECT; /* XSLT: one in a data: URL is elements, not CSS */
    return judge_find(rw, &j, ATTR_HREF, &href) &&
           value_url(rw, &j, href, ATTR_HREF, use) == HTML_DROP;
}

bool xml_drops(struct rewriter *rw, struct str text)
{
    rw->note = (struct html_note){0};
    if (str_starts(text, STR("<?xml-stylesheet")))
        return drops_stylesheet(rw, text);
    if (!str_starts(text, STR("<!ENTITY")) && !str_starts(text, STR("<!ATTLIST")))
        return false;
    text = str_slice(text, 1, text.len); /* markup that a reference would bring in */
    return memchr(text.ptr, '<', text.len) != NULL || value_contains(text, STR("&#")) ||
           str_starts(text, STR("!ATTLIST"));
}
