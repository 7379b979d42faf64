/*
 * signals.c - what Google's and Microsoft's tags are told of the consent (proxy/web/signals.js).
 *
 * Without a grant no such tag runs, and nothing is said. With one the script stands first in the
 * head, right behind the companion: in the page itself, or as a file where the page's policy
 * wants that.
 */
#include "consentd/b64.h"
#include "consentd/buf.h"
#include "enforce_priv.h"
#include "web_assets.h"

bool signals_are_wanted(const struct exchange *x)
{
    uint16_t tags = CATEGORY_ANALYTICS | CATEGORY_MARKETING;

    return x->site->config->signals && x->site->policy != NULL && (x->grants & tags) != 0 &&
           enforcement_of(x)->document && !kind_is_piece(&x->req.headers);
}

bool signals_render(const struct exchange *x, struct buf *out)
{
    return !x->site->config->signals ||
           (buf_append_str(out, web_signals_js) &&
            buf_printf(out, "({g:{analytics:%d,marketing:%d},e:%llu});\n",
                       (x->grants & CATEGORY_ANALYTICS) != 0, (x->grants & CATEGORY_MARKETING) != 0,
                       (unsigned long long)(x->site->config->max_age_ms / 1000)));
}

void signals_key(const struct exchange *x, char out[SIGNALS_KEY_LEN + 1])
{
    (void)hex_encode(out, x->site->revision, SIGNALS_KEY_LEN / 2 - 2);
    (void)hex_encode(out + SIGNALS_KEY_LEN - 4, &x->grants, 2);
}

bool signals_element(const struct exchange *x, bool xml, struct buf *out)
{
    const struct enforcement *e = enforcement_of(x);
    char key[SIGNALS_KEY_LEN + 1];

    signals_key(x, key);
    if (!buf_append_c(out, "<script data-consent-signals=\"\"") ||
        !nonce_attribute(out, e->script_nonce))
        return false;
    if (e->script_inline && !xml)
        return buf_append_c(out, ">") && signals_render(x, out) && buf_append_c(out, "</script>");
    return buf_append_c(out, " src=\"") && html_escape(out, str_c(x->site->config->prefix)) &&
           buf_printf(out, "signals.js?v=%s\"", key) && integrity_attribute(out, e->signals_hash) &&
           buf_append_c(out, "></script>");
}
