/*
 * consent_cookie.h - the three names of the consent cookie.
 */
#ifndef CONSENTD_CONSENT_COOKIE_H
#define CONSENTD_CONSENT_COOKIE_H

#include <stdbool.h>

#include "consentd/str.h"

extern const struct str consent_cookie_host;   /* over TLS: nobody else can set it */
extern const struct str consent_cookie_domain; /* over TLS, shared with subdomains */
extern const struct str consent_cookie_clear;  /* without TLS */

/* Beside each: since when the notice's version is in force that the visitor was told of. */
extern const struct str consent_seen_host, consent_seen_domain, consent_seen_clear;

/* True for all of them: none is ever the origin's business. */
bool consent_cookie_is(struct str name);

#endif
