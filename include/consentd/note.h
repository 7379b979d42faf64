/*
 * note.h - signed notes and checkpoints (C2SP signed-note, tlog-checkpoint). layer: ledger
 *
 *     www.example.com/consent/1            origin: also the name of the key
 *     1048576                              leaves
 *     YsiWPNvuzb4rMWNQUXZn3lYFLTJkVRAjEvXdXDJHQVU=
 *                                          (empty)
 *     — www.example.com/consent/1 wYJ5iozI…   base64(key id || Ed25519 signature)
 *
 * The public key is written as vkey: name "+" hex(key id) "+" base64(0x01 || public key), where
 * key id = SHA-256(name || "\n" || 0x01 || public key)[:4]. Pure.
 */
#ifndef CONSENTD_NOTE_H
#define CONSENTD_NOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/fault.h"
#include "consentd/merkle.h"
#include "consentd/str.h"

#define NOTE_NAME_MAX       255
#define NOTE_CHECKPOINT_MAX 4096 /* bytes of a checkpoint that is read, all signatures included */

struct note_key {
    char name[NOTE_NAME_MAX + 1];
    uint8_t id[4];
    uint8_t public_key[32];
};

/* The public half of a signing key. False: a name that is empty, too long, or has "+" or space. */
MUST_USE bool note_key_of(struct str name, const uint8_t seed[32], struct note_key *out);

/* The same key under another name. */
MUST_USE bool note_key_named(struct str name, const uint8_t public_key[32], struct note_key *out);

/* "<log name>/consent/<node>": what a node's log is called. */
MUST_USE bool note_origin(const char *log, unsigned node, struct buf *out);

MUST_USE bool note_vkey_print(const struct note_key *key, struct buf *out);

/* False with the reason: not three parts, a key id that is another key's, no Ed25519. */
MUST_USE bool note_vkey_parse(struct str vkey, struct note_key *out, struct fault *f);

/* Appends the signed checkpoint of a tree; the origin is the key's name. */
MUST_USE bool checkpoint_sign(const struct note_key *key, const uint8_t seed[32],
                              const struct merkle_tree *tree, struct buf *out);

/*
 * Reads a checkpoint and verifies this key's signature; others are passed over. False with the
 * reason: another origin, malformed, not signed by the key, or a signature that is wrong.
 */
MUST_USE bool checkpoint_verify(const struct note_key *key, struct str note,
                                struct merkle_tree *out, struct fault *f);

/*
 * Cosignatures (C2SP tlog-cosignature, Ed25519): a witness has seen this tree, which continues
 * the one that it saw before. Its vkey is of type 4; what it signs begins with a time of its own.
 */
MUST_USE bool note_witness_parse(struct str vkey, struct note_key *out, struct fault *f);

/*
 * The line among a witness's answer that is its cosignature of this note: a slice of lines. Empty
 * with the reason: there is none, or it is wrong.
 */
struct str note_cosignature(const struct note_key *witness, struct str note, struct str lines,
                            struct fault *f);

/* Puts the line under the note, in the place of an earlier one of this witness. */
MUST_USE bool note_cosign(struct buf *note, const struct note_key *witness, struct str line);

/*
 * A proof on paper (C2SP tlog-proof): that an entry is in the log of a checkpoint. extra is free
 * data for the verifier; consentd puts r || J there when a record is disclosed.
 */
#define NOTE_PROOF_MAX 65536 /* bytes of one that is read */

struct tlog_proof {
    struct str extra; /* base64; empty: none */
    uint64_t index;
    struct merkle_proof path;
    struct str checkpoint; /* the signed note */
};

MUST_USE bool tlog_proof_print(const struct tlog_proof *proof, struct buf *out);

/* Texts of *out are slices of text. */
MUST_USE bool tlog_proof_parse(struct str text, struct tlog_proof *out, struct fault *f);

#endif
