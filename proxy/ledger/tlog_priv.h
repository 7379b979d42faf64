/*
 * tlog_priv.h - what the writer and the reader of the log share. layer: ledger
 */
#ifndef CONSENTD_TLOG_PRIV_H
#define CONSENTD_TLOG_PRIV_H

#include <stdint.h>

/* The root over cnt hashes, one behind the other; cnt is a power of two up to 256. */
void tlog_fold(const uint8_t *hashes, unsigned cnt, uint8_t out[32]);

#endif
