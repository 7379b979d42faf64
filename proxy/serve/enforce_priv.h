/*
 * enforce_priv.h - what the files of the enforcement side share.
 *
 *   enforce.c         the calls of consentd/enforce.h: who is it, what may pass
 *   answer_kind.c     what a browser takes an answer for
 *   enforce_cache.c   ETags, conditions and caching of pages that differ by consent
 *   filter_headers.c  Cookie, Set-Cookie, Link, Refresh, Location, reports
 *   filter_html.c     decode, rewrite (html_engine.h), encode
 *   filter_part.c     the same for style sheets (sheet.h), and for what scripts import (imports.h)
 *   consent_api.c     what is under the prefix: choice, state, assets
 *   rights.c          what a visitor asks of their own records: /me and below
 *   rights_page.c     their page
 *   rights_record.c   their records as a download
 *   notice_page.c     the policy and its changes; the note about a new version
 *   unsubscribe.c     one click ends a mailing list (RFC 8058)
 *   consent_choice.c  reading a choice and answering it
 *   ledger_link.c     events and erasures that wait for the ledger's ack
 *   gone.c            the subjects whose cookies are refused
 *   assets.c          our scripts and styles, coded once for many clients
 *   banner.c          the banner in a page
 *   preferences.c     the page of all choices, which needs no script
 *   frame.c           what stands in the place of a frame
 *   page.c            what these three are drawn with
 *   languages.c       the languages of a site
 *   signals.c         what tags are told of the consent
 *   csp.c             the page's own policy, and our parts
 *   guard.c           the companion: its rules, and its place in a page
 */
#ifndef CONSENTD_ENFORCE_PRIV_H
#define CONSENTD_ENFORCE_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/coding.h"
#include "consentd/config.h"
#include "consentd/decide.h"
#include "consentd/enforce.h"
#include "consentd/exchange.h"
#include "consentd/ledger_msg.h"
#include "consentd/policy.h"
#include "consentd/server.h"
#include "consentd/str.h"
#include "consentd/token.h"
#include "consentd/url.h"

#define CHOICE_BODY_MAX  4096 /* bytes of a posted choice */
#define DELETIONS_MAX    32   /* denied cookies that one answer deletes */
#define VARIANT_LEN      16   /* hex digits that tell one form of a page from another */
#define COOKIE_FIELD_MAX 512  /* bytes of the Set-Cookie field of the token */

/* What an answer depends on besides the origin's bytes; the entity-tags of each are its own. */
enum variant {
    VARIANT_PAGE = 0, /* rules, grants, language, banner */
    VARIANT_SHEET,    /* a style sheet with trackers: rules and grants */
    VARIANT_CLEAN,    /* a style sheet without any: rules alone */
    VARIANT_CNT,
};

/* A denied cookie that the visitor still carries. */
struct deletion {
    struct str name; /* as sent; in the exchange's arena */
};

/* x->enforce: what enforcement knows of one exchange. In the arena. */
struct enforcement {
    struct decider decider;
    struct token_claims claims; /* valid when decided */
    bool decided;               /* a valid token was presented */
    bool gpc;                   /* Sec-GPC: 1 */
    bool document;              /* the client may show the answer as a page */
    bool kept;                  /* … later, if it is one: a worker fetches it */
    bool worker;                /* the client runs the answer as a worker */
    bool service;               /* … as a service worker */
    bool passed_on;             /* … perhaps, if it is a script: a service worker fetches it */
    bool tree;                  /* the client draws with the elements of the answer */
    bool style;                 /* the client takes the answer for a style sheet */
    bool script;                /* … for a script of a page */
    bool path_differs;          /* a tracker's path on the site: who has not granted it gets none */
    bool asked_identity;        /* the origin was asked for plain text in the client's stead */
    struct str accept_encoding; /* the client's own; empty if none */
    struct str matched_etag;    /* ours, as the client sent it, if it names a current variant */
    enum variant matched;       /* which */
    struct deletion deletions[DELETIONS_MAX];
    unsigned deletion_cnt;
    unsigned language; /* number of the site's, for the banner (languages.c) */
    bool outdated;     /* the token is of an older epoch: the visitor is asked again */
    bool told;         /* the visitor has decided under an older version: a note says what is new */
    struct str script_nonce, style_nonce;                /* of the page's own policy; empty: none */
    const char *banner_hash, *guard_hash, *signals_hash; /* "sha256-…" where it wants these */
    bool reloads; /* it lets our script not fetch the page, or not put its scripts in */
    bool script_inline, style_inline; /* such an element of ours may stand in the page */
    bool script_digests;              /* it lets files of the site run by their digest */
    void *choice;                     /* consent_choice.c's own while the ledger is asked */
    struct rights *rights;            /* rights.c's */
};

