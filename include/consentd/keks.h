/*
 * keks.h - the month keys (KEK) that everything sealed at rest hangs on.
 *
 * One AES-256 key per month, made ahead of time by the ledger process, kept in one
 * file (0600):
 *
 *   {"keks":[{"key":"<base64url of 32 bytes>","month":202611}, …]}
 *
 * Destroying a month's key destroys the text of every record of that month, in every
 * copy. Never in Redis; back the file up apart from the data.
 *
 * The ledger opens it for writing (keks_ensure); admin and consentctl only read.
 */
#ifndef CONSENTD_KEKS_H
#define CONSENTD_KEKS_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"

#define KEKS_MAX 1200 /* months in one file: a hundred years */

struct keks;

/*
 * Reads the file at path. With `create` a missing file is an empty set (written by the
 * first keks_ensure), else an error. NULL and *f on failure. The path is copied.
 */
MUST_USE struct keks *keks_open(const char *path, bool create, struct fault *f);

/* Clears the keys and frees. NULL is fine. */
void keks_free(struct keks *keks);

/*
 * Makes the keys of this month and the next if they are missing, and writes the file
 * durably before it returns. False and *f when the file could not be written: the new
 * keys are then not usable (a record sealed with them could never be read again).
 */
MUST_USE bool keks_ensure(struct keks *keks, uint64_t now_ms, struct fault *f);

/*
 * The key of a month (yyyymm), or NULL. Valid until the next keks_ensure or
 * keks_reload; copy it to keep it.
 */
const uint8_t *keks_get(const struct keks *keks, uint32_t month);

/*
 * Destroys a month's key: its records can't be opened any more, wherever a copy of them is. True
 * when the file is durably without it; a month that has none is fine.
 */
MUST_USE bool keks_drop(struct keks *keks, uint32_t month, struct fault *f);

/* The months that have a key, in their order. */
unsigned keks_cnt(const struct keks *keks);
uint32_t keks_month(const struct keks *keks, unsigned i);

/* Reads the file again: for readers that meet a month they do not know. */
MUST_USE bool keks_reload(struct keks *keks, struct fault *f);

#endif
