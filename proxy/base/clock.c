/*
 * clock.c - contract in consentd/clock.h.
 */
#include "consentd/clock.h"

#include <stdio.h>
#include <time.h>

#include "consentd/mem.h"

static struct timespec now(clockid_t id)
{
    struct timespec t;

    ASSERT(clock_gettime(id, &t) == 0);
    return t;
}

static uint64_t to_ms(struct timespec t)
{
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t clock_mono_ms(void)
{
    return to_ms(now(CLOCK_MONOTONIC));
}

uint64_t clock_mono_ns(void)
{
    struct timespec t = now(CLOCK_MONOTONIC);

    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t clock_wall_ms(void)
{
    return to_ms(now(CLOCK_REALTIME));
}

const char *clock_format(uint64_t wall_ms, char out[CLOCK_TEXT_MAX])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    char second_text[CLOCK_TEXT_MAX - 8];
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(second_text, sizeof(second_text), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        second_text[0] = '\0';
    snprintf(out, CLOCK_TEXT_MAX, "%s.%03uZ", second_text, (unsigned)(wall_ms % 1000));
    return out;
}
