/*
 * policy.h - the machine-readable privacy policy, conf/policy.json. layer: policy
 *
 * Form (// comments allowed; every text that a visitor reads is an object language -> text):
 *
 *   { "version": "2026-11", "epoch": 1, "effective": "2026-11-24", "title": {"en": "…"},
 *     "controller": { "name": "…", "address": "…", "email": "…", "phone"?: "…", "website"?: "…" },
 *     "languages": ["en"],                          // the first is the fallback
 *     "categories": [ { "id": "analytics", "bit"?: 1, "required"?: false, "title": {…},
 *                       "purpose": {…}, "legal_basis": {…} } ],
 *     "purposes":   [ { "purpose": {…}, "legal_basis": {…}, "category"?: "analytics" } ],
 *     "providers":  [ { "name": "HubSpot", "role": {…}, "category"?: "marketing",
 *                       "sets"?: ["hubspot"],
 *                       "privacy_policy"?: "https://…" } ],
 *     "transfers": {…}, "retention": {…}, "rights": [ {…} ],
 *     "sections"?: [ { "heading": {…}, "text": {…} } ],   // the full text of the policy
 *     "changes":   [ { "version": "2026-11", "date": "2026-11-24", "summary": {…} } ],
 *     "texts": { "en": { "banner.title": "…", … } } }     // interface texts, by key
 *
 * "bit" is required for categories other than the four fixed ones (category.h). Epoch goes up
 * when people must be asked again: tokens of an older epoch are then no decision.
 *
 * The canonical form of the whole document (RFC 8785) is the heart of the notice document
 * (notice.h), whose SHA-256 identifies in every record what the visitor was shown. Comments are
 * not part of it.
 *
 * Immutable once its document is made. All strings belong to the policy; no I/O.
 */
#ifndef CONSENTD_POLICY_H
#define CONSENTD_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/category.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define POLICY_TEXT_MAX      (1u << 20) /* bytes of a policy file */
#define POLICY_LANGUAGES_MAX 32         /* languages of one policy */

/* One text in all languages: by_language[i] belongs to policy->languages[i]; never NULL there. */
struct policy_text {
    const char *const *by_language; /* NULL: the text is not in the policy */
};

struct policy_category {
    const char *id;
    uint16_t bit; /* the mask, not the number */
    bool required;
    struct policy_text title, purpose, legal_basis;
};

struct policy_purpose {
    struct policy_text purpose, legal_basis;
    uint16_t category; /* mask; 0 when it belongs to none */
};

struct policy_provider {
    const char *name;
    struct policy_text role;
    const char *privacy_policy; /* or NULL */
    const char *const *sets;    /* ids of rule sets; set_cnt of them */
    size_t set_cnt;
    uint16_t category; /* mask; 0 when it belongs to none */
};

struct policy_section {
    struct policy_text heading, text;
};

struct policy_change {
    const char *version, *date;
    struct policy_text summary;
};

struct policy {
    const char *version, *effective;
    uint32_t epoch;
    struct policy_text title;
    struct {
        const char *name, *address, *email;
        const char *phone, *website; /* or NULL */
    } controller;
    const char *const *languages; /* BCP 47; the first is the fallback */
    size_t language_cnt;
    struct categories categories;           /* bits and names, with defined and required */
    const struct policy_category *category; /* in the order of the file */
    size_t category_cnt;
    const struct policy_purpose *purposes;
    size_t purpose_cnt;
    const struct policy_provider *providers;
    size_t provider_cnt;
    struct policy_text transfers, retention;
    const struct policy_text *rights;
    size_t right_cnt;
    const struct policy_section *sections;
    size_t section_cnt;
    const struct policy_change *changes;
    size_t change_cnt;
    struct str document;          /* canonical; of the policy alone until notice_build() */
    uint8_t doc_hash[32];         /* its SHA-256; records carry the first 16 bytes */
    struct policy_memory *memory; /* private: owns all of the above */
};

/* Parses a policy; NULL with "name:line: path: what is wrong". Unknown keys are errors. */
MUST_USE struct policy *policy_parse(const char *name, struct str text, struct fault *f);

/*
 * Another text takes the place of `document`, and its hash that of doc_hash: the notice document
 * that has the policy in it (notice.h). Copied. False: larger than a document may be.
 */
MUST_USE bool policy_set_document(struct policy *p, struct str text);

/* NULL is fine. */
void policy_free(struct policy *p);

/* The text in language number `language` (policy_language); "" when it is not in the policy. */
const char *policy_text(const struct policy_text *text, unsigned language);

/* The interface text `key` in this language, else in the fallback language, else NULL. */
const char *policy_ui_text(const struct policy *p, unsigned language, const char *key);

/* The same, but only what the policy says in this language itself; else NULL. */
const char *policy_text_given(const struct policy_text *text, unsigned language);
const char *policy_ui_given(const struct policy *p, unsigned language, const char *key);

/*
 * The best of cnt language tags for an Accept-Language field (RFC 9110 12.5.4): the lookup of
 * RFC 4647, so "de-AT" finds "de", then the first tag that the range is the beginning of: "pt"
 * finds "pt-BR". 0, the fallback, when nothing fits.
 */
unsigned language_choose(const char *const *tags, size_t cnt, struct str accept_language);

/* The same among the policy's own languages. */
unsigned policy_language(const struct policy *p, struct str accept_language);

/* The category with this one bit, or NULL. */
const struct policy_category *policy_category_of(const struct policy *p, uint16_t bit);

#endif
