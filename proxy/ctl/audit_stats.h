/*
 * audit_stats.h - consent events counted in groups: by day, language, notice or method.
 *
 * Memory is bounded by the named maxima, however many events are added; what finds no room is
 * counted under STATS_OTHERS, so that the sums stay right.
 */
#ifndef CTL_AUDIT_STATS_H
#define CTL_AUDIT_STATS_H

#include "audit_print.h"
#include "consentd/json.h"

#define STATS_GROUPS_MAX   4096     /* days, languages, ...: eleven years of days */
#define STATS_PURPOSES_MAX 32       /* different purposes over all notices asked about */
#define STATS_OTHERS       "others" /* the group, and the purpose, of what is above a maximum */

/* What the groups are. */
enum stats_by { STATS_BY_DAY = 0, STATS_BY_LANG, STATS_BY_NOTICE, STATS_BY_METHOD, STATS_BY_CNT };

struct audit_stats;

/* "day", "lang", "notice", "method"; false for another word. */
bool stats_by_parse(struct str s, enum stats_by *out);

struct audit_stats *audit_stats_new(enum stats_by by);
void audit_stats_free(struct audit_stats *stats); /* NULL is fine */

/* Counts one row. Rows that are no readable consent event are counted apart. */
void audit_stats_add(struct audit_stats *stats, const struct query_row *row);

/*
 * A row of the API's counters. STATS_SHOWN: how often the question was shown to that group
 * (shown.h; by method the group is the place); STATS_DECIDED: its acts and purposes. Once it or
 * audit_stats_asked was called, figures of showing are printed.
 */
#define STATS_SHOWN   1u
#define STATS_DECIDED 2u
void audit_stats_counters(struct audit_stats *stats, const json_t *row, unsigned what);
void audit_stats_asked(struct audit_stats *stats);

/* Figures below FEW_BELOW are left out, and what they could be told from (few.h). */
void audit_stats_suppress(struct audit_stats *stats);

/* The name that the API has for the groups. */
const char *stats_by_api_name(enum stats_by by);

/* Rows that could not be read because they were erased or their key is gone; and changed ones. */
uint64_t audit_stats_closed(const struct audit_stats *stats);
uint64_t audit_stats_tampered(const struct audit_stats *stats);

/* All groups in the order of their names, in the form asked for. */
void audit_stats_print(FILE *out, enum audit_format format, struct audit_stats *stats);

#endif
