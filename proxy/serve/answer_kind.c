/*
 * answer_kind.c - what a browser takes an answer for: by the fetch that asks (Sec-Fetch-Dest, for
 * older ones Accept) and by the types that the head names. Whatever could be read as a page is
 * one: a wrong guess removes more, never less.
 */
#include "consentd/chars.h"
#include "consentd/headers.h"
#include "consentd/str.h"
#include "enforce_priv.h"
#include "guard_priv.h"

/* --- who asks --- */

/*
 * What a service worker fetches for a page on its way has no destination; that the page is being
 * opened shows in the mode, which no other fetch can have.
 */
struct str kind_dest(const struct headers *h)
{
    struct str dest = headers_value(h, HDR_SEC_FETCH_DEST);

    return str_eq_c(dest, "empty") && str_eq_c(headers_value(h, HDR_SEC_FETCH_MODE), "navigate")
               ? STR("document")
               : dest;
}

/* May the client show the answer as a page? By Sec-Fetch-Dest, for older ones by Accept. */
static bool wants_document(const struct headers *h)
{
    static const char *const pages[] = {"document", "iframe",      "frame",
                                        "embed",    "fencedframe", "object"};
    struct str dest = kind_dest(h);

    if (dest.len > 0) {
        for (size_t i = 0; i < COUNT_OF(pages); i++) {
            if (str_eq_c(dest, pages[i]))
                return true;
        }
        return false;
    }
    return headers_has_token(h, HDR_ACCEPT, "text/html") ||
           headers_has_token(h, HDR_ACCEPT, "application/xhtml+xml");
}

bool kind_is_piece(const struct headers *h)
{
    const struct header *field = headers_find_name(h, STR("X-Requested-With"));

    return field != NULL && str_eq_fold_c(field->value, "XMLHttpRequest");
}

/*
 * A worker fetches it by itself: only scripts name one as their referrer. A service worker may keep
 * a page that it gets so, and show it later.
 */
static bool wants_to_keep(const struct headers *h)
{
    const struct header *field = headers_find_name(h, STR("Referer"));
    struct str rest, path;

    if (field == NULL || !str_eq_c(kind_dest(h), "empty"))
        return false;
    rest = field->value;
    if (!str_cut(&rest, '?', &path))
        return false;
    return str_ends(path, STR(".js")) || str_ends(path, STR(".mjs"));
}

/*
 * The script of a worker, by its type, that a service worker fetches for the page: no destination,
 * and the mode that a page's own fetch has only if it asks for it.
 */
static bool wants_passed_on(const struct headers *h)
{
    return str_eq_c(headers_value(h, HDR_SEC_FETCH_DEST), "empty") &&
           str_eq_c(headers_value(h, HDR_SEC_FETCH_MODE), "same-origin");
}

/* The client runs the answer in a worker of its own (Fetch 2.2.7). */
static bool wants_worker(const struct headers *h)
{
    struct str dest = kind_dest(h);

    return str_eq_c(dest, "worker") || str_eq_c(dest, "sharedworker") ||
           str_eq_c(dest, "serviceworker");
}

/*
 * The client takes the answer for a style sheet, whatever its type says. One that would also show
 * it as a page may name sheets among the types that it takes.
 */
static bool wants_style(const struct headers *h)
{
    struct str dest = kind_dest(h);

    return dest.len > 0 ? str_eq_c(dest, "style")
                        : headers_has_token(h, HDR_ACCEPT, "text/css") && !wants_document(h);
}

/* An XSLT sheet, from which a page is made, whatever its type says. */
static bool wants_xslt(const struct headers *h)
{
    return str_eq_c(kind_dest(h), "xslt");
}

/*
 * <use href="/sprite.svg#x"> makes a tree of the answer, which fetches what it names, unlike an
 * <img>. Only the mode tells them apart.
 */
static bool wants_tree(const struct headers *h)
{
    return wants_xslt(h) || (str_eq_c(kind_dest(h), "image") &&
                             str_eq_c(headers_value(h, HDR_SEC_FETCH_MODE), "same-origin"));
}

