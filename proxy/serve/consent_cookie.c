/*
 * consent_cookie.c - contract in consent_cookie.h.
 */
#include "consent_cookie.h"

const struct str consent_cookie_host = STR_INIT("__Host-consent");
const struct str consent_cookie_domain = STR_INIT("__Secure-consent");
const struct str consent_cookie_clear = STR_INIT("consent");
const struct str consent_seen_host = STR_INIT("__Host-consent-seen");
const struct str consent_seen_domain = STR_INIT("__Secure-consent-seen");
const struct str consent_seen_clear = STR_INIT("consent-seen");

bool consent_cookie_is(struct str name)
{
    /* Browsers fold the prefixes' case (6265bis 4.1.3), so must we. */
    return str_eq_fold(name, consent_cookie_host) || str_eq_fold(name, consent_cookie_domain) ||
           str_eq(name, consent_cookie_clear) || str_eq_fold(name, consent_seen_host) ||
           str_eq_fold(name, consent_seen_domain) || str_eq(name, consent_seen_clear);
}
