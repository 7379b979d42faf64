/*
 * csp.c - how consentd's own parts pass the page's Content-Security-Policy (CSP 3).
 *
 * A nonce of the page is used where there is one. Where the page's own host is allowed nothing is
 * needed. Else the folder that only consentd answers ("https://host/.consent/") is added to the
 * list that would stop us: it lets nothing pass but our own files. A list with 'strict-dynamic'
 * takes no addresses: without our nonce it gets the hashes of our scripts, which then say so in
 * their integrity attribute. A list of trusted types gets the names of ours, which make nothing but
 * the addresses of our own files and what the page itself trusted.
 *
 * The policy of a meta element counts for what comes behind it: for the banner and what that
 * fetches, not for the companion before it.
 */
#include "consentd/arena.h"
#include "consentd/b64.h"
#include "consentd/buf.h"
#include "consentd/crypto.h"
#include "enforce_priv.h"
#include "guard_priv.h"
#include "web_assets.h"

#define SCRIPT_MAX (1u << 20)
#define FIELD_MAX  (1u << 18) /* bytes of a policy with ours in it */
#define NONCE_MAX  256        /* bytes of a nonce that is taken over */

enum use { USE_SCRIPT = 0, USE_STYLE, USE_CONNECT, USE_FORM };

/* What is in force, and what only reports: one that our parts broke would report every page. */
static const enum header_id policy_fields[] = {HDR_CONTENT_SECURITY_POLICY, HDR_CSP_REPORT_ONLY};

/* Which directives speak of a use, the closest first (CSP 3, 6.8.1). */
static const char *const directives[][4] = {
    [USE_SCRIPT] = {"script-src-elem", "script-src", "default-src"},
    [USE_STYLE] = {"style-src-elem", "style-src", "default-src"},
    [USE_CONNECT] = {"connect-src", "default-src"},
    [USE_FORM] = {"form-action"},
};

/* The name of a directive, and the sources behind it. */
static struct str directive_name(struct str directive, struct str *sources_out)
{
    size_t len = 0;

    directive = str_trim(directive);
    while (len < directive.len && !ascii_is_space(directive.ptr[len]))
        len++;
    *sources_out = str_slice(directive, len, directive.len);
    return str_slice(directive, 0, len);
}

/* The sources that decide over a use in one policy; false: it says nothing of it. */
static bool sources_of(struct str policy, enum use use, struct str *sources_out)
{
    for (size_t i = 0; i < COUNT_OF(directives[use]) && directives[use][i] != NULL; i++) {
        struct str rest = policy;
        struct str directive;

        while (str_cut(&rest, ';', &directive)) {
            if (str_eq_fold_c(directive_name(directive, sources_out), directives[use][i]))
                return true; /* the first one counts */
        }
    }
    return false;
}

static bool source_next(struct str *rest, struct str *source_out)
{
    size_t len = 0;

    *rest = str_trim(*rest);
    while (len < rest->len && !ascii_is_space(rest->ptr[len]))
        len++;
    *source_out = str_slice(*rest, 0, len);
    *rest = str_slice(*rest, len, rest->len);
    return len > 0;
}

static bool nonce_is_plain(struct str nonce)
{
    for (size_t i = 0; i < nonce.len; i++) {
        char c = nonce.ptr[i];

        if (!ascii_is_alnum(c) && str_find_char(STR("+/=-_"), c) < 0)
            return false;
    }
    return nonce.len > 0 && nonce.len <= NONCE_MAX;
}

/* What one list of sources lets pass. */
struct sources {
    struct str nonce;
    bool own_host; /* files of the page's host */
    bool in_line;  /* elements without nonce or hash */
    bool strict;   /* addresses do not count */
    bool digests;  /* files that none of these lets pass, by their digest */
};

static struct sources sources_read(const struct exchange *x, struct str list)
{
    struct sources found = {0};
    bool keyed = false;
    struct str source;

    while (source_next(&list, &source)) {
        struct str nonce = {0};

        if (str_starts_fold(source, STR("'nonce-")) && str_ends(source, STR("'")))
            nonce = str_slice(source, 7, source.len - 8);
        if (nonce_is_plain(nonce))
            found.nonce = nonce;
        keyed = keyed || str_starts_fold(source, STR("'nonce-")) ||
                str_starts_fold(source, STR("'sha"));
        found.digests = found.digests || str_starts_fold(source, STR("'sha"));
        found.strict = found.strict || str_eq_fold_c(source, "'strict-dynamic'");
        found.in_line = found.in_line || str_eq_fold_c(source, "'unsafe-inline'");
        if (str_eq_fold_c(source, "'self'") || str_eq_c(source, "*") ||
            str_eq_fold_c(source, x->secure ? "https:" : "http:") ||
            str_eq_fold(source, x->req.authority))
            found.own_host = true;
    }
    found.own_host = found.own_host && !found.strict;
    found.digests = found.digests && !found.own_host;
    found.in_line = found.in_line && !keyed && !found.strict;
    return found;
}