static inline struct enforcement *enforcement_of(const struct exchange *x)
{
    return x->enforce;
}

/* --- enforce.c --- */

/* The name of the consent cookie on this site and listener. */
struct str consent_cookie_name(const struct exchange *x);

/* The optional categories of the policy: what a visitor can grant or deny. */
uint16_t policy_optional(const struct policy *policy);

/* "https://host" of this request: what an Origin field must say. */
bool origin_is_own(const struct exchange *x, struct str origin);

/* --- answer_kind.c --- */

/* The destination of the fetch (Fetch 2.2.5); empty: the client does not say. */
struct str kind_dest(const struct headers *h);

bool kind_is_piece(const struct headers *h); /* a script asks for it, and says so */
/* What the fetch wants: sets document, worker, tree, style and script. */
void kind_asked(const struct headers *h, struct enforcement *e);

/* The media type that makes the answer a page, with its parameters; empty: none does. */
struct str kind_page_type(const struct exchange *x);
/* XML, pages that replace each other: a page for who opens it, else a picture, or data. */
bool kind_is_up_to_who_asks(const struct exchange *x);
bool kind_is_replaced(const struct exchange *x); /* and a page is what was asked for */
bool kind_has_script_type(const struct exchange *x);
bool kind_is_page(const struct exchange *x);       /* rendered as HTML, as far as the head tells */
bool kind_may_be_worker(const struct exchange *x); /* … with other grants */
bool kind_is_worker(const struct exchange *x); /* the script of a worker: it gets the companion */
bool kind_is_sheet(const struct exchange *x);
bool kind_is_script(const struct exchange *x); /* of a page; workers' are not */
bool kind_is_rules(const struct exchange *x);  /* speculation rules */
bool kind_is_unseen(const struct exchange *x); /* a HEAD, and only the body would tell */

/* --- filter_headers.c --- */
MUST_USE bool cookies_filter_request(struct exchange *x);
void cookies_filter_response(struct exchange *x, struct headers *h);
void cookies_delete_denied(struct exchange *x, struct headers *h);
void hints_filter_response(struct exchange *x, struct headers *h);

/* The answer sends the browser on to an address that is denied. */
bool redirect_is_denied(struct exchange *x);

/* --- enforce_cache.c --- */
MUST_USE bool conditions_rewrite(struct exchange *x);
void variant_of(const struct exchange *x, enum variant kind, char out[VARIANT_LEN + 1]);
MUST_USE bool cache_nothing(struct exchange *x);   /* no cache keeps the answer */
MUST_USE bool headers_differ(struct exchange *x);  /* it is for who has granted the same */
MUST_USE bool picture_headers(struct exchange *x); /* opened as a document it is another thing */
bool cache_is_targeted(struct str name);           /* a field for one kind of cache */
void revision_make(struct site *site);             /* of what answers show of its configuration */
MUST_USE bool page_headers(struct exchange *x);
MUST_USE bool part_headers(struct exchange *x, bool differs); /* by consent */
MUST_USE bool script_headers(struct exchange *x); /* as a worker's it is another thing */
MUST_USE bool not_modified_headers(struct exchange *x);
void unseen_headers(struct exchange *x); /* leaves out what depends on a body that did not come */

