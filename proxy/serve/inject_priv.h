/*
 * inject_priv.h - what is put into pages, besides the companion: banner, placeholders, signals; and
 * what they depend on, languages and the page's own policy. A part of enforce_priv.h.
 */
#ifndef CONSENTD_INJECT_PRIV_H
#define CONSENTD_INJECT_PRIV_H

#include <stdbool.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/exchange.h"
#include "consentd/fault.h"
#include "consentd/ruleset.h"
#include "consentd/server.h"

/* --- banner.c, preferences.c, frame.c, page.c --- */
struct html_ref;
MUST_USE bool banner_render(struct exchange *x, struct buf *out);
MUST_USE bool preferences_render(struct exchange *x, struct buf *out);

/* The attributes that stand in for a frame of this set; false: the frame goes. */
MUST_USE bool frame_render(struct exchange *x, const struct ruleset *set,
                           const struct html_ref *ref, struct buf *out);
MUST_USE bool html_escape(struct buf *out, struct str text);

/* --- signals.c: the first script of pages in which tags may run --- */
MUST_USE bool signals_are_wanted(const struct exchange *x);
MUST_USE bool signals_element(const struct exchange *x, bool xml, struct buf *out);
MUST_USE bool signals_render(const struct exchange *x, struct buf *out);

/* What its address names, so that it is cached for ever. */
#define SIGNALS_KEY_LEN 16
void signals_key(const struct exchange *x, char out[SIGNALS_KEY_LEN + 1]);

/* --- csp.c --- */

/* Reads the page's own policy for our parts, and adds our folder where it would stop them. */
void csp_prepare(struct exchange *x);

/* Likewise the policy of a meta element, which counts from there on; false: it stays as it is. */
MUST_USE bool csp_meta(struct exchange *x, struct str policy, struct buf *out);

/* ' nonce="..."', or nothing without one. */
MUST_USE bool nonce_attribute(struct buf *out, struct str nonce);

/* ' integrity="..."', likewise. */
MUST_USE bool integrity_attribute(struct buf *out, const char *hash);

/* --- languages.c --- */

/* The languages of a site: site->enforce. False: one of the configuration is not known. */
MUST_USE bool languages_start(struct site *site, struct fault *fault_out);
void languages_stop(struct site *site);

/* The number of the one that suits an Accept-Language field best. */
unsigned languages_choose(const struct site *site, struct str accept_language);

/* Its tag, for the record. */
const char *language_tag(const struct exchange *x);

#endif
