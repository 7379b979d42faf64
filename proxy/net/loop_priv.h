/*
 * loop_priv.h - what the loop keeps for its neighbours in proxy/net.
 */
#ifndef CONSENTD_LOOP_PRIV_H
#define CONSENTD_LOOP_PRIV_H

#include "consentd/loop.h"
#include "consentd/timer.h"

/* The wheel of this loop; loop_wheel_wake() makes sure that it turns. */
struct timer_wheel *loop_wheel(struct loop *loop);
void loop_wheel_wake(struct loop *loop);

#endif
