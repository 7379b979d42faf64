/*
 * loop.h - one event loop: readiness, signals, and what happens at the end of a turn. layer: net
 *
 *   turn:  epoll -> callbacks -> deferred functions (loop_defer) -> next turn
 *
 * One loop, one thread, no locks. libevent is used for readiness, timers, signals and DNS; the
 * connections (conn.h) read and write by themselves.
 */
#ifndef CONSENTD_LOOP_H
#define CONSENTD_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"

struct event_base;
struct loop;
struct names;

#define LOOP_SCRATCH_LEN 65536 /* bytes of the one read buffer that all connections share */

/* Never NULL: a process without a loop cannot do anything, so it aborts. */
struct loop *loop_new(void);

/* Everything that uses the loop must be gone. NULL is fine. */
void loop_free(struct loop *loop);

/* Runs until loop_stop(), or until nothing is left to wait for. 0, or -1 on a failure. */
int loop_run(struct loop *loop);

/* Ends loop_run() after this turn. */
void loop_stop(struct loop *loop);

/* One turn without waiting: for tests. */
void loop_poll(struct loop *loop);

/* Monotonic milliseconds, read once per turn. */
uint64_t loop_now_ms(const struct loop *loop);

/* A function to run once at the end of this turn; embedded in its owner, zeroed at first. */
struct deferred {
    void (*fn)(void *arg);
    void *arg;
    struct deferred *next; /* private */
    bool queued;           /* private */
};

/* Queues d (fn and arg set by the caller); a second time in the same turn does nothing. */
void loop_defer(struct loop *loop, struct deferred *d);

/* Takes d back; its owner is about to go. */
void loop_undefer(struct loop *loop, struct deferred *d);

/* Calls fn in the loop for each signal signo; lives as long as the loop. False: no memory. */
MUST_USE bool loop_on_signal(struct loop *loop, int signo, void (*fn)(void *arg), void *arg);

/* Its host names (names.h), made at the first call. */
struct names *loop_names(struct loop *loop);

/* For proxy/net and proxy/proc: the library's own. */
struct event_base *loop_base(struct loop *loop);

/* The shared read buffer, LOOP_SCRATCH_LEN bytes; valid until the next read of any connection. */
uint8_t *loop_scratch(struct loop *loop);

#endif
