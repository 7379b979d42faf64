/*
 * date.h - dates in fields (RFC 9110 5.6.7). No clock: the time is an argument.
 */
#ifndef CONSENTD_DATE_H
#define CONSENTD_DATE_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

enum { DATE_LEN = 29 /* bytes of "Sun, 06 Nov 1994 08:49:37 GMT" */ };

/* Writes time_s (seconds since 1970, years 1970 to 9999; others are clamped) and a NUL. */
void date_format(int64_t time_s, char out[DATE_LEN + 1]);

/*
 * Parses IMF-fixdate, the RFC 850 form and asctime. now_s places two-digit years: a date
 * more than 50 years ahead is in the past. The day name is checked for form, not for
 * agreement with the date. False: none of the three; *time_s_out is then unchanged.
 */
MUST_USE bool date_parse(struct str in, int64_t now_s, int64_t *time_s_out);

#endif
