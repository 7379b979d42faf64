/*
 * journal_read.h - walk the records of a journal directory, forwards or backwards.
 *
 * Used by the shipper behind the writer (same process), and by consentctl on a live or
 * copied directory: it takes no lock and changes nothing. Memory is one batch (about
 * half a MiB) and, going backwards, four bytes per batch of one segment.
 */
#ifndef CONSENTD_JOURNAL_READ_H
#define CONSENTD_JOURNAL_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/journal.h"

struct journal_reader;

enum journal_step {
    JOURNAL_STEP_ERROR = 0, /* a file could not be read; see journal_reader_fault */
    JOURNAL_STEP_RECORD,    /* *rec_out is the next record */
    JOURNAL_STEP_END,       /* nothing more now; the writer may add some later */
    JOURNAL_STEP_GAP,       /* leaves [gap_from, gap_to) can't be read; go on with the next call */
};

/* NULL and *f when the directory can't be read. An empty directory is fine. */
MUST_USE struct journal_reader *journal_reader_open(const char *dir, uint8_t node, struct fault *f);
void journal_reader_close(struct journal_reader *rd); /* NULL is fine */

/*
 * The next call of journal_reader_next returns the first record with this leaf or a
 * higher one; of journal_reader_prev the last one with a lower leaf (UINT64_MAX: the
 * last of all). Reads the directory again.
 */
MUST_USE bool journal_reader_seek(struct journal_reader *rd, uint64_t leaf, struct fault *f);

/* As above by time: the first record at or after ts_ms. */
MUST_USE bool journal_reader_seek_time(struct journal_reader *rd, uint64_t ts_ms, struct fault *f);

/*
 * The next record whose leaf is below `until`: the shipper passes the leaf behind the
 * last synced one, others UINT64_MAX. Follows the writer into new segments.
 */
MUST_USE enum journal_step journal_reader_next(struct journal_reader *rd, uint64_t until,
                                               struct journal_record *rec_out);

/* The record before. After a seek only; do not mix with next without another seek. */
MUST_USE enum journal_step journal_reader_prev(struct journal_reader *rd,
                                               struct journal_record *rec_out);

/* Clears what was read and is not given out; the reader stays where it is. */
void journal_reader_rest(struct journal_reader *rd);

/* The unreadable range of the last JOURNAL_STEP_GAP. */
void journal_reader_gap(const struct journal_reader *rd, uint64_t *from_out, uint64_t *to_out);

/* The text of the last JOURNAL_STEP_ERROR. */
const char *journal_reader_fault(const struct journal_reader *rd);

#endif
