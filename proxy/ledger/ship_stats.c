/*
 * ship_stats.c - where a day's counters are, and whether groups are among them (contract in
 * consentd/ship.h).
 */
#include <stdio.h>
#include <time.h>

#include "consentd/record.h"
#include "consentd/redis.h"
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

bool ship_counter_is_grouped(struct str name)
{
    static const char *const kinds[] = {"gl:", "gu:", "gd:", "au:", "lang::"};

    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (str_starts(name, str_c(kinds[i])))
            return true;
    return str_eq_c(name, SHIP_COUNTER_GROUPED);
}

bool ship_stats_grouped(const struct resp *reply)
{
    uint64_t grouped = 0, acts = 0, n;

    for (size_t i = 0; i + 1 < resp_cnt(reply); i += 2) {
        struct str name = resp_str(resp_at(reply, i));

        if (!str_to_u64(resp_str(resp_at(reply, i + 1)), UINT32_MAX, &n))
            continue;
        if (str_eq_c(name, SHIP_COUNTER_GROUPED))
            grouped = n;
        else if (str_starts(name, STR("act:")))
            acts += n;
    }
    return grouped == acts;
}
