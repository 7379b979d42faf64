/*
 * filter_headers.c - Cookie toward the origin; what else of a head fetches or stores: Set-Cookie,
 * Link, Refresh, Location and reports toward the browser.
 *
 * A cookie is removed when any reader of the field could see a denied name in it (cookie.h).
 * A cookie that was set before consentd came, or by a script, is deleted by the answer to the
 * next page: once for the host alone and once for every domain above it, since only the browser
 * knows with which Domain it was set.
 */
#include <string.h>

#include "consent_cookie.h"
#include "consentd/arena.h"
#include "consentd/buf.h"
#include "consentd/cookie.h"
#include "consentd/json_strings.h"
#include "consentd/metrics.h"
#include "consentd/url.h"
#include "enforce_priv.h"

#define DOMAINS_MAX 5 /* parent domains tried for one deletion */

/* --- Cookie --- */

static void deletion_note(struct exchange *x, struct enforcement *e, struct str name)
{
    struct str copy;

    if (name.len == 0 || e->deletion_cnt == DELETIONS_MAX)
        return;
    for (unsigned i = 0; i < e->deletion_cnt; i++) {
        if (str_eq(e->deletions[i].name, name))
            return;
    }
    if (arena_str(&x->arena, name, &copy))
        e->deletions[e->deletion_cnt++].name = copy;
}

/* The consent cookie and the one that names an origin: no origin sees or sets them. */
static bool is_ours(const struct exchange *x, struct str name)
{
    const char *sticky = x->site->config->sticky_cookie;

    return consent_cookie_is(name) || (sticky != NULL && str_eq_c(name, sticky));
}

static bool keep_cookie(void *arg, const struct cookie_pair *pair)
{
    struct exchange *x = arg;
    struct enforcement *e = enforcement_of(x);
    struct verdict verdict;

    if (is_ours(x, pair->name))
        return false;
    verdict = decide_cookie_pair(&e->decider, pair);
    if (verdict.action == VERDICT_REPORT)
        metric_add(METRIC_REPORTED, 1);
    if (verdict.action != VERDICT_STRIP)
        return true;
    metric_add(METRIC_COOKIES_STRIPPED, 1);
    x->removed.cookies++;
    deletion_note(x, e, pair->name);
    return false;
}

bool cookies_filter_request(struct exchange *x)
{
    return cookie_filter(&x->req.headers, &x->arena, keep_cookie, x);
}

/* --- Set-Cookie --- */

static bool set_cookie_passes(struct exchange *x, struct str field)
{
    struct enforcement *e = enforcement_of(x);
    struct cookie_pair pair;
    struct verdict verdict;

    if (!set_cookie_name(field, &pair))
        return true; /* sets nothing */
    if (pair.trust == COOKIE_DROP || is_ours(x, pair.name))
        return false;
    verdict = decide_cookie_pair(&e->decider, &pair);
    if (verdict.action == VERDICT_REPORT)
        metric_add(METRIC_REPORTED, 1);
    return verdict.action != VERDICT_STRIP;
}

void cookies_filter_response(struct exchange *x, struct headers *h)
{
    unsigned iter = 0;
    struct header *field;

    headers_remove(h, HDR_SET_COOKIE2);
    while ((field = headers_next(h, HDR_SET_COOKIE, &iter)) != NULL) {
        if (set_cookie_passes(x, field->value))
            continue;
        field->removed = true;
        metric_add(METRIC_SETCOOKIES_STRIPPED, 1);
        x->removed.set_cookies++;
    }
}

/* RFC 6265bis 4.1.1: only such a name can stand in a Set-Cookie field of ours. */
static bool name_is_token(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];

        if (c <= ' ' || c >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", c) != NULL)
            return false;
    }
    return name.len > 0;
}

static void deletion_add(struct exchange *x, struct headers *h, struct str name, struct str domain)
{
    const char *secure =
        str_starts_fold(name, STR("__Secure-")) || str_starts_fold(name, STR("__Host-"))
            ? "; Secure"
            : "";
    char *field =
        domain.len > 0
            ? arena_printf(&x->arena, "%.*s=; Path=/; Max-Age=0; Domain=%.*s%s", STR_ARGS(name),
                           STR_ARGS(domain), secure)
            : arena_printf(&x->arena, "%.*s=; Path=/; Max-Age=0%s", STR_ARGS(name), secure);

    /* Without memory the cookie lives until the next page: it is stripped all the same. */
    if (field != NULL && headers_add_id(h, &x->arena, HDR_SET_COOKIE, str_c(field)))
        metric_add(METRIC_COOKIES_DELETED, 1);
}

