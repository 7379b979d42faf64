/*
 * keyring.h - the keys of keys.json, by use. layer: policy
 *
 *   { "keys": [ { "kid": 1, "use": "tok", "state": "active", "not_before": 0,
 *                 "key": "<32 bytes, base64url>" }, … ] }
 *
 * One active key per use; after a rotation the old one stays `verify` until what it signed is
 * gone; `revoked` ends everything it signed at once. No key serves two uses: the same bytes under
 * two uses are an error. A kid is unique within its use.
 *
 * Key bytes are cleared when the ring is freed and never printed.
 */
#ifndef CONSENTD_KEYRING_H
#define CONSENTD_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/crypto.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define KEYRING_KEY_LEN  32         /* bytes of every key */
#define KEYRING_MAX      256        /* keys of one ring */
#define KEYRING_TEXT_MAX (1u << 20) /* bytes of keys.json */

enum key_use {
    KEY_NONE = 0,
    KEY_TOK,   /* tokens (token.h) */
    KEY_IDX,   /* subject tags (record.h); of all records, so it is never rotated */
    KEY_LOG,   /* seed of the Ed25519 key of the log (note.h) */
    KEY_UNSUB, /* unsubscribe links */
    KEY_USES,
};

enum key_state {
    KEY_REVOKED = 0, /* as if it had never been */
    KEY_VERIFY,      /* checks; signs only until the active key's not_before */
    KEY_ACTIVE,      /* checks and signs */
};

struct key {
    uint8_t kid;
    enum key_use use;
    enum key_state state;
    uint64_t not_before; /* s since 1970; until then a tok key neither signs nor verifies */
    uint8_t bytes[KEYRING_KEY_LEN];
    struct crypto_hmac *hmac; /* keyed with bytes; owned by the ring */
};

struct keyring;

const char *key_use_name(enum key_use use);       /* "tok" … */
const char *key_state_name(enum key_state state); /* "active" … */

/*
 * Reads keys.json. NULL with the reason (which never quotes a key): unknown members, a key that
 * is not 32 bytes, kid twice, two active keys of one use.
 */
MUST_USE struct keyring *keyring_parse(const char *name, struct str text, struct fault *f);

/* Clears and frees. NULL is fine. */
void keyring_free(struct keyring *ring);

/* The key that signs for this use, or NULL. */
const struct key *keyring_active(const struct keyring *ring, enum key_use use);

/* The key with this kid that may verify (active or verify), or NULL. */
const struct key *keyring_find(const struct keyring *ring, enum key_use use, uint8_t kid);

/* All keys in the order of the file, revoked ones too. */
size_t keyring_cnt(const struct keyring *ring);
const struct key *keyring_at(const struct keyring *ring, size_t i);

/*
 * The text of a new ring with one random active key per use. The buffer holds secrets: the caller
 * wipes it. False when out is full.
 */
MUST_USE bool keyring_generate(struct buf *out);

/*
 * A ring that has only the keys of the uses in mask (1u << use), as text for the bundle of one
 * role. False when out is full.
 */
MUST_USE bool keyring_export(const struct keyring *ring, unsigned use_mask, struct buf *out);

#endif
