/*
 * page_priv.h - what consentd's own markup is drawn with: banner, preferences, placeholders.
 *
 * A page is appended to a buffer; a failed append makes all later ones no-ops, and `ok` says so at
 * the end. Whatever is shown is escaped here.
 */
#ifndef CONSENTD_PAGE_PRIV_H
#define CONSENTD_PAGE_PRIV_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/buf.h"
#include "consentd/ruleset.h"
#include "enforce_priv.h"
#include "web_assets.h"

/* --- languages.c --- */

/* One language of a site. */
struct language {
    const char *tag;
    const struct web_language *own; /* built in; NULL: only the policy has it */
    bool in_policy;
    unsigned policy; /* its number there */
    bool rtl;
};

/* That of the exchange. The site has a policy. */
const struct language *language_of(const struct exchange *x);

/* The languages of a site, in order; between languages_start and languages_stop. */
size_t languages_cnt(const struct site *site);
const struct language *languages_at(const struct site *site, size_t i);

/* The interface text `key`; NULL when nobody has it. */
const char *language_text(const struct policy *policy, const struct language *language,
                          const char *key);
const char *web_text(const struct web_language *language, const char *key);

/* --- page.c --- */

struct page {
    struct exchange *x;
    const struct policy *policy;
    const struct language *language;
    struct buf *out;
    bool ok;
    bool unicode; /* what is no ASCII stays as it is */
};

void page_begin(struct page *p, struct exchange *x, struct buf *out);

/* Markup as it is; a text, escaped; an interface text by its key. */
void put(struct page *p, const char *markup);
void text(struct page *p, const char *words);
void ui(struct page *p, const char *key);

/* An interface text with "{name}" and the like replaced; a NULL key ends the list. */
struct page_value {
    const char *key, *value;
};
void ui_with(struct page *p, const char *key, const struct page_value *values);

/* A text of the policy, marked with its language where that is not the page's. */
void prose(struct page *p, const struct policy_text *words);

/* The title of a category: the policy's words, else those that are built in. */
void category_title(struct page *p, const struct policy_category *category);

/*
 * A category's title, with a check box unless it is always on, and the beginning of a paragraph
 * with its purpose; the box is ticked only after a decision that grants it.
 */
void category_head(struct page *p, const struct policy_category *category);

/* "https://host/.consent/<leaf>": absolute, so that no <base> can send it elsewhere. */
void address(struct page *p, const char *leaf);

/* ' lang="…" dir="…"' */
void language_attributes(struct page *p);

/* A button of the form that makes a choice, and the form's beginning. */
void button(struct page *p, const char *action, const char *key);
void form_begin(struct page *p, const char *attributes);

/* "_ga (2 years), _gid (24 h), …" of one rule set, at most max of them. */
void cookie_list(struct page *p, const struct ruleset *set, size_t max);

#endif