void cookies_delete_denied(struct exchange *x, struct headers *h)
{
    const struct enforcement *e = enforcement_of(x);
    struct str host = x->req.host;
    bool named = host.len > 0 && host.ptr[0] != '[' && !ascii_is_digit(host.ptr[host.len - 1]);

    for (unsigned i = 0; i < e->deletion_cnt; i++) {
        struct str name = e->deletions[i].name;
        struct str domain = host;

        if (!name_is_token(name))
            continue;
        deletion_add(x, h, name, STR(""));
        /* The host itself and its parents, not the top-level label: no browser takes that. */
        for (unsigned level = 0; named && level < DOMAINS_MAX; level++) {
            ptrdiff_t dot = str_find_char(domain, '.');

            if (dot < 0)
                break;
            deletion_add(x, h, name, domain);
            domain = str_slice(domain, (size_t)dot + 1, domain.len);
        }
    }
}

/* --- Link, Refresh, Location --- */

static ptrdiff_t find_fold(struct str text, struct str what)
{
    for (size_t i = 0; i + what.len <= text.len; i++) {
        if (str_eq_fold(str_slice(text, i, what.len), what))
            return (ptrdiff_t)i;
    }
    return -1;
}

/* base: NULL for an address that stands for itself. */
static bool url_is_denied_under(struct exchange *x, struct str text, const struct url *base,
                                bool connect)
{
    const struct enforcement *e = enforcement_of(x);
    struct url url;
    struct verdict verdict;

    if (!url_parse(text, base, &x->arena, &url))
        return (url.flags & URL_SUSPECT) != 0;
    verdict = connect ? decide_host(&e->decider, &url) : decide_url(&e->decider, &url);
    if (verdict.action == VERDICT_REPORT)
        metric_add(METRIC_REPORTED, 1);
    return verdict.action == VERDICT_STRIP;
}

static struct url page_base(const struct exchange *x)
{
    struct url base = {.flags = URL_NETWORK, .path = STR_INIT("/")};
    struct str rest = x->req.path;

    if (rest.len > 0 && rest.ptr[0] == '/')
        (void)str_cut(&rest, '?', &base.path);
    base.scheme = x->secure ? URL_SCHEME_HTTPS : URL_SCHEME_HTTP;
    base.port = x->secure ? 443 : 80;
    base.host = x->req.host;
    return base;
}

static bool url_is_denied(struct exchange *x, struct str text)
{
    struct url base = page_base(x);

    return url_is_denied_under(x, text, &base, false);
}

/* One of the addresses in the text is denied; what stands between them is in `between`. */
static bool any_is_denied(struct exchange *x, struct str text, const char *between)
{
    size_t i = 0;

    while (i < text.len) {
        size_t from = i;

        while (i < text.len && strchr(between, text.ptr[i]) == NULL)
            i++;
        if (i > from && url_is_denied(x, str_slice(text, from, i - from)))
            return true;
        i++;
    }
    return false;
}

static void links_removed(struct exchange *x, unsigned cnt)
{
    metric_add(METRIC_LINKS_REMOVED, cnt);
    x->removed.links += cnt;
}

/*
 * Takes the next link-value off a Link field (RFC 8288 3): at a comma that is neither inside
 * <...> nor inside a quoted string. False at the end.
 */
static bool link_next(struct str *rest, struct str *value_out)
{
    bool angle = false;
    bool quoted = false;
    size_t i;

    if (rest->len == 0)
        return false;
    for (i = 0; i < rest->len; i++) {
        char c = rest->ptr[i];

        if (quoted && c == '\\')
            i++;
        else if (c == '"' && !angle)
            quoted = !quoted;
        else if (!quoted && (c == '<' || c == '>'))
            angle = c == '<';
        else if (c == ',' && !angle && !quoted)
            break;
    }
    *value_out = str_trim(str_slice(*rest, 0, i));
    *rest = str_slice(*rest, i + 1, rest->len);
    return true;
}

