/*
 * ship_stats.c - where a day's counters are (contract in consentd/ship.h).
 */
#include <stdio.h>
#include <time.h>

#include "consentd/record.h"
#include "consentd/ship.h"

size_t ship_stats_key(const char *site, uint8_t node, uint64_t ms, char out[SHIP_STATS_KEY_MAX])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm = {0};
    int len;

    (void)gmtime_r(&t, &tm);
    len = snprintf(out, SHIP_STATS_KEY_MAX, "{c:%s:%u:%06u}:st:%04d%02d%02d", site, node,
                   record_month(ms), tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    return (size_t)len < SHIP_STATS_KEY_MAX ? (size_t)len : SHIP_STATS_KEY_MAX - 1;
}
