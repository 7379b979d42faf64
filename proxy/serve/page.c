/*
 * page.c - contract in page_priv.h: texts, addresses and controls of consentd's own markup.
 */
#include "consentd/mem.h"
#include "page_priv.h"

/* The character of well-formed UTF-8 at `at`; its bytes. 0: none there. */
static size_t utf8_read(struct str text, size_t at, uint32_t *out)
{
    uint8_t first = (uint8_t)text.ptr[at];
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;

    if (len == 0 || text.len - at < len)
        return 0;
    *out = first & (0x7fu >> len);
    for (size_t i = 1; i < len; i++)
        *out = *out << 6 | ((uint8_t)text.ptr[at + i] & 0x3fu);
    return len;
}

static const char *reference_of(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

/* "&#2346;": most of what an Indian page's banner consists of, so without printf. */
static bool reference_put(struct buf *out, uint32_t c)
{
    char text[16];
    size_t at = sizeof(text);

    text[--at] = ';';
    do {
        text[--at] = (char)('0' + c % 10);
        c /= 10;
    } while (c > 0);
    text[--at] = '#';
    text[--at] = '&';
    return buf_append(out, text + at, sizeof(text) - at);
}

/* Where the next character stands that is not copied as it is. */
static size_t plain_until(struct str text, size_t at, bool ascii)
{
    static const bool is_markup[256] = {
        ['&'] = true, ['<'] = true, ['>'] = true, ['"'] = true, ['\''] = true};

    while (at < text.len && !is_markup[(uint8_t)text.ptr[at]] &&
           !(ascii && (uint8_t)text.ptr[at] >= 0x80))
        at++;
    return at;
}

/* With ascii nothing else comes out, so that the text is right in a page of any encoding. */
static bool escape(struct buf *out, struct str text, bool ascii)
{
    bool ok = true;

    for (size_t from = 0; from < text.len && ok;) {
        size_t i = plain_until(text, from, ascii), len = 0;
        uint32_t c = 0;

        ok = buf_append(out, text.ptr + from, i - from);
        if (i == text.len || !ok)
            break;
        len = (uint8_t)text.ptr[i] >= 0x80 ? utf8_read(text, i, &c) : 0;
        if (len > 0)
            ok = reference_put(out, c);
        else if (reference_of(text.ptr[i]) != NULL)
            ok = buf_append_c(out, reference_of(text.ptr[i]));
        else
            ok = buf_append_char(out, text.ptr[i]); /* no UTF-8: as it is */
        from = i + (len > 0 ? len : 1);
    }
    return ok;
}

bool html_escape(struct buf *out, struct str text)
{
    return escape(out, text, true);
}

void page_begin(struct page *p, struct exchange *x, struct buf *out)
{
    p->x = x;
    p->policy = x->site->policy;
    p->language = language_of(x);
    p->out = out;
    p->ok = true;
    p->unicode = false;
}

void put(struct page *p, const char *markup)
{
    p->ok = p->ok && buf_append_c(p->out, markup);
}

void text(struct page *p, const char *words)
{
    p->ok = p->ok && escape(p->out, str_c(words), !p->unicode);
}

void ui(struct page *p, const char *key)
{
    const char *words = language_text(p->policy, p->language, key);

    ASSERT(words != NULL);
    text(p, words);
}

/* The value whose key stands at the head of words. */
static const struct page_value *value_at(struct str words, const struct page_value *values)
{
    for (size_t i = 0; values[i].key != NULL; i++) {
        if (str_starts(words, str_c(values[i].key)))
            return &values[i];
    }
    return NULL;
}

void ui_with(struct page *p, const char *key, const struct page_value *values)
{
    const char *found = language_text(p->policy, p->language, key);
    struct str words = str_c(found != NULL ? found : "");

    while (words.len > 0) {
        const struct page_value *value = value_at(words, values);
        ptrdiff_t next = str_find_char(str_slice(words, 1, words.len), '{');
        size_t len = value != NULL ? strlen(value->key) : next < 0 ? words.len : (size_t)next + 1;

        p->ok =
            p->ok && escape(p->out, value != NULL ? str_c(value->value) : str_slice(words, 0, len),
                            !p->unicode);
        words = str_slice(words, len, words.len);
    }
}

static const char *given(const struct page *p, const struct policy_text *words)
{
    return p->language->in_policy ? policy_text_given(words, p->language->policy) : NULL;
}

void prose(struct page *p, const struct policy_text *words)
{
    const char *own = given(p, words);
    const char *fallback = p->policy->languages[0];

    if (own != NULL || str_eq_fold_c(str_c(fallback), p->language->tag)) {
        text(p, own != NULL ? own : policy_text(words, 0));
        return;
    }
    put(p, "<span dir=\"auto\" lang=\"");
    text(p, fallback);
    put(p, "\">");
    text(p, policy_text(words, 0));
    put(p, "</span>");
}

/* The built-in text of a category that everybody has; NULL for others. */
static const char *category_text(const struct page *p, const struct policy_category *category,
                                 const char *what)
{
    char key[64];

    if (p->language->own == NULL)
        return NULL;
    snprintf(key, sizeof(key), "%s_%s", category->id, what);
    return web_text(p->language->own, key);
}

static void category_words(struct page *p, const struct policy_category *category,
                           const struct policy_text *words, const char *what)
{
    const char *own = given(p, words);

    if (own == NULL)
        own = category_text(p, category, what);
    if (own != NULL)
        text(p, own);
    else
        prose(p, words);
}

void category_title(struct page *p, const struct policy_category *category)
{
    category_words(p, category, &category->title, "title");
}

void address(struct page *p, const char *leaf)
{
    const struct exchange *x = p->x;

    put(p, x->secure ? "https://" : "http://");
    p->ok = p->ok && html_escape(p->out, x->req.authority);
    text(p, x->site->config->prefix);
    text(p, leaf);
}

void language_attributes(struct page *p)
{
    put(p, " lang=\"");
    text(p, p->language->tag);
    put(p, p->language->rtl ? "\" dir=\"rtl\"" : "\" dir=\"ltr\"");
}

void button(struct page *p, const char *action, const char *key)
{
    put(p, "<button type=\"submit\" name=\"action\" value=\"");
    put(p, action);
    put(p, "\" data-consent-action=\"");
    put(p, action);
    put(p, "\">");
    ui(p, key);
    put(p, "</button>");
}

void form_begin(struct page *p, const char *attributes)
{
    put(p, "<form method=\"post\" target=\"_self\" action=\""); /* whatever a <base> says */
    address(p, "choice");
    put(p, "\"");
    put(p, attributes);
    put(p, ">");
}

static void check_box(struct page *p, const struct policy_category *category)
{
    bool ticked = enforcement_of(p->x)->decided && (p->x->grants & category->bit);

    put(p, "<label><b>");
    category_title(p, category);
    put(p, "</b><input type=\"checkbox\" name=\"");
    text(p, category->id);
    put(p, ticked ? "\" checked=\"\"/></label>" : "\"/></label>");
}

void category_head(struct page *p, const struct policy_category *category)
{
    if (category->required) {
        put(p, "<div class=\"cnsnt-on\"><b>");
        category_title(p, category);
        put(p, "</b><i>");
        ui(p, "always_on");
        put(p, "</i></div>");
    } else {
        check_box(p, category);
    }
    put(p, "<p>");
    category_words(p, category, &category->purpose, "purpose");
}

/* "2y" as "2 years", "30s-1y" as "30 s – 1 year"; what is no such time stays as it is. */
static void life(struct page *p, struct str time)
{
    size_t digits = 0;
    ptrdiff_t dash = str_find_char(time, '-');
    struct str unit;
    const char *words;
    char key[32];
    bool one;

    if (dash > 0) {
        life(p, str_slice(time, 0, (size_t)dash));
        put(p, " &#8211; ");
        time = str_slice(time, (size_t)dash + 1, time.len);
    }
    while (digits < time.len && ascii_is_digit(time.ptr[digits]))
        digits++;
    unit = str_slice(time, digits, time.len);
    one = digits == 1 && time.ptr[0] == '1';
    snprintf(key, sizeof(key), one ? "life_1%.*s" : "life_%.*s", STR_ARGS(unit));
    words = language_text(p->policy, p->language, key);
    if (words == NULL) {
        snprintf(key, sizeof(key), "life_%.*s", STR_ARGS(unit));
        words = language_text(p->policy, p->language, key);
    }
    p->ok = p->ok && html_escape(p->out, str_slice(time, 0, words != NULL ? digits : time.len));
    put(p, digits > 0 && words != NULL ? "&#160;" : "");
    text(p, words != NULL ? words : "");
}

/* Of a pattern the part before what varies. */
static struct str fixed_part(const struct rule_cookie *cookie)
{
    size_t len = 0;

    if (cookie->kind != RULE_REGEX)
        return cookie->text;
    while (len < cookie->text.len && str_find_char(STR("[(.\\*+?^$|{"), cookie->text.ptr[len]) < 0)
        len++;
    return str_slice(cookie->text, 0, len);
}

void cookie_list(struct page *p, const struct ruleset *set, size_t max)
{
    size_t shown = set->cookie_cnt < max ? set->cookie_cnt : max;

    for (size_t i = 0; i < shown; i++) {
        const struct rule_cookie *cookie = &set->cookies[i];

        put(p, i == 0 ? "<code>" : ", <code>");
        p->ok = p->ok && html_escape(p->out, fixed_part(cookie));
        put(p, cookie->kind == RULE_EXACT ? "</code>" : "&#8230;</code>");
        if (cookie->lifetime != NULL) {
            put(p, " (");
            life(p, str_c(cookie->lifetime));
            put(p, ")");
        }
    }
    put(p, set->cookie_cnt > shown ? ", &#8230;" : "");
}
