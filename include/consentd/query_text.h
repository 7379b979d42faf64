/*
 * query_text.h - questions and their answers as text: filters by name, rows as JSON lines and CSV.
 * layer: ledger
 *
 *   filters   from to act purpose granted sub pe doc lang jur host gpc kind order limit cursor
 *   JSON line {"event":J,"leaf":N,"leafhash":"…","node":1,"status":"ok","ts":MS}
 *             status: ok, erased, no-key, tampered; only ok has event and leafhash
 *   CSV       RFC 4180 with a header row; UTF-8; times in ISO 8601; ids with a prefix (s_, e_, d_),
 *             because base64url may begin with '-'; a cell that a spreadsheet would take for a
 *             formula (= + - @ TAB CR) gets an apostrophe in front
 *
 * With r (`disclosed`) a JSON line proves itself: its event hashes to its leaf.
 */
#ifndef CONSENTD_QUERY_TEXT_H
#define CONSENTD_QUERY_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/fault.h"
#include "consentd/json.h"
#include "consentd/query.h"
#include "consentd/str.h"

#define QUERY_CSV_COLUMNS 19

/*
 * Sets the filter `name` from its text, which is borrowed. False with the reason, which names the
 * filter and what would be right.
 */
MUST_USE bool query_spec_set(struct query_spec *spec, struct str name, struct str value,
                             struct fault *f);

/* "2026-11-01", "2026-11-01T12:00:00[Z]" or Unix milliseconds. */
MUST_USE bool query_time_parse(struct str s, uint64_t *ms_out);

/* "s_…" or the bare 22 characters; "1:42". */
MUST_USE bool query_subject_parse(struct str s, uint8_t subject_out[16]);
MUST_USE bool query_place_parse(struct str s, uint64_t *node_out, uint64_t *leaf_out);

const char *query_status_name(enum query_row_status status);
MUST_USE bool query_status_parse(struct str s, enum query_row_status *out);

/* The row as one JSON object without a line break. False when out is full. */
MUST_USE bool query_row_json(const struct query_row *row, bool disclosed, struct buf *out);

/*
 * The reverse: a row from such an object; its texts point into json_out. r and cmt are not set.
 * False: it is none.
 */
MUST_USE bool query_row_of(const json_t *value, struct buf *json_out, struct query_row *row_out);

/* One cell in quotes and what follows it: a comma, or the end of the line. */
MUST_USE bool query_csv_cell(struct str s, bool last, struct buf *out);
MUST_USE bool query_csv_head(struct buf *out);
MUST_USE bool query_csv_row(const struct query_row *row, struct buf *out);

/* Names with a space between. Returns out. */
const char *query_names_join(const struct str *names, unsigned cnt, char *out, size_t room);

#endif
