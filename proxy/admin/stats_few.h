/*
 * stats_few.h - small figures of statistics are not told to everybody. layer: admin
 */
#ifndef ADMIN_STATS_FEW_H
#define ADMIN_STATS_FEW_H

#include "consentd/json.h"

/*
 * Marks in each group's counters, and in the totals, what must not be told: "?imp" beside "imp".
 * NULL rows: the totals alone.
 */
void stats_few(json_t *rows, json_t *totals);

#endif
