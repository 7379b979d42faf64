/*
 * audit_operator.h - records of operators and of notices as one line for people.
 */
#ifndef CTL_AUDIT_OPERATOR_H
#define CTL_AUDIT_OPERATOR_H

#include <stdio.h>

#include "consentd/query.h"

/* The words over the columns, without time and place. */
#define AUDIT_OPERATOR_HEAD "WHO           FROM          RESULT   WHAT"
#define AUDIT_NOTICE_HEAD   "VERSION       EPOCH  SHA256            SITE"

/*
 * Columns, without the end of the line: who, from where, what came of it, what was asked for and
 * with what. Only printable characters, whatever somebody sent.
 */
void audit_operator_print(FILE *out, const struct query_row *row);
void audit_notice_print(FILE *out, const struct query_row *row);

#endif