void kind_asked(const struct headers *h, struct enforcement *e)
{
    e->kept = wants_to_keep(h);
    e->document = e->kept || wants_document(h);
    e->passed_on = wants_passed_on(h);
    e->service = str_eq_c(headers_value(h, HDR_SEC_FETCH_DEST), "serviceworker");
    e->worker = wants_worker(h);
    e->tree = wants_tree(h);
    e->style = wants_style(h);
    e->script = str_eq_c(headers_value(h, HDR_SEC_FETCH_DEST), "script");
}

/* --- what is answered --- */

/* Tokens and slashes: with any other byte it is no type, and browsers look at the content. */
static bool has_type_chars(struct str essence)
{
    for (size_t i = 0; i < essence.len; i++) {
        if (essence.ptr[i] != '/' && !char_is(essence.ptr[i], CHAR_TOKEN))
            return false;
    }
    return true;
}

/*
 * The essence of one media type: "type/subtype", or empty when it is none. Browsers end it also at
 * white space and '(' (a forgotten ';', a comment), so that must not hide a page.
 */
static struct str type_essence(struct str type)
{
    struct str essence = {NULL, 0};
    size_t len = 0;
    ptrdiff_t slash;

    (void)str_cut(&type, ';', &essence);
    essence = str_trim(essence);
    while (len < essence.len && str_find_char(STR(" \t("), essence.ptr[len]) < 0)
        len++;
    essence = str_slice(essence, 0, len);
    slash = str_find_char(essence, '/');
    return slash > 0 && (size_t)slash + 1 < essence.len && has_type_chars(essence) ? essence
                                                                                   : STR("");
}

/*
 * XML that a browser shows as a document of its own (MIME Sniffing 4.6): SVG, mostly. Chromium
 * takes text/xsl for XML, too.
 */
static bool is_xml(struct str essence)
{
    return str_eq_fold_c(essence, "text/xml") || str_eq_fold_c(essence, "application/xml") ||
           str_eq_fold_c(essence, "text/xsl") ||
           (essence.len > 4 && str_eq_fold_c(str_slice(essence, essence.len - 4, 4), "+xml"));
}

static bool is_svg(struct str essence)
{
    return str_eq_fold_c(essence, "image/svg+xml");
}

static bool is_html(struct str essence)
{
    return str_eq_fold_c(essence, "text/html") || str_eq_fold_c(essence, "application/xhtml+xml");
}

/* A walk over the media types of an answer: of several Content-Type fields, of a list in one. */
struct type_walk {
    const struct headers *headers;
    unsigned iter;
    struct str rest; /* of the field at hand */
};

static bool type_next(struct type_walk *w, struct str *out)
{
    while (!header_list_next(&w->rest, out)) {
        const struct header *field = headers_next(w->headers, HDR_CONTENT_TYPE, &w->iter);

        if (field == NULL)
            return false;
        w->rest = field->value;
    }
    return true;
}

/* Firefox shows every part of it as a page of its own type; there is no end to filter up to. */
static bool is_replaced(struct str essence)
{
    return str_eq_fold_c(essence, "multipart/x-mixed-replace");
}

static bool has_type(const struct exchange *x, bool (*is)(struct str essence))
{
    struct type_walk walk = {.headers = &x->resp.headers};
    struct str one;

    while (type_next(&walk, &one)) {
        if (is(type_essence(one)))
            return true;
    }
    return false;
}

bool kind_is_up_to_who_asks(const struct exchange *x)
{
    return has_type(x, is_xml) || has_type(x, is_replaced);
}

bool kind_is_replaced(const struct exchange *x)
{
    return enforcement_of(x)->document && has_type(x, is_replaced);
}

/*
 * Browsers take the last that is a type (Fetch 2.2.5): a page if any of them says so. A client that
 * does not say what it wants a picture for may draw with its elements.
 */
struct str kind_page_type(const struct exchange *x)
{
    const struct enforcement *e = enforcement_of(x);
    bool any_xml = e->document || e->tree;
    bool any_svg = any_xml || kind_dest(&x->req.headers).len == 0;
    struct type_walk walk = {.headers = &x->resp.headers};
    struct str found = {NULL, 0};
    struct str one;

