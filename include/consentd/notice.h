/*
 * notice.h - the notice document: everything that a visitor was told, in one text. layer: policy
 *
 *   { "form":    "consentd.notice.v1",
 *     "policy":  the whole policy (policy.h),
 *     "texts":   { "en": { "title": "…", … }, … }    the words of banner and settings as shown
 *     "vendors": [ { "id", "name", "vendor", "categories", "purpose", "privacy_policy",
 *                    "cookies": [ { "name", "lifetime" } ] } ] }    of the rule sets, by id
 *
 * Canonical JSON (RFC 8785, integers only). Its SHA-256 names it; records carry the first 16
 * bytes. The same policy, words and rule sets give the same document on every machine. The modes
 * of the rule sets are not part of it: switching one off does not change what was told.
 *
 * Pure: no I/O.
 */
#ifndef CONSENTD_NOTICE_H
#define CONSENTD_NOTICE_H

#include <stdbool.h>
#include <stddef.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/policy.h"
#include "consentd/str.h"

#define NOTICE_MAX         (4u << 20) /* bytes of a document */
#define NOTICE_CHANGES_MAX 2000       /* differences that are listed */

struct rules;

/* The words that banner and settings are drawn with, whoever knows them (words.h). */
struct notice_words {
    const char *const *tags; /* languages; tag_cnt of them */
    size_t tag_cnt;
    const char *const *keys; /* key_cnt of them */
    size_t key_cnt;
    /* What is shown for a key in a language, by their numbers; NULL: nothing. */
    const char *(*text)(const void *arg, size_t tag, size_t key);
    const void *arg;
};

/*
 * Makes the policy's document: p->document and p->doc_hash are the notice document's from now on.
 * rules: all rule sets; site: whose own ones count; words may be NULL. False with the reason: it
 * is larger than NOTICE_MAX.
 */
MUST_USE bool notice_build(struct policy *p, const struct rules *rules, size_t site,
                           const struct notice_words *words, struct fault *f);

/* --- what changed between two documents ----------------------------------------------------- */

enum notice_kind {
    NOTICE_CHANGED = 0,
    NOTICE_ADDED,
    NOTICE_REMOVED,
};

/* One difference. Texts belong to the diff; before and after may be NULL. */
struct notice_change {
    enum notice_kind kind;
    bool epoch;         /* people have to be asked again */
    const char *place;  /* "provider \"HubSpot\": role (en)" */
    const char *before; /* the text as it was */
    const char *after;  /* the text as it is */
    const char *why;    /* static: why people have to be asked again, or why not */
};

struct notice_diff {
    struct notice_change *items; /* owned */
    size_t cnt;
    bool epoch; /* one of them asks for a new epoch */
    bool cut;   /* there are more than NOTICE_CHANGES_MAX */
    struct arena *memory;
};

/*
 * Compares two documents, old and new; a bare policy counts as one without vendors. A new purpose,
 * category, recipient or legal basis, another controller, or a text of a purpose that says more
 * than before need a new epoch. Words that only differ by a slip of the pen do not say more. NULL
 * with the reason when one of them is none of ours.
 */
MUST_USE struct notice_diff *notice_diff(struct str before, struct str after, struct fault *f);
void notice_diff_free(struct notice_diff *d); /* NULL is fine */

/* True when `after` has a word for which `before` has no alike one; pure, for the above. */
bool notice_says_more(struct str before, struct str after);

#endif