/*
 * What stands behind the target may name pictures (HTML 4.6.7.4, imagesrcset). Descriptors are read
 * as addresses too: as such they are the site's own.
 */
static bool link_images_are_denied(struct exchange *x, struct str value)
{
    ptrdiff_t at = find_fold(value, STR("imagesrcset"));

    return at >= 0 && any_is_denied(x, str_slice(value, (size_t)at, value.len), " \t\"'=,;");
}

/*
 * A link-value without a readable target fetches nothing we could judge: it goes. Where a reader
 * that splits the field elsewhere could see another target, that is judged too.
 */
static bool link_is_denied(struct exchange *x, struct str value)
{
    bool connects =
        find_fold(value, STR("preconnect")) >= 0 || find_fold(value, STR("dns-prefetch")) >= 0;
    struct url base = page_base(x);

    if (value.len == 0)
        return false;
    if (value.ptr[0] != '<' || str_find_char(value, '>') < 0)
        return true;
    for (size_t i = 0; i < value.len; i++) {
        struct str target = str_slice(value, i + 1, value.len);
        ptrdiff_t end = value.ptr[i] == '<' ? str_find_char(target, '>') : -1;

        if (end >= 0 && url_is_denied_under(x, str_slice(target, 0, (size_t)end), &base, connects))
            return true;
    }
    return link_images_are_denied(x, value);
}

/* Filters one Link field in place; untouched byte for byte when nothing is denied. */
static void link_filter(struct exchange *x, struct header *field)
{
    struct str rest = field->value;
    struct str value;
    char *out = NULL;
    size_t len = 0;
    unsigned denied = 0;

    while (link_next(&rest, &value))
        denied += link_is_denied(x, value);
    if (denied == 0)
        return;
    links_removed(x, denied);
    out = arena_alloc(&x->arena, field->value.len + 1);
    rest = field->value;
    while (out != NULL && link_next(&rest, &value)) {
        if (value.len == 0 || link_is_denied(x, value))
            continue;
        if (len > 0) {
            memcpy(out + len, ", ", 2);
            len += 2;
        }
        memcpy(out + len, value.ptr, value.len);
        len += value.len;
    }
    field->removed = len == 0;
    field->value = str_make(out, len);
}

static struct str skip_any(struct str s, const char *set)
{
    size_t i = 0;

    while (i < s.len && s.ptr[i] != '\0' && strchr(set, s.ptr[i]) != NULL)
        i++;
    return str_slice(s, i, s.len);
}

/* "5; url='https://…'" in all its loose forms (HTML, shared declarative refresh steps). */
static struct str refresh_target(struct str value)
{
    struct str target = skip_any(value, " \t.,;0123456789");

    if (str_starts_fold(target, STR("url"))) {
        struct str rest = skip_any(str_slice(target, 3, target.len), " \t");

        if (rest.len > 0 && rest.ptr[0] == '=')
            target = skip_any(str_slice(rest, 1, rest.len), " \t");
    }
    return target;
}

/* What is quoted ends at the first such quote by the standard, at the last one in Chromium. */
static bool refresh_is_denied(struct exchange *x, struct str value)
{
    struct str target = refresh_target(value);
    char quote = target.len > 0 ? target.ptr[0] : '\0';
    ptrdiff_t first, last;

    if (quote != '"' && quote != '\'')
        return target.len > 0 && url_is_denied(x, target);
    target = str_slice(target, 1, target.len);
    first = str_find_char(target, quote);
    last = str_find_last_char(target, quote);
    return url_is_denied(x, target) ||
           (first >= 0 && (url_is_denied(x, str_slice(target, 0, (size_t)first)) ||
                           url_is_denied(x, str_slice(target, 0, (size_t)last))));
}

bool redirect_is_denied(struct exchange *x)
{
    struct str target = headers_value(&x->resp.headers, HDR_LOCATION);
    unsigned status = x->resp.status;

    if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308)
        return false;
    return target.len > 0 && url_is_denied(x, target);
}

/* --- reports --- */

