/*
 * notices.h - the notice documents of this machine and when each was in force. layer: ledger
 *
 *   STATE_DIR/notices/<sha256>.json   a document (notice.h), never changed, never removed
 *   STATE_DIR/notices/history.jsonl   one line whenever another one came into force on a site:
 *       {"epoch":1,"leaf":4711,"node":1,"sha256":"…","site":"www.example.com","ts":…,
 *        "version":"2026-11"}
 *
 * The ledger writes; everybody else reads. leaf is the record that names the document (type 5)
 * among the records of ledger.node, which is made when it is first used there. A document is on
 * disk before its leaf is made, and the line is written last: what a record names is always here.
 */
#ifndef CONSENTD_NOTICES_H
#define CONSENTD_NOTICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define NOTICES_FOLDER   "notices" /* in state_dir */
#define NOTICES_MAX      20000     /* lines of the history */
#define NOTICES_FILE_MAX (16u << 20)

/* A line of the history. Texts belong to the list. */
struct notice_use {
    uint8_t hash[32];
    uint64_t ts_ms, leaf;
    uint32_t epoch;
    uint8_t node; /* 0: the line names none */
    const char *site, *version;
};

struct notices;

/* Reads the history of the folder; none is an empty one. NULL: a line makes no sense. */
MUST_USE struct notices *notices_open(const char *folder, struct fault *f);
void notices_free(struct notices *n); /* NULL is fine */

size_t notices_cnt(const struct notices *n);
const struct notice_use *notices_at(const struct notices *n, size_t i); /* oldest first */

/* What is in force on a site now, or NULL. */
const struct notice_use *notices_latest(const struct notices *n, const char *site);

/* The first use of the document whose hash begins with these bytes (16 of a record), or NULL. */
const struct notice_use *notices_find(const struct notices *n, const uint8_t *hash, size_t len);

/* A use of the document that has its leaf among this node's records, or NULL. */
const struct notice_use *notices_find_leaf(const struct notices *n, const uint8_t hash[32],
                                           uint8_t node);

/*
 * Since when (Unix ms) the version that is in force on a site has been, without another one in
 * between; 0: there was never another one.
 */
uint64_t notices_since(const struct notices *n, const char *site);

/* Appends a document's bytes; checks them against the hash. */
MUST_USE bool notices_read(const struct notices *n, const uint8_t hash[32], struct buf *out,
                           struct fault *f);

/*
 * Writes a document that is not there yet, and over one that is not what its hash says: that is
 * told by `mended_out`.
 */
MUST_USE bool notices_put(const struct notices *n, const uint8_t hash[32], struct str document,
                          bool *mended_out, struct fault *f);

/* Adds a line (copied). */
MUST_USE bool notices_note(struct notices *n, const struct notice_use *use, struct fault *f);

#endif
