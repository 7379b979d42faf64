/*
 * fault.h - the text of one set-up or configuration error, for a person to read.
 *
 * A function that can refuse what an operator wrote takes `struct fault *f` as its
 * last argument and returns false/NULL/-1 with the text set: file, line, key, and
 * what would be right. The one who decides prints it once. Errors of peers are
 * enums, not faults (STYLE: errors).
 */
#ifndef CONSENTD_FAULT_H
#define CONSENTD_FAULT_H

#include "consentd/attr.h"

/* Longest text with its NUL; longer ones are cut at the end. */
#define FAULT_TEXT_MAX 1024

struct fault {
    char text[FAULT_TEXT_MAX]; /* one line, no newline; "" = nothing set */
};

/* Replaces the text. f may be NULL: the caller does not want to know. */
void fault_set(struct fault *f, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Replaces the text and appends ": " and strerror(errno); keeps errno. */
void fault_set_errno(struct fault *f, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Puts "<formatted>: " in front of the text: each level adds what it knows. */
void fault_prefix(struct fault *f, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
