/*
 * loop_priv.h - what the loop keeps for its neighbours in proxy/net.
 */
#ifndef CONSENTD_LOOP_PRIV_H
#define CONSENTD_LOOP_PRIV_H

#include "consentd/buf.h"
#include "consentd/loop.h"
#include "consentd/timer.h"

/* The wheel of this loop; loop_wheel_wake() makes sure that it turns. */
struct timer_wheel *loop_wheel(struct loop *loop);
void loop_wheel_wake(struct loop *loop);

enum {
    LOOP_SPARES = 64,           /* empty buffers kept for the next writer */
    LOOP_TIDY_S = 1,            /* memory is cleared so long after work, once for all of it */
    LOOP_SPARE_MAX = 64 * 1024, /* a larger one is freed */
};

/* Gives b memory from an earlier buffer, if there is some; b is empty and has none. */
void loop_buf_take(struct loop *loop, struct buf *b);

/* Takes the memory of b, which is then as after buf_init() with the same maximum. */
void loop_buf_give(struct loop *loop, struct buf *b);

#endif
