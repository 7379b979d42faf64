/*
 * clock.h - the two clocks; the only caller of clock_gettime.
 *
 * Pure code takes the time as an argument. In a loop use loop_now_ms(), which reads
 * the clock once per turn.
 */
#ifndef CONSENTD_CLOCK_H
#define CONSENTD_CLOCK_H

#include <stdint.h>

/* Milliseconds and nanoseconds of a clock that never jumps: for waits and durations. */
uint64_t clock_mono_ms(void);
uint64_t clock_mono_ns(void);

/* Milliseconds since 1970 UTC: for tokens, records and logs. May jump. */
uint64_t clock_wall_ms(void);

/* Room for "2026-11-24T00:27:45.123Z" with its NUL. */
#define CLOCK_TEXT_MAX 32

/* RFC 3339 in UTC with milliseconds; returns out. */
const char *clock_format(uint64_t wall_ms, char out[CLOCK_TEXT_MAX]);

#endif
