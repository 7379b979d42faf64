/*
 * envelope.h - a record as Redis keeps it, sealed. layer: ledger
 *
 *   form 1   yyyymm(4) || AES-256-GCM(DEK, nonce 0, "CE1" || place, J) || tag
 *   form 2   0x02 || yyyymm(4) || AES-256-GCM(DEK, nonce 1, "CE2" || place, P) || tag
 *
 * P is J packed: what all records have in common is one byte each, an id in base64url is its 16
 * bytes. That makes a third of it, and Redis is memory. Form 2 is what is written; form 1, which
 * begins with 0x00, is what older ledgers wrote and what a J that is not ASCII gets. Both open.
 * The two forms of one record share its DEK, so each has a nonce of its own; packing is
 * deterministic, so that a record sealed again is the same bytes again: two texts under one nonce
 * would open each other. Another packing is another form, with another nonce.
 *
 * The journal keeps J itself (record.h). Pure.
 */
#ifndef CONSENTD_ENVELOPE_H
#define CONSENTD_ENVELOPE_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/record.h"
#include "consentd/str.h"

#define ENVELOPE_MAX (5 + RECORD_OPLOG_MAX + 16) /* bytes of an envelope, tag included */

/* The month whose key it is sealed with; 0: no envelope. */
uint32_t envelope_month(struct str envelope);

/* Appends form 2 of J, or form 1 when J can't be packed. False: no room, J too long. */
MUST_USE bool envelope_seal(const struct record_place *at, const uint8_t kek[32],
                            const uint8_t r[32], struct str json, struct buf *out);

/* Appends form 1 of what the journal has sealed: for a record that can't be opened here. */
MUST_USE bool envelope_wrap(uint32_t month, struct str sealed, struct buf *out);

/* Opens either form into json (RECORD_OPLOG_MAX bytes). False: changed, another key or place. */
MUST_USE bool envelope_open(const struct record_place *at, const uint8_t kek[32],
                            const uint8_t r[32], struct str envelope, uint8_t *json,
                            size_t *len_out);

/* J packed into out (json.len bytes of room are enough); 0: it can't be. */
size_t envelope_pack(struct str json, uint8_t *out);

/* And back, into out[room]; false: no packed text, or too long. */
MUST_USE bool envelope_unpack(struct str packed, uint8_t *out, size_t room, size_t *len_out);

#endif
