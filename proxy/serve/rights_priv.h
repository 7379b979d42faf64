/*
 * rights_priv.h - what the files about a visitor's own records share.
 */
#ifndef CONSENTD_RIGHTS_PRIV_H
#define CONSENTD_RIGHTS_PRIV_H

#include "consentd/json.h"
#include "page_priv.h"

#define RIGHTS_PAGE_MAX (2u << 20) /* bytes of a page or a download */
#define RIGHTS_DOCS_MAX 16         /* different notices that one download renders with */

enum rights_format { RIGHTS_JSON = 0, RIGHTS_DPV, RIGHTS_KANTARA };

/* One question of a visitor, while the ledger is asked. In the exchange's arena. */
struct rights {
    struct token_claims claims;
    bool html;
    enum rights_format format;
    uint64_t leaf;     /* of a proof, of an objection */
    struct str reason; /* of an objection */
    struct str since;  /* of a list of changes */
    struct consent_event event;
    struct ledger_ask_msg ask;
    json_t *told, *doc; /* owned: the records, while notices are asked for; a notice */
    uint8_t docs[RIGHTS_DOCS_MAX][16];
    struct dpv_notice *notices[RIGHTS_DOCS_MAX]; /* owned; NULL: not here */
    unsigned doc_cnt, doc_at;
};

static inline struct rights *rights_of(const struct exchange *x)
{
    return enforcement_of(x)->rights;
}

/* --- rights.c --- */

/* Whether the client wants a page rather than JSON. */
bool wants_page(const struct exchange *x);

/* A page of ours: never cached, never framed, no script in it. */
void rights_answer(struct exchange *x, unsigned status, const char *type, struct str body,
                   struct headers *extra);
/* A page for people, JSON with the reason for programs. */
void rights_answer_error(struct exchange *x, unsigned status, const char *why);

/* 405 with the methods that there are. */
void rights_answer_method(struct exchange *x, struct str allow);

/* False, and 429 was answered: the address has asked too often. */
MUST_USE bool rights_may_ask(struct exchange *x);

/* The same of choices and withdrawals: each is a record for years. */
MUST_USE bool rights_may_choose(struct exchange *x);

/* Whether the body is of this type, whatever its parameters. */
bool rights_body_is(const struct exchange *x, const char *type);
#define RIGHTS_FORM "application/x-www-form-urlencoded"

/* --- rights_page.c --- */

/* Head and foot of a page that stands for itself; title: a key. */
void plain_page_begin(struct page *p, struct exchange *x, struct buf *out, const char *title);
void plain_page_end(struct page *p);

/* root: the ledger's answer; NULL: it can't be read now. */
MUST_USE bool rights_page_render(struct exchange *x, const json_t *root, struct buf *out);
MUST_USE bool rights_page_later(struct exchange *x, struct buf *out); /* for whoever asks */
MUST_USE bool rights_page_nobody(struct exchange *x, struct buf *out);
MUST_USE bool rights_page_erase(struct exchange *x, struct buf *out);
MUST_USE bool rights_page_erased(struct exchange *x, const struct ledger_erase_ack *ack,
                                 struct buf *out);

/* --- rights_record.c --- */

/* The download begins: the notices it needs are asked for, then it is answered. */
void rights_record_begin(struct exchange *x, json_t *root);

/* {"leaf":…,"node":…,"event":{…}} of each record, for JSON answers. */
json_t *rights_events(const json_t *root);

/* The filename of a download. */
const char *rights_disposition(const struct exchange *x, const char *name);

#endif
