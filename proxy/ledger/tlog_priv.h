/*
 * tlog_priv.h - what the writer and the reader of the log share. layer: ledger
 */
#ifndef CONSENTD_TLOG_PRIV_H
#define CONSENTD_TLOG_PRIV_H

#include <stdint.h>

#include "consentd/fault.h"
#include "consentd/str.h"

/* The root over cnt hashes, one behind the other; cnt is a power of two up to 256. */
void tlog_fold(const uint8_t *hashes, unsigned cnt, uint8_t out[32]);

/* Adds a signed checkpoint to those that are kept, durably. What a crash left unfinished goes. */
MUST_USE bool tlog_keep(const char *dir, struct str note, struct fault *f);

/* Removes the partial tiles of a tile that is full. */
void tlog_drop_partial(const char *path);

#endif
