/*
 * verify.h - whether anything that is stored was changed or taken away. layer: ledger
 *
 *   1  every checkpoint that was kept: its signature, and that the log begins with its tree
 *   2  every entry hashed to the signed root, every tile, every record of the journal against its
 *      entry, its text against its commitment, J against its one canonical form
 *   3  with Redis: every stream entry opened, its commitment against the log, J as above; secrets,
 *      the subjects' index and the counters computed again; what is missing must have been erased
 *
 * Nothing is trusted but the log's public key. What was erased must be named by an erase record,
 * which is a leaf itself. Of what does not fit the first is named. Memory is constant but for the
 * list of what was erased and 40 bytes for each checkpoint kept. Blocks; for command lines.
 */
#ifndef CONSENTD_VERIFY_H
#define CONSENTD_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/note.h"

struct erased;
struct keks;
struct rlink_config;

/* As consentctl's exit status. */
enum verify_status {
    VERIFY_OK = 0,
    VERIFY_TAMPERED = 1,   /* something was changed, or signed and removed */
    VERIFY_INCOMPLETE = 2, /* something that is needed to tell is missing */
    VERIFY_USAGE = 3,
};

struct verify_config {
    const char *log_dir;         /* tlog's folder */
    const struct note_key *keys; /* whose checkpoints are believed */
    unsigned key_cnt;
    const char *journal_dir; /* NULL: the log alone (a copy, elsewhere) */
    const char *later_dir;   /* the log that took over from this one; NULL: none. Entries of it that
                                are others than in this log count as lost */
    uint8_t node;
    uint8_t log_node; /* with redis: whose checkpoints are kept there (restarts.h) */
    const struct keks *keks;
    const struct erased *erased;
    uint64_t from_ms, to_ms;          /* records of [from, to) are opened; to_ms 0: no end */
    const struct rlink_config *redis; /* NULL: not level 3 */
    const char *site;                 /* with redis: the log's name there */
    const uint8_t *idx_key;           /* with redis: 32 bytes, subject tags */
    /* What is being done and how far it is; all 0: not known. NULL: nobody watches. */
    void (*progress)(const char *what, uint64_t done, uint64_t all);
};

struct verify_report {
    char what[160], why[256]; /* unless VERIFY_OK: the first thing that does not fit */
    char origin[NOTE_NAME_MAX + 1];
    uint64_t leaves;          /* of the newest checkpoint */
    uint64_t checkpoints;     /* verified, the newest included */
    uint64_t carried;         /* leaves that are the same in later_dir's log */
    uint64_t records;         /* of the journal */
    uint64_t opened;          /* of these */
    uint64_t keyless, erased; /* the month was dropped; erased on request */
    uint64_t entries;         /* of Redis */
    uint64_t entries_opened;
    uint64_t subjects_checked; /* references in the index */
    uint64_t counters;         /* counted again */
};

MUST_USE enum verify_status verify_run(const struct verify_config *cfg, struct verify_report *out);

#endif
