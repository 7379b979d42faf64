/*
 * ledger_link.h - what a worker asks its ledger process, while an exchange waits: events,
 * erasures, and what a visitor wants to know of their own records.
 */
#ifndef CONSENTD_LEDGER_LINK_H
#define CONSENTD_LEDGER_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/ledger_msg.h"
#include "consentd/str.h"

struct consent_event;
struct exchange;
struct server;

/* The ledger's answer, or a time-out (ack NULL). x is the exchange that asked. */
typedef void (*ledger_answer_fn)(struct exchange *x, const struct ledger_ack *ack);

struct ledger_link;
struct ledger_link *ledger_link_new(struct server *s);
void ledger_link_free(struct ledger_link *link);

/*
 * Sends an event; fn is called once, later, unless ledger_link_forget(x) comes first. An event
 * that narrows is kept and sent until the ledger has it, also when nobody waits any more.
 * False: not sent and not kept (the queue is full, or the event is not valid).
 */
MUST_USE bool ledger_link_send(struct ledger_link *link, struct exchange *x,
                               const struct consent_event *event, unsigned flags,
                               ledger_answer_fn fn);
void ledger_link_forget(struct ledger_link *link, const struct exchange *x);

/* The receipt of an erasure, or a time-out (ack NULL). */
typedef void (*ledger_erase_fn)(struct exchange *x, const struct ledger_erase_ack *ack);

/*
 * Asks for the erasure of the subject of a verified token; flags: LEDGER_ERASE_NOW or 0. fn is
 * called once, later, unless ledger_link_forget(x) comes first. Asking again for the same subject
 * gives the receipt of the first time. From the ledger's answer on every worker refuses the
 * subject's cookie. False: too much is waiting.
 */
MUST_USE bool ledger_link_erase(struct ledger_link *link, struct exchange *x,
                                const uint8_t subject[16], unsigned flags, ledger_erase_fn fn);
void ledger_link_erased(struct ledger_link *link, struct str message);

/* The answer to a question, with its text; or a time-out: LEDGER_TELL_UNAVAILABLE. */
typedef void (*ledger_tell_fn)(struct exchange *x, enum ledger_tell_status status, struct str text);

/*
 * Asks the ledger (req_id and version are filled in). fn is called once, later, unless
 * ledger_link_forget(x) comes first. False: too much is waiting.
 */
MUST_USE bool ledger_link_ask(struct ledger_link *link, struct exchange *x,
                              const struct ledger_ask_msg *ask, ledger_tell_fn fn);
void ledger_link_told(struct ledger_link *link, struct str message);
void ledger_link_up(struct ledger_link *link);
void ledger_link_ack(struct ledger_link *link, struct str message);

#endif
