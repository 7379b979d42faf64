/*
 * restarts.h - the logs that a machine has had: which node number a leaf belongs to. layer: ledger
 *
 *   JOURNAL/restarts   a line per restart: FIRST NODE FROM TIME; a copy is beside the month keys
 *   JOURNAL/tlog       the log that is signed today
 *   JOURNAL/tlog-NODE  an earlier one, as it ended; served at …/consent-log/NODE/
 *
 * A log that is found shorter than its last checkpoint, or other than what was signed, is never
 * continued: that would be two histories under one name. It ends, and a new one begins under a node
 * number of its own, for everybody to see. Leaves go on behind all numbers that were ever signed,
 * so that "NODE:LEAF" in a cookie or a record names one record for good; the new log begins with
 * the commitments of all records that are still known, and with RESTARTS_LOST where one is not.
 *
 * The number of the n-th restart is that of the configuration plus n times RESTARTS_STEP: unique
 * among machines whose own numbers are below RESTARTS_STEP, with nobody to ask. Segments and keys
 * in Redis keep the number of the configuration.
 */
#ifndef CONSENTD_RESTARTS_H
#define CONSENTD_RESTARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"

#define RESTARTS_STEP 64
#define RESTARTS_MAX  3 /* a machine with a number from RESTARTS_STEP on has none */
#define RESTARTS_LOST "consentd.lost.v1" /* SHA-256 over it, a zero byte and the leaf (u64) */

struct log_restarts {
    uint8_t first; /* the configuration's node; that of the first log */
    unsigned cnt;
    struct log_restart {
        uint8_t node;
        uint64_t from; /* the first leaf that was new in this log */
        uint64_t ts_ms;
    } items[RESTARTS_MAX];
};

/* What a folder's file says; no file: there was none. False: it can't be read, or is wrong. */
MUST_USE bool restarts_read(const char *folder, unsigned node, struct log_restarts *out,
                            struct fault *f);

/* Adds one, durably. False: it can't be written, or there are no numbers left. */
MUST_USE bool restarts_add(const char *folder, struct log_restarts *r, uint64_t from,
                           uint64_t ts_ms, struct fault *f);

/* Writes them, durably; lines of another configured number stay. */
MUST_USE bool restarts_write(const char *folder, const struct log_restarts *r, struct fault *f);

uint8_t restarts_node(const struct log_restarts *r); /* of the log of today */
uint8_t restarts_next(const struct log_restarts *r); /* that of the next one; 0: none is left */

/* The node of log i, oldest first; i = cnt: of the log of today. */
uint8_t restarts_node_at(const struct log_restarts *r, unsigned i);

/* The node that a leaf was given under. */
uint8_t restarts_node_of(const struct log_restarts *r, uint64_t leaf);

/* The folder of log i, as restarts_node_at. Heap. */
char *restarts_folder(const char *journal_dir, const struct log_restarts *r, unsigned i);

void restarts_lost(uint64_t leaf, uint8_t cmt_out[32]);

#endif