    while (type_next(&walk, &one)) {
        struct str essence = type_essence(one);

        if (is_html(essence) || (any_xml && is_xml(essence)) || (any_svg && is_svg(essence)))
            found = one;
    }
    return found.len == 0 && wants_xslt(&x->req.headers) ? STR("text/xml") : found;
}

/* No type, or none that a browser takes for one: it looks at the bytes (MIME Sniffing 7). */
static bool type_is_sniffed(const struct exchange *x)
{
    struct str type = type_essence(headers_value(&x->resp.headers, HDR_CONTENT_TYPE));

    if (str_eq_fold_c(headers_value(&x->resp.headers, HDR_X_CONTENT_TYPE_OPTIONS), "nosniff"))
        return false;
    return type.len == 0 || str_eq_c(type, "*/*") || str_eq_fold_c(type, "unknown/unknown") ||
           str_eq_fold_c(type, "application/unknown");
}

/*
 * Saved, not shown. Browsers take what is no token for no type at all, and show the answer:
 * "attachment filename=report.html", whose semicolon was forgotten.
 */
static bool is_download(const struct exchange *x)
{
    struct header *field;
    unsigned iter = 0;
    bool any = false;

    while ((field = headers_next(&x->resp.headers, HDR_CONTENT_DISPOSITION, &iter)) != NULL) {
        struct str rest = field->value;
        struct str type = {NULL, 0};

        (void)str_cut(&rest, ';', &type);
        if (!str_eq_fold_c(str_trim(type), "attachment"))
            return false;
        any = true;
    }
    return any;
}

bool kind_is_page(const struct exchange *x)
{
    if (x->resp.status < 200 || x->resp.status == 204 || x->resp.status == 304)
        return false;
    if (is_download(x) && !enforcement_of(x)->tree)
        return false;
    if (kind_page_type(x).len > 0 || kind_is_replaced(x))
        return true;
    return type_is_sniffed(x) && x->resp.body != H1_BODY_NONE &&
           (x->resp.body != H1_BODY_LENGTH || x->resp.content_length > 0);
}

/* Any status of success: browsers run the scripts of a 201, too (Fetch, "ok status"). */
static bool is_ok(const struct exchange *x)
{
    return x->resp.status >= 200 && x->resp.status < 300;
}

bool kind_may_be_worker(const struct exchange *x)
{
    return enforcement_of(x)->worker && is_ok(x) && x->site->config->guard;
}

bool kind_is_worker(const struct exchange *x)
{
    const struct enforcement *e = enforcement_of(x);

    return (e->worker || (e->passed_on && kind_has_script_type(x))) && is_ok(x) &&
           guard_is_wanted(x);
}

/*
 * A style sheet, by its type or, where a page in quirks mode may take any, by what asks for it.
 * Chromium uses whatever is no error, that of a 300, too.
 */
bool kind_is_sheet(const struct exchange *x)
{
    struct str type = type_essence(headers_value(&x->resp.headers, HDR_CONTENT_TYPE));

    return x->resp.status >= 200 && x->resp.status < 400 &&
           (enforcement_of(x)->style || str_eq_fold_c(type, "text/css"));
}

bool kind_is_rules(const struct exchange *x)
{
    struct str type = type_essence(headers_value(&x->resp.headers, HDR_CONTENT_TYPE));

    return is_ok(x) && str_eq_fold_c(type, "application/speculationrules+json");
}

bool kind_has_script_type(const struct exchange *x)
{
    static const char *const types[] = {"text/javascript", "application/javascript",
                                        "application/x-javascript", "text/ecmascript",
                                        "application/ecmascript"};
    struct str type = type_essence(headers_value(&x->resp.headers, HDR_CONTENT_TYPE));

    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (str_eq_fold_c(type, types[i]))
            return true;
    }
    return false;
}

/* A script of a page; workers' get the companion instead, which sees more. */
bool kind_is_script(const struct exchange *x)
{
    return (enforcement_of(x)->script || kind_has_script_type(x)) && !enforcement_of(x)->worker &&
           !kind_is_worker(x) && x->site->config->guard && is_ok(x);
}

bool kind_is_unseen(const struct exchange *x)
{
    return x->req.method_id == HTTP_METHOD_HEAD && x->resp.status != 304 &&
           (kind_is_sheet(x) || kind_is_script(x) || type_is_sniffed(x));
}
