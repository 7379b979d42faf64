/*
 * dpv.h - one event as a consent record of ISO/IEC TS 27560, written with W3C's DPV. layer: ledger
 *
 * A record J says in 300 bytes who decided what, when and on which notice; everything that 27560
 * wants besides (purposes in words, controller, recipients, storage, rights) stands in the notice
 * document that J names by its hash. The two together make one JSON-LD document:
 *
 *   J      eid -> dct:identifier, as a UUID   sub -> dpv:hasDataSubject   host -> dpv:hasService
 *          ts -> dpv:isIndicatedAtTime        exp -> dpv:hasDuration (dpv:UntilTimeDuration)
 *          typ -> dpv:hasLegalBasis           by -> dpv:isIndicatedBy     lang -> dct:language
 *          mth -> dpv:hasIndicationMethod     jur -> dpv:hasJurisdiction  doc -> dpv:hasNotice
 *          grant, deny -> a dpv:Process per purpose with its dpv:hasConsentStatus
 *   notice controller -> dpv:hasDataController   retention, transfers -> dpv:hasStorageCondition
 *          categories, purposes -> dpv:hasPurpose  providers -> dpv:hasRecipient
 *          rights -> dpv:hasRight
 *
 * Profiles dpv-27560:record-eu-gdpr and dpv-27560:receipt-eu-gdpr. A purpose that a notice does
 * not know, or a notice that is not here, leaves out what it would have said and nothing else.
 *
 * Pure: no I/O, no clock. One line without line breaks, so that records can stand in JSON lines.
 */
#ifndef CONSENTD_DPV_H
#define CONSENTD_DPV_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/fault.h"
#include "consentd/record.h"
#include "consentd/str.h"

#define DPV_NOTICE_MAX (4u << 20)   /* bytes of a notice document */
#define DPV_RECORD_MAX (512u << 10) /* bytes of one record: what a buf for it should allow */

/*
 * A notice document read for rendering. Its texts are kept ready for the language asked for last,
 * which makes rendering cheap as long as the language stays the same.
 */
struct dpv_notice;

/*
 * Reads a notice document: canonical JSON of a policy, or of an object that has it as "policy".
 * Members that are missing are left out of records. NULL with the reason: no JSON object.
 */
MUST_USE struct dpv_notice *dpv_notice_new(struct str document, struct fault *f);
void dpv_notice_free(struct dpv_notice *n); /* NULL is fine */

/* SHA-256 of the document; the first half is J's doc. */
const uint8_t *dpv_notice_hash(const struct dpv_notice *n);

/* One event and where it is. Borrowed. */
struct dpv_event {
    struct str origin;              /* of its log: "www.example.com/consent/1" */
    uint64_t leaf;                  /* its place there */
    const struct record_view *view; /* J, read by record_parse */
    const struct record_view *prev; /* the subject's event before it, or NULL: not known */
    struct str control; /* path on the site where consent is changed, "/.consent/"; or empty */
};

/*
 * Appends the record. notice is the one that the event names, or NULL: it is not here. False when
 * out is full: nothing was added then.
 */
MUST_USE bool dpv_record(const struct dpv_event *ev, struct dpv_notice *notice, struct buf *out);

/*
 * Appends what can still be said of a record that can't be opened (erased, or its key is gone):
 * its place and the status dpv:ConsentUnknown.
 */
MUST_USE bool dpv_record_closed(const struct dpv_event *ev, struct buf *out);

/*
 * A receipt is begun, gets its records one by one (dpv_record; a comma between two is the
 * caller's to add with dpv_receipt_next), and ended. id: 16 random bytes. publisher: the notice
 * whose controller issues it, or NULL.
 */
MUST_USE bool dpv_receipt_begin(const uint8_t id[16], uint64_t now_ms, struct dpv_notice *publisher,
                                struct buf *out);
MUST_USE bool dpv_receipt_next(struct buf *out);
MUST_USE bool dpv_receipt_end(struct buf *out);

/* The name of the state of one purpose in an event: "dpv:ConsentGiven", ... */
const char *dpv_state(const struct dpv_event *ev, struct str purpose, bool granted);

/* 16 bytes in the form of a UUID, 36 characters and a NUL. */
void dpv_uuid(const uint8_t id[16], char out[37]);

#endif