/* Under this list an element of ours with the nonce may stand in the page. */
static bool stands_in_line(const struct sources *one, struct str nonce)
{
    return one->in_line || (one->nonce.len > 0 && str_eq(one->nonce, nonce));
}

/* One use under all policies of the page; each of them must agree. */
static void merge(struct sources *all, const struct sources *one)
{
    if (all->nonce.len == 0)
        all->nonce = one->nonce;
    all->own_host = all->own_host && one->own_host;
    all->digests = all->digests || one->digests;
    all->in_line = all->in_line && stands_in_line(one, all->nonce);
}

/* All policies of one field's value. */
static void merge_field(const struct exchange *x, struct str rest, enum use use,
                        struct sources *all)
{
    struct str policy, list;

    while (header_list_next(&rest, &policy)) {
        struct sources one;

        if (!sources_of(policy, use, &list))
            continue;
        one = sources_read(x, list);
        merge(all, &one);
    }
}

static struct sources page_sources(const struct exchange *x, enum use use)
{
    struct sources all = {.own_host = true, .in_line = true};
    struct header *field;

    for (size_t i = 0; i < COUNT_OF(policy_fields); i++) {
        unsigned iter = 0;

        while ((field = headers_next(&x->resp.headers, policy_fields[i], &iter)) != NULL)
            merge_field(x, field->value, use, &all);
    }
    return all;
}

/* The nonce of one list is the one that our parts carry. */
static bool nonce_is_ours(const struct exchange *x, enum use use, struct str nonce)
{
    const struct enforcement *e = enforcement_of(x);

    return nonce.len > 0 && ((use == USE_SCRIPT && str_eq(nonce, e->script_nonce)) ||
                             (use == USE_STYLE && str_eq(nonce, e->style_nonce)));
}

/* One policy, or several with commas between them. */
static bool wants_types(struct str policies)
{
    struct str policy, directive, list;

    while (str_cut(&policies, ',', &policy)) {
        while (str_cut(&policy, ';', &directive)) {
            if (str_eq_fold_c(directive_name(directive, &list), "require-trusted-types-for"))
                return true;
        }
    }
    return false;
}

static const char *types_addition(struct str list)
{
    struct str source;

    while (source_next(&list, &source)) {
        if (str_eq_c(source, "*"))
            return NULL;
    }
    return "consentd consentd-banner";
}

static const char *hash_of(struct exchange *x, struct str script)
{
    char text[B64_PADDED_LEN(CRYPTO_SHA256_LEN) + 1];
    uint8_t digest[CRYPTO_SHA256_LEN];

    crypto_sha256(script.ptr, script.len, digest);
    b64_encode(text, digest, sizeof(digest));
    return arena_printf(&x->arena, "sha256-%s", text);
}

static const char *hash_of_rendered(struct exchange *x,
                                    bool (*render)(const struct exchange *x, struct buf *out))
{
    const char *hash = NULL;
    struct buf script;

    buf_init(&script, SCRIPT_MAX);
    if (render(x, &script))
        hash = hash_of(x, buf_str(&script));
    buf_free(&script);
    return hash;
}

/* Rare: a list that takes neither the nonce that our parts carry nor addresses. */
static bool hashes_make(struct exchange *x)
{
    struct enforcement *e = enforcement_of(x);

    if (e->banner_hash == NULL)
        e->banner_hash = hash_of(x, web_banner_js);
    if (e->guard_hash == NULL)
        e->guard_hash = hash_of_rendered(x, guard_render);
    if (e->signals_hash == NULL)
        e->signals_hash = hash_of_rendered(x, signals_render);
    return e->banner_hash != NULL && e->guard_hash != NULL && e->signals_hash != NULL;
}

