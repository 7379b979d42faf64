/*
 * match_priv.h - reading the fixed parts off a pattern's source. layer: policy
 *
 * What is found is what every match must contain; nothing found is always a right answer. Shared by
 * match.c, which needs it for probing, and match_text.c, which does the reading.
 */
#ifndef CONSENTD_MATCH_PRIV_H
#define CONSENTD_MATCH_PRIV_H

#include <stddef.h>

#include "consentd/match.h"
#include "consentd/str.h"

struct pattern_text {
    char literal[MATCH_LITERAL_MAX]; /* the longest run of fixed characters */
    size_t literal_len;
    char head[MATCH_LITERAL_MAX]; /* the run at the very beginning */
    size_t head_len;
};

/* Fills *out from a pattern that PCRE2 accepts. */
void pattern_text_read(struct str source, struct pattern_text *out);

#endif
