/*
 * audit_print.h - rows of an audit query as a table, JSON lines or CSV.
 */
#ifndef CTL_AUDIT_PRINT_H
#define CTL_AUDIT_PRINT_H

#include <stdio.h>

#include "consentd/query.h"

enum audit_format { AUDIT_TABLE = 0, AUDIT_JSONL, AUDIT_CSV };

/* "table", "jsonl", "csv"; false for another word. */
bool audit_format_parse(struct str s, enum audit_format *out);

/* One CSV cell in quotes and what follows it: a comma, or the end of the line. */
void audit_print_cell(FILE *out, struct str s, bool last);

/*
 * kind: the only one that there will be, and a table has its columns; RECORD_UNKNOWN: all of them,
 * under the columns of events. CSV has the same columns whatever the kind.
 */
void audit_print_head(FILE *out, enum audit_format format, enum record_kind kind);
void audit_print_row(FILE *out, enum audit_format format, enum record_kind kind,
                     const struct query_row *row);

#endif
