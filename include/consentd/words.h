/*
 * words.h - the words that a site's banner and settings are drawn with, in all its languages, for
 * the notice document (notice.h). layer: serve
 *
 * The same text that a visitor sees: the policy's own word for a key where it has one, else the
 * built-in one of the language, else the fallback's. Words of other pages are not part of it.
 */
#ifndef CONSENTD_WORDS_H
#define CONSENTD_WORDS_H

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/notice.h"

struct config_site;
struct policy;
struct words;

/* Both are borrowed. NULL with the reason: a language of the configuration that nobody has. */
MUST_USE struct words *words_new(const struct config_site *site, struct policy *policy,
                                 struct fault *f);
void words_free(struct words *w); /* NULL is fine */

const struct notice_words *words_list(const struct words *w);

#endif
