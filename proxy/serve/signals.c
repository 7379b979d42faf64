/*
 * signals.c - what Google's and Microsoft's tags are told of the consent (proxy/web/signals.js).
 *
 * Without a grant no such tag runs, and nothing is said. With one the script stands first in the
 * head, right behind the companion: in the page itself, or as a file where the page's policy
 * wants that.
 */
#include "consentd/buf.h"
#include "enforce_priv.h"
#include "web_assets.h"

bool signals_are_wanted(const struct exchange *x)
{
    const struct header *field = headers_find_name(&x->req.headers, STR("X-Requested-With"));
    uint16_t tags = CATEGORY_ANALYTICS | CATEGORY_MARKETING;

    return x->site->config->signals && x->site->policy != NULL && (x->grants & tags) != 0 &&
           enforcement_of(x)->document &&
           !headers_has_token(&x->resp.headers, HDR_CACHE_CONTROL, "no-transform") &&
           (field == NULL || !str_eq_fold_c(field->value, "XMLHttpRequest"));
}

bool signals_render(const struct exchange *x, struct buf *out)
{
    return !x->site->config->signals ||
           (buf_append_str(out, web_signals_js) &&
            buf_printf(out, "({g:{analytics:%d,marketing:%d},e:%llu});\n",
                       (x->grants & CATEGORY_ANALYTICS) != 0, (x->grants & CATEGORY_MARKETING) != 0,
                       (unsigned long long)(x->site->config->max_age_ms / 1000)));
}

bool signals_element(const struct exchange *x, bool xml, struct buf *out)
{
    const struct enforcement *e = enforcement_of(x);

    if (!buf_append_c(out, "<script data-consent-signals=\"\"") ||
        !nonce_attribute(out, e->script_nonce))
        return false;
    if (e->script_inline && !xml)
        return buf_append_c(out, ">") && signals_render(x, out) && buf_append_c(out, "</script>");
    return buf_append_c(out, " src=\"") && html_escape(out, str_c(x->site->config->prefix)) &&
           buf_printf(out, "signals.js?v=%s%x\"", web_signals_js_hash, x->grants) &&
           integrity_attribute(out, e->signals_hash) && buf_append_c(out, "></script>");
}
