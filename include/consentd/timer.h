/*
 * timer.h - many cheap time-outs on one loop. layer: net
 *
 * A hashed wheel of TIMER_SLOTS slots, TIMER_TICK_MS each, turned by one libevent timer
 * per loop: setting, moving and clearing a timer is O(1) and makes no system call. A timer fires
 * at its time or up to two ticks later, never earlier. That is exact enough for time-outs.
 *
 *   slot = (when / tick) % slots;  a slot's list also holds timers of later rounds
 */
#ifndef CONSENTD_TIMER_H
#define CONSENTD_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct timer;

#define TIMER_TICK_MS 50
#define TIMER_SLOTS   1024

/* Embedded in its owner, which calls timer_clear() before it goes. All fields are private. */
struct timer {
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
    uint64_t when_ms; /* 0: not set */
    struct timer *next;
    struct timer **link; /* what points to this one */
};

/* fn(arg) will be called from the loop, once per timer_set(); the timer is then not set. */
void timer_init(struct timer *t, struct loop *loop, void (*fn)(void *arg), void *arg);

/* Fires in ms milliseconds; a timer that was set is moved. */
void timer_set(struct timer *t, uint64_t ms);

/* It will not fire. Also fine when it is not set, or was never initialised but zeroed. */
void timer_clear(struct timer *t);

bool timer_is_set(const struct timer *t);

/* The wheel itself: pure, the time is an argument. One per loop. */
struct timer_wheel {
    struct timer *slots[TIMER_SLOTS];
    uint64_t turned_ms; /* everything up to here has fired */
    size_t cnt;         /* timers that are set */
};

/* Puts t (with when_ms set) into its slot; takes it out. */
void timer_wheel_put(struct timer_wheel *wheel, struct timer *t);
void timer_wheel_take(struct timer_wheel *wheel, struct timer *t);

/* Fires all that are due at now_ms. A callback may set and clear any timer. */
void timer_wheel_turn(struct timer_wheel *wheel, uint64_t now_ms);

#endif