/* What one policy needs behind this directive so that our parts pass; NULL: nothing. */
static const char *addition(struct exchange *x, struct str policy, struct str directive)
{
    const struct enforcement *e = enforcement_of(x);
    struct str list, sources;

    if (str_eq_fold_c(directive_name(directive, &list), "trusted-types"))
        return types_addition(list);
    for (unsigned use = USE_SCRIPT; use <= USE_FORM; use++) {
        struct sources found;

        if (!sources_of(policy, (enum use)use, &sources) || sources.ptr != list.ptr)
            continue;
        found = sources_read(x, list);
        if (found.own_host || nonce_is_ours(x, use, found.nonce))
            continue;
        if (found.strict && use == USE_SCRIPT)
            return hashes_make(x) ? arena_printf(&x->arena, "'%s' '%s' '%s'", e->banner_hash,
                                                 e->guard_hash, e->signals_hash)
                                  : NULL;
        return arena_printf(&x->arena, "%s://%.*s%s", x->secure ? "https" : "http",
                            STR_ARGS(x->req.authority), x->site->config->prefix);
    }
    return NULL;
}

/* Without its only source, should that be 'none'. */
static struct str without_none(struct str directive)
{
    struct str list;
    struct str name = directive_name(directive, &list);

    return str_eq_fold_c(str_trim(list), "'none'") ? name : directive;
}

/* One policy with what is needed in it, behind others. */
static bool policy_amend(struct exchange *x, struct str policy, struct buf *out, bool *more_out)
{
    const char *between = out->len == 0 ? "" : ", ";
    struct str rest = policy;
    struct str directive;
    bool ok = true;

    while (ok && str_cut(&rest, ';', &directive)) {
        const char *more = addition(x, policy, directive);

        *more_out = *more_out || more != NULL;
        directive = str_trim(directive);
        if (directive.len == 0)
            continue;
        if (more != NULL) /* 'none' stands alone or not at all */
            directive = without_none(directive);
        ok = buf_append_c(out, between) && buf_append_str(out, directive) &&
             (more == NULL || buf_printf(out, " %s", more));
        between = "; ";
    }
    return ok;
}

/* The field with what is needed in it; no memory: the field as it was. */
static void field_amend(struct exchange *x, struct header *field)
{
    struct str rest = field->value;
    struct str policy, amended;
    struct buf out;
    bool ok = true;
    bool more = false;

    buf_init(&out, FIELD_MAX);
    while (ok && header_list_next(&rest, &policy))
        ok = policy_amend(x, policy, &out, &more);
    if (ok && out.len > 0 && arena_str(&x->arena, buf_str(&out), &amended))
        field->value = amended;
    buf_free(&out);
}

void csp_prepare(struct exchange *x)
{
    struct enforcement *e = enforcement_of(x);
    struct sources scripts = page_sources(x, USE_SCRIPT);
    struct sources styles = page_sources(x, USE_STYLE);
    struct header *field;

    e->script_nonce = scripts.nonce;
    e->style_nonce = styles.nonce;
    e->script_inline = scripts.in_line;
    e->script_digests = scripts.digests;
    e->style_inline = styles.in_line;
    e->reloads = !page_sources(x, USE_CONNECT).own_host;
    for (size_t i = 0; i < COUNT_OF(policy_fields); i++) {
        unsigned iter = 0;

        while ((field = headers_next(&x->resp.headers, policy_fields[i], &iter)) != NULL) {
            e->reloads = e->reloads || wants_types(field->value);
            field_amend(x, field);
        }
    }
}

/* What one list adds to what stands so far; false: no memory for its nonce. */
static bool list_join(struct exchange *x, const struct sources *one, struct str *nonce,
                      bool *in_line)
{
    if (nonce->len == 0 && one->nonce.len > 0 && !arena_str(&x->arena, one->nonce, nonce))
        return false;
    *in_line = *in_line && stands_in_line(one, *nonce);
    return true;
}

bool csp_meta(struct exchange *x, struct str policy, struct buf *out)
{
    struct enforcement *e = enforcement_of(x);
    struct sources found;
    struct str list;
    bool more = false;

    e->reloads = e->reloads || wants_types(policy) ||
                 (sources_of(policy, USE_CONNECT, &list) && !sources_read(x, list).own_host);
    if (sources_of(policy, USE_SCRIPT, &list)) {
        found = sources_read(x, list);
        if (!list_join(x, &found, &e->script_nonce, &e->script_inline))
            return false;
        e->script_digests = e->script_digests || found.digests;
    }
    if (sources_of(policy, USE_STYLE, &list)) {
        found = sources_read(x, list);
        if (!list_join(x, &found, &e->style_nonce, &e->style_inline))
            return false;
    }
    return policy_amend(x, policy, out, &more) && more;
}

bool integrity_attribute(struct buf *out, const char *hash)
{
    return hash == NULL || buf_printf(out, " integrity=\"%s\"", hash);
}

bool nonce_attribute(struct buf *out, struct str nonce)
{
    return nonce.len == 0 || buf_printf(out, " nonce=\"%.*s\"", STR_ARGS(nonce));
}