/* --- enforce.c --- */

/* Whether the answer, should it be a page, gets the banner. */
MUST_USE bool banner_is_wanted(const struct exchange *x);

/* --- filter_html.c --- */

/* Installs the filter of an HTML answer; type: kind_page_type()'s. False: no memory. */
MUST_USE bool page_filter_add(struct exchange *x, struct str type, enum coding in, enum coding out);

/* Installs the filter that puts the companion before the script of a worker. Likewise. */
MUST_USE bool worker_filter_add(struct exchange *x, enum coding in, enum coding out);

/* The address of the answer as the browser knows it; in the arena. */
MUST_USE bool page_url(struct exchange *x, struct url *out);

/* The value of charset in a Content-Type field, quoted or not (RFC 9110 8.3.1). */
struct str charset_of_type(struct str type);

/* --- filter_part.c --- */

/* Installs the filter of a style sheet, a script, speculation rules. False: no memory. */
MUST_USE bool part_filter_add(struct exchange *x, enum coding in, enum coding out);

/* The subject of the token, also of one from an older epoch. False: nobody we know. */
MUST_USE bool token_holder(const struct exchange *x, struct token_claims *out);

/* --- consent_choice.c, for other forms --- */

/* The request was made by a page of another site. */
bool is_cross_site(const struct exchange *x);

/* One value of application/x-www-form-urlencoded, decoded into the arena. False: no memory. */
MUST_USE bool form_value(struct exchange *x, struct str in, struct str *out);

/* The value of `name` in a form or a query; empty when it is not there. */
struct str form_get(struct exchange *x, struct str form, const char *name);

/* rights_record.c: frees what the exchange holds of a download. */
void rights_record_end(struct exchange *x);

/* --- rights.c, notice_page.c, unsubscribe.c --- */

/* Routes below the prefix that are about a visitor's own records. False: none of them. */
MUST_USE bool rights_request(struct exchange *x, struct str path, struct str query,
                             enum enforce_step *step_out);
enum enforce_step policy_page_get(struct exchange *x, struct str query);
enum enforce_step policy_changes_get(struct exchange *x, struct str query);
enum enforce_step unsubscribe_request(struct exchange *x, struct str query);

/* The note that a new version of the notice is in force; in the banner's place, once. */
bool notice_is_new(const struct exchange *x);
MUST_USE bool notice_note_seen(struct exchange *x, struct headers *h); /* for good */

/* --- consent_api.c, consent_choice.c --- */
enum enforce_step consent_api_request(struct exchange *x, struct str rest);

/* consent_log.c: the Merkle log, read only; path is what follows CONSENT_LOG_PREFIX. */
#define CONSENT_LOG_PREFIX "/.well-known/consent-log/"
enum enforce_step consent_log_request(struct exchange *x, struct str path);
enum enforce_step consent_choice_post(struct exchange *x, bool withdraw);
enum enforce_step consent_answer_json(struct exchange *x, unsigned status, struct str body);

/* --- gone.c: erased subjects; the ledger tells them --- */
struct gone_set;
struct gone_set *gone_new(void);
void gone_free(struct gone_set *g);               /* NULL is fine */
void gone_add(struct gone_set *g, struct str in); /* the payload of an IPC_GONE */
bool gone_has(const struct gone_set *g, const uint8_t subject[16]);

struct assets;
struct ledger_link;
struct peer_budget;

/* The worker's slot (server->enforce). */
struct enforce_worker {
    struct ledger_link *link;        /* owned */
    struct gone_set *gone;           /* owned */
    struct peer_budget *rights;      /* owned; what one address may ask */
    struct peer_budget *choices;     /* owned; how often it may decide */
    struct assets *assets;           /* owned */
    struct assets *panels;           /* owned; the settings of banners, as markup */
    struct impressions *impressions; /* owned */
};

#include "inject_priv.h"
#include "ledger_link.h"

#endif
