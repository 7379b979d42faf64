/*
 * unsub.h - the links that end a mailing list with one click (RFC 8058). layer: policy
 *
 *   address tag = HMAC-SHA256(K_unsub, "consentd.addr.v1" 0x00 address)[0:16]
 *   token       = base64url( version(1)=1 kid(1) tag(16) mac(32) list )
 *   mac         = HMAC-SHA256(K_unsub, "consentd.unsub.v1" 0x00 len(site) site
 *                             version kid tag list)
 *
 * A link names no address: who finds it can end one list for one address and learn nothing. It
 * never expires, since mail is read late; a key that is revoked ends all links made with it. The
 * address is taken without the white space around it and in small letters, as people write it
 * in any case.
 *
 * Pure: no I/O, no clock.
 */
#ifndef CONSENTD_UNSUB_H
#define CONSENTD_UNSUB_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/keyring.h"
#include "consentd/str.h"

#define UNSUB_ADDRESS_MAX 254 /* bytes of a mail address (RFC 5321 4.5.3.1) */
#define UNSUB_LIST_MAX    32  /* characters of a list's name: a-z 0-9 - _ . */
#define UNSUB_TAG_LEN     16
#define UNSUB_TOKEN_MAX   120 /* characters of a token, with the NUL */

/* "one@example.com": one "@" with something on both sides, no white space, no control bytes. */
bool unsub_address_ok(struct str address);

bool unsub_list_ok(struct str list);

/* What stands for an address. False: it is none. */
MUST_USE bool unsub_tag(const struct key *key, struct str address, uint8_t out[UNSUB_TAG_LEN]);

/* The token of a link, by the active unsub key. False: no key, or a name that is none. */
MUST_USE bool unsub_token(const struct keyring *ring, struct str site, struct str address,
                          struct str list, char out[UNSUB_TOKEN_MAX]);

/* What a token says, verified. list_out is terminated. False: forged, or its key is revoked. */
MUST_USE bool unsub_read(const struct keyring *ring, struct str site, struct str token,
                         uint8_t tag_out[UNSUB_TAG_LEN], char list_out[UNSUB_LIST_MAX + 1]);

#endif