/* An address of some host stands in the text, quoted or not, and is denied. */
static bool text_names_denied(struct exchange *x, struct str text)
{
    char *plain = arena_alloc(&x->arena, text.len + 1);
    struct str rest;
    ptrdiff_t at;
    size_t len = 0;

    if (plain == NULL)
        return true;
    for (size_t i = 0; i < text.len; i++) { /* JSON may write "https:\/\/" */
        if (text.ptr[i] != '\\')
            plain[len++] = text.ptr[i];
    }
    rest = str_make(plain, len);
    while ((at = str_find(rest, STR("//"))) >= 0) {
        size_t end = (size_t)at + 2;

        while (end < rest.len && str_find_char(STR(" \t\"',;<>)}"), rest.ptr[end]) < 0)
            end++;
        if (url_is_denied(x, str_slice(rest, (size_t)at, end - (size_t)at)))
            return true;
        rest = str_slice(rest, end, rest.len);
    }
    return false;
}

/*
 * The strings of a field that is JSON, or a structured field, hold addresses: also such as need no
 * slashes ("https:host"), which some fields take without a base.
 */
static bool strings_name_denied(struct exchange *x, struct str text)
{
    struct json_string string;
    struct buf scratch;
    size_t pos = 0;
    bool denied = false;

    buf_init(&scratch, text.len + 1);
    while (!denied && json_strings_next(text, &pos, &scratch, &string)) {
        if (string.is_key ||
            (str_find_char(string.value, ':') < 0 && str_find_char(string.value, '/') < 0 &&
             str_find_char(string.value, '\\') < 0))
            continue;
        denied =
            url_is_denied(x, string.value) || url_is_denied_under(x, string.value, NULL, false);
    }
    buf_free(&scratch);
    return denied || text_names_denied(x, text);
}

static bool reports_to_denied(struct exchange *x, struct str directive)
{
    directive = str_trim(directive);
    return str_starts_fold(directive, STR("report-uri")) &&
           any_is_denied(x, str_slice(directive, 10, directive.len), " \t,");
}

/* Bytes up to the end of a directive, or of the policy that it is the last one of. */
static size_t directive_len(struct str text)
{
    size_t len = 0;

    while (len < text.len && text.ptr[len] != ';' && text.ptr[len] != ',')
        len++;
    return len;
}

/* What a policy allows fetches nothing; where it reports to does. */
static void csp_filter(struct exchange *x, struct header *field)
{
    struct str rest = field->value;
    char *out = arena_alloc(&x->arena, field->value.len + 1);
    char before = '\0';
    size_t len = 0;

    while (out != NULL && rest.len > 0) {
        size_t end = directive_len(rest);
        bool denied = reports_to_denied(x, str_slice(rest, 0, end));

        if (len > 0 && before != '\0' && (before == ',' || !denied))
            out[len++] = before;
        if (denied)
            links_removed(x, 1);
        else
            memcpy(out + len, rest.ptr, end);
        len += denied ? 0 : end;
        before = end < rest.len ? rest.ptr[end] : '\0';
        rest = str_slice(rest, end + 1, rest.len);
    }
    if (out != NULL && len > 0 && before == ';')
        out[len++] = ';';
    field->value = str_trim(str_make(out, len));
    field->removed = len == 0;
}

static void field_filter(struct exchange *x, struct headers *h, enum header_id id,
                         bool (*is_denied)(struct exchange *x, struct str value))
{
    unsigned iter = 0;
    struct header *field;

    while ((field = headers_next(h, id, &iter)) != NULL) {
        if (is_denied(x, field->value)) {
            field->removed = true;
            links_removed(x, 1);
        }
    }
}

void hints_filter_response(struct exchange *x, struct headers *h)
{
    static const enum header_id policies[] = {HDR_CONTENT_SECURITY_POLICY, HDR_CSP_REPORT_ONLY};
    unsigned iter = 0;
    struct header *field;

    while ((field = headers_next(h, HDR_LINK, &iter)) != NULL)
        link_filter(x, field);
    field_filter(x, h, HDR_REFRESH, refresh_is_denied);
    field_filter(x, h, HDR_REPORT_TO, strings_name_denied);
    field_filter(x, h, HDR_REPORTING_ENDPOINTS, strings_name_denied);
    field_filter(x, h, HDR_SPECULATION_RULES, strings_name_denied);
    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        for (iter = 0; (field = headers_next(h, policies[i], &iter)) != NULL;) {
            if (find_fold(field->value, STR("report-uri")) >= 0)
                csp_filter(x, field);
        }
    }
    headers_remove(h, HDR_ALT_SVC); /* another way to the origin would lead around consentd */
}
